// Package game is the demonstration game: rooms in which players move, talk
// and act. MESSAGES.md describes what is said on the wire.
package game
