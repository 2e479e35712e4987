package wire

import (
	"encoding/binary"
	"errors"
)

// Option kinds. Kinds of a list ascend strictly; unknown ones are skipped.
const (
	OptionPad    = 0 // ends the list of a SYN
	OptionCookie = 1
	OptionSACK   = 2
	OptionMTU    = 3

	// OptionControl lets control messages travel in the session, and says how
	// many bytes of unfinished large messages its sender holds for it.
	OptionControl = 4

	// MaxOptions is the most options one list holds, the pad excluded.
	MaxOptions = 8
)

const (
	optionHeaderSize = 2
	cookieSize       = 8
	mtuSize          = 2
	controlSize      = 4
	cookieOptionSize = optionHeaderSize + cookieSize
)

// Options are the options of a SYN, SYN|ACK or HELLO that this version knows.
type Options struct {
	Cookie    uint64
	HasCookie bool
	SACK      bool
	MTU       uint16 // largest UDP payload the sender accepts, 0 when it did not say

	// Control is how many bytes of unfinished large messages the sender is
	// willing to hold for the session, where HasControl is set.
	Control    uint32
	HasControl bool
}

var (
	errOptionTruncated = errors.New("read options: truncated")
	errOptionOrder     = errors.New("read options: kinds do not ascend")
	errOptionMany      = errors.New("read options: more than eight")
	errOptionLength    = errors.New("read options: wrong length for the kind")
	errOptionPad       = errors.New("read options: pad outside a SYN")
	errOptionCookie    = errors.New("read options: cookie in a SYN, or none elsewhere")
)

// MaxDatagram returns the largest UDP payload to send to the peer that sent o,
// given the largest this side wants to send. Peers accept MinDatagram bytes
// whatever they announce, and MaxDatagram where they announce nothing.
func (o Options) MaxDatagram(own int) int {
	if o.MTU == 0 {
		return min(own, MaxDatagram)
	}
	return min(own, max(int(o.MTU), MinDatagram))
}

// ParseSYNOptions reads the option list of a SYN. Bytes behind a pad are not
// examined.
func ParseSYNOptions(b []byte) (Options, error) {
	o, err := parseOptions(b, true)
	if err != nil {
		return Options{}, err
	}
	if o.HasCookie {
		return Options{}, errOptionCookie
	}
	return o, nil
}

// parseReplyOptions reads the option list of a SYN|ACK or HELLO.
func parseReplyOptions(b []byte) (Options, error) {
	o, err := parseOptions(b, false)
	if err != nil {
		return Options{}, err
	}
	if !o.HasCookie {
		return Options{}, errOptionCookie
	}
	return o, nil
}

func parseOptions(b []byte, pad bool) (o Options, err error) {
	last := OptionPad
	for n := 0; len(b) > 0; n++ {
		kind := int(b[0])
		if kind == OptionPad {
			if !pad {
				return o, errOptionPad
			}
			return o, nil
		}
		if n == MaxOptions {
			return o, errOptionMany
		}
		if kind <= last {
			return o, errOptionOrder
		}
		last = kind
		if len(b) < optionHeaderSize {
			return o, errOptionTruncated
		}
		end := optionHeaderSize + int(b[1])
		if len(b) < end {
			return o, errOptionTruncated
		}
		if err := o.set(kind, b[optionHeaderSize:end]); err != nil {
			return o, err
		}
		b = b[end:]
	}
	return o, nil
}

func (o *Options) set(kind int, value []byte) error {
	switch kind {
	case OptionCookie:
		if len(value) != cookieSize {
			return errOptionLength
		}
		o.Cookie, o.HasCookie = binary.BigEndian.Uint64(value), true
	case OptionSACK:
		if len(value) != 0 {
			return errOptionLength
		}
		o.SACK = true
	case OptionMTU:
		if len(value) != mtuSize {
			return errOptionLength
		}
		o.MTU = binary.BigEndian.Uint16(value)
	case OptionControl:
		if len(value) != controlSize {
			return errOptionLength
		}
		o.Control, o.HasControl = binary.BigEndian.Uint32(value), true
	}
	return nil
}

// appendTo appends the list without padding.
func (o Options) appendTo(b []byte) []byte {
	if o.HasCookie {
		b = append(b, OptionCookie, cookieSize)
		b = binary.BigEndian.AppendUint64(b, o.Cookie)
	}
	if o.SACK {
		b = append(b, OptionSACK, 0)
	}
	if o.MTU != 0 {
		b = append(b, OptionMTU, mtuSize)
		b = binary.BigEndian.AppendUint16(b, o.MTU)
	}
	if o.HasControl {
		b = append(b, OptionControl, controlSize)
		b = binary.BigEndian.AppendUint32(b, o.Control)
	}
	return b
}
