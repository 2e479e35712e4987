package message

import (
	"errors"

	"github.com/tinylib/msgp/msgp"
)

// Error says what is wrong with a message. Its number is the code of Refused;
// numbers from 64 on belong to the games.
//
// Functions of this package return errors that wrap an Error; errors.Is finds it, and
// Reason returns it.
type Error uint8

const (
	ErrType       Error = 1  // a type that is unknown, or not this one
	ErrLength     Error = 2  // too short for its head, or not of its fixed size
	ErrEncoding   Error = 3  // an encoding that does not exist, or is not expected here
	ErrCompressed Error = 4  // a compressed block that is broken, or that no sender makes
	ErrMalformed  Error = 5  // not MessagePack
	ErrTrailing   Error = 6  // bytes behind the value
	ErrDepth      Error = 7  // nested too deeply
	ErrTooLarge   Error = 8  // more bytes or values than the limit
	ErrKey        Error = 9  // a key that is no short string, or comes twice
	ErrField      Error = 10 // a value of the wrong kind, or none of those that the field takes
	ErrNumber     Error = 11 // a number out of range, infinite or NaN
	ErrText       Error = 12 // text that is not UTF-8 or has control characters
	ErrName       Error = 13 // a name that is too long, cannot be seen or has characters that no name has

	ErrVersion Error = 32 // versions of client and server do not fit
	ErrDenied  Error = 33 // the sender may not do this
	ErrRoom    Error = 34 // no such room, or no place in it
	ErrState   Error = 35 // not now, such as before Connect
	ErrRate    Error = 36 // too many of them
	ErrMove    Error = 37 // a movement against the rules

	ErrInternal Error = 38 // the fault of the receiver
)

var errorTexts = map[Error]string{
	ErrType:       "unknown type",
	ErrLength:     "wrong length",
	ErrEncoding:   "unknown encoding",
	ErrCompressed: "broken compressed block",
	ErrMalformed:  "malformed MessagePack",
	ErrTrailing:   "trailing bytes",
	ErrDepth:      "nested too deeply",
	ErrTooLarge:   "too large",
	ErrKey:        "bad key",
	ErrField:      "bad field",
	ErrNumber:     "number out of range",
	ErrText:       "bad text",
	ErrName:       "bad name",
	ErrVersion:    "version does not fit",
	ErrDenied:     "denied",
	ErrRoom:       "no place in room",
	ErrState:      "not now",
	ErrRate:       "too many",
	ErrMove:       "movement against the rules",
	ErrInternal:   "internal error",
}

// Error describes e in a few words.
func (e Error) Error() string {
	if text, ok := errorTexts[e]; ok {
		return text
	}
	return "refused by the game"
}

// Reason returns the Error that err wraps, ErrMalformed if there is none, and 0 for
// nil.
func Reason(err error) Error {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[Error](err); ok {
		return e
	}
	return ErrMalformed
}

// decodeError adds to an Error where the decoder stumbled.
type decodeError struct {
	reason Error
	cause  error
}

func (d *decodeError) Error() string   { return d.reason.Error() + ": " + d.cause.Error() }
func (d *decodeError) Unwrap() []error { return []error{d.reason, d.cause} }

// asError gives what generated code returned a reason.
func asError(err error) error {
	if isA[Error](err) {
		return err
	}
	reason := ErrField
	switch {
	case errors.Is(err, msgp.ErrLimitExceeded):
		reason = ErrTooLarge
	case errors.Is(err, msgp.ErrDuplicateEntry):
		reason = ErrKey
	case isA[msgp.IntOverflow](err), isA[msgp.UintOverflow](err), isA[msgp.UintBelowZero](err):
		reason = ErrNumber
	}
	return &decodeError{reason, err}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
