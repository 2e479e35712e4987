package gate

import (
	"encoding/binary"
	"math/bits"

	"github.com/xrudp/xrudp/userspace/wire"
)

// CookieKey is one cookie secret.
type CookieKey struct{ K0, K1 uint64 }

// CookieKeys are the two secrets whose cookies are honoured. The daemon
// replaces the older one and then makes it current.
type CookieKeys struct {
	Keys    [2]CookieKey
	Current uint32 // index of the one that makes new cookies, 0 or 1
}

// cookieInput is what a cookie proves: the key and the client's initial
// sequence, as they travel. In the compact profile a byte with the profile's
// number follows.
const cookieInput = wire.KeySize + 4

// profileCompact is PROFILE_COMPACT of headers/maps.h.
const profileCompact = 2

// Make returns the cookie for a client that sent a SYN with sequence isn.
func (k *CookieKeys) Make(p wire.Profile, key *wire.Key, isn uint32) uint64 {
	return k.make(k.Current&1, p, key, isn)
}

// Check reports whether Make returned cookie for the same client, with either
// secret.
func (k *CookieKeys) Check(p wire.Profile, cookie uint64, key *wire.Key, isn uint32) bool {
	return k.make(uint32(wire.CookieKeyIndex(cookie)), p, key, isn) == cookie
}

func (k *CookieKeys) make(which uint32, p wire.Profile, key *wire.Key, isn uint32) uint64 {
	var space [cookieInput + 1]byte
	in := space[:cookieInput]
	if p == wire.Compact {
		in = space[:]
		in[cookieInput] = profileCompact
	}
	key.Put((*[wire.KeySize]byte)(in))
	binary.BigEndian.PutUint32(in[wire.KeySize:], isn)
	return sipHash24(k.Keys[which], in)&^1 | uint64(which)
}

// sipHash24 is SipHash-2-4 (Aumasson, Bernstein 2012) of b.
func sipHash24(k CookieKey, b []byte) uint64 {
	v0 := k.K0 ^ 0x736f6d6570736575
	v1 := k.K1 ^ 0x646f72616e646f6d
	v2 := k.K0 ^ 0x6c7967656e657261
	v3 := k.K1 ^ 0x7465646279746573

	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last

	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (a, b, c, d uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
