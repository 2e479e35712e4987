package reliability

import (
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

// FuzzSender plays a path that loses, delays and repeats in both directions, and
// a peer that lies within what Valid lets through. A naive account of what
// arrived is kept beside the Sender: nothing that was acknowledged may be sent
// again, every packet is acknowledged, flying or waiting, and while the peer is
// honest everything arrives in the end.
func FuzzSender(f *testing.F) {
	f.Add([]byte{0, 5, 1, 2, 30, 3, 2, 30, 3})
	f.Add([]byte{0, 20, 4, 0, 4, 3, 2, 50, 3, 1, 2, 250, 1, 2, 250, 1, 5, 0, 3})
	f.Add([]byte{9, 0, 60, 6, 200, 2, 40, 3, 7, 1, 8, 2, 3, 2, 2, 2, 1, 3})
	f.Fuzz(playSender)
}

func playSender(t *testing.T, in []byte) {
	next := func() int {
		if len(in) == 0 {
			return 0
		}
		b := in[0]
		in = in[1:]
		return int(b)
	}
	fl := newFlight(t, uint32(next())<<24-1)
	s, rcv := &fl.s, ReceiveWindow{}
	rcv.Reset(fl.first)
	acked := map[uint32]bool{}
	var answers []Ack // on their way
	lose := 0         // so many transmissions from now on are lost
	var large Pending // of the large ones

	arrive := func(p *Packet) {
		if acked[p.seq] {
			t.Fatalf("packet %d sent after it was acknowledged", p.seq-fl.first)
		}
		if lose > 0 {
			lose--
			return
		}
		if rcv.Classify(p.seq) == Fresh {
			rcv.Mark(p.seq)
		}
		a := Ack{Next: rcv.Next, Echo: uint32(p.sent / 1000), Echoed: true, RTT: 20 * ms}
		var block wire.AckBlock
		rcv.Report(rcv.Word(p.seq), &block)
		a.Words = block.Offset + block.Words
		copy(a.Sack[block.Offset:], block.Bitmap[:block.Words])
		answers = append(answers, a)
	}
	take := func(a Ack) {
		if !s.Valid(&a) {
			return
		}
		if a.RTT > 0 {
			s.RTT.Sample(a.RTT, fl.now)
		}
		from := s.una
		s.OnAck(&a, fl.now)
		for seq := from; seq != s.una; seq++ {
			acked[seq] = true
		}
		for i := range uint32(64 * a.Words) {
			if a.Sack[i/64]>>(i%64)&1 != 0 {
				acked[a.Next+1+i] = true
			}
		}
	}
	again := func() {
		for p := s.Retransmit(WindowSize, fl.now); p != nil; p = s.Retransmit(WindowSize, fl.now) {
			if p.Probe = false; p.Large {
				p.Large = false
				large.Large--
			}
			arrive(p)
		}
	}
	check := func() {
		unacked, counted := 0, Pending{Sent: large.Sent, Last: large.Last}
		for seq := s.una; seq != s.next; seq++ {
			if p := s.at(seq).packet; p != nil {
				unacked++
				if p.Pending != nil {
					counted.Packets++
				}
				if p.Large {
					counted.Large++
				}
			} else if !acked[seq] {
				t.Fatalf("packet %d is gone", seq-fl.first)
			}
		}
		if got := s.flying.Len() + s.waiting.Len(); got != unacked {
			t.Fatalf("%d packets unacknowledged, %d flying or waiting", unacked, got)
		}
		if counted != large {
			t.Fatalf("large packets %+v, there are %+v", large, counted)
		}
		if s.flying.Len() > 0 && s.Deadline() == Never {
			t.Fatal("packets fly and no timer runs")
		}
		order := uint64(0)
		for p := s.flying.Front(); p != nil; p = p.next {
			if p.order <= order || p.lost {
				t.Fatalf("packet %d flies out of order, or lost", p.seq-fl.first)
			}
			order = p.order
		}
	}
	round := func(op int) {
		switch op % 9 {
		case 0:
			kind := next()
			for range kind % 64 {
				p := fl.pool.Get()
				p.Messages = 1
				p.Probe = kind >= 192
				if p.Large = kind/64 == 1; p.Large {
					p.Pending = &large
				}
				urgency := [...]Urgency{Paced, Bulk, Urgent}[op/9%3]
				p.Bulk, p.Urgent = urgency == Bulk, urgency == Urgent
				if !s.MaySend(p, WindowSize, urgency, fl.now) {
					fl.pool.Put(p)
					break
				}
				if p.Large {
					large.Packets++
					large.Large++
				}
				s.Send(p, fl.now)
				arrive(p)
			}
		case 1:
			s.OnDeadline(fl.now)
		case 2:
			fl.now += uint64(next()) * ms
		case 3:
			answers = answers[max(len(answers)-64, 0):]
			for _, a := range answers {
				take(a)
			}
			answers = answers[:0]
		case 4:
			lose += next() % 32
		case 5: // one of them, in any order, and perhaps again later
			if len(answers) > 0 {
				take(answers[next()%len(answers)])
			}
		case 6: // the network forgets some
			answers = answers[:len(answers)-min(len(answers), next())]
		case 7:
			s.Marked(fl.now)
		case 8: // a lie, as far as it is valid
			a := Ack{Next: s.una + uint32(next()%4), Words: 1, Echo: uint32(next()), Echoed: true}
			a.Sack[0] = uint64(next()) << (next() % 64)
			if s.Valid(&a) && a.Sack[0] != 0 {
				take(a)
			}
		}
		again()
		check()
	}
	for steps := 0; len(in) > 0 && steps < 300; steps++ {
		round(next())
	}
	// A peer that lied may never say again what it claimed; from here on
	// it is honest, and the path is perfect.
	lose = 0
	for tries := 0; s.una != s.next; tries++ {
		if tries > 5000 {
			t.Fatalf("%d packets never arrive", s.Outstanding())
		}
		if at := s.Deadline(); at != Never {
			fl.now = max(fl.now, at)
		}
		s.OnDeadline(fl.now)
		again()
		// What the peer claimed to have counts as having arrived.
		for seq := rcv.Next; seq != s.next; seq++ {
			if acked[seq] && rcv.Classify(seq) == Fresh {
				rcv.Mark(seq)
			}
		}
		a := Ack{Next: rcv.Next}
		a.Words = rcv.Sack(&a.Sack)
		take(a)
		check()
	}
}
