package reliability

import (
	"bytes"
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

// sendAs sends one packet that is what set makes it.
func (f *flight) sendAs(set func(p *Packet)) {
	p := f.pool.Get()
	p.Messages = 1
	set(p)
	f.s.Send(p, f.now)
	f.now++
}

func probe(p *Packet) { p.Probe = true }

// TestLostProbeIsNoCongestion: it says what the path does not carry, and nothing
// else. Sent again it is a packet like any other.
func TestLostProbeIsNoCongestion(t *testing.T) {
	tests := []struct {
		name string
		lose func(f *flight)
	}{
		{"overtaken", func(f *flight) {
			f.send(3)
			f.sendAs(probe)
			f.send(6)
			f.ack(3, 4, 5, 6, 7, 8, 9)
		}},
		{"unanswered", func(f *flight) {
			f.send(3)
			f.ack(3)
			f.sendAs(probe)
			f.now = f.s.Deadline()
			f.s.OnDeadline(f.now)
		}},
		{"timeout", func(f *flight) {
			f.send(3)
			f.sendAs(probe)
			f.now += 20 * ms
			f.ack(3)
			f.s.timeout(f.now)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFlight(t, 100)
			tt.lose(f)
			share, judged := f.s.lossShare, f.s.judged
			p := f.s.Retransmit(WindowSize, f.now)
			if p == nil || !p.Probe || p.Sequence() != 103 {
				t.Fatalf("sent again: %+v", p)
			}
			p.Probe = false
			if f.cc.losses != 0 || f.s.Count.Lost != 0 || f.s.Count.Probes != 0 || f.s.episode.lost != 0 {
				t.Errorf("%d losses told, %+v, %d in the episode", f.cc.losses, f.s.Count, f.s.episode.lost)
			}
			f.now += 20 * ms
			if out := f.ack(f.s.next - f.first); out.Probe || out.Packets != 1 {
				t.Errorf("%+v", out)
			}
			if f.s.lossShare != share || f.s.judged != judged || f.cc.undone != 0 || f.s.Count.Spurious != 0 {
				t.Errorf("the path is judged by it: %v of %v, %+v", f.s.lossShare, f.s.judged, f.s.Count)
			}
		})
	}
}

// TestProbeArrives: it is told of, also where it was thought to be lost, and
// nothing is sent twice before.
func TestProbeArrives(t *testing.T) {
	f := newFlight(t, 100)
	f.s.judged, f.s.lossShare = lossMemory, 0.1
	f.sendAs(probe)
	if f.s.earlyCount != 0 {
		t.Error("it is to be sent twice")
	}
	if out := f.ack(1); !out.Probe {
		t.Errorf("%+v", out)
	}
	f.sendAs(probe)
	f.send(4)
	f.ack(1, 2, 3, 4, 5)
	reordering := f.s.reordering
	if out := f.ack(6); !out.Probe {
		t.Errorf("late: %+v", out)
	}
	if f.s.reordering != reordering {
		t.Error("that it came late counts as reordering")
	}
}

// TestLargeLost counts what was lost behind the newest large packet that arrived.
func TestLargeLost(t *testing.T) {
	f := newFlight(t, 100)
	var pending Pending
	large := func(n int) {
		for range n {
			f.sendAs(func(p *Packet) {
				p.Large, p.Pending = true, &pending
				pending.Packets++
				pending.Large++
			})
		}
	}
	large(10)
	f.ack(0, 4, 5, 6, 7, 8, 9) // 0 to 3 are lost, later ones arrived
	if got := f.s.LargeLost(); got != 0 || pending.Large != 4 {
		t.Errorf("%d lost, %d pending", got, pending.Large)
	}
	for p := f.s.Retransmit(WindowSize, f.now); p != nil; p = f.s.Retransmit(WindowSize, f.now) {
		p.Large = false
		pending.Large--
	}
	f.now += 20 * ms
	f.ack(10)
	large(4)
	f.send(6)
	f.ack(10, 15, 16, 17, 18, 19) // 10 to 13 are lost, and smaller ones behind them are not
	if got := f.s.LargeLost(); got != 4 {
		t.Errorf("%d lost, want 4", got)
	}
	f.s.ForgetLarge()
	f.ack(20)
	if got := f.s.LargeLost(); got != 0 || pending.Large != 0 || pending.Packets != 0 {
		t.Errorf("%d lost in the end, %+v", got, pending)
	}
}

// TestSplit leaves the first message, and keeps the account.
func TestSplit(t *testing.T) {
	var pool Pool
	pending := Pending{Packets: 1, Large: 1}
	p, q := pool.Get(), pool.Get()
	for i := range byte(2) {
		p.Append(wire.Message{Type: 1 + i, Payload: bytes.Repeat([]byte{i}, 600)})
		p.SetExpiry(99)
	}
	p.Large, p.Pending = true, &pending
	whole := bytes.Clone(p.Body())
	p.Split(q)
	if got := append(bytes.Clone(p.Body()), q.Body()...); !bytes.Equal(got, whole) || p.Len() != len(whole)/2 {
		t.Errorf("%d and %d bytes of %d", p.Len(), q.Len(), len(whole))
	}
	if p.Messages != 1 || q.Messages != 1 || p.Large || q.Large || p.Expires() != 99 || q.Expires() != Never {
		t.Errorf("%+v\n%+v", p, q)
	}
	if q.Pending != &pending || pending != (Pending{Packets: 2, Large: 1}) {
		t.Errorf("%+v", pending)
	}
}
