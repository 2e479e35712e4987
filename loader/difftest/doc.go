// Package difftest compares the XDP program with userspace/gate, packet by
// packet: the same frames go through BPF_PROG_TEST_RUN and through the Go
// twin, and verdict, counters, reply bytes, session entries and shared memory
// have to agree after each.
//
// The tests that load the program need root and skip without it, unless
// XRUDP_REQUIRE_XDP is 1. XRUDP_DIFF_PACKETS sets how many packets
// TestSequences runs, XRUDP_DIFF_SEED the seed it begins with. FuzzSequences
// wants -fuzzminimizetime 20x: a sequence depends on the clock, and by default
// the fuzzer spends a minute on each input that it cannot make shorter.
package difftest
