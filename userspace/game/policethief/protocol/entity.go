package protocol

import (
	"math"
	"time"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Who sees what: players see what is within Interest of them and what rules.Game.Sees
// allows, and until it is Leave away. Items are seen within rules.SightReach. Who is
// not in the round sees everything.
const (
	Interest = 40 // units
	Leave    = 44
)

// MaxVisible is how many entities there are at most: players, and items in their
// greatest number.
const MaxVisible = 320

// Entity is a player in the round, or an item. The game's plane is x and z.
type Entity struct {
	Kind   rules.ItemKind // rules.NoItem for players
	Number uint16         // of the player, or the item
	At     [3]float32     // units
	Vel    [3]float32     // units per second

	// Of players. Turn does not travel; Yaw is the same as an angle around y.
	Turn     [4]float32
	Yaw      float32
	Role     rules.Role
	Status   rules.Status
	Carrying rules.ItemKind
	Score    int32
	Total    int32 // as far as 24 bits go
}

// NewSchema returns how entities travel, for so many ticks per second. Positions
// travel exactly, so that whoever is told of a wall may judge by them who sees whom.
func NewSchema(tickRate int) *snapshot.Schema[Entity] {
	place := snapshot.Range{Min: 0, Max: 640, Resolution: 1.0 / float64(rules.Unit)}
	speed := snapshot.Range{Min: -80, Max: 80, Resolution: 1.0 / 16}
	s, err := snapshot.NewSchema(Interval(tickRate),
		snapshot.Axis(func(e *Entity) *float32 { return &e.At[0] }, place, func(e *Entity) *float32 { return &e.Vel[0] }, speed),
		snapshot.Axis(func(e *Entity) *float32 { return &e.At[2] }, place, func(e *Entity) *float32 { return &e.Vel[2] }, speed),
		snapshot.Angle(func(e *Entity) *float32 { return &e.Yaw }, 10),
		snapshot.Int(func(e *Entity) *rules.ItemKind { return &e.Kind }, 0, 7),
		snapshot.Int(func(e *Entity) *uint16 { return &e.Number }, 0, math.MaxUint16),
		snapshot.Int(func(e *Entity) *rules.Role { return &e.Role }, 0, 3),
		snapshot.Int(func(e *Entity) *rules.Status { return &e.Status }, 0, 1023),
		snapshot.Int(func(e *Entity) *rules.ItemKind { return &e.Carrying }, 0, 7),
		snapshot.Int(func(e *Entity) *int32 { return &e.Score }, 0, math.MaxUint16),
		snapshot.Int(func(e *Entity) *int32 { return &e.Total }, 0, 1<<24-1),
	)
	if err != nil {
		panic("policethief: " + err.Error())
	}
	return s
}

// Interval is what a tick lasts.
func Interval(tickRate int) time.Duration { return time.Second / time.Duration(tickRate) }

// Place returns where a position of the game is for an entity.
func Place(v rules.Vec) [3]float32 { return [3]float32{v.X.Units(), 0, v.Y.Units()} }

// PosOf is the opposite, rounded to what the game counts in; ok is false for what is
// far outside.
func PosOf(at [3]float32) (v rules.Vec, ok bool) {
	x, okX := rules.CoordOf(at[0])
	y, okY := rules.CoordOf(at[2])
	return rules.Vec{X: x, Y: y}, okX && okY
}

// Turn returns the rotation around y by a yaw of the game.
func Turn(yaw uint16) [4]float32 {
	sin, cos := math.Sincos(float64(yaw) * math.Pi / (1 << 16))
	return [4]float32{1: float32(sin), 3: float32(cos)}
}

// YawOf is the opposite, for rotations around whatever axis.
func YawOf(turn [4]float32) uint16 {
	turns := math.Atan2(float64(turn[1]), float64(turn[3])) / math.Pi
	return uint16(int32(math.RoundToEven(turns * (1 << 16))))
}

// Radians returns a yaw of the game in radians.
func Radians(yaw uint16) float32 { return float32(yaw) * 2 * math.Pi / (1 << 16) }

// Player returns the entity of a player as the rules have it. Wish and Corrections are
// not in it.
func (e *Entity) Player() rules.PlayerState {
	at, _ := PosOf(e.At)
	vel, _ := PosOf(e.Vel)
	return rules.PlayerState{
		ID: rules.PlayerID(e.Number), Role: e.Role, Status: e.Status, Pos: at, Vel: vel,
		Yaw: uint16(int32(e.Yaw / (2 * math.Pi) * (1 << 16))), Carrying: e.Carrying, Score: e.Score, Total: e.Total,
	}
}

// Item returns the entity of an item as the rules have it.
func (e *Entity) Item() rules.Item {
	at, _ := PosOf(e.At)
	return rules.Item{ID: rules.ItemID(e.Number), Kind: e.Kind, Pos: at}
}
