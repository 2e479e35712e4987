package congestion

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Defaults of Params.
const (
	// RTTThreshold is the queueing delay that is congestion on any path.
	RTTThreshold = 100 * time.Millisecond
	// LossThreshold is the share of packets that a path may lose at random.
	LossThreshold = 0.01
)

// leastWindow is the smallest MinWindow: with fewer packets in flight one loss
// leaves nothing behind it to be found by.
const leastWindow = 4

// Params tunes an algorithm. The zero value stands for the defaults, and so
// does each field that is 0.
type Params struct {
	InitialWindow int // packets, InitialWindow by default
	MinWindow     int // packets, MinWindow by default
	MaxWindow     int // packets, MaxWindow by default, which is also the most

	// RTTThreshold is how much above the shortest round trip the smoothed one
	// is congestion whatever the path, RTTThreshold by default. Used by
	// "adaptive" alone.
	RTTThreshold time.Duration
	// LossThreshold is the share of packets up to which losses without a queue
	// are taken for random, LossThreshold by default. Used by "adaptive" alone.
	LossThreshold float64

	// Seed is where randomness comes from, so that a run can be repeated.
	// Sessions with different seeds do not probe in step.
	Seed uint64
}

// Names returns the names of all algorithms, the default first.
func Names() []string { return []string{"adaptive", "cubic", "bbr"} }

// New returns the algorithm of the given name, "adaptive" for "". An error
// names each key of a configuration that is wrong, its value and what would be
// right.
func New(name string, p Params) (Controller, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	switch name {
	case "", "adaptive":
		return NewAdaptive(p), nil
	case "cubic":
		return NewCubic(p), nil
	case "bbr":
		return NewBBR(p), nil
	}
	return nil, fmt.Errorf("congestion is %q, but has to be one of %s", name, strings.Join(Names(), ", "))
}

// Validate reports every field that is out of range, nil if none is.
func (p Params) Validate() error {
	p = p.withDefaults()
	var wrong []error
	check := func(ok bool, key string, value any, right string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s is %v, but has to be %s", key, value, right))
		}
	}
	check(p.MaxWindow >= leastWindow && p.MaxWindow <= MaxWindow, "max_window", p.MaxWindow,
		fmt.Sprintf("%d to %d packets", leastWindow, MaxWindow))
	check(p.MinWindow >= leastWindow && p.MinWindow <= p.MaxWindow, "min_window", p.MinWindow,
		fmt.Sprintf("%d packets to max_window, %d", leastWindow, p.MaxWindow))
	check(p.InitialWindow >= p.MinWindow && p.InitialWindow <= p.MaxWindow, "initial_window", p.InitialWindow,
		fmt.Sprintf("min_window, %d, to max_window, %d", p.MinWindow, p.MaxWindow))
	check(p.RTTThreshold >= time.Millisecond && p.RTTThreshold <= 10*time.Second, "rtt_threshold", p.RTTThreshold,
		"1ms to 10s")
	check(p.LossThreshold > 0 && p.LossThreshold <= 0.5, "loss_threshold", p.LossThreshold,
		"a share above 0 and up to 0.5")
	return errors.Join(wrong...)
}

// withDefaults fills what is 0. A bound that was set moves the defaults it
// contradicts.
func (p Params) withDefaults() Params {
	if p.MaxWindow == 0 {
		p.MaxWindow = MaxWindow
	}
	if p.MinWindow == 0 {
		p.MinWindow = min(MinWindow, p.MaxWindow)
	}
	if p.InitialWindow == 0 {
		p.InitialWindow = min(max(InitialWindow, p.MinWindow), p.MaxWindow)
	}
	if p.RTTThreshold == 0 {
		p.RTTThreshold = RTTThreshold
	}
	if p.LossThreshold == 0 {
		p.LossThreshold = LossThreshold
	}
	return p
}

// clamp returns window within the bounds of p.
func (p *Params) clamp(window int) int { return min(max(window, p.MinWindow), p.MaxWindow) }
