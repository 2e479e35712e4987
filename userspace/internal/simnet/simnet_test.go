package simnet

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// trace sends numbered packets and returns what arrived when.
func trace(seed uint64, link Link, packets int) (string, *Pipe) {
	n := New(seed, 1000)
	var out bytes.Buffer
	p := n.NewPipe(link, func(b []byte) { fmt.Fprintf(&out, "%d:%x ", n.Now(), b) })
	for i := range packets {
		n.At(1000+uint64(i)*1000, func() { p.Send([]byte{byte(i >> 8), byte(i)}) })
	}
	n.Run(uint64(time.Minute))
	return out.String(), p
}

func TestPerfectLink(t *testing.T) {
	got, p := trace(1, Link{Delay: 5}, 3)
	if want := "1005:0000 2005:0001 3005:0002 "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.Sent != 3 || p.Delivered != 3 || p.InFlight() != 0 {
		t.Errorf("%+v", p)
	}
}

func TestSeedRepeats(t *testing.T) {
	link := Link{
		Delay: time.Microsecond, Jitter: 10 * time.Microsecond,
		Loss: 0.2, Duplicate: 0.2, Corrupt: 0.2, Reorder: 0.2, ReorderDelay: time.Millisecond,
	}
	first, _ := trace(7, link, 500)
	again, _ := trace(7, link, 500)
	other, _ := trace(8, link, 500)
	if first != again {
		t.Error("the same seed gave another result")
	}
	if first == other {
		t.Error("another seed gave the same result")
	}
}

func TestTroubleHappensAsOftenAsAsked(t *testing.T) {
	const packets = 10000
	_, p := trace(3, Link{Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1}, packets)
	for name, got := range map[string]uint64{"lost": p.Lost, "duplicated": p.Duplicated, "corrupted": p.Corrupted} {
		if got < packets/12 || got > packets/8 {
			t.Errorf("%s: %d of %d, asked for a tenth", name, got, packets)
		}
	}
	if p.Delivered != packets-p.Lost+p.Duplicated {
		t.Errorf("delivered %d", p.Delivered)
	}
}

func TestBurst(t *testing.T) {
	_, p := trace(4, Link{Loss: 0.01, BurstLoss: 1, BurstTime: 50 * time.Microsecond}, 1000)
	if p.Lost < 200 {
		t.Errorf("lost %d of 1000, bursts did not happen", p.Lost)
	}
}

func TestStepSetsTheClockToTheEnd(t *testing.T) {
	n := New(1, 10)
	ran := false
	n.At(30, func() { ran = true })
	if n.Step(20) || n.Now() != 20 || ran {
		t.Errorf("now %d, ran %v", n.Now(), ran)
	}
	if !n.Step(30) || n.Now() != 30 || !ran {
		t.Errorf("now %d, ran %v", n.Now(), ran)
	}
}
