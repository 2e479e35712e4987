package heist

import (
	"github.com/xrudp/xrudp/userspace/bots"
)

// Result is what the bots found. Of bots.Result the messages sent are the events that
// the rooms made for any one bot, and the deliveries those that all were to see and
// saw.
type Result struct {
	bots.Result
	Game Findings `json:"policethief"`
}

// Findings are what bots found about the game itself.
type Findings struct {
	Rounds     uint64 `json:"rounds"` // played to their end, of all rooms
	PoliceWon  uint64 `json:"police_won"`
	ThievesWon uint64 `json:"thieves_won"`
	Captures   uint64 `json:"captures"`
	Freed      uint64 `json:"freed"`

	// Truth says that the server told what there was. Otherwise nothing of what
	// is called compared was, and no events were counted against its log.
	Truth   bool   `json:"truth"`
	Unsaid  int    `json:"unsaid"`  // bots whom it did not tell in time at the end
	Samples uint64 `json:"samples"` // of the truth

	Snapshots uint64 `json:"snapshots"`
	Entities  uint64 `json:"entities"` // in them
	Compared  uint64 `json:"entities_compared"`
	Viewed    uint64 `json:"entities_viewed"` // between snapshots, and compared
	Jumped    uint64 `json:"entities_jumped"` // of these: the rules had put them elsewhere just then

	// The worst errors of positions, in units, of those that did not jump. That of
	// a view has a bound of its own for each entity: the error and the bound are
	// given of the entity for which the one came closest to the other.
	WorstSnapshot float64 `json:"worst_error"`
	SnapshotBound float64 `json:"error_bound"`
	WorstView     float64 `json:"worst_view_error"`
	ClosestView   float64 `json:"closest_view_error"`
	ViewBound     float64 `json:"closest_view_bound"`

	Misplaced uint64 `json:"misplaced"`        // beyond the bound
	Wrong     uint64 `json:"wrong"`            // otherwise not as it was
	Phantoms  uint64 `json:"phantoms"`         // not there
	Missing   uint64 `json:"missing"`          // there, to be seen, and not told
	Outside   uint64 `json:"outside_interest"` // told, and not to be seen

	Violations     uint64            `json:"rule_violations"`
	ViolationKinds map[string]uint64 `json:"rule_violation_kinds,omitempty"`

	// Of rounds, as the server sent them: those that play again to what the bots
	// were told, and those that do not or did not come.
	Recordings       uint64 `json:"recordings_verified"`
	RecordingsFailed uint64 `json:"recordings_failed"`

	// Of voice and cameras. What others were to say or film is not known, so none are
	// missed; but none may be of others than the rules allow, or lack its key frame.
	FramesSent      uint64 `json:"frames_sent"`
	FramesHeard     uint64 `json:"frames_heard"`
	FramesWatched   uint64 `json:"frames_watched"`
	FramesWrong     uint64 `json:"frames_wrong"`     // not what was said, or not by whom
	FramesOverheard uint64 `json:"frames_overheard"` // for others
	FramesUnkeyed   uint64 `json:"frames_unkeyed"`   // predicted from what did not come

	Said        uint64            `json:"actions_sent"` // and commands
	Refused     uint64            `json:"actions_refused"`
	Refusals    map[string]uint64 `json:"refusals,omitempty"` // by what was wrong with them
	Corrections uint64            `json:"corrections"`
}

// clean reports whether nothing is wrong.
func (f *Findings) clean() bool {
	return f.Unsaid == 0 && f.Misplaced == 0 && f.Wrong == 0 && f.Phantoms == 0 && f.Missing == 0 &&
		f.Outside == 0 && f.Violations == 0 && f.RecordingsFailed == 0 &&
		f.FramesWrong == 0 && f.FramesOverheard == 0 && f.FramesUnkeyed == 0
}

// findings are those of one bot.
type findings struct {
	Findings
	PutOff uint64

	lost     string // why its connection ended early
	expected uint64
	received uint64
	faults   bots.Faults
}

// judge sets Clean.
func (r *Result) judge() {
	r.Clean = r.Game.clean() && r.Faults.Clean() && r.Disconnected == 0 && r.Malformed == 0 &&
		r.Unflushed == 0 && r.Received == r.Expected
}

// collect adds up what the bots found, after they left.
func (c *Check) collect(unflushed []bool) Result {
	r := Result{Result: bots.Result{
		Server: c.opts.Server, Bots: c.opts.Bots, Rooms: c.opts.Rooms,
	}}
	most := make([]uint64, c.opts.Rooms)
	for i, b := range c.bots {
		r.add(b, i < c.opts.Rooms)
		most[i%c.opts.Rooms] = max(most[i%c.opts.Rooms], b.found.expected)
		if unflushed[i] {
			r.Unflushed++
		}
		st := c.lines[i].Stats()
		r.PacketsOut += st.PacketsOut
		r.Retransmitted += st.Retransmitted
		r.RTTMicros += float64(st.SRTT.Nanoseconds()) / 1e3 / float64(len(c.bots))
	}
	for _, n := range most {
		r.Sent += n
	}
	return r
}

// add adds what one bot found; first is the first of its room.
func (r *Result) add(b *bot, first bool) {
	f, g := &b.found, &r.Game
	if f.lost != "" {
		r.Disconnected++
		if r.Reasons == nil {
			r.Reasons = make(map[string]int)
		}
		r.Reasons[f.lost]++
	}
	r.Expected += f.expected
	r.Received += f.received
	r.Faults.Add(f.faults)
	r.WouldBlock += f.PutOff
	st := b.play.Stats()
	r.Malformed += st.Malformed + st.Unknown + st.SnapshotsRefused + st.PartsRefused
	r.Positions += f.Entities
	r.Implausible += f.Misplaced
	if first {
		g.Rounds += f.Rounds
		g.PoliceWon += f.PoliceWon
		g.ThievesWon += f.ThievesWon
		g.Captures += b.captures.Load()
		g.Freed += b.freed.Load()
		g.Truth = b.truth
	}
	if b.truth && !b.heard {
		g.Unsaid++
	}
	g.Samples += f.Samples
	g.Snapshots += f.Snapshots
	g.Entities += f.Entities
	g.Compared += f.Compared
	g.Viewed += f.Viewed
	g.Jumped += f.Jumped
	g.SnapshotBound = quantum
	g.WorstSnapshot = max(g.WorstSnapshot, f.WorstSnapshot)
	g.WorstView = max(g.WorstView, f.WorstView)
	if f.ClosestView*g.ViewBound >= g.ClosestView*f.ViewBound {
		g.ClosestView, g.ViewBound = f.ClosestView, f.ViewBound
	}
	g.Misplaced += f.Misplaced
	g.Wrong += f.Wrong
	g.Phantoms += f.Phantoms
	g.Missing += f.Missing
	g.Outside += f.Outside
	g.Recordings += f.Recordings
	g.RecordingsFailed += f.RecordingsFailed
	if b.recordings.pending {
		g.RecordingsFailed++
	}
	g.FramesSent += f.FramesSent
	g.FramesHeard += f.FramesHeard
	g.FramesWatched += f.FramesWatched
	g.FramesWrong += f.FramesWrong
	g.FramesOverheard += f.FramesOverheard
	g.FramesUnkeyed += f.FramesUnkeyed
	g.Said += f.Said
	g.Refused += f.Refused
	addTo(&g.Refusals, f.Refusals)
	g.Corrections += f.Corrections
	if b.checker == nil {
		return
	}
	violations, n := b.checker.Violations()
	g.Violations += uint64(n)
	for _, v := range violations {
		addTo(&g.ViolationKinds, map[string]uint64{v.Kind.String(): 1})
	}
}

// addTo adds counts by name.
func addTo(sum *map[string]uint64, counts map[string]uint64) {
	if *sum == nil && len(counts) > 0 {
		*sum = make(map[string]uint64)
	}
	for name, n := range counts {
		(*sum)[name] += n
	}
}
