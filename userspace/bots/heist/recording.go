package heist

import (
	"crypto/sha256"
	"sync"

	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/play"
)

// askEvery is of how many bots that were drawn for a round one asks for its recording.
const askEvery = 8

// account is what a bot was told of a round, from the drawing of roles to the scores.
type account struct {
	round uint32
	drawn int // players, so far
	asks  bool
	tally protocol.Tally // of the events for all
}

// recordings is what a bot does about the recordings of rounds.
type recordings struct {
	replays *replays
	telling account // the round being played; round 0: not from its beginning
	last    account // round that ended; round 0: none
	due     bool    // to ask for it
	number  uint32  // of the question
	pending bool    // an answer
}

// account follows an event that all are told of.
func (b *bot) account(m *protocol.Event, e *rules.Event) {
	r := &b.recordings
	if e.Kind == rules.PhaseBegan {
		switch e.Phase {
		case rules.Countdown:
			r.telling = account{round: e.Round}
		case rules.Lobby:
			r.telling = account{}
		default:
		}
	}
	t := &r.telling
	if t.round == 0 {
		return
	}
	t.tally.Add(m)
	switch {
	case e.Kind == rules.RoleDrawn:
		// The lot decides, and so each round asks others.
		t.asks = t.asks || e.Player == b.self && t.drawn%askEvery == 0
		t.drawn++
	case e.Kind == rules.PhaseBegan && e.Phase == rules.Results:
		if !r.pending {
			r.last, r.due = *t, t.asks
		}
		r.telling = account{}
	}
}

// askRecording asks for the recording of a round that has just ended.
func (b *bot) askRecording() {
	r := &b.recordings
	if !r.due || b.ending != 0 {
		return
	}
	if b.command(protocol.CommandRecording, nil) {
		r.due, r.pending, r.number = false, true, b.number
	}
}

// noRecording hears that something was refused.
func (b *bot) noRecording(e play.Event) {
	if r := &b.recordings; r.pending && e.Type == message.TypeReliableCommand && e.Number == r.number {
		r.pending = false
		b.found.RecordingsFailed++
	}
}

// recording plays a recording again: it comes to what the bot was told.
func (b *bot) recording(t play.Transfer) {
	r := &b.recordings
	if !r.pending {
		b.found.RecordingsFailed++
		return
	}
	r.pending = false
	got, err := r.replays.play(t.Data)
	if err != nil || t.Name != protocol.RecordingName(r.last.round) || got != r.last.tally {
		b.found.RecordingsFailed++
		return
	}
	b.found.Recordings++
}

// replays plays the recordings that bots were sent, each but once. It may be used by
// all at the same time.
type replays struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]func() (protocol.Tally, error)
}

// play returns what is told to all in the round that was recorded.
func (r *replays) play(recording []byte) (protocol.Tally, error) {
	sum := sha256.Sum256(recording)
	r.mu.Lock()
	if r.known == nil {
		r.known = make(map[[sha256.Size]byte]func() (protocol.Tally, error))
	}
	f := r.known[sum]
	if f == nil {
		f = sync.OnceValues(func() (protocol.Tally, error) { return replay(recording) })
		r.known[sum] = f
	}
	r.mu.Unlock()
	return f()
}

func replay(recording []byte) (told protocol.Tally, err error) {
	again, err := rules.NewReplay(recording)
	if err != nil {
		return told, err
	}
	_, err = again.Run(func(e *rules.Event) {
		if e.Audience == rules.ToAll {
			m := protocol.EventOf(e)
			told.Add(&m)
		}
	})
	return told, err
}
