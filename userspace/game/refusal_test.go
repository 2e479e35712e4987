package game

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

func connect(m message.Connect) []byte {
	b, err := message.Append(nil, &m)
	if err != nil {
		panic(err)
	}
	return b
}

func listing(game string) []byte {
	b, err := message.Append(nil, &message.ListRooms{Game: game})
	if err != nil {
		panic(err)
	}
	return b
}

func TestRefused(t *testing.T) {
	opts := relays()
	opts.Kinds[0].MaxPlayers = 1
	opts.Kinds[0].MaxMessage = 2000
	opts.Kinds = append(opts.Kinds, Kind{Name: "newer", New: newRelay, Version: 3}, Kind{Name: "broken", New: func(*Room) Logic { panic("new") }})
	opts.Direct = func() map[uint8]func(*Client, session.Message) error {
		return map[uint8]func(*Client, session.Message) error{
			0x20: func(*Client, session.Message) error { panic("direct") },
			0x21: func(*Client, session.Message) error { return message.ErrDenied },
		}
	}
	relayFull := connect(message.Connect{Game: "relay", Name: "x", Room: 9})
	tests := []struct {
		name    string
		in      bool // has joined a room
		typ     uint8
		payload []byte
		code    message.Error
		count   metrics.Counter
	}{
		{"unknown_type", true, 0x50, []byte{1}, message.ErrType, metrics.RefusedTypes},
		{"server_type", true, message.TypeConnected, []byte{1}, message.ErrType, metrics.RefusedTypes},
		{"outside", false, typeSay, number(1), message.ErrState, metrics.RefusedState},
		{"too_large", true, typeSay, make([]byte, 2001), message.ErrTooLarge, metrics.Rejected},
		{"plain_error", true, typeFail, []byte{0}, message.ErrDenied, metrics.RefusedByGame},
		{"coded_error", true, typeFail, []byte{1}, message.ErrMove, metrics.RefusedByGame},
		{"panic", true, typeFail, []byte{2}, message.ErrInternal, metrics.RefusedInternal},
		{"panic_on_payload", true, typeFail, nil, message.ErrInternal, metrics.RefusedInternal},
		{"direct_panic", false, 0x20, nil, message.ErrInternal, metrics.RefusedInternal},
		{"direct_error", true, 0x21, nil, message.ErrDenied, metrics.RefusedByGame},
		{"connect_malformed", false, message.TypeConnect, []byte{message.TypeConnect, 0, 0xc1}, message.ErrMalformed, metrics.Rejected},
		{"no_such_game", false, message.TypeConnect, connect(message.Connect{Game: "chess", Name: "x"}), message.ErrRoom, metrics.RefusedJoins},
		{"version", false, message.TypeConnect, connect(message.Connect{Game: "newer", Name: "x", Version: 2}), message.ErrVersion, metrics.RefusedJoins},
		{"room_full", false, message.TypeConnect, relayFull, message.ErrRoom, metrics.RefusedJoins},
		{"broken_logic", false, message.TypeConnect, connect(message.Connect{Game: "broken", Name: "x"}), message.ErrInternal, metrics.RefusedInternal},
		{"disconnect_outside", false, message.TypeDisconnect, []byte{message.TypeDisconnect, 0, 0x80}, message.ErrState, metrics.RefusedState},
		{"rooms_malformed", false, message.TypeListRooms, []byte{message.TypeListRooms, 0, 0x80}, message.ErrName, metrics.Rejected},
		{"rooms_of_no_such_game", true, message.TypeListRooms, listing("chess"), message.ErrRoom, metrics.RefusedJoins},
		{"clock_malformed", false, message.TypeClockRequest, []byte{message.TypeClockRequest}, message.ErrLength, metrics.Rejected},
	}
	for _, tt := range tests {
		for nodes := range 3 {
			t.Run(fmt.Sprint(tt.name, "_", nodes+1), func(t *testing.T) {
				w := newWorld(t, nodes+1, opts)
				other := w.connect(0)
				other.join("relay", 9)
				p := w.connect(nodes)
				if tt.in {
					p.join("relay", 1)
				}
				w.settle()
				before := w.total(tt.count)
				p.got = nil
				for _, mode := range []session.Mode{session.ReliableOrdered, session.Unreliable} {
					if tt.typ == message.TypeConnect && mode == session.Unreliable {
						continue
					}
					p.node.Message(p, session.Message{Mode: mode, Type: tt.typ, Payload: tt.payload})
					w.settle()
					var want []message.Error
					if mode.Reliable() {
						want = []message.Error{tt.code}
					}
					if got := p.refused(); !slices.Equal(got, want) {
						t.Errorf("%v: refused with %v, want %v", mode, got, want)
					}
					before++
					if got := w.total(tt.count); got != before {
						t.Errorf("%v: %v is %d, want %d", mode, tt.count, got, before)
					}
				}
				for _, p := range []*peer{p, other} {
					p.node.Close(p)
				}
			})
		}
	}
}

// Whatever the answer to Connect is, its sender is not where it was before: that is
// what clients go by.
func TestRefusedConnectLeaves(t *testing.T) {
	opts := relays()
	opts.Kinds = append(opts.Kinds, Kind{Name: "newer", New: newRelay, Version: 3})
	long := message.Connect{Game: "relay", Name: "x"}
	tests := []struct {
		name    string
		payload []byte
		code    message.Error
		rate    Rate
	}{
		{"no_such_game", connect(message.Connect{Game: "chess", Name: "x"}), message.ErrRoom, Unlimited},
		{"version", connect(message.Connect{Game: "newer", Name: "x"}), message.ErrVersion, Unlimited},
		{"malformed", []byte{message.TypeConnect, 0, 0xc1}, message.ErrMalformed, Unlimited},
		{"large", append(connect(long), make([]byte, message.MaxAsk)...), message.ErrTooLarge, Unlimited},
		{"too_often", connect(long), message.ErrRate, Rate{PerSecond: 1, Burst: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts.Connects = tt.rate
			w := newWorld(t, 2, opts)
			p := w.connect(1)
			p.join("relay", 1)
			w.settle()
			p.connected()
			p.say(message.TypeConnect, tt.payload)
			w.settle()
			if got := p.refused(); !slices.Equal(got, []message.Error{tt.code}) {
				t.Errorf("refused with %v, want %v", got, tt.code)
			}
			w.idle()
		})
	}
}

// Messages to the node itself may be compressed like any other.
func TestCompressedConnect(t *testing.T) {
	var tokens []string
	opts := relays()
	opts.Kinds[0].New = func(r *Room) Logic {
		r.OnJoin(func(p *Player) { tokens = append(tokens, string(p.Token())) })
		r.OnLeave(func(p *Player) {
			if len(p.Token()) != 0 {
				t.Error("the token outlives joining")
			}
		})
		return newRelay(r)
	}
	w := newWorld(t, 2, opts)
	token := strings.Repeat("0123456789", 200)
	var codec message.Codec
	for node := range 2 {
		p := w.connect(node)
		payload := codec.Compress(connect(message.Connect{Game: "relay", Name: "x", Room: 1, Token: []byte(token)}))
		if len(payload) > 1000 {
			t.Fatal("not compressed")
		}
		p.say(message.TypeConnect, payload)
		w.settle()
		p.connected()
		p.leave()
		w.settle()
	}
	if !slices.Equal(tokens, []string{token, token}) {
		t.Errorf("the room got tokens %q", tokens)
	}
}

// Numbers that run over skip those who are still here.
func TestHandlesRunOver(t *testing.T) {
	w := newWorld(t, 1, relays())
	first, second := w.connect(0), w.connect(0)
	first.join("relay", 1)
	w.nodes[0].handle = math.MaxUint32
	second.join("relay", 1)
	w.settle()
	for i, p := range []*peer{first, second} {
		p.connected()
		p.say(typeAsk, number(uint32(i)))
		w.settle()
		if got := p.take(typeAnswer); len(got) != 1 {
			t.Errorf("peer %d got %d answers", i, len(got))
		}
		p.leave()
	}
	w.settle()
	w.idle()
}

func TestServerFull(t *testing.T) {
	opts := relays()
	opts.MaxRooms = 2
	w := newWorld(t, 2, opts)
	for room := range uint32(3) {
		p := w.connect(int(room) % 2)
		p.join("relay", room+1)
		w.settle()
		if got, want := p.refused(), room == 2; slices.Equal(got, []message.Error{message.ErrRoom}) != want {
			t.Errorf("room %d: refused with %v", room, got)
		}
	}
}

// What an error says stays at the server unless it is meant for the player.
func TestRefusalText(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want message.Refused
	}{
		{"plain", errPlain, message.Refused{Code: message.ErrDenied}},
		{"code", message.ErrName, message.Refused{Code: message.ErrName}},
		{"refusal", Refuse(70, "no gold"), message.Refused{Code: 70, Text: "no gold"}},
		{"wrapped", fmt.Errorf("buy: %w", Refuse(70, "no gold")), message.Refused{Code: 70, Text: "no gold"}},
		{"joined", errors.Join(errPlain, message.ErrMove), message.Refused{Code: message.ErrMove}},
		{"long", Refuse(70, strings.Repeat("x", 1000)), message.Refused{Code: 70, Text: strings.Repeat("x", message.MaxNote)}},
		{"not_for_people", Refuse(70, "a\x00b"), message.Refused{Code: 70}},
		{"without_code", Refuse(0, "x"), message.Refused{Code: message.ErrDenied, Text: "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := relays()
			opts.Kinds[0].New = func(r *Room) Logic {
				game := newRelay(r)
				On(r, func(_ *Player, m *message.PlayerAction) error { return tt.err })
				return game
			}
			w := newWorld(t, 1, opts)
			p := w.connect(0)
			p.join("relay", 1)
			p.sayMessage(&message.PlayerAction{Number: 12, Action: message.Move})
			tt.want.Type, tt.want.Number = message.TypePlayerAction, 12
			var got message.Refused
			all := p.take(message.TypeRefused)
			if len(all) != 1 {
				t.Fatalf("refused %d times", len(all))
			}
			if err := message.Parse(all[0], &got); err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// A client that does everything wrong is told some of it only.
func TestRefusalsAreLimited(t *testing.T) {
	w := newWorld(t, 1, relays())
	p := w.connect(0)
	for range 100 {
		p.say(typeSay, nil)
	}
	if got := len(p.refused()); got != int(refusals.Burst) {
		t.Errorf("told %d times at once, want %v", got, refusals.Burst)
	}
	w.now += uint64(time.Second)
	for range 100 {
		p.say(typeSay, nil)
	}
	if got := len(p.refused()); got != int(refusals.PerSecond) {
		t.Errorf("told %d times a second later, want %v", got, refusals.PerSecond)
	}
	if got := w.total(metrics.RefusedState); got != 200 {
		t.Errorf("counted %d", got)
	}
	p.join("chess", 0)
	if got := p.refused(); !slices.Equal(got, []message.Error{message.ErrRoom}) {
		t.Errorf("told %v of the room", got)
	}
}

func TestLimits(t *testing.T) {
	opts := relays()
	rate := Rate{PerSecond: 10, Burst: 20}
	opts.Kinds[0].Limits = Limits{Positions: rate, Actions: rate, Large: rate, Media: rate, Other: rate}
	opts.Kinds[0].New = func(r *Room) Logic {
		game := newRelay(r)
		r.Handle(message.TypePlayerAction, func(p *Player, m session.Message) error {
			p.SendMessage(session.Outgoing{Mode: session.ReliableOrdered, Type: typeSaid, Payload: m.Payload})
			return nil
		})
		r.Handle(message.TypeMediaStream, func(p *Player, m session.Message) error {
			p.SendMessage(session.Outgoing{Mode: session.ReliableOrdered, Type: typeSaid, Payload: m.Payload})
			return nil
		})
		return game
	}
	messages := map[string]session.Message{
		"position": {Mode: session.Unreliable, Type: typeSay, Payload: number(1)},
		"action":   {Mode: session.ReliableOrdered, Type: message.TypePlayerAction, Payload: number(1)},
		"media":    {Mode: session.Unreliable, Type: message.TypeMediaStream, Payload: number(1)},
		"large":    {Mode: session.ReliableOrdered, Type: typeSay, Payload: make([]byte, 2000)},
		"other":    {Mode: session.ReliableOrdered, Type: typeSay, Payload: number(1)},
	}
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, opts)
			p := w.connect(1)
			p.join("relay", 1)
			w.settle()
			send := func(m session.Message) (heard int) {
				for range 50 {
					p.node.Message(p, m)
				}
				w.settle()
				return len(p.take(typeSaid))
			}
			if got := send(m); got != 20 {
				t.Errorf("%d of 50 at once, want 20", got)
			}
			if got := w.total(metrics.RefusedRate); got != 30 {
				t.Errorf("%d refused for their rate, want 30", got)
			}
			for other, m := range messages {
				if other != name {
					if got := send(m); got != 20 {
						t.Errorf("%d of 50 of another class, want 20", got)
					}
				}
			}
			w.now += uint64(time.Second)
			if got := send(m); got != 10 {
				t.Errorf("%d of 50 a second later, want 10", got)
			}
		})
	}
}

func TestConnectsAreLimited(t *testing.T) {
	opts := relays()
	opts.Connects = Rate{}
	w := newWorld(t, 1, opts)
	p := w.connect(0)
	for range 30 {
		p.join("relay", 0)
	}
	if got := len(p.refused()); got != 20 {
		t.Errorf("%d of 30 refused, want 20", got)
	}
}

func TestListsAreLimited(t *testing.T) {
	opts := relays()
	opts.Connects = Rate{}
	w := newWorld(t, 1, opts)
	p := w.connect(0)
	for range 30 {
		p.say(message.TypeListRooms, listing("relay"))
	}
	refused := w.total(metrics.RefusedRate)
	if got := len(p.take(message.TypeRooms)); got != 10 || refused != 20 {
		t.Errorf("%d of 30 answered and %d refused, want 10 and 20", got, refused)
	}
	// It may ask for a room nevertheless.
	p.join("relay", 0)
	p.connected()
}

// A client whose queue is full loses unreliable messages, and is disconnected over
// reliable ones. The others do not notice.
func TestSlowPeerIsKicked(t *testing.T) {
	w := newWorld(t, 2, relays())
	slow, other := w.connect(0), w.connect(1)
	slow.join("relay", 1)
	other.join("relay", 1)
	w.settle()
	slow.refuse = errors.New("full")
	other.node.Message(other, session.Message{Mode: session.Unreliable, Type: typeLoose, Payload: number(1)})
	w.settle()
	if slow.closed != 0 {
		t.Fatalf("closed over an unreliable message: %v", slow.closed)
	}
	other.got = nil
	other.say(typeSay, number(1))
	w.settle()
	if slow.closed != wire.ReasonKicked {
		t.Errorf("reason %v, want kicked", slow.closed)
	}
	if got := len(other.take(typeSaid)); got != 1 {
		t.Errorf("the other got %d messages, want 1", got)
	}
}

func TestRecoveredPeerIsIgnored(t *testing.T) {
	w := newWorld(t, 1, relays())
	p := &peer{world: w, node: w.nodes[0], recovered: true}
	p.node.Open(p)
	p.join("relay", 1)
	p.node.Close(p)
	if len(p.got) != 0 {
		t.Errorf("a recovered client got %v", p.got)
	}
	w.idle()
}

func TestClock(t *testing.T) {
	w := newWorld(t, 1, relays())
	p := w.connect(0)
	w.spent[0] = 5000
	p.node.Message(p, session.Message{Mode: session.Unreliable, Channel: 3, Type: message.TypeClockRequest, Payload: message.ClockRequest{Sent: 9}.AppendTo(nil)})
	if len(p.got) != 1 || p.got[0].Mode != session.Unreliable || p.got[0].Channel != 3 {
		t.Fatalf("got %+v", p.got)
	}
	a, err := message.ParseClockAnswer(p.got[0].Payload)
	if want := (message.ClockAnswer{Sent: 9, Received: w.now / 1000, Answered: w.now/1000 + 5}); err != nil || a != want {
		t.Errorf("got %+v, %v, want %+v", a, err, want)
	}
}

func TestBucket(t *testing.T) {
	tests := []struct {
		name       string
		rate       Rate
		once, then int // of 100, at once and after a second
	}{
		{"burst", Rate{10, 20}, 20, 10},
		{"without_burst", Rate{PerSecond: 10}, 10, 10},
		{"slow", Rate{PerSecond: 0.5}, 1, 0},
		{"tiny_burst", Rate{5, 0.1}, 1, 1},
		{"unlimited", Unlimited, 100, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bucket
			take := func(now uint64) (n int) {
				for range 100 {
					if b.take(tt.rate, now) {
						n++
					}
				}
				return n
			}
			once, then := take(1e12), take(1e12+1e9)
			if once != tt.once || then != tt.then {
				t.Errorf("%d at once and %d then, want %d and %d", once, then, tt.once, tt.then)
			}
		})
	}
}
