// Package plaza is a room in which players move, talk and act: one kind of room
// of package game, and what bots and benches play. MESSAGES.md describes what is
// said on the wire.
package plaza
