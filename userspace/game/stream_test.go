package game

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// studio is a room in which those hear a speaker who are not deaf to it.
type studio struct {
	room    *Room
	streams *Streams
	deaf    map[[2]uint32]bool // listener, speaker
	panics  uint32             // listener over whom Hears does
}

func (l *studio) Join(*Player) error { return nil }
func (l *studio) Leave(*Player, Why) {}
func (l *studio) Tick(Tick)          {}

func studios(o StreamOptions) (opts Options, last func() *studio) {
	var l *studio
	return Options{Connects: Unlimited, KeepRooms: true, Kinds: []Kind{{
		Name: "studio",
		New: func(r *Room) Logic {
			l = &studio{room: r, deaf: map[[2]uint32]bool{}}
			o := o
			o.Hears = func(listener, speaker *Player, _ message.Media) bool {
				if listener.ID() == l.panics {
					panic("hears")
				}
				return !l.deaf[[2]uint32{listener.ID(), speaker.ID()}]
			}
			l.streams = NewStreams(r, o)
			return l
		},
		Limits: Limits{Positions: Unlimited, Actions: Unlimited, Large: Unlimited, Media: Unlimited, Other: Unlimited},
	}}}, func() *studio { return l }
}

var films = []message.Media{message.KeyFrame, message.PredictedFrame, message.Audio}

func frame(t testing.TB, media message.Media, number uint32, size int) []byte {
	b, err := message.Append(nil, &message.MediaStream{Stream: 999, Media: media, Number: number, Data: make([]byte, size)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// film sends a frame.
func (p *peer) film(media message.Media, number uint32) {
	p.node.Message(p, session.Message{
		Mode: session.Unreliable, Channel: 3, Type: message.TypeMediaStream, Payload: frame(p.world.t, media, number, 50),
	})
}

// watched returns the frames that came, of one stream.
func (p *peer) watched(stream uint16) (numbers []uint32) {
	p.world.t.Helper()
	for _, o := range p.got {
		var m message.MediaStream
		if o.Type != message.TypeMediaStream {
			continue
		}
		if err := message.Parse(o.Payload, &m); err != nil || o.Mode != session.Unreliable || o.Channel != 3 || len(m.Data) != 50 {
			p.world.t.Fatalf("frame %+v, %v, mode %d on channel %d", m, err, o.Mode, o.Channel)
		}
		if m.Stream == stream {
			numbers = append(numbers, m.Number)
		}
	}
	p.got = nil
	return numbers
}

// Who Hears panics over hears nothing, and the others do.
func TestPanicsOfHears(t *testing.T) {
	opts, last := studios(StreamOptions{Media: films})
	w := newWorld(t, 1, opts)
	var all []*peer
	for range 4 {
		p := w.connect(0)
		p.join("studio", 1)
		all = append(all, p)
	}
	last().panics = 2
	for i := range uint32(3) {
		all[0].film(message.Audio, i)
		w.run(uint64(time.Second) / 60)
	}
	for i, p := range all {
		want := []uint32{0, 1, 2}
		if i < 2 {
			want = nil
		}
		if got := p.watched(1); !slices.Equal(got, want) {
			t.Errorf("player %d heard %v, want %v", i+1, got, want)
		}
	}
	if n := w.total(metrics.GamePanics); n != 3 {
		t.Errorf("%d panics", n)
	}
}

func TestStreams(t *testing.T) {
	opts, last := studios(StreamOptions{Media: films})
	each(t, opts, func(t *testing.T, w *world) {
		var all []*peer
		for i := range 3 {
			p := w.connect(i % len(w.nodes))
			p.join("studio", 1)
			w.settle()
			p.connected()
			all = append(all, p)
		}
		l := last()
		a, b, c := all[0], all[1], all[2]
		expect := func(what string, tell *peer, want ...uint32) {
			t.Helper()
			w.settle()
			if got := tell.watched(1); !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
		}
		send := func(media message.Media, numbers ...uint32) {
			for _, n := range numbers {
				a.film(media, n)
				w.settle()
			}
		}
		const key, next = message.KeyFrame, message.PredictedFrame

		send(message.Audio, 5, 5, 4)
		expect("voice", b, 5, 5, 4)
		expect("voice", a)
		c.got = nil

		send(next, 1, 2)
		expect("no key frame", b)
		send(key, 3)
		send(next, 4)
		l.deaf[[2]uint32{3, 1}] = true
		send(next, 5)
		delete(l.deaf, [2]uint32{3, 1})
		send(next, 6)
		expect("all", b, 3, 4, 5, 6)
		expect("left out once", c, 3, 4)
		send(key, 7)
		send(next, 8)
		expect("left out once", c, 7, 8)
		send(next, 10, 11)
		expect("after a gap", c)
		send(key, 12)
		send(next, 13, 13, 12)
		expect("late", c, 12, 13)
		if newest, ok := l.streams.Restart(l.room.players[2], l.room.players[0]); newest != 13 || !ok {
			t.Errorf("newest frame %d, %t", newest, ok)
		}
		send(next, 14)
		send(key, 15)
		send(next, 16)
		expect("restarted", c, 15, 16)
		// A stream that begins anew.
		send(next, 1000)
		send(key, 0)
		send(next, 1)
		expect("anew", c, 0, 1)

		// Who comes in the middle, even in the place of somebody, waits.
		c.leave()
		w.settle()
		d := w.connect(0)
		d.join("studio", 1)
		w.settle()
		d.connected()
		if l.room.players[2].Index() != 2 {
			t.Fatal("another index")
		}
		send(next, 2)
		send(key, 3)
		send(next, 4)
		expect("newcomer", d, 3, 4)
		// And so do others, for what comes from there.
		if _, ok := l.streams.Restart(l.room.players[1], l.room.players[2]); ok {
			t.Error("a newcomer has sent frames")
		}
		a.leave()
		w.settle()
		e := w.connect(0)
		e.join("studio", 1)
		w.settle()
		b.got = nil
		e.film(next, 5)
		e.film(key, 6)
		w.settle()
		if got := b.watched(uint16(e.connected().Player)); !slices.Equal(got, []uint32{6}) {
			t.Errorf("who takes the place of a speaker is seen from %v", got)
		}
	})
}

func TestStreamsRefuse(t *testing.T) {
	opts, _ := studios(StreamOptions{Media: []message.Media{message.Audio}, MaxFrame: 100})
	opts.Kinds[0].Limits.Media = Rate{PerSecond: 10, Burst: 5}
	w := newWorld(t, 1, opts)
	a, b := w.connect(0), w.connect(0)
	a.join("studio", 1)
	b.join("studio", 1)
	tests := []struct {
		name    string
		mode    session.Mode
		payload []byte
		reason  metrics.Counter
	}{
		{"fine", session.Unreliable, frame(t, message.Audio, 1, 100), metrics.FramesRelayed},
		{"too_large", session.Unreliable, frame(t, message.Audio, 1, 101), metrics.Rejected},
		{"not_allowed", session.Unreliable, frame(t, message.KeyFrame, 1, 10), metrics.RefusedByGame},
		{"reliable", session.ReliableOrdered, frame(t, message.Audio, 1, 10), metrics.RefusedByGame},
		{"malformed", session.Unreliable, []byte{message.TypeMediaStream, 0, 0x80, 1}, metrics.Rejected},
		{"too_many", session.Unreliable, frame(t, message.Audio, 1, 10), metrics.RefusedRate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := w.total(tt.reason)
			b.got = nil
			a.node.Message(a, session.Message{Mode: tt.mode, Type: message.TypeMediaStream, Payload: tt.payload})
			if n := w.total(tt.reason); n != before+1 {
				t.Errorf("%s counted %d times", tt.reason, n-before)
			}
			if got := len(b.take(message.TypeMediaStream)); got != 0 && tt.name != "fine" {
				t.Error("passed on all the same")
			}
		})
	}
}

// On a node that is overloaded video goes before voice, and beyond the rate of what is
// passed on all does; nothing comes later.
func TestStreamsGiveWay(t *testing.T) {
	opts, _ := studios(StreamOptions{Media: films, Deliveries: Rate{PerSecond: 20, Burst: 20}})
	w := newWorld(t, 1, opts)
	a, b := w.connect(0), w.connect(0)
	a.join("studio", 1)
	b.join("studio", 1)
	say := func(level int, numbers ...uint32) []uint32 {
		w.nodes[0].level = level
		for _, n := range numbers {
			media := message.Audio
			switch {
			case n%10 == 0:
				media = message.KeyFrame
			case n < 100:
				media = message.PredictedFrame
			}
			a.film(media, n)
		}
		return b.watched(1)
	}
	tests := []struct {
		name  string
		level int
		say   []uint32
		want  []uint32
	}{
		{"idle", 0, []uint32{10, 11, 101}, []uint32{10, 11, 101}},
		{"busy", 1, []uint32{12, 102, 20}, []uint32{102}},
		{"predicted_after_what_was_dropped", 0, []uint32{21, 13, 30, 31}, []uint32{30, 31}},
		{"overloaded", 2, []uint32{32, 103}, nil},
		{"idle_again", 0, []uint32{33, 104, 40}, []uint32{104, 40}},
	}
	for _, tt := range tests {
		if got := say(tt.level, tt.say...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	w.run(uint64(2 * time.Second))
	var many []uint32
	for n := range uint32(30) {
		many = append(many, 201+10*n)
	}
	if got := say(0, many...); len(got) != 20 {
		t.Errorf("%d of 30 within the rate", len(got))
	}
	say(0, 50)
	w.run(uint64(2 * time.Second))
	if got := say(0, 51, 60, 61); !slices.Equal(got, []uint32{60, 61}) {
		t.Errorf("after a key frame beyond the rate: %v", got)
	}
}

// Whatever is sent, lost and heard: every predicted frame comes to a listener right
// after the frame before it, and nobody hears what is not for it.
func FuzzStreams(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 3, 6, 1, 9, 0, 2, 1, 12, 0, 1})
	f.Add([]byte{0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80})
	f.Fuzz(func(t *testing.T, script []byte) {
		opts, last := studios(StreamOptions{Media: films, Deliveries: Rate{PerSecond: 50, Burst: 20}})
		w := newWorld(t, 2, opts)
		var all []*peer
		var ids []uint32
		enter := func(i int) *peer {
			p := w.connect(i % 2)
			p.join("studio", 1)
			w.settle()
			return p
		}
		for i := range 4 {
			all = append(all, enter(i))
			ids = append(ids, all[i].connected().Player)
		}
		numbers := map[uint32]uint32{}
		had := map[[2]uint32]uint32{} // the newest frame of a speaker that a listener has, plus 1
		for _, op := range script {
			i, j := int(op)%4, int(op/4)%4
			switch op / 16 {
			case 0:
				numbers[ids[i]]++ // lost on the way
			case 1:
				last().deaf[[2]uint32{ids[i], ids[j]}] = op%3 == 0
			case 2:
				w.nodes[last().room.node.self].level = j
			case 3:
				w.run(uint64(j) * 100 * ms)
			case 4:
				all[i].leave()
				w.settle()
				all[i] = enter(i)
				ids[i] = all[i].connected().Player
			default:
				speaker := ids[i]
				media := message.PredictedFrame
				if op%5 == 0 {
					media = message.KeyFrame
				}
				number := numbers[speaker]
				numbers[speaker]++
				all[i].film(media, number)
				w.settle()
				for k, p := range all {
					for _, n := range p.watched(uint16(speaker)) {
						key := [2]uint32{ids[k], speaker}
						if n != number || k == i || last().deaf[key] || media == message.PredictedFrame && had[key] != n {
							t.Fatalf("%d got frame %d of %d, and had %d frames before", key[0], n, speaker, had[key])
						}
						had[key] = n + 1
					}
				}
			}
		}
	})
}

// Passing frames on to players of the same node allocates nothing.
func TestStreamsDoNotAllocate(t *testing.T) {
	opts, _ := studios(StreamOptions{Media: films, Deliveries: Unlimited})
	c := &crowd{now: 1e12}
	node := NewNode(NewDirectory(opts), c, 0, 1, &c.count)
	hello := connect(message.Connect{Game: "studio", Name: "x", Room: 1})
	var all []*walker
	for range 10 {
		p := new(walker)
		node.Open(p)
		node.Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: hello})
		all = append(all, p)
	}
	var voice, video []session.Message
	for n := range uint32(102) {
		media := message.PredictedFrame
		if n%10 == 0 {
			media = message.KeyFrame
		}
		m := session.Message{Mode: session.Unreliable, Type: message.TypeMediaStream}
		m.Payload = frame(t, media, n, 60)
		video = append(video, m)
		m.Payload = frame(t, message.Audio, n, 60)
		voice = append(voice, m)
	}
	for name, frames := range map[string][]session.Message{"voice": voice, "video": video} {
		t.Run(name, func(t *testing.T) {
			node.Message(all[0], frames[0])
			before := c.count.Get(metrics.FramesRelayed)
			next := 1
			if n := testing.AllocsPerRun(100, func() {
				node.Message(all[0], frames[next])
				next++
			}); n > 0 {
				t.Errorf("%v allocations for a frame", n)
			}
			if n := c.count.Get(metrics.FramesRelayed) - before; n != 101*9 {
				t.Errorf("%d frames came", n)
			}
		})
	}
}
