package game

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// library is a room that sends its data to who says something.
type library struct {
	room *Room
	data *Transfers
	book []byte
}

func (l *library) Join(*Player) error { return nil }
func (l *library) Leave(*Player, Why) {}
func (l *library) Tick(Tick)          {}

// libraries has rooms that send book.
func libraries(book []byte, o TransferOptions) (opts Options, last func() *library) {
	var l *library
	return Options{Connects: Unlimited, KeepRooms: true, Kinds: []Kind{{
		Name: "library",
		New: func(r *Room) Logic {
			l = &library{room: r, book: book}
			l.data = NewTransfers(r, o)
			r.Handle(typeAsk, func(p *Player, _ session.Message) error { return l.data.Send(p, "book", l.book) })
			return l
		},
		Limits: Limits{Positions: Unlimited, Actions: Unlimited, Large: Unlimited, Other: Unlimited},
	}}}, func() *library { return l }
}

// reader is a peer that puts parts together.
type reader struct {
	*peer
	codec message.Codec
	part  message.LargeDataTransfer // the last
	parts int
	data  []byte
	have  int
}

// hear takes the parts that came, and returns how many bytes are not confirmed.
func (r *reader) hear() {
	r.world.t.Helper()
	for _, m := range r.got {
		if m.Type != message.TypeLargeDataTransfer {
			continue
		}
		payload, err := r.codec.Expand(m.Payload, message.MaxPayload)
		if err == nil {
			err = message.Parse(payload, &r.part)
		}
		if err != nil || r.part.Sum != r.part.Checksum() || m.Mode != session.ReliableUnordered || m.Channel != 2 {
			r.world.t.Fatalf("part %+v, %v, mode %d on channel %d", r.part, err, m.Mode, m.Channel)
		}
		if r.data == nil {
			r.data = make([]byte, r.part.Size)
		}
		r.parts++
		r.have += copy(r.data[r.part.Offset:], r.part.Data)
	}
	r.got = slices.DeleteFunc(r.got, func(m session.Message) bool { return m.Type == message.TypeLargeDataTransfer })
}

func (r *reader) confirm(have int) {
	r.sayMessage(&message.LargeDataTransfer{ID: r.part.ID, Name: r.part.Name, Size: r.part.Size, Offset: uint64(have)})
}

func book(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

// Whatever is sent arrives, no faster than it is confirmed, also while the room moves.
func TestTransfers(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 64 << 10, 300_001} {
		o, _ := libraries(book(size), TransferOptions{Part: 1000, Window: 5000})
		each(t, o, func(t *testing.T, w *world) {
			w.slow = 5 * ms
			var all []*reader
			for i := range 3 {
				r := &reader{peer: w.connect(i % len(w.nodes))}
				r.join("library", 1)
				w.settle()
				r.say(typeAsk, number(1))
				all = append(all, r)
			}
			for step := range 4000 {
				w.run(10 * ms)
				left := 0
				for _, r := range all {
					before := r.have
					if r.hear(); r.have-before > 5000 {
						t.Fatalf("%d bytes without a confirmation", r.have-before)
					}
					if r.parts > 0 && r.have > before || r.parts == 1 && step < 100 {
						r.confirm(r.have)
					}
					if r.parts == 0 || r.have < size {
						left++
					}
				}
				if left == 0 {
					break
				}
				if room := w.room(1); step%50 == 49 && len(w.nodes) > 1 {
					room.node.move(room, (room.node.self+1)%len(w.nodes))
				}
			}
			w.run(100 * ms)
			for i, r := range all {
				if !bytes.Equal(r.data, book(size)) || r.parts != max((size+999)/1000, 1) {
					t.Errorf("reader %d has %d bytes in %d parts", i, r.have, r.parts)
				}
			}
			if n := len(w.room(1).logic.(*library).data.open); n != 0 {
				t.Errorf("%d transfers are under way", n)
			}
			if n := w.total(metrics.Transfers); n != 3 {
				t.Errorf("%d transfers counted", n)
			}
		})
	}
}

// What is confirmed must make sense; one transfer at a time; and who confirms nothing
// or leaves gets no more.
func TestTransferRefuses(t *testing.T) {
	opts, last := libraries(book(20_000), TransferOptions{Part: 1000, Window: 4000, MaxSize: 20_000})
	w := newWorld(t, 1, opts)
	r := &reader{peer: w.connect(0)}
	r.join("library", 1)
	confirm := func(change func(*message.LargeDataTransfer)) {
		m := message.LargeDataTransfer{ID: r.part.ID, Name: r.part.Name, Size: r.part.Size, Offset: 2000}
		change(&m)
		r.sayMessage(&m)
	}
	confirm(func(m *message.LargeDataTransfer) { m.Name, m.Size = "book", 20_000 })
	r.say(typeAsk, number(1))
	r.say(typeAsk, number(1))
	w.run(uint64(time.Second))
	r.hear()
	confirm(func(m *message.LargeDataTransfer) { m.ID++ })
	confirm(func(m *message.LargeDataTransfer) { m.Size++ })
	confirm(func(m *message.LargeDataTransfer) { m.Name += "s" })
	confirm(func(m *message.LargeDataTransfer) { m.Offset = 4001 })
	confirm(func(m *message.LargeDataTransfer) { m.Data = []byte{1} })
	confirm(func(m *message.LargeDataTransfer) {})
	confirm(func(m *message.LargeDataTransfer) { m.Offset = 1999 })
	want := []message.Error{
		message.ErrState, message.ErrRate, message.ErrState, message.ErrField, message.ErrField,
		message.ErrNumber, message.ErrDenied, message.ErrNumber,
	}
	if got := r.refused(); !slices.Equal(got, want) {
		t.Errorf("refused with %v, want %v", got, want)
	}
	if r.have != 4000 {
		t.Errorf("%d bytes before the first confirmation", r.have)
	}
	w.run(uint64(time.Second))
	r.hear()
	if r.have != 6000 {
		t.Errorf("%d bytes after the first confirmation", r.have)
	}

	// Saying the same again gains no time, nor does saying little more.
	for n := range 11 {
		r.confirm(2000 + n/2)
		w.run(uint64(time.Second))
	}
	r.hear()
	if r.have != 6000 || len(last().data.open) != 0 || w.total(metrics.TransfersStalled) != 1 {
		t.Errorf("%d bytes, %d transfers under way, %d given up", r.have, len(last().data.open), w.total(metrics.TransfersStalled))
	}
	r.say(typeAsk, number(1))
	last().book = book(20_001)
	other := w.connect(0)
	other.join("library", 1)
	other.say(typeAsk, number(1))
	if got := other.refused(); !slices.Equal(got, []message.Error{message.ErrTooLarge}) {
		t.Errorf("too much is refused with %v", got)
	}
	w.run(uint64(time.Second))
	r.leave()
	if len(last().data.open) != 0 {
		t.Error("a transfer to who left")
	}
}

// A node that is overloaded sends nothing large, and gives nobody up for it.
func TestTransfersWait(t *testing.T) {
	opts, last := libraries(book(2000), TransferOptions{Part: 1000, Window: 4000})
	w := newWorld(t, 1, opts)
	r := &reader{peer: w.connect(0)}
	r.join("library", 1)
	w.nodes[0].level = len(thinnings) - 1
	r.say(typeAsk, number(1))
	last().room.OnTickStart(func(Tick) { w.spent[0] += 12 * ms })
	w.run(uint64(20 * time.Second))
	if r.hear(); r.parts != 0 || len(last().data.open) != 1 {
		t.Errorf("%d parts, %d transfers under way", r.parts, len(last().data.open))
	}
	w.nodes[0].level = 0
	w.run(20 * ms)
	if r.hear(); r.parts == 0 {
		t.Error("nothing comes once there is time")
	}
}

// Whatever a player confirms, no more is on its way to it than the window, and each
// transfer ends when all of it has been confirmed, or it leaves.
func FuzzTransferConfirmations(f *testing.F) {
	f.Add([]byte{0, 0, 6, 10, 6, 20, 6, 40, 3, 200, 6, 80})
	f.Add([]byte{0, 0, 6, 5, 1, 9, 2, 9, 5, 3, 4, 0, 0, 0, 6, 10})
	f.Fuzz(func(t *testing.T, script []byte) {
		const size, window = 50_000, 8000
		opts, last := libraries(book(size), TransferOptions{Part: 1000, Window: window, Patience: time.Second})
		w := newWorld(t, 1, opts)
		r := &reader{peer: w.connect(0)}
		r.join("library", 1)
		confirmed := 0
		for ; len(script) >= 2; script = script[2:] {
			n := int(script[1]) * size / 255
			m := message.LargeDataTransfer{ID: r.part.ID, Name: "book", Size: size, Offset: uint64(n)}
			switch script[0] % 7 {
			case 0:
				r.say(typeAsk, number(1))
			case 1:
				m.ID++
				r.sayMessage(&m)
			case 2:
				m.Size += uint64(n)
				r.sayMessage(&m)
			case 3:
				w.run(uint64(n) * 50_000)
			case 4:
				// Its room is another then.
				r.leave()
				r.join("library", 1)
				r.part, r.have, confirmed, r.got = message.LargeDataTransfer{}, 0, 0, nil
			case 5:
				m.Offset, m.Data = 0, make([]byte, n)
				r.sayMessage(&m)
			default:
				open := last().data.of(last().room.players[0])
				r.sayMessage(&m)
				if legal := open != nil && open.id == m.ID && n <= r.have && n >= confirmed; legal {
					confirmed = n
					if done := last().data.of(open.to) == nil; done != (n == size) {
						t.Fatalf("confirmed %d of %d bytes, done: %t", n, size, done)
					}
				}
			}
			w.run(20 * ms)
			before := r.part.ID
			for _, o := range r.got {
				if o.Type != message.TypeLargeDataTransfer {
					continue
				}
				kept := r.got
				r.got = []session.Message{o}
				r.hear()
				r.got = kept
				if id := r.part.ID; id != before {
					before, confirmed, r.have = id, 0, len(r.part.Data)
				}
			}
			r.got = nil
			if r.have-confirmed > window {
				t.Fatalf("%d bytes on their way", r.have-confirmed)
			}
			if n := len(last().data.open); n > 1 {
				t.Fatalf("%d transfers to one player", n)
			}
		}
	})
}
