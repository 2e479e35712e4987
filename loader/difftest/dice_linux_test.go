package difftest

import "math/rand/v2"

// dice decide what a sequence does: a seeded generator, or the bytes of a
// fuzzer.
type dice struct {
	rng  *rand.Rand
	tape []byte
	used int
}

func seeded(seed uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, 0x78727564))} }

func taped(tape []byte) *dice { return &dice{tape: tape} }

// empty reports whether a tape is at its end, from where on every throw is 0.
func (d *dice) empty() bool { return d.rng == nil && d.used >= len(d.tape) }

func (d *dice) next() uint64 {
	if d.empty() {
		return 0
	}
	d.used++
	return uint64(d.tape[d.used-1])
}

// n returns a number below limit.
func (d *dice) n(limit int) int {
	if d.rng != nil {
		return int(d.rng.Uint64N(uint64(limit)))
	}
	v := d.next()
	for top := 256; top < limit; top <<= 8 {
		v = v<<8 | d.next()
	}
	return int(v % uint64(limit))
}

// one is true one time in limit.
func (d *dice) one(limit int) bool { return d.n(limit) == limit-1 }

func (d *dice) u64() uint64 {
	if d.rng != nil {
		return d.rng.Uint64()
	}
	var v uint64
	for range 8 {
		v = v<<8 | d.next()
	}
	return v
}

func (d *dice) u32() uint32 { return uint32(d.u64()) }

// fill writes bytes that matter to nobody.
func (d *dice) fill(b []byte) {
	v := uint64(d.n(256)) * 0x0101010101010101
	if d.rng != nil {
		v = d.rng.Uint64()
	}
	for i := range b {
		b[i] = byte(v >> (i % 8 * 8))
		if i%8 == 7 {
			v = v*6364136223846793005 + 1442695040888963407
		}
	}
}

// pick returns one of the options.
func pick[T any](d *dice, options ...T) T { return options[d.n(len(options))] }
