// Package impair makes the path between clients and a server a bad one, by the
// model of simnet with a clock that shows the time of day: packets are lost,
// delayed, reordered, duplicated, damaged, and wait in the queue of a
// bottleneck. A Stage carries the frames of a lab, a UDP the datagrams of any
// server. Neither needs anything of the kernel but sockets.
package impair

// Stats count the frames of one direction that came from one end of a lab. Of
// those delivered, Unsent did not make it out to the other.
type Stats struct {
	PathStats
	Missed  uint64 `json:"missed"`   // came faster than they were read
	TooLong uint64 `json:"too_long"` // longer than the MTU
	Unsent  uint64 `json:"unsent"`   // refused by the other interface
}
