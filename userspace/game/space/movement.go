package space

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/internal/simd"
)

// Rules say which movements are believed. Zero values mean the defaults.
type Rules struct {
	// Speed is how many units a second a mover may go. Default 100.
	Speed float32

	// Patience is for how long a mover from whom nothing comes saves up the
	// right to go. Default 250 ms.
	Patience time.Duration

	// Slack is how many units more than that a mover may be ahead, for claims
	// that come in bunches. Default 5.
	Slack float32

	// Limit is the greatest coordinate in magnitude, at most 1e37. Default 1e6.
	Limit float32

	// Ahead is how far in the future a claim may say it is. Default 1 s.
	Ahead time.Duration

	// Norm is how far from 1 the square of a quaternion's length may be.
	// Default 0.02.
	Norm float32

	// Refuse leaves a mover who claims too much where it was. Otherwise it goes
	// as far as it may in the direction of what it claimed.
	Refuse bool
}

// maxLimit is a Limit within which differences are numbers.
const maxLimit = 1e37

// WithDefaults returns the rules with defaults in place of zeros.
func (r Rules) WithDefaults() Rules {
	set := func(v *float32, to float32) {
		if !(*v > 0) {
			*v = to
		}
	}
	set(&r.Speed, 100)
	set(&r.Slack, 5)
	set(&r.Limit, 1e6)
	set(&r.Norm, 0.02)
	r.Limit = min(r.Limit, maxLimit)
	if r.Patience <= 0 {
		r.Patience = 250 * time.Millisecond
	}
	if r.Ahead <= 0 {
		r.Ahead = time.Second
	}
	return r
}

// Violation is a rule that a claim broke.
type Violation uint8

// Rules that claims break.
const (
	TooFast     Violation = iota // it was cut short, or refused
	OutOfRange                   // a coordinate beyond the limit, or no number
	FromFuture                   // its time is too far ahead
	NotRotation                  // its quaternion is not of length 1
	Violations                   // how many there are
)

// String returns the reason in lower case.
func (v Violation) String() string {
	switch v {
	case TooFast:
		return "too fast"
	case OutOfRange:
		return "out of range"
	case FromFuture:
		return "from the future"
	case NotRotation:
		return "not a rotation"
	default:
		return "unknown"
	}
}

// Claim is where a mover says it is.
type Claim struct {
	// Record is the claim as message.PositionUpdate has it: the first 20 bytes
	// count. It is copied.
	Record []byte

	// Void claims count for their sequence only.
	Void bool

	// Timed claims have a time in ms of the server's clock, modulo 2^32, and an
	// orientation.
	Timed       bool
	Time        uint32
	Orientation [4]float32
}

// Moved is what became of a mover's claims of one tick.
type Moved struct {
	Mover    int
	Sequence uint32 // of the newest claim
	At       Vec    // where the mover is now

	Timed       bool
	Time        uint32
	Orientation [4]float32
}

// Movement moves those who claim to have moved, within Rules, all of a tick at once.
// Movers are numbered by small integers.
type Movement struct {
	rules Rules
	fill  float32 // units saved up at most

	movers []mover

	// The claims of the tick, one of each mover, as arrays.
	claims  []claim
	records []byte
	claimed simd.Points
	before  simd.Points
	room    [2]simd.Points // as large as ever needed
	allowed []float32
	ok      []uint64
	inRange []uint64
	moved   []Moved
	broken  []Breach
}

// mover is one who claims.
type mover struct {
	here     bool
	heard    bool    // sequence counts
	sequence uint32  // newest
	budget   float32 // units it may go
	updated  uint64  // ns, of budget
	pending  int32   // its claim of this tick, -1 for none
	counts   [Violations]uint32
}

// claim is what does not matter for the arrays.
type claim struct {
	mover       int32
	sequence    uint32
	timed       bool
	time        uint32
	orientation [4]float32
}

// Breach is a rule broken by a mover.
type Breach struct {
	Mover int
	Rule  Violation
}

// NewMovement returns rules for movers to come.
func NewMovement(r Rules) *Movement {
	r = r.WithDefaults()
	return &Movement{rules: r, fill: r.Speed*float32(r.Patience.Seconds()) + r.Slack}
}

// Enter takes a mover in, with everything saved up. It forgets what a former one of
// that number did.
func (m *Movement) Enter(n int, now uint64) {
	for n >= len(m.movers) {
		m.movers = append(m.movers, mover{pending: -1})
	}
	m.Leave(n)
	m.movers[n] = mover{here: true, budget: m.fill, updated: now, pending: -1}
}

// Leave is the opposite of Enter. Its claims of this tick are void, and what they
// broke is not told: by then the number may be another's.
func (m *Movement) Leave(n int) {
	if n < len(m.movers) {
		m.Void(n)
		m.movers[n] = mover{pending: -1}
		m.broken = slices.DeleteFunc(m.broken, func(b Breach) bool { return b.Mover == n })
	}
}

// Count returns how often a mover broke a rule.
func (m *Movement) Count(n int, rule Violation) uint32 {
	if n >= len(m.movers) {
		return 0
	}
	return m.movers[n].counts[rule]
}

// Claim takes a claim until Apply. The one with the newest sequence of a mover
// counts; it reports false for one that comes late or from nobody. One that cannot
// be true whatever the position is noted by Broken, and counts for its sequence
// only.
func (m *Movement) Claim(n int, now uint64, c *Claim) bool {
	if n < 0 || n >= len(m.movers) || !m.movers[n].here {
		return false
	}
	v := &m.movers[n]
	sequence := binary.BigEndian.Uint32(c.Record[1:])
	if v.heard && int32(sequence-v.sequence) <= 0 {
		return false
	}
	v.sequence, v.heard = sequence, true
	if c.Void {
		return true
	}
	if c.Timed {
		if ahead := int32(c.Time - uint32(now/uint64(time.Millisecond))); time.Duration(ahead)*time.Millisecond > m.rules.Ahead {
			m.breach(n, FromFuture)
			return true
		}
		if !m.rotation(&c.Orientation) {
			m.breach(n, NotRotation)
			return true
		}
	}
	if v.pending < 0 {
		v.pending = int32(len(m.claims))
		m.claims = append(m.claims, claim{})
		m.records = append(m.records, c.Record[:simd.RecordSize]...)
	} else {
		copy(m.records[int(v.pending)*simd.RecordSize:], c.Record[:simd.RecordSize])
	}
	m.claims[v.pending] = claim{int32(n), sequence, c.Timed, c.Time, c.Orientation}
	return true
}

// rotation reports whether a quaternion is of length 1.
func (m *Movement) rotation(q *[4]float32) bool {
	n := q[0]*q[0] + q[1]*q[1] + q[2]*q[2] + q[3]*q[3]
	return n >= 1-m.rules.Norm && n <= 1+m.rules.Norm
}

func (m *Movement) breach(n int, rule Violation) {
	m.movers[n].counts[rule]++
	m.broken = append(m.broken, Breach{n, rule})
}

// Void drops what a mover has claimed since the last Apply, but for the sequence.
func (m *Movement) Void(n int) {
	if v := &m.movers[n]; v.pending >= 0 {
		m.claims[v.pending].mover = -1
		v.pending = -1
	}
}

// Newest returns the newest sequence of a mover, and whether there was one.
func (m *Movement) Newest(n int) (sequence uint32, ok bool) {
	if n >= len(m.movers) {
		return 0, false
	}
	return m.movers[n].sequence, m.movers[n].heard
}

// Apply judges the claims since the last Apply, in the order in which their movers
// made the first one, and returns what became of those that were not void. at says
// where a mover is before; one of which it reports false does not move. Both results
// are valid until the next Claim.
//
// A mover goes as far as it has saved up: Speed since the last tick, and at most
// Patience of it and Slack.
func (m *Movement) Apply(now uint64, at func(mover int) (Vec, bool)) (moved []Moved, broken []Breach) {
	n := len(m.claims)
	m.resize(n)
	simd.Decode(&m.claimed, m.records)
	for i := range m.claims {
		c := &m.claims[i]
		m.allowed[i] = 0
		from, ok := Vec{}, false
		if c.mover >= 0 {
			m.save(&m.movers[c.mover], now)
			m.allowed[i] = m.movers[c.mover].budget
			m.movers[c.mover].pending = -1
			from, ok = at(int(c.mover))
		}
		if !ok {
			c.mover = -1
		}
		m.before.X[i], m.before.Y[i], m.before.Z[i] = from[0], from[1], from[2]
	}
	simd.Validate(m.ok, m.inRange, &m.claimed, &m.before, m.allowed, m.rules.Limit)
	// Those that are true pay for their way before they go it.
	m.settle()
	simd.Move(&m.before, &m.claimed, m.ok)

	m.moved = m.moved[:0]
	for i := range m.claims {
		c := &m.claims[i]
		if c.mover < 0 {
			continue
		}
		m.moved = append(m.moved, Moved{
			Mover: int(c.mover), Sequence: c.sequence,
			At:    Vec{m.before.X[i], m.before.Y[i], m.before.Z[i]},
			Timed: c.timed, Time: c.time, Orientation: c.orientation,
		})
	}
	m.claims, m.records = m.claims[:0], m.records[:0]
	broken = m.broken
	m.broken = m.broken[:0]
	return m.moved, broken
}

// settle has each mover pay for its way, and cuts short what is too far: it moves
// the point it moves from.
func (m *Movement) settle() {
	for i := range m.claims {
		c := &m.claims[i]
		if c.mover < 0 {
			continue
		}
		v := &m.movers[c.mover]
		word, bit := i/64, uint64(1)<<(i%64)
		if m.inRange[word]&bit == 0 {
			m.breach(int(c.mover), OutOfRange)
			continue
		}
		dx := m.claimed.X[i] - m.before.X[i]
		dy := m.claimed.Y[i] - m.before.Y[i]
		dz := m.claimed.Z[i] - m.before.Z[i]
		way := float32(math.Sqrt(float64(dx)*float64(dx) + float64(dy)*float64(dy) + float64(dz)*float64(dz)))
		if m.ok[word]&bit != 0 {
			v.budget = max(v.budget-way, 0)
			continue
		}
		m.breach(int(c.mover), TooFast)
		if m.rules.Refuse {
			continue
		}
		f := v.budget / way
		v.budget = 0
		m.before.X[i] += dx * f
		m.before.Y[i] += dy * f
		m.before.Z[i] += dz * f
	}
}

// save adds what a mover may go since it was last asked.
func (m *Movement) save(v *mover, now uint64) {
	// Nothing is saved up beyond Patience, so longer does not matter.
	passed := min(now-min(v.updated, now), uint64(m.rules.Patience)+uint64(time.Hour))
	if passed > 0 { // or a speed without a limit would be no number
		v.budget = min(v.budget+m.rules.Speed*float32(passed)/1e9, m.fill)
	}
	v.updated = max(v.updated, now)
}

func (m *Movement) resize(n int) {
	if n > cap(m.allowed) {
		size := n + n/4
		m.room = [2]simd.Points{simd.NewPoints(size), simd.NewPoints(size)}
		m.allowed = make([]float32, size)
		m.ok, m.inRange = make([]uint64, simd.Words(size)), make([]uint64, simd.Words(size))
	}
	m.claimed, m.before = cut(m.room[0], n), cut(m.room[1], n)
	m.allowed = m.allowed[:n]
	m.ok, m.inRange = m.ok[:simd.Words(n)], m.inRange[:simd.Words(n)]
}

func cut(p simd.Points, n int) simd.Points {
	return simd.Points{X: p.X[:n], Y: p.Y[:n], Z: p.Z[:n]}
}
