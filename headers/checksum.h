/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The packet checksum: sum1 += byte, sum2 += sum1 over every byte, the
 * checksum field taken as zero. Only the low eight bits of either sum reach
 * the result, so sum2 may be computed as the sum of (bytes left) * byte, in
 * any wider arithmetic, eight bytes at a step.
 */
#ifndef XRUDP_CHECKSUM_H
#define XRUDP_CHECKSUM_H

#include <linux/types.h>

#include "proto.h"

struct fletcher {
	__u64 sum1;
	__u64 sum2;
};

#define LANES16 0x00ff00ff00ff00ffULL

/* Takes eight bytes, loaded little-endian: the lowest is the first. */
static __always_inline void fletcher_word(struct fletcher *f, __u64 w)
{
	__u64 even = w & LANES16;
	__u64 odd = (w >> 8) & LANES16;

	f->sum2 += 8 * f->sum1;
	/* Each product's top lane gathers four bytes by their weights. */
	f->sum2 += (even * 0x0008000600040002ULL) >> 48;
	f->sum2 += (odd * 0x0007000500030001ULL) >> 48;
	f->sum1 += ((even + odd) * 0x0001000100010001ULL) >> 48;
}

static __always_inline void fletcher_byte(struct fletcher *f, __u8 b)
{
	f->sum1 += b;
	f->sum2 += f->sum1;
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
