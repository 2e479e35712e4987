package game

import (
	"errors"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
)

// Refusal is an error that tells the sender of a message why nothing came of it.
// A handler may as well return a message.Error, which has no text. Any other error
// the sender learns of as message.ErrDenied, without its words.
type Refusal struct {
	Code message.Error
	Text string // at most message.MaxNote bytes; may be empty
}

// Refuse returns a Refusal.
func Refuse(code message.Error, text string) error { return &Refusal{code, text} }

// Error returns the text, or the code in words.
func (r *Refusal) Error() string {
	if r.Text == "" {
		return r.Code.Error()
	}
	return r.Text
}

// Unwrap returns the code.
func (r *Refusal) Unwrap() error { return r.Code }

// errPanic is what became of a message whose handler panicked.
var errPanic = Refuse(message.ErrInternal, "")

// explain is what a sender is told of an error.
func explain(err error) (code message.Error, text string) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		code, text = r.Code, r.Text[:min(len(r.Text), message.MaxNote)]
	} else {
		code, _ = errors.AsType[message.Error](err)
	}
	if code == 0 {
		code = message.ErrDenied
	}
	return code, text
}

// reasonOf is the counter of a refusal.
func reasonOf(code message.Error) metrics.Counter {
	switch {
	case code == message.ErrType:
		return metrics.RefusedTypes
	case code < message.ErrVersion:
		return metrics.Rejected
	case code == message.ErrRate:
		return metrics.RefusedRate
	case code == message.ErrState:
		return metrics.RefusedState
	case code == message.ErrRoom || code == message.ErrVersion:
		return metrics.RefusedJoins
	case code == message.ErrInternal:
		return metrics.RefusedInternal
	default:
		return metrics.RefusedByGame
	}
}
