package game

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
)

func TestPositionsAreAcknowledgedWithSnapshots(t *testing.T) {
	w, l, all := one(t, 2, WorldOptions[body]{})
	v := all[0]
	v.sequence = math.MaxUint32 - 3
	for range 10 {
		v.claim(Vec{1})
		v.claim(Vec{2})
		v.claim(Vec{3})
		w.run(3 * tickTime)
		v.hear()
	}
	want := []uint32{math.MaxUint32, 2, 5, 8, 11, 14, 17, 20, 23, 26}
	if !slices.Equal(v.acks, want) {
		t.Errorf("acknowledged %v", v.acks)
	}
	for i, input := range v.inputs[len(v.inputs)-len(want):] {
		if input != uint16(want[i]) {
			t.Errorf("the snapshot with the acknowledgement of %d has input %d", want[i], input)
		}
	}
	if b := l.world.State(v.own.ID); b.At != (Vec{3}) || b.Facing != [4]float32{3: 1} {
		t.Errorf("is %+v", *b)
	}
	all[1].hear()
	if len(all[1].acks) != 0 {
		t.Errorf("acknowledged %v to who said nothing", all[1].acks)
	}
	w.run(10 * tickTime)
	if v.hear(); len(v.acks) != 10 {
		t.Errorf("acknowledged %v again", v.acks[10:])
	}
}

func TestVelocityIsThatOfClaims(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	for n := range 30 {
		v.claim(Vec{float32(n) * 0.1, 0, float32(n) * -0.2})
		w.run(tickTime)
	}
	b := l.world.State(v.own.ID)
	if far(b.Velocity, Vec{6, 0, -12}) > 0.5 {
		t.Errorf("velocity %v", b.Velocity)
	}
	w.run(20 * tickTime)
	if b.Velocity != (Vec{}) {
		t.Errorf("velocity %v of who is silent", b.Velocity)
	}
}

// The network brings claims at odd times, which does not matter as long as they have
// times of their own.
func TestVelocityGoesByTheTimesOfClaims(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	claim := func(after, x float32) {
		v.sequence++
		v.sayLoose(message.TypePositionUpdate, message.PositionUpdate{
			Sequence: v.sequence, X: x, Full: true, Time: uint32(1e6 + after*1000), Orientation: message.Quaternion{3: 1},
		}.AppendTo(nil))
	}
	b := l.world.State(v.own.ID)
	for n := range 60 {
		if n%5 < 3 {
			at := float32(n-n%5%2*2) / 60
			claim(at, 6*at)
		}
		w.run(tickTime)
		if n > 10 && (b.Velocity[0] < 5.8 || b.Velocity[0] > 6.2) {
			t.Fatalf("tick %d: velocity %v", n, b.Velocity)
		}
	}
	w.run(60 * tickTime)
	claim(2, 6)
	w.run(tickTime)
	claim(2.05, 26)
	w.run(tickTime)
	if math.Abs(float64(b.Velocity[0])-100) > 0.01 {
		t.Errorf("velocity %v of who cheats with times", b.Velocity)
	}
}

// Claims that are all of one moment, while the server lost ticks, tell no velocity.
func TestClaimsOfOneMoment(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	say := func(x float32) {
		v.sequence++
		v.sayLoose(message.TypePositionUpdate, message.PositionUpdate{
			Sequence: v.sequence, X: x, Full: true, Time: uint32(1e12 / 1e6), Orientation: message.Quaternion{3: 1},
		}.AppendTo(nil))
	}
	say(1)
	w.run(tickTime)
	w.now += uint64(600 * time.Millisecond)
	w.run(tickTime)
	say(2)
	w.run(3 * tickTime)
	b := l.world.State(v.own.ID)
	if far(b.At, Vec{2}) != 0 || far(b.Velocity, Vec{}) != 0 {
		t.Errorf("is at %v and goes %v", b.At, b.Velocity)
	}
}

func TestViolationsAreToldAndCounted(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	v.claim(Vec{1000})
	w.run(tickTime)
	if want := []space.Violation{space.TooFast}; !slices.Equal(l.rules, want) {
		t.Errorf("told of %v", l.rules)
	}
	b := l.world.State(v.own.ID)
	if b.At[0] < 25 || b.At[0] > 40 {
		t.Errorf("is at %v", b.At)
	}
	p := l.room.players[0]
	if n := l.world.Violations(p, space.TooFast); n != 1 {
		t.Errorf("%d violations", n)
	}
	if n := w.total(metrics.Violations); n != 1 {
		t.Errorf("%d violations of the room", n)
	}
}

func TestTeleportVoidsClaims(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	id := v.own.ID
	v.claim(Vec{1})
	l.world.Teleport(id, Vec{500})
	for range 5 {
		v.claim(Vec{2})
		w.run(tickTime)
		if at := l.world.State(id).At; at != (Vec{500}) {
			t.Fatalf("is at %v", at)
		}
	}
	if v.hear(); len(v.acks) == 0 {
		t.Error("void claims are not acknowledged")
	}
	v.claim(Vec{501})
	w.run(tickTime)
	if at := l.world.State(id).At; at != (Vec{501}) {
		t.Errorf("is at %v after it knows", at)
	}
	if len(l.rules) != 0 {
		t.Errorf("violated %v", l.rules)
	}
}

// What a player claims of one entity does not move the next.
func TestAssignVoidsClaimsOfTheLast(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	v.claim(Vec{1})
	w.run(6 * tickTime)
	v.hear()
	next, _ := l.world.Add(body{At: Vec{500}, Facing: [4]float32{3: 1}})
	l.world.Assign(l.room.players[0], next)
	v.inputs = nil
	w.run(3 * tickTime)
	for range 4 {
		v.claim(Vec{2})
		w.run(tickTime)
		if at := l.world.State(next).At; at != (Vec{500}) {
			t.Fatalf("is at %v", at)
		}
	}
	v.hear()
	if v.own.ID != next || v.inputs[0] != 0 {
		t.Fatalf("moves %v, and %v is in its snapshots", v.own.ID, v.inputs)
	}
	v.claim(Vec{501})
	w.run(4 * tickTime)
	if at := l.world.State(next).At; at != (Vec{501}) || len(l.rules) != 0 {
		t.Errorf("is at %v after it knows, violated %v", at, l.rules)
	}
}

// Where it was before a teleport tells nothing of a velocity.
func TestTeleportTellsNoVelocity(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{})
	v := all[0]
	v.claim(Vec{1})
	w.run(tickTime)
	l.world.Teleport(v.own.ID, Vec{30})
	w.run(4 * tickTime)
	v.hear()
	v.claim(Vec{30})
	w.run(tickTime)
	if b := l.world.State(v.own.ID); b.Velocity != (Vec{}) || b.At != (Vec{30}) {
		t.Errorf("is at %v and goes %v", b.At, b.Velocity)
	}
}
