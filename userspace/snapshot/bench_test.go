package snapshot

import "testing"

// pair is a client among a crowd, as it is after two seconds.
type pair struct {
	c        *crowd
	h        *History[player]
	schema   *Schema[player]
	tick     uint32
	sender   *Sender
	receiver *Receiver[player]
	visible  []ID
	b        []byte
	seen     []Seen[player]
}

func newPair(t testing.TB) *pair {
	p := &pair{schema: playerSchema(t), c: newCrowd(5, 1000, 250, wanders)}
	p.h = NewHistory(p.schema, 1000)
	p.sender = NewSender(p.h, SenderOptions{})
	p.receiver = NewReceiver(p.schema, ReceiverOptions{})
	for range 3 * Keep {
		p.next(t)
	}
	return p
}

func (p *pair) begin() {
	p.tick += 3
	p.c.step()
	p.c.record(p.h, p.tick)
	p.visible = p.c.around(p.visible[:0], 0, 50)
}

func (p *pair) next(t testing.TB) {
	p.begin()
	p.b = p.sender.Append(p.b[:0], p.visible, nil, 1100)
	if _, err := p.receiver.Receive(p.b); err != nil {
		t.Fatal(err)
	}
	a, _ := p.receiver.Ack()
	p.sender.Acknowledge(a)
}

func BenchmarkQuantise1000(b *testing.B) {
	p := newPair(b)
	b.ReportAllocs()
	for b.Loop() {
		p.tick += 3
		p.c.record(p.h, p.tick)
	}
}

// Every change is encoded for this client alone.
func BenchmarkAppend30Alone(b *testing.B) { benchmarkAppend(b, true) }

// The changes were encoded for another client.
func BenchmarkAppend30Shared(b *testing.B) { benchmarkAppend(b, false) }

func benchmarkAppend(b *testing.B, alone bool) {
	p := newPair(b)
	p.begin()
	base := p.sender.base
	b.ReportAllocs()
	b.ReportMetric(float64(len(p.visible)), "entities")
	for b.Loop() {
		if alone {
			for _, id := range p.visible {
				clear(p.h.core.cache.ways[int(id.Slot)*cacheWays:][:cacheWays])
			}
			p.h.core.cache.bytes = p.h.core.cache.bytes[:0]
		}
		p.sender.spare = append(p.sender.spare, p.sender.unacked...)
		p.sender.unacked, p.sender.base = p.sender.unacked[:0], base
		p.b = p.sender.Append(p.b[:0], p.visible, nil, 1100)
	}
}

func BenchmarkReceive30(b *testing.B) {
	p := newPair(b)
	p.begin()
	p.b = p.sender.Append(p.b[:0], p.visible, nil, 1100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.receiver.Receive(p.b); err != nil {
			b.Fatal(err)
		}
		n := len(p.receiver.kept) - 1
		p.receiver.spare = p.receiver.kept[n]
		p.receiver.kept = p.receiver.kept[:n]
	}
}

func BenchmarkView30(b *testing.B) {
	p := newPair(b)
	at := p.schema.Time(p.tick)
	b.ReportAllocs()
	for b.Loop() {
		p.seen = p.receiver.View(p.seen[:0], at)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	p := newPair(t)
	now := p.schema.Time(p.tick)
	if n := testing.AllocsPerRun(500, func() {
		p.next(t)
		now += 3 * p.schema.Interval()
		p.seen = p.receiver.View(p.seen[:0], now)
	}); n != 0 {
		t.Errorf("%v allocations a snapshot", n)
	}
}
