package game

import (
	"cmp"
	"slices"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// StreamOptions say how a room passes voice and video on.
type StreamOptions struct {
	// Hears says whether what a speaker sends is for a listener, who is another
	// player. It is asked for each frame.
	Hears func(listener, speaker *Player, media message.Media) bool

	// Media is what players may send. Default message.Audio alone.
	Media []message.Media

	// Stream is the number that frames of a speaker bear, so that listeners know
	// whose they are. Default: the lower half of Player.ID.
	Stream func(speaker *Player) uint16

	// MaxFrame is how many bytes a frame may have. Default 1000, which fit a
	// packet; larger ones count as Limits.Large.
	MaxFrame int

	// Deliveries bounds what reaches listeners, those of a frame counted each.
	// Default 50,000 per second.
	Deliveries Rate

	// Channel of the transport. Default 3.
	Channel uint8
}

// Streams passes message.MediaStream on from player to player: at once or not at all.
// How much each may send is bounded by Limits.Media. On a node that is overloaded video
// goes first, and with it at Thinning 4 voice.
//
// A listener gets no predicted frame without the frames since the last key frame, as
// far as it is the server's doing: who begins to hear a speaker, or was left out, waits
// for the next key frame, and so do all when one of the speaker's frames did not arrive.
//
// It takes the room's message.MediaStream. It belongs to the room, as World does.
type Streams struct {
	room  *Room
	opts  StreamOptions
	films []film // by Player.Index
	spent bucket
	frame message.MediaStream
	to    []*Player
}

// film is the video of one speaker.
type film struct {
	begun  bool     // last counts
	whole  bool     // nothing is missing since the key frame
	last   uint32   // number
	intact []uint64 // by listener, a bit for each: it has all since the key frame
}

// stale is how far behind the newest a frame may be and count as late, rather than as
// that of a stream that begins anew.
const stale = 64

// NewStreams lets players of a room hear and see each other. It belongs into Kind.New.
func NewStreams(r *Room, o StreamOptions) *Streams {
	o.MaxFrame = cmp.Or(o.MaxFrame, 1000)
	o.Deliveries = cmp.Or(o.Deliveries, Rate{PerSecond: 50000})
	o.Channel = cmp.Or(o.Channel, 3)
	if o.Media == nil {
		o.Media = []message.Media{message.Audio}
	}
	if o.Stream == nil {
		o.Stream = func(p *Player) uint16 { return uint16(p.ID()) }
	}
	if o.Hears == nil || o.MaxFrame < 1 || o.MaxFrame > message.MaxMedia {
		panic("game: streams that nobody hears, or of impossible sizes")
	}
	s := &Streams{room: r, opts: o}
	r.register(message.TypeMediaStream, s.take)
	r.OnLeave(s.forget)
	return s
}

// Restart has a listener wait for the next key frame of a speaker's video. It returns
// the number of the speaker's newest frame, if there is one.
func (s *Streams) Restart(listener, speaker *Player) (newest uint32, ok bool) {
	if speaker.index >= len(s.films) {
		return 0, false
	}
	f := &s.films[speaker.index]
	f.set(listener.index, false)
	return f.last, f.begun
}

// take passes on what a player sends.
func (s *Streams) take(p *Player, raw session.Message) (number uint32, err error) {
	if raw.Mode.Reliable() {
		return 0, Refuse(message.ErrDenied, "media is not for reliable messages")
	}
	m := &s.frame
	if _, err := s.room.node.parse(raw.Payload, s.room.kind.MaxMessage, m); err != nil {
		return 0, err
	}
	switch {
	case !slices.Contains(s.opts.Media, m.Media):
		return m.Number, Refuse(message.ErrDenied, "no such media here")
	case len(m.Data) > s.opts.MaxFrame:
		return m.Number, message.ErrTooLarge
	}
	if m.Media == message.Audio {
		s.voice(p, m)
	} else {
		s.video(p, m)
	}
	m.Data = nil
	return 0, nil
}

// hears asks StreamOptions.Hears. Who it panics over hears nothing.
func (s *Streams) hears(listener, speaker *Player, media message.Media) (hears bool) {
	s.room.ask(func() { hears = s.opts.Hears(listener, speaker, media) })
	return hears
}

func (s *Streams) voice(p *Player, m *message.MediaStream) {
	n := s.room.node
	if n.thinning() > 2 {
		n.count.Add(metrics.FramesDropped, 1)
		return
	}
	s.to = s.to[:0]
	for _, l := range s.room.players {
		if l != p && s.hears(l, p, m.Media) {
			s.to = append(s.to, l)
		}
	}
	if !s.afford() {
		n.count.Add(metrics.FramesDropped, 1)
		return
	}
	s.send(p, m, session.Normal)
}

func (s *Streams) video(p *Player, m *message.MediaStream) {
	for len(s.films) <= p.index {
		s.films = append(s.films, film{})
	}
	f := &s.films[p.index]
	if !f.follow(m) {
		s.room.node.count.Add(metrics.FramesDropped, 1)
		return
	}
	s.to = s.to[:0]
	held := uint64(0)
	for _, l := range s.room.players {
		switch {
		case l == p:
		case !s.hears(l, p, m.Media):
			f.set(l.index, false)
		case m.Media == message.KeyFrame || f.has(l.index):
			s.to = append(s.to, l)
		default:
			held++
		}
	}
	s.room.node.count.Add(metrics.FramesHeld, held)
	if s.room.node.thinning() > 1 || !s.afford() {
		f.whole = false
		s.room.node.count.Add(metrics.FramesDropped, 1)
		return
	}
	if m.Media == message.KeyFrame {
		clear(f.intact)
		for _, l := range s.to {
			f.set(l.index, true)
		}
	}
	s.send(p, m, session.Low)
}

// afford reports whether there is room for what is to be sent.
func (s *Streams) afford() bool {
	return s.spent.takeSome(s.opts.Deliveries, s.room.node.host.Now(), float64(len(s.to)))
}

func (s *Streams) send(p *Player, m *message.MediaStream, priority session.Priority) {
	if len(s.to) == 0 {
		return
	}
	m.Stream = s.opts.Stream(p)
	o := s.room.outgoing(session.Unreliable, s.opts.Channel, m)
	o.Priority = priority
	for _, l := range s.to {
		l.SendMessage(o)
	}
	s.room.node.count.Add(metrics.FramesRelayed, uint64(len(s.to)))
}

// forget drops what is known of a player who leaves: its index is the next one's.
func (s *Streams) forget(p *Player) {
	for i := range s.films {
		s.films[i].set(p.index, false)
	}
	if p.index < len(s.films) {
		s.films[p.index] = film{}
	}
}

// follow notes the next frame of a film, and reports whether it is of any use.
func (f *film) follow(m *message.MediaStream) bool {
	ahead := int32(m.Number - f.last)
	if f.begun && ahead <= 0 && ahead > -stale {
		return false
	}
	next := f.begun && f.whole && ahead == 1
	f.begun, f.last = true, m.Number
	f.whole = next || m.Media == message.KeyFrame
	return f.whole
}

func (f *film) has(listener int) bool {
	return listener/64 < len(f.intact) && f.intact[listener/64]>>(listener%64)&1 != 0
}

func (f *film) set(listener int, intact bool) {
	for intact && len(f.intact) <= listener/64 {
		f.intact = append(f.intact, 0)
	}
	if listener/64 >= len(f.intact) {
		return
	}
	if bit := uint64(1) << (listener % 64); intact {
		f.intact[listener/64] |= bit
	} else {
		f.intact[listener/64] &^= bit
	}
}
