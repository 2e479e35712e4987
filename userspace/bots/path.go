package bots

import (
	"math"

	"github.com/xrudp/xrudp/userspace/game/plaza"
)

const (
	// walkingSpeed stays well under the 100 units per second that a server
	// allows, so that honest bots are never corrected.
	walkingSpeed = 30.0

	// offCourse is how far from its circle a relayed bot may be seen: the
	// error of single precision many times over, and no more.
	offCourse = 0.5
)

// path is the circle that a bot walks: it starts at the origin and is known to
// every bot, so each can tell a position that its player never claimed.
type path struct {
	x, y, radius float64
}

func pathOf(bot int) path {
	// The golden angle spreads any number of circles around the origin.
	phi := float64(bot) * math.Pi * (3 - math.Sqrt(5))
	radius := 20 + float64(bot%32)
	return path{radius * math.Cos(phi), radius * math.Sin(phi), radius}
}

// at is where the bot is, seconds after its start.
func (p path) at(seconds float64) plaza.Position {
	phi := math.Atan2(-p.y, -p.x) + seconds*walkingSpeed/p.radius
	return plaza.Position{
		X: float32(p.x + p.radius*math.Cos(phi)),
		Y: float32(p.y + p.radius*math.Sin(phi)),
	}
}

// holds reports whether a position lies on the path.
func (p path) holds(at plaza.Position) bool {
	dx, dy := float64(at.X)-p.x, float64(at.Y)-p.y
	off := math.Abs(math.Hypot(dx, dy) - p.radius)
	return off <= offCourse && math.Abs(float64(at.Z)) <= offCourse // false for NaN
}
