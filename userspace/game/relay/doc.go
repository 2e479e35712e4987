// Package relay is a room in which everyone hears everyone: what a player
// publishes reaches all, and the server does not look at it. MESSAGES.md
// describes what is said on the wire.
package relay
