// Package snapshot brings the state of a room to its clients: as changes from
// what each is known to have, in as few bits as they take.
//
//	server                                     client
//	Schema                                     Schema, the same
//	History  what was, for 100 snapshots       Receiver  what was received
//	   │                                          │
//	Sender ── Append ──► snapshot ──────────► Receive
//	(one per client)                              │
//	Acknowledge ◄─────────── Ack ◄────────────────┤
//	                                           View, at the time of a Clock
//
// A Schema quantises the fields of a state into a row of integers. At each
// snapshot the server puts the row of every entity into the History, and each
// client's Sender encodes those that the client sees as changes from the
// newest snapshot that the client acknowledged. Snapshots and acknowledgements
// may be lost, repeated and overtaken; nothing is sent again, since the next
// snapshot says it better.
//
// Nothing here reads a clock, starts a goroutine or sends: times are
// arguments, and bytes go where the caller takes them. FORMAT.md describes the
// bytes.
package snapshot
