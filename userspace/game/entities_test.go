package game

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// body is the state of an entity in tests.
type body struct {
	At, Velocity Vec
	Facing       [4]float32
	Ghost        bool
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func bodySchema(t testing.TB) *snapshot.Schema[body] {
	place := snapshot.Range{Min: -2000, Max: 2000, Resolution: 0.01}
	speed := snapshot.Range{Min: -100, Max: 100, Resolution: 0.1}
	axis := func(k int) snapshot.Field[body] {
		return snapshot.Axis(func(b *body) *float32 { return &b.At[k] }, place,
			func(b *body) *float32 { return &b.Velocity[k] }, speed)
	}
	s, err := snapshot.NewSchema(time.Second/60, axis(0), axis(1), axis(2),
		snapshot.Quat(func(b *body) *[4]float32 { return &b.Facing }, 9),
		snapshot.Bool(func(b *body) *bool { return &b.Ghost }))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newBodies(t testing.TB, r *Room, o WorldOptions[body]) *World[body] {
	o.Schema = bodySchema(t)
	o.Position = func(b *body) *Vec { return &b.At }
	o.Velocity = func(b *body) *Vec { return &b.Velocity }
	o.Orientation = func(b *body) *[4]float32 { return &b.Facing }
	return NewWorld(r, o)
}
