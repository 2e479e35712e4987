/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * What can be judged of a packet by its bytes alone. These are global
 * functions: the verifier checks each once, not on every path to it.
 */
#ifndef XRUDP_CHECK_H
#define XRUDP_CHECK_H

#include "bytes.h"
#include "checksum.h"

/*
 * The sums of up to FLETCHER_BLOCK words at off: sum2 above, sum1 in the lower
 * half. Of its own, so that its loop lives in registers.
 */
__noinline __u64 checksum_words(struct xdp_md *ctx, __u32 off, __u32 words)
{
	struct fletcher_block block = {};
	struct fletcher f;
	void *end;
	__u8 *p;

	p = frame_bytes(ctx, off, 0);
	if (!p)
		return 0;
	end = (void *)(long)ctx->data_end;
	for (__u32 i = 1; i < FLETCHER_BLOCK && i < words; i += 2) {
		barrier_var(p);
		if ((void *)p + 16 > end)
			return 0;
		fletcher_word(&block, *(__u64 *)p);
		fletcher_word(&block, *(__u64 *)(p + 8));
		p += 16;
	}
	if (words % 2) {
		barrier_var(p);
		if ((void *)p + 8 > end)
			return 0;
		fletcher_word(&block, *(__u64 *)p);
	}
	f = fletcher_sums(&block);
	return f.sum2 << 32 | f.sum1;
}

/* Whether the packet checksum of the UDP payload at off is right. */
__noinline int checksum_valid(struct xdp_md *ctx, __u32 off, __u32 len)
{
	struct fletcher f = {};
	__u8 *start, *last;
	__u32 at = 0;

	if (len < HDR_LEN || len > MAX_DATAGRAM)
		return 0;
	for (__u32 i = 0; i <= MAX_DATAGRAM / 8 / FLETCHER_BLOCK; i++) {
		__u32 words = (len - at) / 8;
		__u64 sums;

		if (!words || words > MAX_DATAGRAM / 8)
			break;
		if (words > FLETCHER_BLOCK)
			words = FLETCHER_BLOCK;
		sums = checksum_words(ctx, off + at, words);
		fletcher_append(&f,
				(struct fletcher){ (__u32)sums, sums >> 32 },
				8 * words);
		at += 8 * words;
	}
	start = frame_bytes(ctx, off, HDR_LEN);
	last = frame_bytes(ctx, off + len - 8, 8);
	if (!start || !last)
		return 0;
	if (len % 8) {
		/* The last bytes as one word, zeros behind them. */
		struct fletcher_block block = {};

		fletcher_word(&block, *(__u64 *)last >> (64 - 8 * (len % 8)));
		fletcher_append(&f, fletcher_sums(&block), 8);
		f.sum2 -= (8 - len % 8) * f.sum1;
	}
	fletcher_forget(&f, start[HDR_OFF_CSUM], len - HDR_OFF_CSUM);
	fletcher_forget(&f, start[HDR_OFF_CSUM + 1], len - HDR_OFF_CSUM - 1);
	return fletcher_result(&f) == get16(start + HDR_OFF_CSUM);
}

/* The Internet checksum's sum of up to CSUM_BLOCK words at off. */
#define CSUM_BLOCK 32

__noinline __u64 csum_words(struct xdp_md *ctx, __u32 off, __u32 words)
{
	__u64 sum = 0;
	void *end;
	__u8 *p;

	p = frame_bytes(ctx, off, 0);
	if (!p)
		return 0;
	end = (void *)(long)ctx->data_end;
	for (__u32 i = 0; i < CSUM_BLOCK && i < words; i++) {
		barrier_var(p);
		if ((void *)p + 8 > end)
			return 0;
		sum += (*(__u64 *)p >> 32) + (__u32) * (__u64 *)p;
		p += 8;
	}
	return sum;
}

/*
 * Whether the UDP checksum of len bytes at off, from the UDP header on, is
 * there and right. sum is that of the pseudo header.
 */
__noinline int udp_checksum_valid(struct xdp_md *ctx, __u32 off, __u32 len,
				  __u64 sum)
{
	__u8 *start, *last;
	__u32 at = 0;

	if (len < 8 || len > 8 + MAX_DATAGRAM)
		return 0;
	for (__u32 i = 0; i <= (8 + MAX_DATAGRAM) / 8 / CSUM_BLOCK; i++) {
		__u32 words = (len - at) / 8;

		if (!words || words > (8 + MAX_DATAGRAM) / 8)
			break;
		if (words > CSUM_BLOCK)
			words = CSUM_BLOCK;
		sum += csum_words(ctx, off + at, words);
		at += 8 * words;
	}
	start = frame_bytes(ctx, off, 8);
	last = frame_bytes(ctx, off + len - 8, 8);
	if (!start || !last)
		return 0;
	if (len % 8) {
		__u64 w = *(__u64 *)last >> (64 - 8 * (len % 8));

		sum += (w >> 32) + (__u32)w;
	}
	return get16(start + 6) && !csum_fold(sum);
}

/*
 * Whether len bytes at off are 1 to MSG_MAX well-framed messages, and whether
 * one of them is a fragment.
 */
#define MESSAGES_VALID	  1
#define MESSAGES_FRAGMENT 2

__noinline int messages_valid(struct xdp_md *ctx, __u32 off, __u32 len)
{
	int valid = MESSAGES_VALID;
	__u32 at = 0;

	if (len > MAX_DATAGRAM || off > PAYLOAD_MAX + MAX_DATAGRAM)
		return 0;
	for (int i = 0; i < MSG_MAX; i++) {
		__u8 *m;

		if (at > MAX_DATAGRAM)
			return 0;
		m = frame_bytes(ctx, off + at, MSG_HDR_LEN);
		if (!m || m[0] == 0 || m[0] == MSG_TYPE_CONTROL ||
		    m[0] > MSG_TYPE_PAD)
			return 0;
		if (m[0] == MSG_TYPE_FRAGMENT)
			valid |= MESSAGES_FRAGMENT;
		at += MSG_HDR_LEN + get16(m + MSG_OFF_LENGTH);
		if (at >= len)
			return at == len ? valid : 0;
	}
	return 0;
}

#define SYN_MALFORMED	  (-1)
#define SYN_WANTS_SACK	  1
#define SYN_WANTS_CONTROL 2

/* Returns what the options of a SYN ask for, or SYN_MALFORMED. */
__noinline int syn_options(struct xdp_md *ctx, __u32 off, __u32 len)
{
	__u32 at = 0;
	int wants = 0;
	int last = 0;

	if (len > MAX_DATAGRAM || off > PAYLOAD_MAX + MAX_DATAGRAM)
		return SYN_MALFORMED;
	for (int i = 0; i <= OPT_MAX; i++) {
		__u8 *o;

		if (at == len)
			return wants;
		if (at > MAX_DATAGRAM)
			return SYN_MALFORMED;
		o = frame_bytes(ctx, off + at, 1);
		if (!o)
			return SYN_MALFORMED;
		if (o[0] == OPT_PAD)
			return wants;
		o = frame_bytes(ctx, off + at, 2);
		if (!o || i == OPT_MAX)
			return SYN_MALFORMED;
		if (o[0] <= last || o[0] == OPT_COOKIE)
			return SYN_MALFORMED;
		last = o[0];
		if (last == OPT_SACK) {
			if (o[1] != 0)
				return SYN_MALFORMED;
			wants |= SYN_WANTS_SACK;
		}
		if (last == OPT_MTU && o[1] != OPT_MTU_LEN)
			return SYN_MALFORMED;
		if (last == OPT_CONTROL) {
			if (o[1] != OPT_CONTROL_LEN)
				return SYN_MALFORMED;
			wants |= SYN_WANTS_CONTROL;
		}
		at += 2 + o[1];
		if (at > len)
			return SYN_MALFORMED;
	}
	return SYN_MALFORMED;
}

#endif
