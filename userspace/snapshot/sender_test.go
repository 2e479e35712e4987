package snapshot

import (
	"errors"
	"slices"
	"testing"
)

// small is a state of one number, for tests of everything else.
type small struct{ V int }

func smallSchema(t testing.TB) *Schema[small] {
	t.Helper()
	s, err := NewSchema(playerSchema(t).Interval(), Int(func(s *small) *int { return &s.V }, 0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// desk is a history, a sender and a receiver with nothing between them.
type desk struct {
	t        testing.TB
	h        *History[small]
	sender   *Sender
	receiver *Receiver[small]
	tick     uint32
}

func newDesk(t testing.TB, o SenderOptions) *desk {
	s := smallSchema(t)
	h := NewHistory(s, 1000)
	return &desk{t: t, h: h, sender: NewSender(h, o), receiver: NewReceiver(s, ReceiverOptions{})}
}

// snapshot records entities with the tick as their state and returns what
// the client is sent of them.
func (d *desk) snapshot(budget int, ids ...ID) []byte {
	d.tick += 3
	d.h.Begin(d.tick)
	var visible []ID
	for _, id := range ids {
		d.h.Set(id, &small{int(d.tick) % 1000})
		visible = append(visible, id)
	}
	return d.sender.Append(nil, visible, nil, budget)
}

func (d *desk) receive(b []byte) []ID {
	d.t.Helper()
	if _, err := d.receiver.Receive(b); err != nil {
		d.t.Fatal(err)
	}
	var ids []ID
	for _, e := range d.receiver.kept[len(d.receiver.kept)-1].entries {
		ids = append(ids, e.id)
	}
	return ids
}

func (d *desk) acknowledge() {
	a, _ := d.receiver.Ack()
	d.sender.Acknowledge(a)
}

func full(b []byte) bool { return b[0]&0x80 != 0 }

func slots(n int) (ids []ID) {
	for i := range n {
		ids = append(ids, ID{Slot: uint16(i)})
	}
	return ids
}

func TestEveryEntityIsRefreshedUnderATightBudget(t *testing.T) {
	const n, budget = 100, 60
	d := newDesk(t, SenderOptions{})
	ids := slots(n)
	sent := make([]uint32, n)
	var first uint32
	for i := range 400 {
		b := d.snapshot(budget, ids...)
		if len(b) > budget {
			t.Fatalf("%d bytes in a budget of %d", len(b), budget)
		}
		d.receive(b)
		d.acknowledge()
		s := d.receiver.kept[len(d.receiver.kept)-1]
		for _, e := range s.entries {
			sent[e.id.Slot] = e.version
		}
		if first == 0 && len(s.entries) == n {
			first = d.tick
		}
		// 60 bytes hold a dozen new entities or half of the known ones.
		if i == 30 && first == 0 {
			t.Fatal("the client does not know all entities after 30 snapshots")
		}
		for slot, tick := range sent {
			if first != 0 && d.tick-tick > 15*3 {
				t.Fatalf("tick %d: slot %d was refreshed at %d", d.tick, slot, tick)
			}
		}
	}
}

func TestWeightDecidesWhoIsRefreshed(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	ids := slots(60)
	fresh := make([]int, len(ids))
	for i := range 300 {
		d.tick += 3
		d.h.Begin(d.tick)
		var visible []ID
		for _, id := range ids {
			d.h.Set(id, &small{int(d.tick) % 1000})
			visible = append(visible, id)
		}
		d.receive(d.sender.Append(nil, visible, func(id ID) float32 { return float32(1 + id.Slot%2*4) }, 40))
		d.acknowledge()
		if i < 60 {
			continue
		}
		for _, e := range d.receiver.kept[len(d.receiver.kept)-1].entries {
			if e.version == d.tick {
				fresh[e.id.Slot]++
			}
		}
	}
	var light, heavy int
	for j, n := range fresh {
		if n == 0 {
			t.Errorf("slot %d is never refreshed", j)
		}
		if j%2 == 0 {
			light += n
		} else {
			heavy += n
		}
	}
	if heavy < 3*light || heavy > 7*light {
		t.Errorf("entities of five times the weight were refreshed %d times, others %d", heavy, light)
	}
}

// TestWhatWasToldGoesFirst has room for one entity only, after snapshots that had room
// for all: what the client may know of already goes before others, whatever they weigh.
func TestWhatWasToldGoesFirst(t *testing.T) {
	a, b, c := ID{Slot: 1}, ID{Slot: 2}, ID{Slot: 3}
	tests := []struct {
		name string
		then func(*desk)
	}{
		{"nothing_is_acknowledged", func(*desk) {}},
		{"forgotten", func(d *desk) { d.sender.Reset() }},
		{"lost", func(d *desk) { d.sender.Acknowledge(Ack{Lost: true}) }},
		{"changes_are_lost", func(d *desk) {
			d.acknowledge()
			d.snapshot(1100, b, a)
			d.sender.Acknowledge(Ack{Lost: true})
		}},
	}
	one := len(newDesk(t, SenderOptions{}).snapshot(1100, c))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, SenderOptions{})
			d.receive(d.snapshot(1100, a, b))
			tt.then(d)
			d.tick += 3
			d.h.Begin(d.tick)
			for _, id := range []ID{a, b, c} {
				d.h.Set(id, &small{})
			}
			d.sender.Reset()
			d.receiver = NewReceiver(d.h.schema, ReceiverOptions{})
			weight := func(id ID) float32 { return float32(id.Slot * id.Slot * id.Slot) }
			if got := d.receive(d.sender.Append(nil, []ID{c, a, b}, weight, one)); !slices.Equal(got, []ID{b}) {
				t.Errorf("told of %v, want %v", got, b)
			}
		})
	}
}

func TestSmallWeightsCount(t *testing.T) {
	for _, weights := range [][2]float32{{0.001, 0.5}, {-1, 0.001}, {0, 0.001}} {
		d := newDesk(t, SenderOptions{})
		one := len(d.snapshot(1100, ID{Slot: 1}))
		d.sender = NewSender(d.h, SenderOptions{})
		d.tick += 3
		d.h.Begin(d.tick)
		d.h.Set(ID{Slot: 1}, &small{})
		d.h.Set(ID{Slot: 2}, &small{})
		b := d.sender.Append(nil, []ID{{Slot: 1}, {Slot: 2}}, func(id ID) float32 { return weights[id.Slot-1] }, one)
		if got := d.receive(b); !slices.Equal(got, []ID{{Slot: 2}}) {
			t.Errorf("weights %v: told of %v", weights, got)
		}
	}
}

func TestCopiesTakeNoRoom(t *testing.T) {
	once, twice := newDesk(t, SenderOptions{}), newDesk(t, SenderOptions{MaxEntities: 2})
	want := once.snapshot(1100, slots(2)...)
	got := twice.snapshot(len(want), append(slots(2), slots(2)...)...)
	if !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestWhatIsNotInTheHistoryIsNotSent(t *testing.T) {
	d := newDesk(t, SenderOptions{MaxEntities: 3})
	d.h.Begin(1)
	for i := range uint16(5) {
		d.h.Set(ID{i, 7}, &small{})
	}
	b := d.sender.Append(nil, []ID{
		{1, 6}, {2, 7}, {2, 7}, {2, 0}, {700, 7}, {60000, 7}, {4, 7},
	}, nil, 1100)
	if got, want := d.receive(b), []ID{{2, 7}, {4, 7}}; !slices.Equal(got, want) {
		t.Errorf("the client knows %v, want %v", got, want)
	}
	if again := d.sender.Append(nil, []ID{{1, 7}}, nil, 1100); len(again) != 0 {
		t.Errorf("a snapshot is sent twice: %x", again)
	}
	d.acknowledge()
	if got := d.receive(d.snapshot(1100, slots(9)...)); len(got) != 3 {
		t.Errorf("the client knows %v; it may know 3", got)
	}
}

func TestASlotChangesHands(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	for generation := range uint16(10) {
		got := d.receive(d.snapshot(1100, ID{0, 5}, ID{1, generation}, ID{2, 5}))
		want := []ID{{0, 5}, {1, generation}, {2, 5}}
		slices.SortFunc(got, func(a, b ID) int { return int(a.Slot) - int(b.Slot) })
		if !slices.Equal(got, want) {
			t.Errorf("the client knows %v, want %v", got, want)
		}
		d.acknowledge()
	}
}

func TestABaselineIsForgotten(t *testing.T) {
	tests := []struct {
		name      string
		snapshots int
		gap       uint32
		full      bool
	}{
		{"oldest_kept", Keep - 2, 0, false},
		{"just_gone", Keep - 1, 0, true},
		{"long_gone", 3 * Keep, 0, true},
		{"too_many_ticks", 0, maxDistance, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, SenderOptions{})
			d.receive(d.snapshot(1100, slots(5)...))
			d.acknowledge()
			for range tt.snapshots {
				d.snapshot(1100, slots(5)...)
			}
			d.tick += tt.gap
			b := d.snapshot(1100, slots(6)...)
			if full(b) != tt.full {
				t.Errorf("full: %v, want %v", full(b), tt.full)
			}
			if got := d.receive(b); len(got) != 6 {
				t.Errorf("the client knows %v", got)
			}
		})
	}
}

// An entity for which there is never room keeps the version it had.
func TestAVersionIsForgotten(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	ids := slots(2)
	d.receive(d.snapshot(1100, ids...))
	d.acknowledge()
	for i := range 3 * Keep {
		d.tick += 3
		d.h.Begin(d.tick)
		for j, id := range ids {
			d.h.Set(id, &small{(int(d.tick) * (j + 1)) % 1000})
		}
		// Room for one change: the header, two flags and a dozen bits.
		b := d.sender.Append(nil, []ID{ids[0], ids[1]}, func(id ID) float32 {
			if id == ids[0] {
				return 1
			}
			return 0
		}, 8)
		if full(b) {
			t.Fatalf("snapshot %d is full", i)
		}
		d.receive(b)
		d.acknowledge()
	}
}

func TestAcknowledgements(t *testing.T) {
	d := newDesk(t, SenderOptions{Stream: 9})
	sent := make([]uint32, 0, 4)
	for range 4 {
		d.snapshot(1100, slots(3)...)
		sent = append(sent, d.tick)
	}
	tests := []struct {
		name string
		ack  Ack
		want Outcome
		full bool
	}{
		{"of_the_future", Ack{Stream: 9, Tick: d.tick + 300}, AckUnknown, true},
		{"of_no_snapshot", Ack{Stream: 9, Tick: sent[1] + 1}, AckUnknown, true},
		{"of_another_stream", Ack{Stream: 8, Tick: sent[1]}, AckUnknown, true},
		{"second", Ack{Stream: 9, Tick: sent[1]}, AckAccepted, false},
		{"twice", Ack{Stream: 9, Tick: sent[1]}, AckStale, false},
		{"first_late", Ack{Stream: 9, Tick: sent[0]}, AckStale, false},
		{"fourth", Ack{Stream: 9, Tick: sent[3]}, AckAccepted, false},
		{"lost", Ack{Stream: 9, Lost: true}, AckAccepted, true},
		{"fourth_again", Ack{Stream: 9, Tick: sent[3]}, AckUnknown, true},
	}
	for _, tt := range tests {
		if got := d.sender.Acknowledge(tt.ack); got != tt.want {
			t.Errorf("%s: outcome %d, want %d", tt.name, got, tt.want)
		}
		if got := full(d.snapshot(1100, slots(3)...)); got != tt.full {
			t.Errorf("%s: the next snapshot is full: %v", tt.name, got)
		}
	}
}

func TestUnacknowledgedSnapshotsAreBounded(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	for range 10 * Keep {
		d.snapshot(1100, slots(3)...)
	}
	if n := len(d.sender.unacked) + len(d.sender.spare); n > maxUnacked+1 {
		t.Errorf("%d worlds are remembered", n)
	}
}

func TestAClientStartsAnew(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	for range 5 {
		d.receive(d.snapshot(1100, slots(3)...))
		d.acknowledge()
	}
	d.receiver = NewReceiver(d.h.schema, ReceiverOptions{})
	b := d.snapshot(1100, slots(3)...)
	if _, err := d.receiver.Receive(b); !errors.Is(err, ErrNoBaseline) {
		t.Fatalf("error %v, want %v", err, ErrNoBaseline)
	}
	lost, _ := d.receiver.Ack()
	if !lost.Lost {
		t.Fatal("the client does not say that it has nothing")
	}
	d.sender.Acknowledge(lost)
	b = d.snapshot(1100, slots(3)...)
	d.sender.Acknowledge(lost) // sent before b came
	d.receive(b)
	d.acknowledge()
	if b = d.snapshot(1100, slots(3)...); full(b) {
		t.Error("a full snapshot follows on a full one that is acknowledged")
	}
	if got := d.receive(b); len(got) != 3 {
		t.Errorf("the client knows %v", got)
	}

	// A new sender, as of another room, with another stream.
	d.sender = NewSender(d.h, SenderOptions{Stream: 1})
	if got := d.receive(d.snapshot(1100, slots(2)...)); len(got) != 2 || len(d.receiver.kept) != 1 {
		t.Errorf("the client knows %v and keeps %d snapshots", got, len(d.receiver.kept))
	}
}

func TestTheBudgetMayBeTooSmall(t *testing.T) {
	d := newDesk(t, SenderOptions{MaxBytes: 300})
	for _, budget := range []int{-1, 0, 5, 6, 7, 10, 30, 1 << 20} {
		b := d.snapshot(budget, slots(200)...)
		if len(b) > max(budget, 0) || len(b) > 300 {
			t.Errorf("%d bytes in a budget of %d", len(b), budget)
		}
		if len(b) > 0 {
			d.receive(b)
			d.acknowledge()
		}
	}
	// The baseline has more entities than this has room to take leave of.
	for range 10 {
		d.receive(d.snapshot(300, slots(200)...))
		d.acknowledge()
	}
	if b := d.snapshot(20, slots(1)...); !full(b) || len(d.receive(b)) != 1 {
		t.Errorf("%x does not begin anew", b)
	}
}

func TestAcksTravel(t *testing.T) {
	for _, a := range []Ack{{}, {Stream: 63, Tick: 0xfffffffe}, {Stream: 5, Tick: 1, Lost: true}} {
		b := a.AppendTo(nil)
		if got, err := ParseAck(b); err != nil || got != a || len(b) != AckSize {
			t.Errorf("%+v came as %+v, %v", a, got, err)
		}
	}
	for _, b := range [][]byte{nil, {0, 0, 0, 0}, {0x40, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}} {
		if _, err := ParseAck(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: error %v", b, err)
		}
	}
}

// Until it is acknowledged, what a client was told stays: otherwise entities
// would come and go while it joins.
func TestNewEntitiesStayUntilTheyAreAcknowledged(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	ids := slots(40)
	first := d.receive(d.snapshot(60, ids...))
	for range 5 {
		if got := d.receive(d.snapshot(60, ids...)); !slices.Equal(got, first) {
			t.Errorf("the client knows %v, after %v", got, first)
		}
	}
	d.acknowledge()
	if got := d.receive(d.snapshot(60, ids...)); len(got) <= len(first) || !slices.Equal(got[:len(first)], first) {
		t.Errorf("the client knows %v, after %v", got, first)
	}
}
