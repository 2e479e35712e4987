// Package rules is the game Police and Thief: who may do what, when, and what
// comes of it. RULES.md in the folder above tells the game to those who play it.
//
// A Game takes inputs with Apply, advances one tick with Step, and reports by
// Events and State. It reads no clock, starts no goroutine and does no I/O. All
// arithmetic is on integers, and nothing depends on the order of a map, so that
// the same seed, configuration and inputs give the same Hash at every tick on
// every machine: a Recorder keeps them, a Replay plays them again.
//
// Positions lie on a plane and are whole multiples of 1/256 of a unit. Times are
// counted in ticks. Values of one Game belong to one goroutine.
//
// Servers judge with a Game. Clients predict with World.Slide and Config.Speed,
// and check what they are told with a Verifier.
package rules
