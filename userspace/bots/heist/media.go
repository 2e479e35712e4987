package heist

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
)

const (
	// An eighth of the bots speak, for a second of eight, in frames of 20 ms.
	voiceEvery = 20 * time.Millisecond
	voiceSize  = 60
	spurt      = time.Second
	silence    = 7 * time.Second

	// An eighth have a camera, ten frames per second, one of ten a key frame.
	cameraEvery   = 100 * time.Millisecond
	keyEvery      = 10
	keySize       = 300
	predictedSize = 100

	// One of sixteen looks on, and watches a camera for a while, then none.
	watchFor = 3 * time.Second
	restFor  = 1500 * time.Millisecond

	// clockError is how many ticks the server's time may be off.
	clockError = tickRate

	// overheardKept is how many frames wait for judgement.
	overheardKept = 1024
)

func (b *bot) looksOn() bool { return b.self%16 == 7 }
func (b *bot) speaks() bool  { return b.self%8 == 1 || b.self%32 == 7 }
func hasCamera(id rules.PlayerID) bool {
	return id%8 == 5
}

// media is what a bot says, hears and watches.
type media struct {
	voice, camera track
	wished        time.Duration // to look on, last

	sides  map[rules.PlayerID]rules.Role // of the players of a round
	drawn  uint32                        // the round
	judged []overheard                   // frames that somebody said in a round

	asked   rules.PlayerID // to watch
	former  rules.PlayerID // watched before
	waiting bool           // for Watching
	until   time.Duration  // it watches, or does not
	watched protocol.Watching
}

// track is what a bot sends of one sort.
type track struct {
	number uint32
	key    uint32 // number of the last key frame
	next   time.Duration
	began  time.Duration
}

// overheard is a frame that was said by somebody who knew that it was in a round.
type overheard struct {
	speaker rules.PlayerID
	round   uint32
	tick    uint32 // of the game when it had arrived
}

// speech is what frames carry: who says it, and what it knew of the game then.
type speech struct {
	speaker rules.PlayerID
	number  uint32
	key     uint32 // number of the key frame that it needs
	round   uint32
	phase   rules.Phase
}

const speechHead = 17

// append appends a frame of a size. What else is in it follows from speaker and number.
func (s *speech) append(frame []byte, size int) []byte {
	start := len(frame)
	frame = binary.BigEndian.AppendUint32(frame, uint32(s.speaker))
	frame = binary.BigEndian.AppendUint32(frame, s.number)
	frame = binary.BigEndian.AppendUint32(frame, s.key)
	frame = binary.BigEndian.AppendUint32(frame, s.round)
	frame = append(frame, byte(s.phase))
	x := uint32(s.speaker)<<16 ^ s.number
	for len(frame)-start < size-crc32.Size {
		x = x*1664525 + 1013904223
		frame = append(frame, byte(x>>24))
	}
	return binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame[start:]))
}

// parseSpeech undoes append.
func parseSpeech(frame []byte) (s speech, ok bool) {
	if len(frame) < speechHead+crc32.Size {
		return s, false
	}
	s = speech{
		speaker: rules.PlayerID(binary.BigEndian.Uint32(frame)), number: binary.BigEndian.Uint32(frame[4:]),
		key: binary.BigEndian.Uint32(frame[8:]), round: binary.BigEndian.Uint32(frame[12:]), phase: rules.Phase(frame[16]),
	}
	return s, bytes.Equal(frame, s.append(nil, len(frame)))
}

func inRound(p rules.Phase) bool {
	return p == rules.Countdown || p == rules.Hide || p == rules.Chase
}

// speak sends what is due of voice and camera, and asks for another's.
func (b *bot) speak(now time.Duration) {
	m := &b.media
	if len(b.states) == 0 || !b.knowing || b.ending != 0 {
		return
	}
	if b.speaks() && (now+time.Duration(b.self)*700*time.Millisecond)%(spurt+silence) < spurt {
		for m.voice.due(now, voiceEvery) {
			b.sendFrame(&m.voice, message.Audio, voiceSize, now)
		}
	}
	if hasCamera(b.self) && inRound(rules.Phase(b.states[len(b.states)-1].Phase)) {
		for m.camera.due(now, cameraEvery) {
			if m.camera.number%keyEvery == 0 {
				m.camera.key = m.camera.number
				b.sendFrame(&m.camera, message.KeyFrame, keySize, now)
			} else {
				b.sendFrame(&m.camera, message.PredictedFrame, predictedSize, now)
			}
		}
	}
	if b.looksOn() {
		b.lookOn(now)
	}
}

// due reports whether it is time for a frame. Not many are made up for.
func (t *track) due(now, every time.Duration) bool {
	if t.began == 0 {
		t.began = now
	}
	if now < t.next {
		return false
	}
	if t.next += every; now-t.next > 2*every {
		t.next = now + every
	}
	return true
}

func (b *bot) sendFrame(t *track, media message.Media, size int, now time.Duration) {
	state := &b.states[len(b.states)-1]
	s := speech{speaker: b.self, number: t.number, key: t.key, round: state.Round, phase: rules.Phase(state.Phase)}
	frame := s.append(nil, size)
	err := b.play.Send(client.Unreliable, protocol.ChannelMedia, &message.MediaStream{
		Media: media, Number: t.number, Time: uint64((now - t.began) / time.Microsecond), Data: frame,
	})
	t.number++
	if err == nil {
		b.found.FramesSent++
	}
}

// lookOn wishes to be no player, and watches one after another.
func (b *bot) lookOn(now time.Duration) {
	m := &b.media
	if b.own.Wish != uint8(rules.Spectator) {
		if m.wished == 0 || now-m.wished > patience {
			m.wished = now
			b.command(protocol.CommandRole, msgp.AppendUint8(nil, uint8(rules.Spectator)))
		}
		return
	}
	if m.waiting || now < m.until {
		return
	}
	next := rules.PlayerID(0)
	if m.asked == 0 {
		var cameras []rules.PlayerID
		for id := range m.sides {
			if hasCamera(id) {
				cameras = append(cameras, id)
			}
		}
		if len(cameras) == 0 {
			return
		}
		slices.Sort(cameras)
		next = cameras[int(now/time.Second)%len(cameras)]
	}
	if b.command(protocol.CommandWatch, msgp.AppendUint32(nil, uint32(next))) {
		m.asked, m.former, m.waiting = next, m.asked, true
	}
}

func (b *bot) watching(w *protocol.Watching) error {
	m := &b.media
	if !m.waiting || w.Player != uint32(m.asked) {
		return message.ErrState
	}
	m.watched, m.waiting = *w, false
	m.until = b.at + watchFor
	if w.Player == 0 {
		m.until = b.at + restFor
	}
	return nil
}

// side notes who plays in a round, and whose camera begins anew.
func (b *bot) side(e *rules.Event) {
	m := &b.media
	switch {
	case e.Kind == rules.PlayerReturned && uint32(e.Player) == m.watched.Player:
		m.watched.Began = false
	case e.Kind == rules.PhaseBegan && e.Phase == rules.Countdown:
		m.drawn = e.Round
		m.sides = make(map[rules.PlayerID]rules.Role)
	case e.Kind == rules.RoleDrawn && m.sides != nil:
		m.sides[e.Player] = e.Role
	}
}

// frame checks a frame that somebody sent.
func (b *bot) frame(m *message.MediaStream) error {
	s, ok := parseSpeech(m.Data)
	if !ok || s.speaker == b.self || s.number != m.Number || rules.PlayerID(m.Stream) != s.speaker ||
		(m.Media == message.KeyFrame) != (s.key == s.number && len(m.Data) == keySize) {
		b.found.FramesWrong++
		return nil
	}
	if m.Media != message.Audio {
		b.watch(m, &s)
		return nil
	}
	b.found.FramesHeard++
	if inRound(s.phase) && len(b.media.judged) < overheardKept {
		b.media.judged = append(b.media.judged, overheard{s.speaker, s.round, b.now()})
	}
	return nil
}

// watch checks a frame of a camera. One of what was watched before may be late.
func (b *bot) watch(m *message.MediaStream, s *speech) {
	w := &b.media
	b.found.FramesWatched++
	if s.speaker != w.asked && s.speaker != w.former {
		b.found.FramesOverheard++
		return
	}
	late := uint32(s.speaker) != w.watched.Player || w.waiting
	if m.Media == message.PredictedFrame && !late && w.watched.Began && int32(s.key-w.watched.Frame) <= 0 {
		b.found.FramesUnkeyed++
	}
}

// judgeVoices finds out whether what was heard was for others. That a frame was said in
// a round its speaker says; that it was passed on in the same round follows from its
// having arrived before a tick at which the round was not over.
func (b *bot) judgeVoices(state *protocol.State) {
	m := &b.media
	m.judged = slices.DeleteFunc(m.judged, func(o overheard) bool {
		if o.round != state.Round || !inRound(rules.Phase(state.Phase)) {
			return int32(state.Round-o.round) >= 0
		}
		if int32(state.Tick-o.tick) < clockError {
			return false
		}
		own := m.sides[b.self]
		if m.drawn == o.round && playing(own) && m.sides[o.speaker] != own {
			b.found.FramesOverheard++
		}
		return true
	})
}
