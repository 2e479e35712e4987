/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The receive windows of a session. Whoever changes one holds its lock.
 */
#ifndef XRUDP_WINDOW_H
#define XRUDP_WINDOW_H

#include <stdbool.h>

#include "maps.h"

#define REPLAY_JUMP_MAX (RCV_WINDOW * 64)

/*
 * The reliable receive window: every sequence below rcv_nxt is held, and of
 * those up to RCV_WINDOW beyond it the ones whose bit is set. Bits below
 * rcv_nxt are clear. reliability.ReceiveWindow is the same in Go.
 */
enum place { PLACE_FRESH, PLACE_DUPLICATE, PLACE_OUTSIDE };

static __always_inline enum place window_place(const struct session *s,
					       __u32 seq)
{
	__u32 ahead = seq - s->rcv_nxt;

	if (!ahead)
		return PLACE_FRESH;
	if (ahead < RCV_WINDOW) {
		__u64 word = s->rcv_bits[(seq / 64) % RCV_WORDS];

		return word >> (seq % 64) & 1 ? PLACE_DUPLICATE : PLACE_FRESH;
	}
	return -ahead <= RCV_WINDOW ? PLACE_DUPLICATE : PLACE_OUTSIDE;
}

static __always_inline __u32 trailing_ones(__u64 w)
{
	return w == ~0ULL ? 64 : __builtin_ctzll(~w);
}

static __always_inline void window_mark(struct session *s, __u32 seq)
{
	__u32 next = seq + 1;

	if (seq != s->rcv_nxt) {
		s->rcv_bits[(seq / 64) % RCV_WORDS] |= 1ULL << (seq % 64);
		if ((__s32)(next - s->rcv_high) > 0)
			s->rcv_high = next;
		return;
	}
	if (s->rcv_high == seq) {
		s->rcv_high = next;
		s->rcv_nxt = next;
		return;
	}
	/* A gap closed: step over what was held behind it, word by word. */
	for (int i = 0; i <= RCV_WORDS; i++) {
		__u64 *word = &s->rcv_bits[(next / 64) % RCV_WORDS];
		__u32 shift = next % 64;
		__u32 run = trailing_ones(*word >> shift);

		if (run < 64)
			*word &= ~(((1ULL << run) - 1) << shift);
		else
			*word = 0;
		next += run;
		if (run < 64 - shift)
			break;
	}
	s->rcv_nxt = next;
}

/* Bitmap words of a block that is not empty, from its first byte. */
static __always_inline __u32 ackb_words(__u32 says)
{
	return (says & ((1 << ACKB_OFFSET_SHIFT) - 1)) - ACKB_NO_WORDS;
}

/* What an acknowledgement says of the window, taken under the lock. */
struct window_view {
	__u32 rcv_nxt;
	__u32 says; /* an acknowledgement block's first byte */
	__u32 committed;
	__u32 marked;
	__u32 window; /* to be advertised, set by the caller */
};

/*
 * The words of a block that answers seq end with the one of seq, where it is
 * beyond the first ones. There are ACKB_WORDS_MAX at sack, if the block has any.
 */
static __always_inline void window_view(const struct session *s, __u32 seq,
					struct window_view *v, __u64 *sack)
{
	__u32 from = s->rcv_nxt + 1;
	__u32 offset = 0, words = 0;

	v->rcv_nxt = s->rcv_nxt;
	v->says = ACKB_NO_WORDS;
	v->committed = s->committed;
	v->marked = s->marked;
	if (s->rcv_high == s->rcv_nxt)
		return;
	if (seq - from < RCV_WINDOW && seq - from >= 64 * ACKB_WORDS_MAX)
		offset = (seq - from) / 64 - (ACKB_WORDS_MAX - 1);
	from += 64 * offset;
	for (int i = 0; i < ACKB_WORDS_MAX; i++, from += 64) {
		__u32 shift = from % 64;
		__u64 bits = s->rcv_bits[(from / 64) % RCV_WORDS] >> shift;

		if (shift)
			bits |= s->rcv_bits[(from / 64 + 1) % RCV_WORDS]
				<< (64 - shift);
		sack[i] = bits;
		if (bits)
			words = i + 1;
	}
	if (!words)
		return;
	for (int i = 1; i < ACKB_WORDS_MAX && !sack[0]; i++) {
		for (int j = 1; j < ACKB_WORDS_MAX; j++)
			sack[j - 1] = sack[j];
		sack[ACKB_WORDS_MAX - 1] = 0;
		words--;
		offset++;
	}
	v->says = offset << ACKB_OFFSET_SHIFT | (ACKB_NO_WORDS + words);
}

/* The replay window of unreliable packets. Runs under the session's lock. */
static __always_inline bool replay_fresh(struct session *s, __u32 seq)
{
	__s32 ahead = seq - s->replay_high;
	__u32 behind = -ahead;

	if (ahead > REPLAY_JUMP_MAX)
		return false;
	if (ahead > 0) {
		s->replay_bits =
			ahead < REPLAY_WINDOW ? s->replay_bits << ahead : 0;
		s->replay_bits |= 1;
		s->replay_high = seq;
		return true;
	}
	if (behind >= REPLAY_WINDOW || s->replay_bits >> behind & 1)
		return false;
	s->replay_bits |= 1ULL << behind;
	return true;
}

#endif
