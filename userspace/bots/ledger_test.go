package bots

import (
	"sync"
	"testing"
)

func TestLedger(t *testing.T) {
	const sent = 6
	tests := []struct {
		name        string
		arrive      []uint32
		corrupt     uint32
		want        Faults
		outstanding uint64
	}{
		{name: "in_order", arrive: []uint32{1, 2, 3, 4, 5, 6}},
		{name: "lost_in_the_middle", arrive: []uint32{1, 2, 4, 5, 6}, want: Faults{Lost: 1}, outstanding: 1},
		{name: "lost_at_the_end", arrive: []uint32{1, 2, 3, 4}, want: Faults{Lost: 2}, outstanding: 2},
		{name: "all_lost", want: Faults{Lost: 6}, outstanding: 6},
		{name: "duplicated_at_once", arrive: []uint32{1, 2, 2, 3, 4, 5, 6}, want: Faults{Duplicated: 1}},
		{name: "duplicated_later", arrive: []uint32{1, 2, 3, 4, 5, 6, 1}, want: Faults{Duplicated: 1}},
		{name: "swapped", arrive: []uint32{1, 3, 2, 4, 5, 6}, want: Faults{Reordered: 1}},
		{name: "late_and_again", arrive: []uint32{1, 3, 2, 2, 4, 5, 6}, want: Faults{Reordered: 1, Duplicated: 1}},
		{name: "never_sent", arrive: []uint32{1, 2, 3, 4, 5, 6, 7}, want: Faults{Unknown: 1}},
		{name: "number_zero", arrive: []uint32{0, 1, 2, 3, 4, 5, 6}, want: Faults{Unknown: 1}},
		{name: "corrupted", arrive: []uint32{1, 2, 3, 4, 5, 6}, corrupt: 4, want: Faults{Corrupted: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLedger(2)
			for range sent {
				l.Send(0, Action)
			}
			for n := uint32(1); n <= sent; n++ {
				l.Inbox(0).Receive(0, Action, n, true)
			}
			for _, n := range tt.arrive {
				l.Inbox(1).Receive(0, Action, n, n != tt.corrupt)
			}
			if got := l.Faults(); got != tt.want {
				t.Errorf("Faults() = %v, want %v", got, tt.want)
			}
			if got := l.Outstanding(); got != tt.outstanding {
				t.Errorf("Outstanding() = %d, want %d", got, tt.outstanding)
			}
			if got := tt.want.Clean(); got != (tt.want.String() == "none") {
				t.Errorf("Clean() = %v for %v", got, tt.want)
			}
		})
	}
}

func TestLedgerStrangers(t *testing.T) {
	l := NewLedger(1)
	l.Send(0, Chat)
	in := l.Inbox(0)
	in.Receive(-1, Chat, 1, true)
	in.Receive(1, Chat, 1, true)
	in.Receive(0, streams, 1, true)
	in.Receive(0, Action, 1, true)
	if got, want := l.Faults(), (Faults{Unknown: 4, Lost: 1}); got != want {
		t.Errorf("Faults() = %v, want %v", got, want)
	}
}

func TestLedgerCancel(t *testing.T) {
	l := NewLedger(1)
	l.Send(0, Chat)
	l.Send(0, Chat)
	l.Cancel(0, Chat)
	l.Inbox(0).Receive(0, Chat, 1, true)
	if got := l.Faults(); !got.Clean() {
		t.Errorf("Faults() = %v after a cancelled message, want none", got)
	}
	if n := l.Send(0, Chat); n != 2 {
		t.Errorf("Send after Cancel = %d, want 2", n)
	}
}

func TestLedgerClosedInbox(t *testing.T) {
	l := NewLedger(2)
	l.Send(0, Chat)
	l.Inbox(0).Receive(0, Chat, 1, true)
	l.Inbox(1).Close()
	if n := l.Outstanding(); n != 0 {
		t.Errorf("Outstanding() = %d with the other inbox closed, want 0", n)
	}
	if got, want := l.Faults(), (Faults{Lost: 1}); got != want {
		t.Errorf("Faults() = %v, want %v", got, want)
	}
}

func TestLedgerBoundsGaps(t *testing.T) {
	l := NewLedger(1)
	const sent = maxGaps + 1000
	for range sent {
		l.Send(0, Chat)
	}
	in := l.Inbox(0)
	in.Receive(0, Chat, sent, true)
	if n := len(in.missing); n > maxGaps {
		t.Errorf("%d gaps remembered, want at most %d", n, maxGaps)
	}
	if got, want := l.Faults(), (Faults{Lost: sent - 1}); got != want {
		t.Errorf("Faults() = %v, want %v", got, want)
	}
}

func TestLedgerConcurrent(t *testing.T) {
	const bots, messages = 4, 1000
	l := NewLedger(bots)
	relay := make([]chan place, bots)
	for i := range relay {
		relay[i] = make(chan place, bots*messages)
	}
	var senders, receivers sync.WaitGroup
	for bot := range bots {
		senders.Go(func() {
			for range messages {
				p := place{bot, Action, l.Send(bot, Action)}
				for _, ch := range relay {
					ch <- p
				}
			}
		})
		receivers.Go(func() {
			for p := range relay[bot] {
				l.Inbox(bot).Receive(p.sender, p.stream, p.number, true)
			}
		})
	}
	senders.Wait()
	for _, ch := range relay {
		close(ch)
	}
	receivers.Wait()
	if n := l.Outstanding(); n != 0 {
		t.Errorf("Outstanding() = %d, want 0", n)
	}
	if got := l.Faults(); !got.Clean() {
		t.Errorf("Faults() = %v, want none", got)
	}
	if got, want := l.Delivered(), uint64(bots*bots*messages); got != want {
		t.Errorf("Delivered() = %d, want %d", got, want)
	}
}
