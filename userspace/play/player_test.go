package play

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/wire"
)

type thing struct{ At, Velocity Vec }

const tick = time.Second / 60

func thingSchema(t testing.TB) *snapshot.Schema[thing] {
	axis := func(k int) snapshot.Field[thing] {
		return snapshot.Axis(func(s *thing) *float32 { return &s.At[k] }, snapshot.Range{Min: -500, Max: 500, Resolution: 0.01},
			func(s *thing) *float32 { return &s.Velocity[k] }, snapshot.Range{Min: -100, Max: 100, Resolution: 0.1})
	}
	s, err := snapshot.NewSchema(tick, axis(0), axis(1), axis(2))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line is a connection to a server that a test plays.
type line struct {
	t       testing.TB
	events  chan client.Event
	sent    []client.Outgoing
	refuse  error
	closed  bool
	player  *Player[thing]
	now     time.Duration
	history *snapshot.History[thing]
	sender  *snapshot.Sender
	tick    uint32
}

func (l *line) Events() <-chan client.Event { return l.events }
func (l *line) Close() error                { l.closed = true; return nil }

func (l *line) SendMessage(o client.Outgoing) error {
	if l.refuse != nil {
		return l.refuse
	}
	o.Payload = append([]byte(nil), o.Payload...)
	l.sent = append(l.sent, o)
	return nil
}

func newLine(t testing.TB) *line {
	l := &line{t: t, events: make(chan client.Event, 4), now: time.Minute, tick: 60}
	l.player = New(l, Options[thing]{Schema: thingSchema(t), Position: func(s *thing) *Vec { return &s.At }})
	return l
}

// update lets time pass and returns the kinds of what happened.
func (l *line) update(d time.Duration) (kinds []EventKind) {
	l.now += d
	for _, e := range l.player.Update(l.now) {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// expect fails unless these kinds of events happen.
func (l *line) expect(want ...EventKind) {
	l.t.Helper()
	got := l.update(time.Millisecond)
	if len(got) != len(want) {
		l.t.Fatalf("events %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			l.t.Fatalf("events %v, want %v", got, want)
		}
	}
}

// taken returns what was sent of a type since the last call.
func (l *line) taken(typ uint8) (payloads [][]byte) {
	var rest []client.Outgoing
	for _, o := range l.sent {
		if o.Type == typ {
			payloads = append(payloads, o.Payload)
		} else {
			rest = append(rest, o)
		}
	}
	l.sent = rest
	return payloads
}

func (l *line) say(payload []byte) {
	l.player.Deliver(l.now, client.Message{Mode: client.ReliableOrdered, Type: payload[0], Payload: payload})
}

func (l *line) sayMessage(m message.Message) {
	l.t.Helper()
	b, err := message.Append(nil, m)
	if err != nil {
		l.t.Fatal(err)
	}
	l.say(b)
}

// join brings the player into a room.
func (l *line) join(player uint32) {
	l.t.Helper()
	if err := l.player.Join(Join{Game: "things", Name: "thing"}); err != nil {
		l.t.Fatal(err)
	}
	l.sayMessage(&message.Connected{Player: player, Room: 1, Ticks: 60, Snapshots: 20})
	l.expect(Joined)
	l.history = snapshot.NewHistory(thingSchema(l.t), 8)
	l.sender = snapshot.NewSender(l.history, snapshot.SenderOptions{Stream: message.Stream(player, 1)})
}

var own = ID{Slot: 3, Generation: 9}

// show sends a snapshot with the player's entity.
func (l *line) show(at Vec, input uint16) {
	l.say(l.shown(at, input))
}

// shown makes a snapshot with the player's entity.
func (l *line) shown(at Vec, input uint16) []byte {
	l.tick += 3
	l.history.Begin(l.tick)
	l.history.Set(own, &thing{At: at})
	return l.sender.Append(message.GameStateSync{Input: input}.AppendTo(nil), []snapshot.ID{own}, nil, 1000)
}

// placed brings the player into a room and gives it a place.
func (l *line) placed(at Vec) {
	l.t.Helper()
	l.join(7)
	l.say(message.Assigned{ID: own}.AppendTo(nil))
	l.show(at, 0)
	l.expect(Assigned, Placed)
}

func TestJoinAndLeave(t *testing.T) {
	l := newLine(t)
	l.join(7)
	var ask message.Connect
	if sent := l.taken(message.TypeConnect); len(sent) != 1 || message.Parse(sent[0], &ask) != nil || ask.Game != "things" {
		t.Errorf("asked %x", sent)
	}
	if !l.player.Inside() {
		t.Error("outside")
	}
	l.sayMessage(&message.Disconnect{Code: message.ErrRoom, Text: "closed"})
	l.expect(Left)
	if l.player.Inside() {
		t.Error("inside")
	}
	l.join(8)
	if err := l.player.Leave(); err != nil || len(l.taken(message.TypeDisconnect)) != 1 {
		t.Errorf("left: %v", err)
	}
	l.sayMessage(&message.Connected{Player: 8, Room: 1, Ticks: 60, Snapshots: 20})
	l.expect()
	if l.player.Inside() {
		t.Error("a late answer brought it back")
	}
	if l.player.Join(Join{Game: "things", Name: "n"}) != nil {
		t.Fatal("join")
	}
	l.sayMessage(&message.Refused{Code: message.ErrRoom, Type: message.TypeConnect, Text: "full"})
	l.expect(Refused)
	if l.taken(message.TypeDisconnect); l.player.Leave() != nil || len(l.taken(message.TypeDisconnect)) != 0 {
		t.Error("leaves what it was refused")
	}
	l.join(9)
	l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonKicked}
	l.expect(Disconnected)
	if l.player.Inside() {
		t.Error("inside after the connection ended")
	}
	l.join(10)
	if err := l.player.Close(); err != nil || !l.closed || len(l.taken(message.TypeDisconnect)) != 1 {
		t.Errorf("closed %v, %v", l.closed, err)
	}
}

// asked returns the only Connect that was sent since the last call.
func (l *line) asked() (m message.Connect) {
	l.t.Helper()
	sent := l.taken(message.TypeConnect)
	if len(sent) != 1 {
		l.t.Fatalf("asked %d times for a room", len(sent))
	}
	if err := message.Parse(sent[0], &m); err != nil {
		l.t.Fatal(err)
	}
	return m
}

// Who was in a room when the connection ended asks for it by itself when there is
// another one, and begins anew there.
func TestRejoin(t *testing.T) {
	l := newLine(t)
	token := []byte("secret")
	if err := l.player.Join(Join{Game: "things", Version: 3, Name: "ada", Token: token}); err != nil {
		t.Fatal(err)
	}
	clear(token)
	if m := l.asked(); m.Room != 0 {
		t.Errorf("asked %+v", m)
	}
	// All that came before the connection ended counts.
	l.sayMessage(&message.Connected{Player: 7, Room: 5, Ticks: 60, Snapshots: 20})
	l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
	l.events <- client.Event{Kind: client.EventReconnected}
	l.refuse = client.ErrReconnecting
	l.expect(Joined, Disconnected, Reconnected)
	l.refuse = nil
	l.expect()
	if m := l.asked(); m.Game != "things" || m.Version != 3 || m.Name != "ada" || m.Room != 5 || string(m.Token) != "secret" {
		t.Errorf("asked %+v", m)
	}
	l.expect()
	if len(l.taken(message.TypeConnect)) != 0 {
		t.Error("asks twice")
	}
	l.sayMessage(&message.Connected{Player: 8, Room: 5, Ticks: 60, Snapshots: 20})
	l.expect(Joined)

	// Of the room as it was nothing is left.
	l.placed(Vec{10})
	l.taken(message.TypeConnect)
	l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
	l.expect(Disconnected)
	l.events <- client.Event{Kind: client.EventReconnected}
	l.expect(Reconnected)
	former := l.sender
	l.sayMessage(&message.Connected{Player: 9, Room: 1, Ticks: 60, Snapshots: 20})
	l.expect(Joined)
	_, placed := l.player.At()
	if _, owns := l.player.Own(); placed || owns || len(l.player.View(nil)) > 0 {
		t.Error("remembers the room as it was")
	}
	l.show(Vec{12}, 0)
	l.expect()
	l.sender = snapshot.NewSender(l.history, snapshot.SenderOptions{Stream: message.Stream(9, 1)})
	l.say(message.Assigned{ID: own}.AppendTo(nil))
	l.show(Vec{14}, 0)
	l.expect(Assigned, Placed)
	if at, _ := l.player.At(); l.sender == former || math.Abs(float64(at[0])-14) > 0.01 {
		t.Errorf("is at %v", at)
	}
}

// Who is in no room, since it left or was not let in, does not ask for one.
func TestNoRejoin(t *testing.T) {
	tests := []struct {
		name string
		do   func(l *line)
	}{
		{"left", func(l *line) { _ = l.player.Leave() }},
		{"put_out", func(l *line) {
			l.sayMessage(&message.Disconnect{Code: message.ErrDenied})
			l.expect(Left)
		}},
		{"left_meanwhile", func(l *line) {
			l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
			l.expect(Disconnected)
			_ = l.player.Leave()
		}},
		{"refused_another", func(l *line) {
			_ = l.player.Join(Join{Game: "things", Name: "thing", Room: 4})
			l.sayMessage(&message.Refused{Code: message.ErrRoom, Type: message.TypeConnect, Text: "full"})
			l.expect(Refused)
		}},
		{"refused_again", func(l *line) {
			l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
			l.events <- client.Event{Kind: client.EventReconnected}
			l.expect(Disconnected, Reconnected)
			l.sayMessage(&message.Refused{Code: message.ErrRoom, Type: message.TypeConnect, Text: "full"})
			l.expect(Refused)
		}},
		{"other_ticks", func(l *line) {
			_ = l.player.Join(Join{Game: "things", Name: "thing", Room: 4})
			l.sayMessage(&message.Connected{Player: 8, Room: 4, Ticks: 30, Snapshots: 20})
			l.expect(Refused)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLine(t)
			l.join(7)
			tt.do(l)
			l.taken(message.TypeConnect)
			l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
			l.events <- client.Event{Kind: client.EventReconnected}
			l.expect(Disconnected, Reconnected)
			l.expect()
			if n := len(l.taken(message.TypeConnect)); n != 0 || l.player.Inside() {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// The server answers Joins in order, some of several in a row not at all; the last
// answer says where the player is.
func TestJoinsInARow(t *testing.T) {
	connected := func(l *line, player uint32) {
		l.sayMessage(&message.Connected{Player: player, Room: player, Ticks: 60, Snapshots: 20})
	}
	refused := func(l *line) { l.sayMessage(&message.Refused{Code: message.ErrRoom, Type: message.TypeConnect}) }
	tests := []struct {
		name    string
		answers func(l *line)
		events  []EventKind
		inside  bool
	}{
		{"last", func(l *line) { connected(l, 2) }, []EventKind{Joined}, true},
		{"both", func(l *line) { connected(l, 1); connected(l, 2) }, []EventKind{Joined, Joined}, true},
		{"first_refused", func(l *line) { refused(l); connected(l, 2) }, []EventKind{Refused, Joined}, true},
		{"second_refused", func(l *line) { connected(l, 1); refused(l) }, []EventKind{Joined, Refused}, false},
		{"both_refused", func(l *line) { refused(l); refused(l) }, []EventKind{Refused, Refused}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLine(t)
			for range 2 {
				if err := l.player.Join(Join{Game: "things", Name: "n"}); err != nil {
					t.Fatal(err)
				}
			}
			tt.answers(l)
			l.expect(tt.events...)
			if l.player.Inside() != tt.inside {
				t.Errorf("inside %v, want %v", !tt.inside, tt.inside)
			}
			l.taken(message.TypeConnect)
			l.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
			l.events <- client.Event{Kind: client.EventReconnected}
			l.expect(Disconnected, Reconnected)
			if n := len(l.taken(message.TypeConnect)); (n == 1) != tt.inside {
				t.Errorf("asks %d times after another connection", n)
			}
		})
	}
	t.Run("left_between", func(t *testing.T) {
		l := newLine(t)
		for range 2 {
			_ = l.player.Join(Join{Game: "things", Name: "n"})
		}
		refused(l)
		l.expect(Refused)
		if err := l.player.Leave(); err != nil || len(l.taken(message.TypeDisconnect)) != 1 {
			t.Errorf("leaves a room that it may be let into: %v", err)
		}
		connected(l, 2)
		if l.expect(); l.player.Inside() {
			t.Error("inside")
		}
	})
}

func TestOtherTicksAreRefused(t *testing.T) {
	l := newLine(t)
	if err := l.player.Join(Join{Game: "things", Name: "n"}); err != nil {
		t.Fatal(err)
	}
	l.sayMessage(&message.Connected{Player: 7, Room: 1, Ticks: 30, Snapshots: 20})
	l.expect(Refused)
	if l.player.Inside() || len(l.taken(message.TypeDisconnect)) != 1 {
		t.Error("stays")
	}
}

func TestJoinThatDoesNotGoOut(t *testing.T) {
	l := newLine(t)
	l.refuse = client.ErrWouldBlock
	if err := l.player.Join(Join{Game: "things", Name: "n"}); !errors.Is(err, client.ErrWouldBlock) {
		t.Errorf("got %v", err)
	}
}

func TestMovesAreSaidAndCorrected(t *testing.T) {
	l := newLine(t)
	l.player.Move(Vec{1}, message.Quaternion{})
	l.placed(Vec{10})
	l.taken(message.TypePositionUpdate)
	var last message.PositionUpdate
	step := func() {
		at, _ := l.player.At()
		at[0]++
		l.player.Move(at, message.Quaternion{})
		l.update(time.Second / 30)
		sent := l.taken(message.TypePositionUpdate)
		if len(sent) != 1 {
			t.Fatalf("%d positions sent", len(sent))
		}
		view, err := message.ViewPosition(sent[0])
		if err != nil {
			t.Fatal(err)
		}
		last = view.Update()
	}
	for range 5 {
		step()
	}
	if last.X != 15 {
		t.Errorf("said %+v", last)
	}
	// The server cut the last but two short by 1.5.
	l.show(Vec{11.5}, uint16(last.Sequence-2))
	l.expect(Corrected)
	if at, ok := l.player.At(); !ok || math.Abs(float64(at[0])-13.5) > 0.01 {
		t.Errorf("is at %v", at)
	}
	// It did not cut what came after that.
	l.show(Vec{12.5}, uint16(last.Sequence-1))
	l.expect()
	step()
	l.show(Vec{14.5}, uint16(last.Sequence))
	l.expect()
	// Snapshots that overtake one another say nothing wrong.
	step()
	first := l.shown(Vec{14.5}, uint16(last.Sequence-1))
	l.show(Vec{15.5}, uint16(last.Sequence))
	l.say(first)
	l.expect()
	// An answer to what it did for another entity does not count.
	l.say(message.Assigned{ID: own}.AppendTo(nil))
	l.show(Vec{100}, uint16(last.Sequence))
	l.expect(Assigned, Placed)
	l.show(Vec{100}, uint16(last.Sequence-1))
	l.expect()
	if s := l.player.Stats(); s.Corrections != 1 || s.Positions != 8 && s.Positions != 9 {
		t.Errorf("%+v", s)
	}
}

func TestWhoStandsStillSaysSoRarely(t *testing.T) {
	l := newLine(t)
	l.placed(Vec{10})
	count := func() int {
		for range 60 {
			l.update(time.Second / 60)
		}
		return len(l.taken(message.TypePositionUpdate))
	}
	if n := count(); n < 29 || n > 31 {
		t.Errorf("%d positions a second that nobody acknowledged", n)
	}
	said := 0
	for range 60 {
		l.update(time.Second / 60)
		for _, b := range l.taken(message.TypePositionUpdate) {
			view, err := message.ViewPosition(b)
			if err != nil {
				t.Fatal(err)
			}
			said++
			l.say(message.AppendPositionAck(nil, view.Sequence()))
		}
	}
	if said < 2 || said > 4 {
		t.Errorf("%d positions a second of who stands still", said)
	}
}

func TestChangesOfNothing(t *testing.T) {
	l := newLine(t)
	l.join(7)
	l.show(Vec{1}, 0)
	l.player.queue.take(nil)
	l.sender.Acknowledge(snapshot.Ack{Stream: message.Stream(7, 1), Tick: l.tick})
	l.show(Vec{2}, 0)
	l.expect()
	a, err := message.ParseGameStateAck(l.taken(message.TypeGameStateAck)[0])
	if want := (snapshot.Ack{Stream: message.Stream(7, 1), Lost: true}); err != nil || a != want {
		t.Errorf("acknowledged %+v, %v", a, err)
	}
}

func TestSnapshotsAreAcknowledged(t *testing.T) {
	l := newLine(t)
	l.placed(Vec{10})
	acks := l.taken(message.TypeGameStateAck)
	if len(acks) != 1 {
		t.Fatalf("%d acknowledgements", len(acks))
	}
	a, err := message.ParseGameStateAck(acks[0])
	if err != nil || a != (snapshot.Ack{Stream: message.Stream(7, 1), Tick: l.tick}) {
		t.Errorf("acknowledged %+v, %v", a, err)
	}
	if l.expect(); len(l.taken(message.TypeGameStateAck)) != 0 {
		t.Error("acknowledged twice")
	}
	// A change of something that it does not have.
	l.sender.Acknowledge(a)
	l.show(Vec{11}, 0)
	l.player.queue.take(nil)
	l.sender.Acknowledge(snapshot.Ack{Stream: a.Stream, Tick: l.tick})
	l.show(Vec{12}, 0)
	l.expect()
	a, err = message.ParseGameStateAck(l.taken(message.TypeGameStateAck)[0])
	if err != nil || !a.Lost || a.Stream != message.Stream(7, 1) {
		t.Errorf("acknowledged %+v, %v", a, err)
	}
	// One of another room.
	l.sender = snapshot.NewSender(l.history, snapshot.SenderOptions{Stream: message.Stream(7, 1) + 1})
	l.show(Vec{13}, 0)
	l.expect()
	s := l.player.Stats()
	if s.Snapshots != 1 || s.SnapshotsLost != 1 || s.SnapshotsLate != 1 {
		t.Errorf("%+v", s)
	}
}

func TestClockIsAskedAndBelieved(t *testing.T) {
	l := newLine(t)
	const ahead = 5 * time.Hour
	if _, ok := l.player.Time(); ok {
		t.Error("knows the time")
	}
	asked := 0
	for range 300 {
		l.update(10 * time.Millisecond)
		for _, b := range l.taken(message.TypeClockRequest) {
			r, err := message.ParseClockRequest(b)
			if err != nil {
				t.Fatal(err)
			}
			asked++
			l.now += 20 * time.Millisecond
			server := uint64((l.now + ahead) / time.Microsecond)
			l.now += 20 * time.Millisecond
			l.say(message.ClockAnswer{Sent: r.Sent, Received: server, Answered: server}.AppendTo(nil))
		}
	}
	if asked < 9 || asked > 12 {
		t.Errorf("asked %d times in 3 s", asked)
	}
	l.update(0)
	at, ok := l.player.Time()
	if d := at - (l.now + ahead); !ok || d < -5*time.Millisecond || d > 5*time.Millisecond {
		t.Errorf("off by %v", d)
	}
	if rtt := l.player.RoundTrip(); rtt != 40*time.Millisecond {
		t.Errorf("round trip %v", rtt)
	}
}

func TestAnswersThatCannotBe(t *testing.T) {
	l := newLine(t)
	l.say(message.ClockAnswer{Sent: math.MaxUint64, Received: 1, Answered: 2}.AppendTo(nil))
	l.say(message.ClockAnswer{Sent: 1, Received: 1, Answered: math.MaxUint64}.AppendTo(nil))
	l.expect()
	if at, ok := l.player.Time(); ok {
		t.Errorf("believes that it is %v", at)
	}
	l.placed(Vec{10})
	for range 10 {
		l.update(time.Second / 30)
	}
	last := l.player.claims.sequence
	for _, sequence := range []uint32{last - 1, last - 3, last + 1, last + 1<<31} {
		l.say(message.AppendPositionAck(nil, sequence))
	}
	l.expect()
	if got := l.player.claims.acked; got != last-1 {
		t.Errorf("takes %d for acknowledged, and has said up to %d", got, last)
	}
}

// shout is a message of the game.
type shout = message.ReliableCommand

func TestMessagesReachTheirHandlers(t *testing.T) {
	l := newLine(t)
	var got []string
	On(l.player, func(m *shout) error {
		got = append(got, m.Command)
		return nil
	})
	long := &shout{Command: "long"}
	for range 600 {
		long.Args = append(long.Args, 0x90)
	}
	long.Args = append([]byte{0xdc, 2, 88}, long.Args...)
	b, err := message.Append(nil, long)
	if err != nil {
		t.Fatal(err)
	}
	var c message.Codec
	l.say(c.Compress(b))
	l.sayMessage(&shout{Command: "short"})
	l.say([]byte{message.TypeReliableCommand, 0, 0xc1})
	l.say([]byte{0x90, 1, 2})
	l.expect()
	if len(got) != 2 || got[0] != "long" || got[1] != "short" {
		t.Errorf("got %v", got)
	}
	if err := l.player.Send(client.ReliableOrdered, 1, long); err != nil {
		t.Fatal(err)
	}
	if sent := l.taken(message.TypeReliableCommand); len(sent) != 1 || len(sent[0]) > 100 {
		t.Errorf("sends %x", sent)
	}
	if err := l.player.Send(client.ReliableOrdered, 1, &shout{}); !errors.Is(err, message.ErrName) {
		t.Errorf("sends a command without a name: %v", err)
	}
	if s := l.player.Stats(); s.Messages != 4 || s.Malformed != 1 || s.Unknown != 1 {
		t.Errorf("%+v", s)
	}
	for _, typ := range []uint8{message.TypeReliableCommand, message.TypeGameStateSync} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("two handlers for %#x", typ)
				}
			}()
			l.player.Handle(typ, func(client.Message) error { return nil })
		}()
	}
}

func TestOverrun(t *testing.T) {
	l := newLine(t)
	l.player.queue.limit = 3
	l.join(7)
	for range 5 {
		l.player.Deliver(l.now, client.Message{Mode: client.Unreliable, Type: 0x90, Payload: []byte{0x90}})
	}
	l.expect()
	l.expect()
	if s := l.player.Stats(); s.Dropped != 2 {
		t.Errorf("%+v", s)
	}
	for range 4 {
		l.sayMessage(&message.Disconnect{})
	}
	if got := l.player.Update(l.now); len(got) != 2 || got[0].Kind != Left || !errors.Is(got[1].Err, ErrOverrun) {
		t.Errorf("events %+v", got)
	}
	l.expect()
}

func TestWhoIsPutElsewhereIsNotSeenOnTheWay(t *testing.T) {
	for jump, want := range map[float64]float32{0: 25, 100: 0} {
		l := newLine(t)
		opts := l.player.opts
		opts.Jump = jump
		l.player = New(l, opts)
		l.join(7)
		l.show(Vec{}, 0)
		l.show(Vec{50}, 0)
		l.update(0)
		between := time.Duration(2*l.tick-3) * tick / 2
		seen := l.player.world.View(nil, between+l.player.world.Delay())
		if len(seen) != 1 || seen[0].State.At[0] < want-0.1 || seen[0].State.At[0] > want+0.1 {
			t.Errorf("jump %g: %+v is seen, want %g", jump, seen, want)
		}
	}
}

func TestPlayerDoesNotAllocate(t *testing.T) {
	l := newLine(t)
	l.placed(Vec{10})
	l.player.conn = nowhere{}
	ack := message.AppendPositionAck(nil, 0)
	seen := make([]snapshot.Seen[thing], 0, 8)
	payload := make([]byte, 0, 100)
	state := &thing{At: Vec{10}}
	if n := testing.AllocsPerRun(500, func() {
		l.now += time.Second / 60
		l.tick++
		l.history.Begin(l.tick)
		l.history.Set(own, state)
		payload = l.sender.Append(message.GameStateSync{}.AppendTo(payload[:0]), []snapshot.ID{own}, nil, 1000)
		l.say(payload)
		a, _ := l.player.world.Ack()
		l.sender.Acknowledge(a)
		l.say(ack)
		at, _ := l.player.At()
		l.player.Move(at, message.Quaternion{})
		l.player.Update(l.now)
		seen = l.player.View(seen[:0])
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

type nowhere struct{}

func (nowhere) Events() <-chan client.Event       { return nil }
func (nowhere) Close() error                      { return nil }
func (nowhere) SendMessage(client.Outgoing) error { return nil }

// FuzzPlayer gives a player what a hostile server may send.
func FuzzPlayer(f *testing.F) {
	f.Add(message.Assigned{None: true}.AppendTo(nil), []byte{message.TypeGameStateSync, 0, 0, 0x80})
	f.Add(message.AppendPositionAck(nil, 1<<31), message.ClockAnswer{Received: 1 << 52, Answered: 1 << 52}.AppendTo(nil))
	f.Add([]byte{message.TypeConnected, 0, 0x80}, []byte{message.TypeRefused, 0, 0x81})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		l := newLine(t)
		l.placed(Vec{10})
		for _, payload := range [][]byte{a, b} {
			if len(payload) > 0 {
				l.say(payload)
			}
			l.update(time.Second / 20)
			l.player.View(nil)
		}
		l.player.Move(Vec{11}, message.Quaternion{})
		l.update(time.Second)
		for _, b := range l.taken(message.TypePositionUpdate) {
			if _, err := message.ViewPosition(b); err != nil {
				t.Error(err)
			}
		}
	})
}
