package reliability

import "github.com/xrudp/xrudp/userspace/wire"

// replayJump is how far ahead an unreliable packet may be to be believed.
const replayJump = 64 * WindowSize

// ReplayWindow rejects unreliable packets that were seen before or are too old
// to tell. It is the gate's algorithm: High is replay_high, Bits replay_bits.
type ReplayWindow struct {
	High uint32 // highest sequence seen
	Bits uint64 // bit i: High - i was seen
}

// Reset makes isn the highest sequence seen, so that isn + 1 is the first one
// expected.
func (w *ReplayWindow) Reset(isn uint32) { *w = ReplayWindow{High: isn, Bits: 1} }

// Accept reports whether seq is new, and remembers it if so.
func (w *ReplayWindow) Accept(seq uint32) bool {
	ahead := int32(seq - w.High)
	if ahead > replayJump {
		return false
	}
	if ahead > 0 {
		// A shift by 64 or more yields 0.
		w.Bits = w.Bits<<uint32(ahead) | 1
		w.High = seq
		return true
	}
	behind := w.High - seq
	if behind >= wire.ReplayWindow || w.Bits>>behind&1 != 0 {
		return false
	}
	w.Bits |= 1 << behind
	return true
}
