/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The packet checksum: sum1 += byte, sum2 += sum1 over every byte, the
 * checksum field taken as zero. Only the low eight bits of either sum reach
 * the result, so sum2 may be computed as the sum of (bytes left) * byte, in
 * any wider arithmetic.
 */
#ifndef XRUDP_CHECKSUM_H
#define XRUDP_CHECKSUM_H

#include <linux/types.h>

#include "proto.h"

struct fletcher {
	__u64 sum1;
	__u64 sum2;
};

/*
 * Up to FLETCHER_BLOCK words, summed in lanes of 16 bits: bytes 0, 2, 4, 6 of
 * each word in even, the others in odd. The before sums hold, for every lane,
 * what had been summed before each word: they give every byte its weight in
 * words. No lane overflows within a block.
 */
#define FLETCHER_BLOCK 16
struct fletcher_block {
	__u64 even, odd;
	__u64 even_before, odd_before;
};

#define LANES16 0x00ff00ff00ff00ffULL

/* The sum of a word's lanes, each times a weight, the lowest lane's on top. */
#define LANES_DOT(lanes, weights) (((lanes) * (weights)) >> 48)

/* Takes eight bytes, loaded little-endian: the lowest is the first. */
static __always_inline void fletcher_word(struct fletcher_block *b, __u64 w)
{
	b->even_before += b->even;
	b->odd_before += b->odd;
	b->even += w & LANES16;
	b->odd += (w >> 8) & LANES16;
}

/* The sums of a block. Lanes are cut to eight bits first, so none carries. */
static __always_inline struct fletcher
fletcher_sums(const struct fletcher_block *b)
{
	__u64 before = (b->even_before & LANES16) + (b->odd_before & LANES16);
	__u64 even = b->even & LANES16;
	__u64 odd = b->odd & LANES16;
	struct fletcher f;

	f.sum1 = LANES_DOT(even + odd, 0x0001000100010001ULL);
	f.sum2 = LANES_DOT(before, 0x0001000100010001ULL) * 8 +
		 LANES_DOT(even, 0x0008000600040002ULL) +
		 LANES_DOT(odd, 0x0007000500030001ULL);
	return f;
}

/* Appends the sums of len more bytes. */
static __always_inline void fletcher_append(struct fletcher *f,
					    struct fletcher more, __u32 len)
{
	f->sum2 += len * f->sum1 + more.sum2;
	f->sum1 += more.sum1;
}

/* Takes back a byte that was summed with weight bytes from it to the end. */
static __always_inline void fletcher_forget(struct fletcher *f, __u8 b,
					    __u32 weight)
{
	f->sum1 -= b;
	f->sum2 -= (__u64)weight * b;
}

static __always_inline __u16 fletcher_result(const struct fletcher *f)
{
	return (__u16)(((f->sum2 & 0xff) << 8) | (f->sum1 & 0xff)) ^ 0xffff;
}

/* Folds a one's-complement sum for the Internet checksum (RFC 1071). */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

#endif
