// Package congestion decides how many reliable packets may be in flight.
//
// Controllers count packets, not bytes: a game's packets are small and a
// session's queue at the bottleneck is measured in packets.
package congestion

// Window bounds in packets.
const (
	InitialWindow = 64
	MinWindow     = 8
	MaxWindow     = 1024
)

// Controller sets the congestion window of one session. One goroutine owns
// it. Sequence numbers are those of the reliable space and may wrap.
type Controller interface {
	// Window returns how many packets may be in flight.
	Window() int
	// OnAck reports that acked packets were acknowledged for the first time,
	// newest being the highest of their sequences. limited says that the
	// window, not the application, held packets back before.
	OnAck(acked int, newest uint32, limited bool)
	// OnLoss reports that packet lost is taken for lost while next was the
	// next new sequence. Losses of one flight count once.
	OnLoss(lost, next uint32)
	// OnTimeout reports that nothing came back for a whole retransmission
	// timeout while next was the next new sequence.
	OnTimeout(next uint32)
}

// Reno grows by one packet per acknowledged packet until the first loss and by
// one packet per round trip afterwards. It halves on loss, once per flight,
// and falls to MinWindow on a timeout (RFC 9002 section 7, in packets).
//
// The zero value is not ready: use NewReno.
type Reno struct {
	window     int
	threshold  int    // slow start ends here
	acked      int    // since the window last grew in congestion avoidance
	recovering bool   // a loss was answered, recovery names its flight
	recovery   uint32 // packets from here on were sent after the answer
}

// NewReno returns a controller with InitialWindow.
func NewReno() *Reno {
	return &Reno{window: InitialWindow, threshold: MaxWindow}
}

// Window implements Controller.
func (r *Reno) Window() int { return r.window }

// OnAck implements Controller.
func (r *Reno) OnAck(acked int, newest uint32, limited bool) {
	if r.recovering && int32(newest-r.recovery) >= 0 {
		r.recovering = false
	}
	// A window that the application does not fill proves nothing about the
	// path, so it does not grow (RFC 9002 section 7.8).
	if r.recovering || !limited {
		return
	}
	if r.window < r.threshold {
		r.window = min(r.window+acked, MaxWindow)
		return
	}
	r.acked += acked
	for r.acked >= r.window {
		r.acked -= r.window
		r.window = min(r.window+1, MaxWindow)
	}
}

// OnLoss implements Controller.
func (r *Reno) OnLoss(lost, next uint32) {
	if r.recovering && int32(lost-r.recovery) < 0 {
		return
	}
	r.shrink(next)
	r.window = r.threshold
}

// OnTimeout implements Controller.
func (r *Reno) OnTimeout(next uint32) {
	// Another timeout of the same flight must not lower the threshold again
	// (RFC 5681 section 3.1).
	if r.window > MinWindow {
		r.shrink(next)
	}
	r.recovering, r.recovery = true, next
	r.window, r.acked = MinWindow, 0
}

func (r *Reno) shrink(next uint32) {
	r.threshold = max(r.window/2, MinWindow)
	r.recovering, r.recovery = true, next
	r.acked = 0
}
