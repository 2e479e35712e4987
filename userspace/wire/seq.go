package wire

// SeqDiff returns how far a lies ahead of b in the circular sequence space,
// negative when it lies behind.
func SeqDiff(a, b uint32) int32 {
	return int32(a - b)
}

// SeqLess reports whether a comes before b.
func SeqLess(a, b uint32) bool {
	return SeqDiff(a, b) < 0
}
