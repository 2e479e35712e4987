package heist

import (
	"bytes"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game/policethief"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Bots play whole rounds and find nothing to object to, and the game's recording
// comes out the same, however much of what may be lost is.
func TestRounds(t *testing.T) {
	tests := []struct {
		name  string
		seed  uint64
		bots  int
		every time.Duration
		delay time.Duration
		loss  float64
	}{
		{"two", 7, 2, time.Second, 0, 0},
		{"near", 7, 12, time.Second, 10 * time.Millisecond, 0},
		{"far_and_lossy", 7, 12, time.Second, 80 * time.Millisecond, 0.1},
		{"asked_often", 116, 24, 130 * time.Millisecond, time.Millisecond, 0.1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newArena(t, tt.seed, tt.bots, policethief.Options{Rules: short(), Truth: true})
			for _, s := range a.seats {
				s.bot.every = tt.every
			}
			a.delay, a.loss = tt.delay, tt.loss
			a.run(22 * time.Second)
			r := a.finish()
			if !r.Clean {
				t.Errorf("not clean: %+v", r)
			}
			f := &r.Game
			if f.Rounds < 2 || f.Captures == 0 || f.Compared == 0 || f.Viewed == 0 || r.Received == 0 || f.Recordings == 0 ||
				tt.bots > 2 && (f.FramesHeard == 0 || f.FramesWatched == 0) {
				t.Errorf("little happened: %+v", r)
			}
			if f.Corrections > uint64(20*tt.bots) {
				t.Errorf("%d corrections", f.Corrections)
			}
			if len(a.recordings) != 1 {
				t.Fatalf("%d recordings", len(a.recordings))
			}
			again, err := rules.NewReplay(a.recordings[0])
			if err == nil {
				_, err = again.Run(nil)
			}
			if err != nil {
				t.Errorf("replay: %v", err)
			}
		})
	}
}

// A room does the same again when its players do.
func TestRoomIsDeterministic(t *testing.T) {
	record := func() []byte {
		a := newArena(t, 3, 6, policethief.Options{Rules: short()})
		a.loss = 0.05
		a.run(6 * time.Second)
		a.finish()
		return a.recordings[0]
	}
	if !bytes.Equal(record(), record()) {
		t.Error("two recordings of the same inputs differ")
	}
}

// Without the truth bots still check by the rules.
func TestWithoutTruth(t *testing.T) {
	a := newArena(t, 5, 4, policethief.Options{Rules: short()})
	a.run(4 * time.Second)
	if r := a.finish(); !r.Clean || r.Game.Truth || r.Game.Compared > 0 || r.Game.Snapshots == 0 {
		t.Errorf("result %+v", r)
	}
}

// What cannot be seen gives itself away also to bots who are not told the truth.
func TestHiddenShownWithoutTruth(t *testing.T) {
	a := newArena(t, 11, 8, policethief.Options{Rules: short()})
	m := newMeddler(t, a.seats[3])
	m.change = keepInSight
	a.run(8 * time.Second)
	if r := a.finish(); r.Clean || r.Game.Outside == 0 {
		t.Errorf("not found: %+v", r)
	}
}

// keepInSight shows whoever was seen once for ever.
func keepInSight(m *meddler) {
	for id, e := range m.former {
		if m.find(id) == nil {
			m.entries = append(m.entries, e)
		}
	}
}

// Whatever a server gets wrong, the bots find it.
func TestBotsFindFaults(t *testing.T) {
	events := func(change func(m *protocol.Events) (copies int)) func(*seat) {
		return func(s *seat) {
			done := false
			s.meddle = func(o session.Outgoing) []session.Outgoing {
				m := parseEvents(t, o)
				if done || m == nil || m.Events[0].Kind == uint8(rules.PlayerJoined) {
					return []session.Outgoing{o}
				}
				done = true
				copies := change(m)
				o.Payload, _ = message.Append(nil, m)
				var all []session.Outgoing
				for range copies {
					all = append(all, o)
				}
				return all
			}
		}
	}
	recordings := func(change func(m *message.LargeDataTransfer)) func(*seat) {
		meddle := func(o session.Outgoing) []session.Outgoing {
			if o.Type == message.TypeLargeDataTransfer {
				var codec message.Codec
				var m message.LargeDataTransfer
				payload, err := codec.Expand(o.Payload, message.MaxPayload)
				if err == nil {
					err = message.Parse(payload, &m)
				}
				if err != nil {
					t.Fatal(err)
				}
				change(&m)
				o.Payload, _ = message.Append(nil, &m)
			}
			return []session.Outgoing{o}
		}
		// The lot decides who asks.
		return func(s *seat) {
			for _, o := range s.arena.seats {
				o.meddle = meddle
			}
		}
	}
	media := func(typ uint8, change func(s *seat, o *session.Outgoing)) func(*seat) {
		return func(s *seat) {
			for _, to := range s.arena.seats {
				to.meddle = func(o session.Outgoing) []session.Outgoing {
					if o.Type == typ {
						change(to, &o)
					}
					return []session.Outgoing{o}
				}
			}
		}
	}
	frames := func(change func(s *seat, m *message.MediaStream)) func(*seat) {
		return media(message.TypeMediaStream, func(s *seat, o *session.Outgoing) {
			var m message.MediaStream
			if err := message.Parse(o.Payload, &m); err != nil {
				t.Fatal(err)
			}
			change(s, &m)
			o.Payload, _ = message.Append(nil, &m)
		})
	}
	snapshots := func(change func(m *meddler)) func(*seat) {
		return func(s *seat) { newMeddler(t, s).change = change }
	}
	tests := []struct {
		name   string
		tamper func(*seat)
		found  func(r *Result) bool
	}{
		{"nothing", snapshots(func(*meddler) {}), func(r *Result) bool { return r.Clean }},
		{"event_dropped", events(func(*protocol.Events) int { return 0 }), func(r *Result) bool {
			return r.Faults.Lost > 0 && r.Game.ViolationKinds["event missing"] > 0
		}},
		{"event_doubled", events(func(*protocol.Events) int { return 2 }), func(r *Result) bool {
			return r.Faults.Duplicated > 0 && r.Game.ViolationKinds["event twice"] > 0
		}},
		{"event_changed", events(func(m *protocol.Events) int {
			m.Events[0].Tick++
			return 1
		}), func(r *Result) bool { return r.Faults.Corrupted > 0 }},
		{"points_made_up", events(func(m *protocol.Events) int {
			m.Events[0].Kind, m.Events[0].Points = uint8(rules.Collected), 1000
			return 1
		}), func(r *Result) bool { return r.Faults.Corrupted > 0 && r.Game.Violations > 0 }},
		{"others_misplaced", snapshots(func(m *meddler) {
			for i := range m.entries {
				if e := &m.entries[i].State; e.Kind == rules.NoItem && rules.PlayerID(e.Number) != m.seat.bot.self {
					e.At[0] += 1.0 / 64
				}
			}
		}), func(r *Result) bool { return r.Game.Misplaced > 0 && r.Game.WorstSnapshot > 0.01 }},
		{"status_made_up", snapshots(func(m *meddler) {
			for i := range m.entries {
				m.entries[i].State.Status ^= rules.Booted
			}
		}), func(r *Result) bool { return r.Game.Wrong > 0 }},
		{"hidden_shown", snapshots(keepInSight), func(r *Result) bool { return r.Game.Outside > 0 }},
		{"hidden_shown_elsewhere", snapshots(func(m *meddler) {
			// By itself this looks as it should.
			var self *protocol.Entity
			for i := range m.entries {
				if e := &m.entries[i].State; e.Kind == rules.NoItem && rules.PlayerID(e.Number) == m.seat.bot.self {
					self = e
				}
			}
			for id, e := range m.former {
				if self != nil && m.find(id) == nil && e.State.Kind == rules.NoItem && e.State.Role != self.Role {
					e.State.At, e.State.Status = self.At, rules.Revealed
					m.entries = append(m.entries, e)
				}
			}
		}), func(r *Result) bool { return r.Game.Outside > 0 }},
		{"made_up", snapshots(func(m *meddler) {
			if len(m.entries) == 0 {
				return
			}
			e := m.entries[0]
			e.ID = snapshot.ID{Slot: protocol.MaxVisible - 1, Generation: 9}
			m.entries = append(m.entries, e)
		}), func(r *Result) bool { return r.Game.Phantoms > 0 }},
		{"seen_withheld", snapshots(func(m *meddler) {
			for i := range m.entries {
				if e := &m.entries[i].State; e.Kind == rules.NoItem && rules.PlayerID(e.Number) != m.seat.bot.self {
					m.entries = append(m.entries[:i], m.entries[i+1:]...)
					return
				}
			}
		}), func(r *Result) bool { return r.Game.Missing > 0 }},
		{"recording_as_it_was", recordings(func(*message.LargeDataTransfer) {}), func(r *Result) bool { return r.Clean && r.Game.Recordings > 0 }},
		{"recording_changed", recordings(func(m *message.LargeDataTransfer) {
			m.Data[len(m.Data)/2] ^= 1
			m.Sum = m.Checksum()
		}), func(r *Result) bool { return !r.Clean && r.Game.RecordingsFailed > 0 }},
		{"recording_of_another_round", recordings(func(m *message.LargeDataTransfer) { m.Name = protocol.RecordingName(7) }),
			func(r *Result) bool { return !r.Clean && r.Game.RecordingsFailed > 0 }},
		{"recording_damaged", recordings(func(m *message.LargeDataTransfer) { m.Sum++ }), func(r *Result) bool {
			return !r.Clean && r.Malformed > 0 && r.Game.RecordingsFailed > 0
		}},
		{"frame_changed", frames(func(_ *seat, m *message.MediaStream) { m.Data[30] ^= 1 }),
			func(r *Result) bool { return !r.Clean && r.Game.FramesWrong > 0 }},
		{"frame_of_another", frames(func(_ *seat, m *message.MediaStream) { m.Stream++ }),
			func(r *Result) bool { return !r.Clean && r.Game.FramesWrong > 0 }},
		{"frame_renumbered", frames(func(_ *seat, m *message.MediaStream) { m.Number++ }),
			func(r *Result) bool { return !r.Clean && r.Game.FramesWrong > 0 }},
		{"voices_for_all", func(s *seat) {
			told := map[string]bool{}
			frames(func(s *seat, m *message.MediaStream) {
				if b := string(m.Data); m.Media == message.Audio && !told[b] {
					told[b] = true
					for _, to := range s.arena.seats {
						to.downWith(m)
					}
				}
			})(s)
		}, func(r *Result) bool { return !r.Clean && r.Game.FramesOverheard > 0 && r.Game.FramesWrong > 0 }},
		{"cameras_for_all", func(s *seat) {
			told := map[string]bool{}
			frames(func(s *seat, m *message.MediaStream) {
				if b := string(m.Data); m.Media != message.Audio && !told[b] {
					told[b] = true
					for _, to := range s.arena.seats {
						to.downWith(m)
					}
				}
			})(s)
		}, func(r *Result) bool { return !r.Clean && r.Game.FramesOverheard > 0 }},
		{"camera_from_the_middle", media(protocol.TypeWatching, func(_ *seat, o *session.Outgoing) {
			var m protocol.Watching
			if err := message.Parse(o.Payload, &m); err != nil {
				t.Fatal(err)
			}
			m.Began, m.Frame = true, m.Frame+10
			o.Payload, _ = message.Append(nil, &m)
		}), func(r *Result) bool { return !r.Clean && r.Game.FramesUnkeyed > 0 }},
		{"speeding", snapshots(func(m *meddler) {
			m.turn++
			for i := range m.entries {
				if e := &m.entries[i].State; e.Kind == rules.NoItem {
					e.At[0] += float32(m.turn%2) * 8
				}
			}
		}), func(r *Result) bool { return r.Game.ViolationKinds["speed exceeded"] > 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newArena(t, 11, 8, policethief.Options{Rules: short(), Truth: true})
			tt.tamper(a.seats[3])
			a.run(11 * time.Second)
			if r := a.finish(); !tt.found(&r) {
				t.Errorf("not found: %+v", r)
			}
		})
	}
}

// A view that is not between its snapshots is noticed.
func TestViewIsCompared(t *testing.T) {
	a := newArena(t, 2, 4, policethief.Options{Rules: short(), Truth: true})
	a.run(4 * time.Second)
	for !a.seats[0].bot.samples.waiting {
		a.run(10 * time.Millisecond)
	}
	view := a.seats[0].bot.samples.view
	for i := range view {
		view[i].State.At[0] += 3
	}
	if r := a.finish(); len(view) == 0 || r.Game.Misplaced == 0 || r.Game.WorstSnapshot > 0 {
		t.Errorf("%d seen: %+v", len(view), r)
	}
}

// Who was told nothing for longer than the truth reaches finds nothing wrong, nor does
// one for whom an answer takes longer than the pause between questions.
func TestLateTruth(t *testing.T) {
	tests := []struct {
		name     string
		delay    time.Duration
		withheld uint64 // ns of every 3 s, in which no snapshots come
	}{
		{"withheld", 20 * time.Millisecond, 2e9},
		{"far", 600 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newArena(t, 9, 8, policethief.Options{Rules: short(), Truth: true})
			a.delay = tt.delay
			for _, s := range a.seats {
				s.meddle = func(o session.Outgoing) []session.Outgoing {
					if o.Type == message.TypeGameStateSync && a.now%3e9 < tt.withheld {
						return nil
					}
					return []session.Outgoing{o}
				}
			}
			a.run(20 * time.Second)
			if r := a.finish(); !r.Clean || r.Game.Compared == 0 {
				t.Errorf("result %+v", r)
			}
		})
	}
}

// A server that puts somebody out, or ends, does not leave the bots clean.
func TestBotPutOut(t *testing.T) {
	a := newArena(t, 2, 3, policethief.Options{Rules: short(), Truth: true})
	a.run(time.Second)
	a.seats[1].Close(0)
	a.run(time.Second)
	if r := a.finish(); r.Clean || r.Disconnected != 1 || r.Game.Unsaid != 1 {
		t.Errorf("result %+v", r)
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		fine bool
	}{
		{"defaults", Options{Server: "x"}, true},
		{"no_server", Options{}, false},
		{"alone", Options{Server: "x", Bots: 1}, false},
		{"negative", Options{Server: "x", Bots: -3}, false},
		{"crowded", Options{Server: "x", Bots: 65, Rooms: 1}, false},
		{"two_rooms", Options{Server: "x", Bots: 65}, true},
		{"more_rooms_than_pairs", Options{Server: "x", Bots: 5, Rooms: 3}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.opts); (err == nil) != tt.fine {
				t.Errorf("error %v", err)
			}
		})
	}
}

// downWith sends a frame to the bot as the server would.
func (s *seat) downWith(m *message.MediaStream) {
	b, err := message.Append(nil, m)
	if err != nil {
		s.arena.t.Fatal(err)
	}
	s.send(&s.down, session.Outgoing{Mode: session.Unreliable, Type: m.Kind(), Channel: protocol.ChannelMedia, Payload: b})
}

func parseEvents(t *testing.T, o session.Outgoing) *protocol.Events {
	if o.Type != protocol.TypeEvents {
		return nil
	}
	var codec message.Codec
	payload, err := codec.Expand(o.Payload, message.MaxPayload)
	m := new(protocol.Events)
	if err == nil {
		err = message.Parse(payload, m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// meddler sits between the server and a bot, and writes the bot's snapshots anew.
type meddler struct {
	seat    *seat
	change  func(*meddler) // of entries
	entries []snapshot.Entry[protocol.Entity]
	former  map[snapshot.ID]snapshot.Entry[protocol.Entity]
	turn    int

	world   *snapshot.Receiver[protocol.Entity]
	history *snapshot.History[protocol.Entity]
	sender  *snapshot.Sender
	visible []snapshot.ID
}

func newMeddler(t *testing.T, s *seat) *meddler {
	m := &meddler{
		seat: s, former: map[snapshot.ID]snapshot.Entry[protocol.Entity]{},
		world:   snapshot.NewReceiver(schema, snapshot.ReceiverOptions{MaxEntities: protocol.MaxVisible}),
		history: snapshot.NewHistory(schema, protocol.MaxVisible),
	}
	s.acked = func(payload []byte) {
		if a, err := message.ParseGameStateAck(payload); err == nil && m.sender != nil {
			m.sender.Acknowledge(a)
		}
	}
	s.meddle = func(o session.Outgoing) []session.Outgoing {
		if o.Type != message.TypeGameStateSync {
			return []session.Outgoing{o}
		}
		head, b, err := message.ParseGameStateSync(o.Payload)
		if err == nil {
			_, err = m.world.Receive(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.sender == nil {
			m.sender = snapshot.NewSender(m.history, snapshot.SenderOptions{
				Stream: snapshot.StreamOf(b), MaxEntities: protocol.MaxVisible,
			})
		}
		var tick uint32
		m.entries, tick, _, _ = m.world.Contents(m.entries[:0])
		for _, e := range m.entries {
			m.former[e.ID] = e
		}
		m.change(m)
		m.history.Begin(tick)
		m.visible = m.visible[:0]
		for i := range m.entries {
			m.history.Set(m.entries[i].ID, &m.entries[i].State)
			m.visible = append(m.visible, m.entries[i].ID)
		}
		o.Payload = m.sender.Append(head.AppendTo(nil), m.visible, nil, 1<<20)
		return []session.Outgoing{o}
	}
	return m
}

func (m *meddler) find(id snapshot.ID) *protocol.Entity {
	for i := range m.entries {
		if m.entries[i].ID.Slot == id.Slot {
			return &m.entries[i].State
		}
	}
	return nil
}
