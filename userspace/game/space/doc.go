// Package space holds the data structures of a room with positions: who is near
// whom, what each viewer is told of, which claimed movements are believed, and
// where everybody was a moment ago.
//
// Nothing here reads a clock, starts a goroutine or sends; the same calls give the
// same results. Values belong to one goroutine. Entities are numbered by slots, as
// in package snapshot, and once their arrays have grown nothing allocates.
package space

// Vec is a position or a direction: x, y and z.
type Vec = [3]float32
