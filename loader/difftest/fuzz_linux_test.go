package difftest

import (
	"errors"
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

// FuzzSequences lets a fuzzer throw the dice of a sequence.
func FuzzSequences(f *testing.F) {
	for seed := range uint64(8) {
		tape := make([]byte, 2048)
		d := seeded(seed)
		for i := range tape {
			tape[i] = byte(d.n(256))
		}
		f.Add(tape)
	}
	p := newPair(f, 16)
	f.Fuzz(func(t *testing.T, tape []byte) {
		pin(t)
		s, steps, err := p.play(taped(tape), 5000)
		if errors.Is(err, errHarness) {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(p.report(s, steps, err))
		}
	})
}

// FuzzFrame feeds a session one frame as it is.
func FuzzFrame(f *testing.F) {
	p := newPair(f, 16)
	s, opened := quietSetup()
	g := &generator{d: seeded(1), p: p, body: make([]byte, 0, 2048)}
	if err := p.reset(s); err != nil {
		f.Fatal(err)
	}
	for _, peer := range opened {
		open := step{kind: stepOpen, key: peer.key, init: peer.init}
		if err := p.apply(&open); err != nil {
			f.Fatal(err)
		}
		for range 40 {
			f.Add(g.frame(peer, g.packet(peer)).frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < etherSize || len(frame) > maxFrame {
			return
		}
		pin(t)
		steps := []step{
			{kind: stepOpen, key: opened[0].key, init: opened[0].init},
			{kind: stepOpen, key: opened[1].key, init: opened[1].init},
			{kind: stepOpen, key: opened[2].key, init: opened[2].init},
			{kind: stepFrame, frame: frame},
			{kind: stepFrame, frame: frame},
		}
		if f, v := wire.ParseFrame(frame); v == wire.FrameUDP && (f.PayloadLen >= wire.HeaderSize || profileOf(&f.Key) == wire.Compact) {
			sealed := append([]byte(nil), frame...)
			if profileOf(&f.Key) == wire.Standard {
				wire.Seal(sealed[f.Payload : f.Payload+f.PayloadLen])
			}
			checksum(sealed)
			steps = append(steps, step{kind: stepFrame, frame: sealed}, step{kind: stepFrame, frame: sealed})
		}
		if err := p.replay(s, steps); err != nil {
			t.Fatal(p.report(s, steps, err))
		}
	})
}
