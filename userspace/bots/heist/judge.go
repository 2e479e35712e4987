package heist

import (
	"math"
	"time"

	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

const (
	// shotsKept is how many snapshots a bot remembers, three seconds of them.
	shotsKept = 60

	// rounding is what distances may differ by where one side has float32.
	rounding = rules.Unit / 64

	// quantum is how far a position may be off in a snapshot, in units.
	quantum = 0.5 / float64(rules.Unit)
)

// snapshot keeps a snapshot for judgement.
func (b *bot) snapshot(r *snapshot.Receiver[protocol.Entity]) {
	b.receiver = r
	tick, ok := r.Newest()
	if n := len(b.shots); !ok || n > 0 && int32(tick-b.shots[n-1].tick) <= 0 {
		return
	}
	s := &shot{}
	if n := len(b.spare); n > 0 {
		s, b.spare = b.spare[n-1], b.spare[:n-1]
	}
	s.entries, s.tick, s.whole, _ = r.Contents(s.entries[:0])
	if len(b.shots) == shotsKept {
		b.spare = append(b.spare, b.shots[0])
		b.shots = append(b.shots[:0], b.shots[1:]...)
		b.checked = max(b.checked-1, 0)
	}
	b.shots = append(b.shots, s)
}

// judge checks the snapshots of which it is known what the game's state was.
func (b *bot) judge() {
	if len(b.states) == 0 {
		return
	}
	newest := b.states[len(b.states)-1].Tick
	for b.checked < len(b.shots) {
		s := b.shots[b.checked]
		tick := s.tick - b.base
		if int32(newest-tick) < 0 {
			return
		}
		b.checked++
		for i := len(b.states) - 1; i >= 0; i-- {
			if state := b.states[i].Rules(); int32(tick-state.Tick) >= 0 {
				state.Tick = tick
				b.judgeShot(s, state)
				break
			}
		}
	}
}

// judgeShot checks a snapshot by the rules, and that it shows nothing that its own
// contents say cannot be seen.
func (b *bot) judgeShot(s *shot, state rules.State) {
	b.found.Snapshots++
	v := &b.view
	v.Players = v.Players[:0]
	var self *rules.PlayerState
	for i := range s.entries {
		e := &s.entries[i]
		if e.Tick == s.tick && e.State.Kind == rules.NoItem {
			v.Players = append(v.Players, e.State.Player())
		}
	}
	for i := range v.Players {
		if v.Players[i].ID == b.self {
			self = &v.Players[i]
		}
	}
	b.checker.State(state, v.Players)
	b.found.Entities += uint64(len(s.entries))
	if self == nil || b.world == nil {
		return // who is not in the round sees everything
	}
	for i := range s.entries {
		e := &s.entries[i]
		if e.Tick != s.tick {
			continue
		}
		at, _ := protocol.PosOf(e.State.At)
		other := rules.PlayerState{ID: rules.PlayerID(e.State.Number), Role: e.State.Role, Status: e.State.Status, Pos: at}
		if !entitled(b.world, self, &other, e.State.Kind, protocol.Leave*rules.Unit+rounding) {
			b.found.Outside++
		}
	}
}

// entitled reports whether self may be told of an entity, in the words of RULES.md.
func entitled(w *rules.World, self, other *rules.PlayerState, kind rules.ItemKind, radius rules.Coord) bool {
	apart := self.Pos.Sub(other.Pos).Length()
	switch {
	case !playing(self.Role):
		return true
	case kind == rules.NoItem && self.ID == other.ID:
		return true
	case apart > radius:
		return false
	case kind != rules.NoItem:
		return apart <= rules.SightReach
	case self.Role == other.Role || other.Status&(rules.Jailed|rules.Revealed) != 0:
		return true
	case other.Status&rules.Hidden != 0 && apart > rules.NoticeReach:
		return false
	}
	return apart <= rules.SightReach && w.Sight(self.Pos, other.Pos)
}

// samples are comparisons with the truth.
type samples struct {
	next    time.Duration
	waiting bool
	at      time.Duration // of the server, that the view was of
	before  uint32        // ticks of the snapshots that the view was between
	after   uint32        // the same as before where there was none
	view    []snapshot.Seen[protocol.Entity]
	moments []protocol.Moment
}

// sample asks for the truth from time to time.
func (b *bot) sample(now time.Duration) {
	p := &b.samples
	if !b.truth || p.waiting || now < p.next || b.asked || len(b.shots) == 0 {
		return
	}
	at, ok := b.play.Time()
	if !ok {
		return
	}
	if p.next == 0 {
		// Not all bots at once.
		p.next = now + b.every*time.Duration(b.self%64)/64
		return
	}
	if p.next = now + b.every; b.ending != 0 {
		p.next = math.MaxInt64 // the last one
	}
	p.view = b.play.View(p.view[:0])
	p.at = at - b.receiver.Delay()
	newest := b.shots[len(b.shots)-1].tick
	p.before, p.after = newest, newest
	for i := len(b.shots) - 1; i >= 0; i-- {
		if p.before = b.shots[i].tick; schema.Time(p.before) <= p.at {
			break
		}
		p.after = p.before
	}
	if schema.Time(newest) <= p.at {
		p.after = p.before
	}
	from := p.before
	to := min(max(newest, uint32(p.at/interval)+1), from+protocol.MaxTicks-1)
	if b.send(&protocol.AskTruth{From: from, To: to}) {
		p.waiting = true
		b.found.Samples++
	}
}

func (b *bot) tellTruth(m *protocol.Truth) error {
	p := &b.samples
	if !p.waiting {
		return message.ErrState
	}
	p.waiting = false
	rest := m.Data
	n := 0
	for ; len(rest) > 0; n++ {
		if n == len(p.moments) {
			p.moments = append(p.moments, protocol.Moment{})
		}
		var err error
		if rest, err = protocol.ParseMoment(rest, &p.moments[n]); err != nil {
			return err
		}
	}
	moments := p.moments[:n]
	for i := range moments {
		for _, s := range b.shots {
			if s.tick == moments[i].Tick {
				b.compareShot(s, &moments[i])
			}
		}
	}
	b.compareView(moments)
	return nil
}

func find(m *protocol.Moment, id snapshot.ID) *protocol.Fact {
	for i := range m.Entities {
		if m.Entities[i].ID == id {
			return &m.Entities[i]
		}
	}
	return nil
}

func distance(a [3]float32, to rules.Vec) float64 {
	return math.Hypot(float64(a[0])-float64(to.X.Units()), float64(a[2])-float64(to.Y.Units()))
}

// compareShot compares a snapshot with what was at its tick.
func (b *bot) compareShot(s *shot, m *protocol.Moment) {
	f := &b.found
	var self *rules.PlayerState
	for i := range m.Entities {
		if e := &m.Entities[i]; e.Kind == rules.NoItem && rules.PlayerID(e.Number) == b.self {
			self = &rules.PlayerState{ID: b.self, Role: e.Role, Status: e.Status, Pos: e.At}
		}
	}
	may := func(e *protocol.Fact, radius rules.Coord) bool {
		other := rules.PlayerState{ID: rules.PlayerID(e.Number), Role: e.Role, Status: e.Status, Pos: e.At}
		return self == nil || entitled(b.world, self, &other, e.Kind, radius)
	}
	for i := range s.entries {
		e := &s.entries[i]
		fact := find(m, e.ID)
		if fact == nil {
			f.Phantoms++
			continue
		}
		f.Compared++
		if !may(fact, protocol.Leave*rules.Unit+rounding) {
			f.Outside++
		}
		if e.Tick != s.tick {
			continue
		}
		off := distance(e.State.At, fact.At)
		if f.WorstSnapshot = max(f.WorstSnapshot, off); off > quantum {
			f.Misplaced++
		}
		if e.State.Kind != fact.Kind || e.State.Number != fact.Number || e.State.Role != fact.Role ||
			e.State.Status != fact.Status || e.State.Carrying != fact.Carrying {
			f.Wrong++
		}
	}
	if !s.whole {
		return
	}
	for i := range m.Entities {
		if fact := &m.Entities[i]; may(fact, protocol.Interest*rules.Unit-rounding) && s.find(fact.ID) == nil {
			f.Missing++
		}
	}
}

// compareView compares what a player would have been shown with what was. The view is
// between two snapshots, so it is no farther from the truth than the entity has been
// in between; behind the newest snapshot its velocity may lead it astray.
func (b *bot) compareView(moments []protocol.Moment) {
	p, f := &b.samples, &b.found
	var before, after *shot
	for _, s := range b.shots {
		switch {
		case s.tick == p.before:
			before = s
		case s.tick == p.after:
			after = s
		}
	}
	if before == nil || after == nil && p.after != p.before {
		return // the answer took its time
	}
	end := uint32(p.at/interval) + 1
	if after != nil {
		end = after.tick
	}
	if end-before.tick >= protocol.MaxTicks {
		return // not all of it was told
	}
	// Nobody runs so far from one tick to the next: the rules put it there.
	leap := float32(maxSpeed(&b.cfg) / 3)
	for i := range p.view {
		seen := &p.view[i]
		old := before.find(seen.ID)
		if old == nil || old.Tick != before.tick {
			continue
		}
		ahead := time.Duration(0)
		if after == nil {
			ahead = p.at - schema.Time(before.tick)
		} else if e := after.find(seen.ID); e == nil {
			ahead = schema.Time(after.tick - before.tick)
		} else if e.Tick != after.tick {
			continue
		}
		truth, ok := b.truthAt(moments, seen.ID)
		if !ok {
			continue
		}
		bound, jumped := 2*quantum, false
		var last *protocol.Fact
		for k := range moments {
			if t := moments[k].Tick; int32(t-before.tick) < 0 || int32(t-end) > 0 {
				continue
			}
			if fact := find(&moments[k], seen.ID); fact != nil {
				bound = max(bound, math.Hypot(float64(fact.At.X.Units())-truth[0], float64(fact.At.Y.Units())-truth[1])+2*quantum)
				jumped = jumped || last != nil && fact.At.Sub(last.At).Length().Units() > leap
				last = fact
			}
		}
		if jumped && after != nil {
			ahead = schema.Time(after.tick - before.tick)
		}
		speed := math.Hypot(float64(old.State.Vel[0]), float64(old.State.Vel[2])) + 0.1
		bound += speed * ahead.Seconds()
		off := math.Hypot(float64(seen.State.At[0])-truth[0], float64(seen.State.At[2])-truth[1])
		f.Viewed++
		if off > bound {
			f.Misplaced++
		}
		if jumped {
			f.Jumped++
			continue
		}
		f.WorstView = max(f.WorstView, off)
		if off*f.ViewBound >= f.ClosestView*bound {
			f.ClosestView, f.ViewBound = off, bound
		}
	}
}

func maxSpeed(c *rules.Config) float64 {
	return float64(max(c.Speed(rules.Police, rules.Boosted|rules.Booted), c.Speed(rules.Thief, rules.Boosted|rules.Booted)).Units())
}

// truthAt returns where an entity was at the moment of the view, between two ticks.
func (b *bot) truthAt(moments []protocol.Moment, id snapshot.ID) (at [2]float64, ok bool) {
	tick := uint32(b.samples.at / interval)
	part := (b.samples.at % interval).Seconds() / interval.Seconds()
	var from, to *protocol.Fact
	for i := range moments {
		switch moments[i].Tick {
		case tick:
			from = find(&moments[i], id)
		case tick + 1:
			to = find(&moments[i], id)
		}
	}
	if from == nil || to == nil {
		return at, false
	}
	mix := func(a, b rules.Coord) float64 { return float64(a.Units()) + float64((b-a).Units())*part }
	return [2]float64{mix(from.At.X, to.At.X), mix(from.At.Y, to.At.Y)}, true
}

// sums compares what was seen with what was to be seen.
func (b *bot) sums(m *protocol.Sums) error {
	if !b.asked || b.done {
		return message.ErrState
	}
	b.heard, b.done = true, true
	for audience, want := range [...]protocol.Tally{rules.ToAll: m.All, rules.ToTeam: m.Team, rules.ToOne: m.One} {
		got := b.tally[audience]
		b.found.expected += want.Count
		b.found.received += got.Count
		switch {
		case got.Count < want.Count:
			b.found.faults.Lost += want.Count - got.Count
		case got.Count > want.Count:
			b.found.faults.Duplicated += got.Count - want.Count
		case got.Sum != want.Sum:
			b.found.faults.Corrupted++
		}
	}
	return nil
}
