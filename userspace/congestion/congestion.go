// Package congestion decides how many reliable packets of a session may be in
// flight, and how fast they leave.
//
// Controllers count packets, not bytes: a game's packets are small, and a
// session's queue at the bottleneck is measured in packets.
package congestion

// Window bounds in packets.
const (
	InitialWindow = 64
	MinWindow     = 8
	MaxWindow     = 1024
)

// Controller sets the congestion window and the pacing rate of one session.
// One goroutine owns it. Times are nanoseconds; sequence numbers are those of
// the reliable space and may wrap. No method allocates.
type Controller interface {
	// Name returns the name the algorithm is chosen by: "adaptive", "cubic"
	// or "bbr".
	Name() string
	// Window returns how many packets may be in flight.
	Window() int
	// PacingRate returns how many packets per second may leave, 0 before the
	// first acknowledgement.
	PacingRate() float64
	// OnSend reports that a packet is sent now, for the first time or again,
	// while inFlight others were in flight.
	OnSend(now uint64, inFlight int)
	// OnAck reports packets that were acknowledged for the first time.
	OnAck(a *Ack)
	// OnLoss reports packets that were taken for lost. Losses of one flight
	// are one congestion event.
	OnLoss(l *Loss)
	// OnMark reports that the peer received packets marked Congestion
	// Experienced. Marks of one flight are one congestion event.
	OnMark(now uint64, next uint32)
	// OnTimeout reports that nothing came back for a whole retransmission
	// timeout while next was the next new sequence.
	OnTimeout(now uint64, next uint32)
	// Undo takes back what the losses or the timeout of the newest congestion
	// event changed: they were none, the packets had arrived.
	Undo(now uint64)
	// Events returns how many congestion events there were, undone ones
	// excluded.
	Events() uint64
}

// Ack is what acknowledgements taken together say of the path.
type Ack struct {
	Now      uint64
	Packets  int    // acknowledged for the first time
	Newest   uint32 // the highest of their sequences
	InFlight int    // what is still in flight
	Limited  bool   // the window or the pacer, not the application, held packets back

	// Of the round trip; 0 before the first sample. RTT is the newest sample,
	// 0 where these acknowledgements bring none.
	RTT, SmoothedRTT, MinRTT uint64

	// The delivery rate over the newest acknowledged packet's flight
	// (draft-cheng-iccrg-delivery-rate-estimation-02): 0 where none could be
	// taken. AppLimited says that the application left the path idle meanwhile.
	Rate       float64 // packets per second
	AppLimited bool

	Delivered      uint64 // packets acknowledged so far, these included
	PriorDelivered uint64 // Delivered when the newest acknowledged packet was sent
}

// Loss is a set of packets found lost together.
type Loss struct {
	Now      uint64
	Packets  int
	Newest   uint32 // the highest of their sequences
	Next     uint32 // the next new sequence
	InFlight int    // what is still in flight
}
