package space

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func record(sequence uint32, at Vec) []byte {
	b := binary.BigEndian.AppendUint32([]byte{1}, sequence)
	b = append(b, 0, 0, 0)
	for _, c := range at {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(c))
	}
	return b
}

// judge is a Movement that handles one claim after the other.
type judge struct {
	rules  Rules
	movers []judged
}

type judged struct {
	here     bool
	heard    bool
	sequence uint32
	budget   float32
	updated  uint64
	newest   *naiveClaim
	counts   [Violations]uint32
}

type naiveClaim struct {
	sequence uint32
	at       Vec
}

func (j *judge) claim(n int, now uint64, sequence uint32, at Vec, c *Claim) {
	m := &j.movers[n]
	if !m.here || m.heard && int32(sequence-m.sequence) <= 0 {
		return
	}
	m.heard, m.sequence = true, sequence
	if c.Void {
		return
	}
	if c.Timed {
		if int64(int32(c.Time-uint32(now/1e6))) > j.rules.Ahead.Milliseconds() {
			m.counts[FromFuture]++
			return
		}
		square := float32(0)
		for _, q := range c.Orientation {
			square += q * q
		}
		if math.Abs(float64(square)-1) > float64(j.rules.Norm) {
			m.counts[NotRotation]++
			return
		}
	}
	m.newest = &naiveClaim{sequence, at}
}

// apply moves everybody, and returns who was heard.
func (j *judge) apply(now uint64, where []Vec) (heard []int) {
	for n := range j.movers {
		m := &j.movers[n]
		c := m.newest
		m.newest = nil
		if !m.here || c == nil {
			continue
		}
		heard = append(heard, n)
		most := j.rules.Speed*float32(j.rules.Patience.Seconds()) + j.rules.Slack
		m.budget = min(m.budget+j.rules.Speed*float32(now-m.updated)/1e9, most)
		m.updated = now
		inside := true
		for _, v := range c.at {
			inside = inside && float32(math.Abs(float64(v))) <= j.rules.Limit
		}
		if !inside {
			m.counts[OutOfRange]++
			continue
		}
		dx, dy, dz := c.at[0]-where[n][0], c.at[1]-where[n][1], c.at[2]-where[n][2]
		square := float32(float32(dx*dx)+float32(dy*dy)) + float32(dz*dz)
		way := float32(math.Sqrt(float64(dx)*float64(dx) + float64(dy)*float64(dy) + float64(dz)*float64(dz)))
		if square <= m.budget*m.budget {
			where[n] = c.at
			m.budget = max(m.budget-way, 0)
			continue
		}
		m.counts[TooFast]++
		if j.rules.Refuse {
			continue
		}
		f := m.budget / way
		m.budget = 0
		where[n][0] += dx * f
		where[n][1] += dy * f
		where[n][2] += dz * f
	}
	return heard
}

func TestMovementAgainstOneByOne(t *testing.T) {
	nan := float32(math.NaN())
	for _, refuse := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(8, 8))
		rules := Rules{Refuse: refuse, Limit: 2000}
		m := NewMovement(rules)
		j := &judge{rules: rules.WithDefaults(), movers: make([]judged, 70)}
		got, want := make([]Vec, 70), make([]Vec, 70)
		now := uint64(5e9)
		sequence := uint32(math.MaxUint32 - 300)
		var seen [Violations]bool
		for range 3000 {
			now += uint64(rng.IntN(40)) * uint64(time.Millisecond)
			for range rng.IntN(150) {
				n := rng.IntN(70)
				switch rng.IntN(200) {
				case 0:
					m.Enter(n, now)
					j.movers[n] = judged{here: true, budget: 30, updated: now}
				case 1:
					m.Leave(n)
					j.movers[n] = judged{}
				case 2:
					if n < len(m.movers) {
						m.Void(n)
						j.movers[n].newest = nil
					}
				}
				at := got[n]
				for k := range at {
					at[k] += (rng.Float32() - 0.5) * []float32{0, 0.5, 5, 500}[rng.IntN(4)]
				}
				if rng.IntN(50) == 0 {
					at[rng.IntN(3)] = []float32{nan, float32(math.Inf(-1)), 2001, -1e30}[rng.IntN(4)]
				}
				sequence += uint32(rng.IntN(3)) // some are old
				s := sequence - uint32(rng.IntN(20)/19)
				c := Claim{Record: record(s, at), Void: rng.IntN(30) == 0}
				if rng.IntN(2) == 0 {
					c.Timed, c.Time = true, uint32(now/1e6)+uint32(rng.IntN(1020))
					c.Orientation = [4]float32{1 - float32(rng.IntN(10)/9)*0.5, 0, 0, float32(rng.IntN(10)/9) * 0.5}
				}
				m.Claim(n, now, &c)
				j.claim(n, now, s, at, &c)
			}
			moved, broken := m.Apply(now, func(n int) (Vec, bool) { return got[n], true })
			var heard []int
			for _, v := range moved {
				heard = append(heard, v.Mover)
				got[v.Mover] = v.At
				if newest, ok := m.Newest(v.Mover); !ok || int32(newest-v.Sequence) < 0 {
					t.Fatalf("mover %d moved by %d, newest is %d", v.Mover, v.Sequence, newest)
				}
			}
			for _, b := range broken {
				seen[b.Rule] = true
			}
			slices.Sort(heard)
			if wantHeard := j.apply(now, want); !slices.Equal(heard, wantHeard) {
				t.Fatalf("heard %v, want %v", heard, wantHeard)
			}
			for n := range got {
				if got[n] != want[n] {
					t.Fatalf("mover %d is at %v, want %v", n, got[n], want[n])
				}
				for rule := range Violations {
					if got := m.Count(n, rule); got != j.movers[n].counts[rule] {
						t.Fatalf("mover %d: %v %d times, want %d", n, rule, got, j.movers[n].counts[rule])
					}
				}
			}
		}
		for rule, ok := range seen {
			if !ok {
				t.Errorf("nobody was %v", Violation(rule))
			}
		}
	}
}

// TestSpeedHoldsInTheLongRun has cheats claim as they like.
func TestSpeedHoldsInTheLongRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 8))
	m := NewMovement(Rules{Speed: 10})
	m.Enter(0, 0)
	var at Vec
	const seconds = 60
	for tick := range uint64(seconds * 60) {
		now := tick * uint64(time.Second/60)
		for n := range rng.IntN(4) {
			m.Claim(0, now, &Claim{Record: record(uint32(tick*4)+uint32(n)+1, Vec{at[0] + rng.Float32()*1000})})
		}
		moved, _ := m.Apply(now, func(int) (Vec, bool) { return at, true })
		for _, v := range moved {
			at = v.At
		}
	}
	if at[0] > 10*seconds+10 || at[0] < 9*seconds {
		t.Errorf("%v units in %d s at 10 units a second", at[0], seconds)
	}
}

func TestOneWhoWaitedMayHurry(t *testing.T) {
	m := NewMovement(Rules{})
	m.Enter(0, 0)
	second := uint64(time.Second)
	step := func(now uint64, sequence uint32, from, to float32) float32 {
		m.Claim(0, now, &Claim{Record: record(sequence, Vec{to})})
		moved, _ := m.Apply(now, func(int) (Vec, bool) { return Vec{from}, true })
		return moved[0].At[0]
	}
	// 25 units in a quarter of a second, and a slack of 5.
	if got := step(second, 1, 0, 30); got != 30 {
		t.Errorf("went to %v", got)
	}
	if got := step(second, 2, 30, 31); got != 30 {
		t.Errorf("went on to %v at once", got)
	}
	if got := step(second+second/10, 3, 30, 50); got < 39.99 || got > 40.01 {
		t.Errorf("went to %v in a tenth of a second", got)
	}
	if got := step(20*second, 4, 40, 400); got < 69.99 || got > 70.01 {
		t.Errorf("saved up %v", got-40)
	}
}

// What somebody broke who left meanwhile is not told of who has its number now.
func TestBreachesOfWhoLeft(t *testing.T) {
	m := NewMovement(Rules{})
	m.Enter(0, 0)
	m.Enter(1, 0)
	future := func(n int) {
		m.Claim(n, 0, &Claim{Record: record(1, Vec{}), Timed: true, Time: 60_000, Orientation: [4]float32{3: 1}})
	}
	future(0)
	future(1)
	m.Leave(0)
	m.Enter(0, 0)
	_, broken := m.Apply(1e6, func(int) (Vec, bool) { return Vec{}, true })
	if want := []Breach{{1, FromFuture}}; !slices.Equal(broken, want) {
		t.Errorf("broken %v, want %v", broken, want)
	}
	if n := m.Count(0, FromFuture); n != 0 {
		t.Errorf("%d breaches of one who has just come", n)
	}
}

// Numbers that never came may leave, be counted and claim.
func TestNumbersThatNeverCame(t *testing.T) {
	m := NewMovement(Rules{})
	m.Enter(1, 0)
	for _, n := range []int{0, 2, 3} {
		m.Leave(n)
		if _, ok := m.Newest(n); ok || m.Count(n, TooFast) != 0 || m.Claim(n, 0, &Claim{Record: record(1, Vec{})}) {
			t.Errorf("%d is somebody", n)
		}
	}
	if moved, broken := m.Apply(1e9, nil); len(moved)+len(broken) != 0 {
		t.Errorf("moved %v, broken %v", moved, broken)
	}
}

// Whatever the rules, who is somewhere stays somewhere.
func TestRulesWithoutLimits(t *testing.T) {
	infinite := float32(math.Inf(1))
	for _, tt := range []struct {
		name  string
		rules Rules
	}{
		{"speed", Rules{Speed: infinite}},
		{"limit", Rules{Speed: 1e38, Limit: infinite}},
		{"slack", Rules{Slack: infinite}},
		{"all", Rules{Speed: infinite, Limit: infinite, Slack: infinite}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMovement(tt.rules)
			m.Enter(0, 1e9)
			at := Vec{}
			for i, to := range []Vec{{1, 2, 3}, {9e36, -9e36, 1}, {-9e36, 9e36, 2}, {3e38, -3e38, 1}, {-3.39e38, 3.39e38, 1}, {4, 5, 6}} {
				for k := range 2 {
					// Twice at one time, when nothing has been saved up.
					m.Claim(0, 1e9, &Claim{Record: record(uint32(2*i+k), to)})
					moved, _ := m.Apply(1e9+uint64(i)*1e7, func(int) (Vec, bool) { return at, true })
					at = moved[0].At
				}
				for _, c := range at {
					if c-c != 0 {
						t.Fatalf("after a claim of %v it is at %v", to, at)
					}
				}
			}
			if tt.name != "limit" && at != (Vec{4, 5, 6}) {
				t.Errorf("who may go any way is at %v", at)
			}
		})
	}
}

func TestMovementDoesNotAllocate(t *testing.T) {
	m := NewMovement(Rules{})
	for n := range 100 {
		m.Enter(n, 0)
	}
	sequence, now := uint32(0), uint64(0)
	b := record(0, Vec{})
	at := func(int) (Vec, bool) { return Vec{}, true }
	tick := func() {
		now += 16e6
		sequence++
		binary.BigEndian.PutUint32(b[1:], sequence)
		for n := range 100 {
			m.Claim(n, now, &Claim{Record: b})
		}
		m.Apply(now, at)
	}
	tick()
	if n := testing.AllocsPerRun(100, tick); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
