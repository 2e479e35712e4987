package snapshot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// goldenWorld goes through every code of FORMAT.md.
func goldenSnapshots(t *testing.T) [][]byte {
	s := everySchema(t)
	h := NewHistory(s, 16)
	sender := NewSender(h, SenderOptions{Stream: 5})
	var all [][]byte
	states := make([]everything, 4)
	for i := range states {
		states[i] = everything{P: float32(i) * 10, V: float32(i), Q: [4]float32{3: 1}, I: int16(i)}
	}
	put := func(tick uint32, budget int, slots ...uint16) {
		h.Begin(tick)
		var visible []ID
		for _, i := range slots {
			id := ID{i, 0x0100 + i}
			h.Set(id, &states[i])
			visible = append(visible, id)
		}
		all = append(all, sender.Append(nil, visible, nil, budget))
		sender.Acknowledge(Ack{Stream: 5, Tick: tick})
	}
	put(0x10000, 1100, 0, 1, 2)
	for i := range states { // as predicted
		states[i].P += states[i].V * 3 / tickRate
	}
	put(0x10003, 1100, 0, 1, 2)
	states[0].V, states[0].B = 8, true // two groups; one goes, one comes
	states[2].Q = [4]float32{0, 0, 0.1, 1}
	put(0x10006, 1100, 0, 2, 3)
	states[0].V = 16 // steady change
	states[2].Q = [4]float32{0, 0, 1, 0.1}
	states[3].A, states[3].I, states[3].F = 6, -500, 1
	put(0x10009, 1100, 0, 2, 3)
	for i := range states { // not all fit
		states[i].P += 100
	}
	put(0x1000c, 12, 0, 2, 3)
	return all
}

func TestGolden(t *testing.T) {
	var got strings.Builder
	for _, b := range goldenSnapshots(t) {
		got.WriteString(hex.EncodeToString(b) + "\n")
	}
	const file = "testdata/golden.hex"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the format changed:\n%swant\n%s", &got, want)
	}
}

func TestReceiveRefuses(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	first := d.snapshot(1100, slots(3)...)
	d.receive(first)
	d.acknowledge()
	change := d.snapshot(1100, slots(3)...)
	edit := func(b []byte, at int, to byte) []byte {
		b = slices.Clone(b)
		b[at] = to
		return b
	}
	// Of whole entities, each is a flag, an identity of 32 bits and 10 bits.
	entity := func(slot byte, value string) string {
		return "1" + strings.Repeat("0", 13) + []string{"000", "001", "010"}[slot] + strings.Repeat("0", 16) + value
	}
	whole := func(bits string) []byte {
		w := bitWriter{}
		w.write(0x80, 8)
		w.write(uint64(d.tick+9), 32)
		for _, c := range bits {
			w.write(uint64(c-'0'), 1)
		}
		return w.flush()
	}
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"header_only", change[:5], ErrMalformed},
		{"cut_short", first[:len(first)-1], nil},
		{"cut_shorter", edit(first, 4, 99)[:len(first)-4], ErrMalformed},
		{"byte_too_many", append(edit(first, 4, 99), 0), ErrMalformed},
		{"distance_of_zero", edit(change, 4, 0), ErrMalformed},
		{"distance_too_large", edit(change, 3, 0xff), ErrMalformed},
		{"no_baseline", edit(change, 2, 200), ErrNoBaseline},
		{"no_baseline_and_old", edit(change, 1, 0xff), ErrOld},
		{"other_stream", edit(change, 0, 7), ErrOld},
		{"a_slot_twice", whole(entity(1, "0000000000") + entity(1, "0000000001") + "0"), ErrMalformed},
		{"value_out_of_range", whole(entity(1, "1111111111") + "0"), ErrMalformed},
		{"padding", whole("01"), ErrMalformed},
		{"whole", whole(entity(1, "1111101000") + entity(2, "0000000001") + "0"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(d.receiver.kept)
			_, err := d.receiver.Receive(tt.b)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && len(d.receiver.kept) != before {
				t.Error("something was kept")
			}
		})
	}
	few := NewReceiver(d.h.schema, ReceiverOptions{MaxEntities: 2})
	if _, err := few.Receive(first); !errors.Is(err, ErrTooMany) {
		t.Errorf("error %v, want %v", err, ErrTooMany)
	}
}

func TestOldSnapshots(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	late := d.snapshot(1100, slots(2)...)
	for range Keep {
		d.receive(d.snapshot(1100, slots(2)...))
	}
	if _, err := d.receiver.Receive(late); !errors.Is(err, ErrOld) {
		t.Errorf("error %v, want %v", err, ErrOld)
	}
	if n := len(d.receiver.kept); n != Keep {
		t.Errorf("%d snapshots are kept", n)
	}
}

func TestFewerSnapshotsAreKept(t *testing.T) {
	for keep, want := range map[int]int{-1: 2, 1: 2, 3: 3, 1000: Keep} {
		d := newDesk(t, SenderOptions{})
		d.receiver = NewReceiver(d.h.schema, ReceiverOptions{Keep: keep})
		d.receive(d.snapshot(1100, slots(2)...))
		d.acknowledge()
		for range want - 1 {
			d.receive(d.snapshot(1100, slots(2)...))
		}
		// The last change of the one that was acknowledged which can be read.
		d.receive(d.snapshot(1100, slots(2)...))
		if n := len(d.receiver.kept); n != want {
			t.Errorf("keep %d: %d snapshots are kept, want %d", keep, n, want)
		}
		if want == Keep {
			continue // and the server's history ends too
		}
		if _, err := d.receiver.Receive(d.snapshot(1100, slots(2)...)); !errors.Is(err, ErrNoBaseline) {
			t.Errorf("keep %d: error %v, want %v", keep, err, ErrNoBaseline)
		}
		d.acknowledge()
		if b := d.snapshot(1100, slots(2)...); !full(b) || len(d.receive(b)) != 2 {
			t.Errorf("keep %d: no full snapshot follows", keep)
		}
	}
}

// What is read is written the same again.
func FuzzBits(f *testing.F) {
	f.Add([]byte{0x12, 0x34, 0x56}, uint64(3))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := bitReader{b: b}
		var w bitWriter
		for {
			n, k := uint(rng.IntN(33)), uint(rng.IntN(18))
			if seed&1 == 0 {
				at := r
				v := r.read(n)
				if r.short {
					r = at
					break
				}
				w.write(v, n)
			} else {
				at := r
				v, ok := r.golomb(k)
				if !ok || r.short {
					r = at
					break
				}
				w.golomb(v, k)
			}
			if w.n > 8*len(b) {
				t.Fatalf("%d bits of %d bytes", w.n, len(b))
			}
			if w.n == 8*len(b) {
				break
			}
		}
		n := w.n
		got := w.flush()
		want := slices.Clone(b[:(n+7)/8])
		if n%8 != 0 {
			want[n/8] &= 0xff << (8 - n%8)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bits: %x, want %x", n, got, want)
		}
		var copied bitWriter
		copied.write(1, 1)
		copied.append(got, n)
		r = bitReader{b: copied.flush()}
		r.bit()
		for i := range n {
			if want := got[i/8]&(0x80>>(i%8)) != 0; r.bit() != want {
				t.Fatalf("bit %d of a copy differs", i)
			}
		}
	})
}

// Whatever comes, a receiver neither panics nor grows, and what it takes can be
// seen.
func FuzzReceive(f *testing.F) {
	golden, err := os.ReadFile("testdata/golden.hex")
	if err != nil {
		f.Fatal(err)
	}
	var packets []byte
	for _, line := range strings.Fields(string(golden)) {
		b, err := hex.DecodeString(line)
		if err != nil {
			f.Fatal(err)
		}
		packets = append(append(packets, byte(len(b))), b...)
		f.Add(slices.Clone(packets))
	}
	s := everySchema(f)
	f.Fuzz(func(t *testing.T, packets []byte) {
		r := NewReceiver(s, ReceiverOptions{MaxEntities: 8})
		for len(packets) > 0 {
			n := min(int(packets[0]), len(packets)-1)
			b := packets[1:][:n]
			packets = packets[1+n:]
			tick, err := r.Receive(b)
			if len(r.kept) > Keep || !slices.IsSortedFunc(r.kept, func(a, b *received) int { return int(int32(a.tick - b.tick)) }) {
				t.Fatalf("%d snapshots are kept, or out of order", len(r.kept))
			}
			for _, k := range r.kept {
				if len(k.entries) > 8 || len(k.rows) != len(k.entries)*2*len(s.words) {
					t.Fatalf("%d entities, %d words", len(k.entries), len(k.rows))
				}
				for i, v := range k.rows {
					if w := s.words[i%len(s.words)]; v < w.lo || v > w.hi {
						t.Fatalf("word %d is %d, not within %d to %d", i, v, w.lo, w.hi)
					}
				}
			}
			if err == nil {
				r.View(nil, s.Time(tick)+120e6)
			}
			if a, ok := r.Ack(); ok {
				if _, err := ParseAck(a.AppendTo(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A server and a client in lockstep, through whatever happens.
func FuzzLockstep(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 1, 1, 1})
	f.Add(uint64(2), bytes.Repeat([]byte{0, 1, 8, 1, 2, 16}, 40))
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		if len(script) > 600 {
			return
		}
		m := newModel(t, seed, 16, 1100)
		var down [][]byte
		var up []Ack
		take := func(n, of int) int { return of - 1 - n%of }
		for _, op := range script {
			n := int(op >> 3)
			switch op & 7 {
			case 0:
				m.move(false)
				down = append(down, m.append())
			case 1:
				m.move(n&1 == 0)
				m.budget = 5 + n*n
				down = append(down, m.append())
			case 2, 3:
				if len(down) > 0 {
					i := take(n, len(down))
					if err := m.receive(down[i]); err != nil && !errors.Is(err, ErrOld) && !errors.Is(err, ErrNoBaseline) && len(down[i]) > 0 {
						t.Fatal(err)
					}
				}
			case 4:
				if a, ok := m.receiver.Ack(); ok {
					up = append(up, a)
				}
			case 5:
				if len(up) > 0 {
					m.sender.Acknowledge(up[take(n, len(up))])
				}
			case 6:
				m.sender.Reset()
			case 7:
				m.receiver = NewReceiver(m.schema, ReceiverOptions{MaxEntities: 16})
			}
		}
	})
}

func TestReceiveRefusesChanges(t *testing.T) {
	type turned struct {
		V int
		A float32
	}
	s, err := NewSchema(playerSchema(t).Interval(),
		Angle(func(s *turned) *float32 { return &s.A }, 4), Int(func(s *turned) *int { return &s.V }, 0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	h := NewHistory(s, 1)
	h.Begin(1)
	h.Set(ID{}, &turned{V: 990})
	first := NewSender(h, SenderOptions{}).Append(nil, []ID{{}}, nil, 100)
	tests := []struct {
		name   string
		fields string // flags and residuals of the two
		want   error
	}{
		{"integer_at_its_end", "0" + "000010100", nil},            // 990 + 10
		{"integer_out_of_range", "0" + "000010110", ErrMalformed}, // 990 + 11
		{"shorter_way", "1" + "00010000" + "0" + "0", nil},        // -8, then padding
		{"shorter_way_up", "1" + "001111" + "0", nil},             // 7
		{"longer_way", "1" + "00010001" + "0", ErrMalformed},      // 8
		{"endless", "1" + "00000000000000000000000000000000000000000", ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReceiver(s, ReceiverOptions{})
			if _, err := r.Receive(first); err != nil {
				t.Fatal(err)
			}
			var w bitWriter
			w.write(0, 8)
			w.write(2, 16)
			w.write(1, 16)
			for _, c := range "10" + tt.fields + "0" {
				w.write(uint64(c-'0'), 1)
			}
			if _, err := r.Receive(w.flush()); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}
