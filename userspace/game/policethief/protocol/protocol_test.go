package protocol

import (
	"bytes"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"testing"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// all returns a message of every type, empty.
func all() []message.Message {
	return []message.Message{
		new(AskTruth), new(AskSums), new(Welcome), new(Named), new(State), new(Events), new(Own), new(Truth), new(Sums), new(Watching),
	}
}

// full returns a message of every type whose fields are all different from zero.
func full() []message.Message {
	config := ConfigOf(rules.New(rules.Fast(), 0).Config())
	return []message.Message{
		&AskTruth{1, 2}, &AskSums{},
		&Welcome{Player: 1, Base: 2, Truth: true, Config: config, Members: []Member{{1, "ada", 3}, {2, "bob", -4}}},
		&Named{1, "ada"},
		&State{1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6},
		&Events{[]Event{event(), event()}},
		&Own{1, 2, 3, 4, 5, 6, 7, make([]uint32, len(rules.Own{}.ReadyAt))},
		&Truth{[]byte{1, 2}}, &Sums{Tally{1, 2}, Tally{3, 4}, Tally{5, 6}}, &Watching{1, true, 2},
	}
}

func event() Event {
	return Event{1, 2, 1, 2, 5, 6, 7, 8, -9, 10, -11, 12, 1, 2, 3, 4, 17, 2, -19, 20, 21, 22}
}

func TestMessagesComeBack(t *testing.T) {
	for i, m := range full() {
		b, err := message.Append(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		back := all()[i]
		if err := message.Parse(b, back); err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%+v became %+v: %v", m, back, err)
		}
	}
}

func TestIllegalMessages(t *testing.T) {
	legal := ConfigOf(rules.New(rules.Config{}, 0).Config())
	large := legal
	large.Reach = 1 << 40
	tests := []struct {
		name string
		m    message.Message
		want message.Error
	}{
		{"too_many_members", &Welcome{Config: legal, Members: make([]Member, 300)}, message.ErrTooLarge},
		{"member_without_name", &Welcome{Config: legal, Members: make([]Member, 1)}, message.ErrName},
		{"config_out_of_range", &Welcome{Config: large}, message.ErrField},
		{"name_of_control_characters", &Named{1, "a\x01"}, message.ErrName},
		{"too_many_events", &Events{make([]Event, MaxEvents+1)}, message.ErrTooLarge},
		{"too_few_cooldowns", &Own{ReadyAt: make([]uint32, 3)}, message.ErrField},
		{"too_many_ticks", &AskTruth{1, MaxTicks + 1}, message.ErrTooLarge},
		{"ticks_backwards", &AskTruth{2, 1}, message.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := message.Append(nil, tt.m); message.Reason(err) != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// What the rules say comes back as they said it, with nothing left out.
func TestRulesComeBack(t *testing.T) {
	cfg := rules.New(rules.Fast(), 0).Config()
	wire := ConfigOf(cfg)
	if got := wire.Rules(); got != cfg {
		t.Errorf("%+v became %+v", cfg, got)
	}
	e := event()
	if r := e.Rules(); EventOf(&r) != e {
		t.Errorf("%+v became %+v", e, EventOf(&r))
	}
	if v := reflect.ValueOf(e.Rules()); v.NumField() != 20 {
		t.Errorf("an event of the rules has %d fields: is the one here complete?", v.NumField())
	}
	s := State{0, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6}
	if r := s.Rules(); StateOf(r, 0) != s {
		t.Errorf("%+v became %+v", s, StateOf(r, 0))
	}
}

// Every field of an event counts for the sum, and so does the order.
func TestTally(t *testing.T) {
	e := event()
	var plain Tally
	plain.Add(&e)
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		other := event()
		if f := reflect.ValueOf(&other).Elem().Field(i); f.CanUint() {
			f.SetUint(f.Uint() ^ 1)
		} else {
			f.SetInt(f.Int() ^ 1)
		}
		var sum Tally
		if sum.Add(&other); sum.Sum == plain.Sum {
			t.Errorf("%s does not count", v.Type().Field(i).Name)
		}
	}
	a, b := event(), event()
	b.Number++
	var ab, ba Tally
	ab.Add(&a)
	ab.Add(&b)
	ba.Add(&b)
	ba.Add(&a)
	if ab == ba || ab.Count != 2 {
		t.Errorf("%+v in one order, %+v in the other", ab, ba)
	}
}

func TestYaw(t *testing.T) {
	for yaw := 0; yaw < 1<<16; yaw += 7 {
		if got := YawOf(Turn(uint16(yaw))); int16(got-uint16(yaw)) < -1 || int16(got-uint16(yaw)) > 1 {
			t.Fatalf("yaw %d became %d", yaw, got)
		}
	}
}

// Entities come through snapshots as they were, positions to the last bit.
func TestSchema(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	schema := NewSchema(60)
	history := snapshot.NewHistory(schema, MaxVisible)
	sender := snapshot.NewSender(history, snapshot.SenderOptions{})
	receiver := snapshot.NewReceiver(schema, snapshot.ReceiverOptions{})
	for tick := range uint32(100) {
		at := rules.Vec{X: rules.Coord(rng.Int32N(640*256 + 1)), Y: rules.Coord(rng.Int32N(640*256 + 1))}
		e := Entity{
			Number: uint16(rng.Uint32()), At: Place(at), Vel: [3]float32{float32(rng.IntN(20)), 0, -3.5},
			Yaw: Radians(uint16(rng.Uint32())), Role: rules.Role(rng.IntN(4)), Status: rules.Status(rng.IntN(1024)),
			Carrying: rules.ItemKind(rng.IntN(6)), Kind: rules.ItemKind(rng.IntN(6)), Score: rng.Int32N(60000), Total: rng.Int32N(1 << 24),
		}
		id := snapshot.ID{Slot: 3, Generation: 1}
		history.Begin(tick + 1)
		history.Set(id, &e)
		if _, err := receiver.Receive(sender.Append(nil, []snapshot.ID{id}, nil, 1000)); err != nil {
			t.Fatal(err)
		}
		entries, _, whole, ok := receiver.Contents(nil)
		if !ok || !whole || len(entries) != 1 {
			t.Fatalf("contents %v", entries)
		}
		got := entries[0].State
		if back, ok := PosOf(got.At); !ok || back != at {
			t.Fatalf("%v became %v", at, back)
		}
		got.Yaw = e.Yaw
		if got != e {
			t.Fatalf("%+v became %+v", e, got)
		}
	}
}

// MESSAGES.md names every type with its number.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("MESSAGES.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| 0x([0-9a-f]{2}) \| (\w+) \|`).FindAllSubmatch(doc, -1) {
		found[string(m[2])] = string(m[1])
	}
	for _, m := range all() {
		name, number := reflect.TypeOf(m).Elem().Name(), strconv.FormatUint(uint64(m.Kind()), 16)
		if found[name] != number {
			t.Errorf("MESSAGES.md has %s as %q, not %s", name, found[name], number)
		}
		for i := range reflect.TypeOf(m).Elem().NumField() {
			field := regexp.MustCompile(`^\w+`).FindString(reflect.TypeOf(m).Elem().Field(i).Tag.Get("msg"))
			if !bytes.Contains(doc, []byte("`"+field+"`")) {
				t.Errorf("MESSAGES.md lacks field %s of %s", field, name)
			}
		}
	}
}

// FuzzMessages: what is accepted is legal, and comes back.
func FuzzMessages(f *testing.F) {
	for _, m := range full() {
		b, _ := message.Append(nil, m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, m := range all() {
			if message.Parse(b, m) != nil {
				continue
			}
			again, err := message.Append(nil, m)
			if err != nil {
				t.Fatalf("%T is accepted, and illegal: %v", m, err)
			}
			back := all()[i]
			if err := message.Parse(again, back); err != nil {
				t.Fatalf("%T: %v", m, err)
			}
			if once, err := message.Append(nil, back); err != nil || !bytes.Equal(once, again) {
				t.Fatalf("%x became %x: %v", again, once, err)
			}
			switch m := m.(type) {
			case *Welcome:
				if err := m.Config.Rules().Validate(); err != nil {
					t.Fatal(err)
				}
			case *Truth:
				parseMoments(t, m.Data)
			default:
			}
		}
	})
}

// FuzzMoment: what is accepted comes back as the same bytes.
func FuzzMoment(f *testing.F) {
	m := Moment{Tick: 7, Entities: []Fact{{
		ID: snapshot.ID{Slot: 1, Generation: 2}, Kind: rules.Coin, Number: 3, At: rules.Vec{X: -4, Y: 5},
		Role: rules.Thief, Status: rules.Jailed, Carrying: rules.Smoke,
	}, {}}}
	f.Add(m.AppendTo(nil))
	f.Add(m.AppendTo(m.AppendTo(nil)))
	f.Fuzz(parseMoments)
}

func parseMoments(t *testing.T, b []byte) {
	var m Moment
	for len(b) > 0 {
		rest, err := ParseMoment(b, &m)
		if err != nil {
			return
		}
		if again := m.AppendTo(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x became %x", b, again)
		}
		b = rest
	}
}
