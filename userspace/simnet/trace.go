package simnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Step is what a path is like from a moment on.
type Step struct {
	At    time.Duration // since the trace began
	Rate  uint64        // bytes per second; with 0 the bottleneck stalls
	Delay time.Duration
	Loss  float64 // probability
}

// ReadTrace reads the steps of a recorded path, one per line:
//
//	milliseconds  kbit/s  delay in ms  loss in percent
//
// Times ascend, fields are separated by blanks, and what follows a # is left
// out.
func ReadTrace(r io.Reader) ([]Step, error) {
	var trace []Step
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		step, err := parseStep(fields)
		if err == nil && len(trace) > 0 && step.At <= trace[len(trace)-1].At {
			err = errors.New("time does not ascend")
		}
		if err != nil {
			return nil, fmt.Errorf("read line %d of trace: %w", number, err)
		}
		trace = append(trace, step)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	return trace, nil
}

func parseStep(fields []string) (Step, error) {
	if len(fields) != 4 {
		return Step{}, fmt.Errorf("%d fields, not 4", len(fields))
	}
	var v [4]float64
	for i, most := range [...]float64{1e12, 1e9, 1e9, 100} {
		var err error
		if v[i], err = strconv.ParseFloat(fields[i], 64); err != nil {
			return Step{}, err
		}
		if !(v[i] >= 0 && v[i] <= most) {
			return Step{}, fmt.Errorf("%s is not from 0 to %g", fields[i], most)
		}
	}
	return Step{
		At: milliseconds(v[0]), Rate: uint64(math.Round(v[1] * 1000 / 8)),
		Delay: milliseconds(v[2]), Loss: v[3] / 100,
	}, nil
}

func milliseconds(v float64) time.Duration {
	return time.Duration(math.Round(v * float64(time.Millisecond)))
}

// Follow changes the pipe's link and, if it has one, its bottleneck as trace
// says, beginning now. With repeat the trace starts again where its last step
// begins, which then only says how long the one before lasts. The result stops
// it.
func (p *Pipe) Follow(trace []Step, repeat bool) *Timer {
	began, next := p.net.now, 0
	var timer *Timer
	timer = p.net.NewTimer(func() {
		if repeat && next == len(trace)-1 {
			began, next = p.net.now-uint64(trace[0].At), 0
		}
		p.step(trace[next])
		if next++; next < len(trace) {
			timer.Set(began + uint64(trace[next].At))
		}
	})
	if len(trace) > 0 {
		timer.Set(began + uint64(trace[0].At))
	}
	return timer
}

func (p *Pipe) step(s Step) {
	p.Link.Delay, p.Link.Loss = s.Delay, s.Loss
	if b := p.Bottleneck; b != nil {
		rate := b.Rate()
		rate.PerSecond, rate.Stalled = s.Rate, s.Rate == 0
		b.SetRate(rate)
	}
}
