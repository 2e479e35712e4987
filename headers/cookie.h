/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The handshake cookie: SipHash-2-4 (Aumasson, Bernstein 2012) over who asks
 * and with which initial sequence number.
 */
#ifndef XRUDP_COOKIE_H
#define XRUDP_COOKIE_H

#include <stdbool.h>

#include "maps.h"

/* What the cookie proves, as it is hashed: 40 bytes in network byte order. */
struct cookie_input {
	struct session_key key;
	__be32 client_isn;
} __attribute__((aligned(8)));

_Static_assert(sizeof(struct cookie_input) == 40, "five SipHash words");

#define ROTL64(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

#define SIP_ROUND                    \
	do {                         \
		v0 += v1;            \
		v1 = ROTL64(v1, 13); \
		v1 ^= v0;            \
		v0 = ROTL64(v0, 32); \
		v2 += v3;            \
		v3 = ROTL64(v3, 16); \
		v3 ^= v2;            \
		v0 += v3;            \
		v3 = ROTL64(v3, 21); \
		v3 ^= v0;            \
		v2 += v1;            \
		v1 = ROTL64(v1, 17); \
		v1 ^= v2;            \
		v2 = ROTL64(v2, 32); \
	} while (0)

/* last is the word that ends SipHash's input: what is over, and the length. */
static __always_inline __u64 siphash(const struct cookie_key *k,
				     const struct cookie_input *in, __u64 last)
{
	const __u64 *words = (const __u64 *)in;
	__u64 v0 = 0x736f6d6570736575ULL ^ k->k0;
	__u64 v1 = 0x646f72616e646f6dULL ^ k->k1;
	__u64 v2 = 0x6c7967656e657261ULL ^ k->k0;
	__u64 v3 = 0x7465646279746573ULL ^ k->k1;

	for (int i = 0; i <= sizeof(*in) / sizeof(__u64); i++) {
		__u64 m = last;

		if (i < sizeof(*in) / sizeof(__u64))
			m = words[i];
		v3 ^= m;
		SIP_ROUND;
		SIP_ROUND;
		v0 ^= m;
	}
	v2 ^= 0xff;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

/*
 * The lowest bit tells which of the two secrets made the cookie. In the compact
 * profile a byte with its number follows the input.
 */
static __always_inline __u64 cookie_make(const struct cookie_key *k,
					 __u32 which, bool compact,
					 const struct cookie_input *in)
{
	__u64 last = (__u64)sizeof(*in) << 56;

	if (compact)
		last = (__u64)(sizeof(*in) + 1) << 56 | PROFILE_COMPACT;
	return (siphash(k, in, last) & ~1ULL) | (which & 1);
}

static __always_inline __u32 cookie_server_isn(__u64 cookie, bool compact)
{
	__u32 isn = cookie >> 1;

	return compact ? isn & 0xffff : isn;
}

#endif
