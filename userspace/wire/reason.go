package wire

import (
	"errors"
	"strconv"
)

// Reason says why a session ended. RST and FIN carry one.
type Reason uint8

const (
	ReasonClosed       Reason = 1 // by the application
	ReasonIdle         Reason = 2
	ReasonProtocol     Reason = 3
	ReasonRestarted    Reason = 4
	ReasonSuperseded   Reason = 5
	ReasonFull         Reason = 6
	ReasonShuttingDown Reason = 7
	ReasonKicked       Reason = 8

	// ReasonLocal and above never travel.
	ReasonLocal            Reason = 0x80
	ReasonHandshakeTimeout Reason = 0x80 // the server never answered
)

// ReasonSize is the size of the body of RST, and of FIN behind its
// acknowledgement block.
const ReasonSize = 1

var errReason = errors.New("read reason: not one byte from 1 to 127")

// IsReason reports whether body has the form of a reason, one that never
// travels included: what the gate asks of a FIN.
func IsReason(body []byte) bool { return len(body) == ReasonSize && body[0] != 0 }

// ParseReason reads the body of RST, or of FIN behind its acknowledgement
// block. Reasons without a name in this version are legal.
func ParseReason(body []byte) (Reason, error) {
	if !IsReason(body) || Reason(body[0]) >= ReasonLocal {
		return 0, errReason
	}
	return Reason(body[0]), nil
}

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case ReasonClosed:
		return "closed by application"
	case ReasonIdle:
		return "idle timeout"
	case ReasonProtocol:
		return "protocol error"
	case ReasonRestarted:
		return "server restarted"
	case ReasonSuperseded:
		return "superseded"
	case ReasonFull:
		return "server full"
	case ReasonShuttingDown:
		return "server shutting down"
	case ReasonKicked:
		return "kicked"
	case ReasonHandshakeTimeout:
		return "handshake timeout"
	default:
		return "reason " + strconv.Itoa(int(r))
	}
}
