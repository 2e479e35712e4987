package message

import (
	"encoding/binary"
	"math"
	"unicode"
	"unicode/utf8"
)

// Limits of every MessagePack payload. Whole payloads are bounded before any of it is
// decoded, so that generated code, which recurses and allocates what a header
// announces, meets nothing that could hurt.
const (
	MaxPayload = 4 << 20 // bytes, decompressed
	MaxDepth   = 8       // maps and arrays inside one another
	MaxValues  = 16384   // values of a payload, keys and containers counted
	MaxKey     = 64      // bytes of a key
	MaxText    = 4096    // bytes of a string
	MaxName    = 64      // bytes of a name
)

// A container that is being walked through.
type container struct {
	left uint32 // values still to come; the keys of a map count
	keys bool   // a map: with an even number to come the next one is a key
}

// checkValue reports why body is not exactly one MessagePack value within the limits.
// It takes the same memory whatever body is.
func checkValue(body []byte) error {
	var open [MaxDepth + 1]container
	open[0].left = 1
	depth, announced := 0, uint64(1)
	for {
		for open[depth].left == 0 {
			if depth == 0 {
				if len(body) > 0 {
					return ErrTrailing
				}
				return nil
			}
			depth--
		}
		isKey := open[depth].keys && open[depth].left%2 == 0
		open[depth].left--

		item, err := readItem(body)
		if err != nil {
			return err
		}
		if isKey && (item.kind != str || item.data > MaxKey) {
			return ErrKey
		}
		body = body[item.head:]
		if item.kind == array || item.kind == mapping {
			if depth == MaxDepth {
				return ErrDepth
			}
			if item.count > uint64(len(body)) {
				return ErrMalformed
			}
			if announced += item.count; announced > MaxValues {
				return ErrTooLarge
			}
			depth++
			open[depth] = container{uint32(item.count), item.kind == mapping}
			continue
		}
		if item.data > uint64(len(body)) {
			return ErrMalformed
		}
		if err := checkData(item.kind, body[:item.data]); err != nil {
			return err
		}
		body = body[item.data:]
	}
}

type itemKind uint8

const (
	plain itemKind = iota // nil, booleans, integers
	float
	str
	bin
	array
	mapping
)

// item is the head of a value.
type item struct {
	kind  itemKind
	head  int    // bytes before the data
	data  uint64 // bytes of data, which has no values in it
	count uint64 // values in an array or map
}

// readItem reads the head of the value that b begins with.
func readItem(b []byte) (item, error) {
	if len(b) == 0 {
		return item{}, ErrMalformed
	}
	switch c := b[0]; {
	case c <= 0x7f || c >= 0xe0:
		return item{kind: plain, head: 1}, nil
	case c <= 0x8f:
		return item{kind: mapping, head: 1, count: 2 * uint64(c&0x0f)}, nil
	case c <= 0x9f:
		return item{kind: array, head: 1, count: uint64(c & 0x0f)}, nil
	case c <= 0xbf:
		return item{kind: str, head: 1, data: uint64(c & 0x1f)}, nil
	case c == 0xc1:
		return item{}, ErrMalformed
	case c <= 0xc3:
		return item{kind: plain, head: 1}, nil
	case c <= 0xc6:
		n, head, err := readCount(b, 1<<(c-0xc4))
		return item{kind: bin, head: head, data: n}, err
	case c <= 0xc9:
		return item{}, ErrField // extension
	case c <= 0xcb:
		return item{kind: float, head: 1, data: 4 << (c - 0xca)}, nil
	case c <= 0xcf:
		return item{kind: plain, head: 1, data: 1 << (c - 0xcc)}, nil
	case c <= 0xd3:
		return item{kind: plain, head: 1, data: 1 << (c - 0xd0)}, nil
	case c <= 0xd8:
		return item{}, ErrField // extension
	case c <= 0xdb:
		n, head, err := readCount(b, 1<<(c-0xd9))
		return item{kind: str, head: head, data: n}, err
	case c <= 0xdd:
		n, head, err := readCount(b, 2<<(c-0xdc))
		return item{kind: array, head: head, count: n}, err
	default:
		n, head, err := readCount(b, 2<<(c-0xde))
		return item{kind: mapping, head: head, count: 2 * n}, err
	}
}

// readCount reads the count of size bytes behind the first byte.
func readCount(b []byte, size int) (n uint64, head int, err error) {
	head = 1 + size
	if len(b) < head {
		return 0, 0, ErrMalformed
	}
	switch size {
	case 1:
		n = uint64(b[1])
	case 2:
		n = uint64(binary.BigEndian.Uint16(b[1:]))
	default:
		n = uint64(binary.BigEndian.Uint32(b[1:]))
	}
	return n, head, nil
}

func checkData(kind itemKind, data []byte) error {
	switch kind {
	case float:
		var f float64
		if len(data) == 4 {
			f = float64(math.Float32frombits(binary.BigEndian.Uint32(data)))
		} else {
			f = math.Float64frombits(binary.BigEndian.Uint64(data))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return ErrNumber
		}
	case str:
		if len(data) > MaxText {
			return ErrTooLarge
		}
		if !legalText(data) {
			return ErrText
		}
	default:
	}
	return nil
}

// legalText tells whether b is UTF-8 whose only control characters are tabs and line
// feeds.
func legalText(b []byte) bool {
	for len(b) > 0 {
		if c := b[0]; c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' || c == 0x7f {
				return false
			}
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
			return false
		}
		b = b[size:]
	}
	return true
}

// Joiners make one character of two in some scripts, and of emoji.
const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
)

// CheckName reports why s cannot be shown as a name: it is 1 to MaxName bytes of UTF-8
// with something to be seen, and nothing that makes it look like another or breaks the
// line: no control and format characters but joiners, no separators of lines, and none
// that take no room (Other_Default_Ignorable_Code_Point).
func CheckName(s string) error {
	if len(s) > MaxName || !utf8.ValidString(s) {
		return ErrName
	}
	visible := false
	for _, r := range s {
		switch {
		case r == joiner || r == nonJoiner || unicode.Is(unicode.Variation_Selector, r):
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point):
			return ErrName
		case !unicode.IsSpace(r):
			visible = true
		}
	}
	if !visible {
		return ErrName
	}
	return nil
}
