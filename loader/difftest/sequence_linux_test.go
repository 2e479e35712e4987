package difftest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
)

// play runs one sequence and returns its steps. The error is the first
// disagreement, found by the last step.
func (p *pair) play(d *dice, frames int) (s setup, steps []step, err error) {
	s = newSetup(d)
	if err := p.reset(s); err != nil {
		return s, nil, harness(err)
	}
	g := newGenerator(d, p)
	for frames > 0 && !d.empty() {
		next := g.step()
		steps = append(steps, next)
		if err := p.apply(&next); err != nil {
			return s, steps, err
		}
		if next.kind == stepFrame {
			frames--
		}
	}
	return s, steps, p.compareAll()
}

// replay runs given steps and reports whether they disagree too.
func (p *pair) replay(s setup, steps []step) (err error) {
	if err := p.reset(s); err != nil {
		return harness(err)
	}
	for i := range steps {
		if err := p.apply(&steps[i]); err != nil {
			return err
		}
	}
	return p.compareAll()
}

// minimise drops what a disagreement does not need, in ever smaller pieces.
func (p *pair) minimise(s setup, steps []step) []step {
	deadline := time.Now().Add(5 * time.Second)
	for size := len(steps) / 2; size > 0 && time.Now().Before(deadline); {
		shorter := false
		for at := 0; at+size <= len(steps) && time.Now().Before(deadline); {
			rest := append(append([]step(nil), steps[:at]...), steps[at+size:]...)
			err := p.replay(s, rest)
			if err != nil && !errors.Is(err, errHarness) {
				steps, shorter = rest, true
			} else {
				at += size
			}
		}
		if !shorter || size > len(steps) {
			size /= 2
		}
	}
	return steps
}

// report describes a disagreement by the fewest steps that show it.
func (p *pair) report(s setup, steps []step, err error) string {
	short := p.minimise(s, steps)
	if again := p.replay(s, short); again != nil {
		err = again
	}
	var b strings.Builder
	fmt.Fprintf(&b, "kernel and twin disagree: %v\nafter %d of %d steps, with %+v:\n", err, len(short), len(steps), s)
	for i := range short {
		fmt.Fprintf(&b, "  %v\n", &short[i])
	}
	return b.String()
}

func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSequences plays sequences against both gates, by turns with few commit
// slots and with many.
func TestSequences(t *testing.T) {
	requireXDP(t)
	want := int(envNumber(t, "XRUDP_DIFF_PACKETS", 200_000))
	seed := envNumber(t, "XRUDP_DIFF_SEED", 1)
	tests := []struct {
		name   string
		slots  int
		share  int // of the packets, percent
		frames int // per sequence
	}{
		{"few_slots", 16, 60, 2000},
		{"many_slots", 2048, 40, 10_000},
	}
	var seen, compact [gate.OutcomeMax]int
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, tt.slots)
			began := time.Now()
			for last := seed; p.frames < want*tt.share/100; last++ {
				s, steps, err := p.play(seeded(last), tt.frames)
				if errors.Is(err, errHarness) {
					t.Fatal(err)
				}
				if err != nil {
					t.Fatalf("seed %d: %s", last, p.report(s, steps, err))
				}
			}
			took := time.Since(began)
			t.Logf("%d packets agree, %.0f per second", p.frames, float64(p.frames)/took.Seconds())
			for outcome, n := range p.seen {
				seen[outcome] += n
				compact[outcome] += p.compact[outcome]
			}
		})
	}
	for outcome := range gate.OutcomeMax {
		t.Logf("%10d, %10d compact: %v", seen[outcome], compact[outcome], outcome)
		if compact[outcome] == 0 && outcome >= gate.DropUDPLength && outcome != gate.AbortedReply && want >= 100_000 {
			t.Errorf("no compact packet left by %v", outcome)
		}
		if seen[outcome] == 0 && outcome != gate.AbortedReply && want >= 100_000 {
			t.Errorf("no packet left by %v", outcome)
		}
	}
}
