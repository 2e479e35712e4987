/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * Bytes of a frame, in ways that the verifier follows back to 6.1.
 */
#ifndef XRUDP_BYTES_H
#define XRUDP_BYTES_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "proto.h"

#define VLAN_MAX_DEPTH 2

/* Bounds that the verifier has to be reminded of. */
#define L3_MAX	    (ETH_HLEN + VLAN_MAX_DEPTH * 4)
#define UDP_MAX	    (L3_MAX + 60)
#define PAYLOAD_MAX (UDP_MAX + 8)

/*
 * Big-endian loads byte by byte: before 6.6 the verifier forgets the bounds of
 * a value that a byte swap went over.
 */
static __always_inline __u16 get16(const void *p)
{
	const __u8 *b = p;

	return (__u16)b[0] << 8 | b[1];
}

/*
 * Fields of a packet lie where they lie. The kernel lets programs load them
 * unaligned on the architectures that can; a type that says so is loaded in
 * one piece.
 */
typedef __be16 packet16 __attribute__((aligned(2), may_alias));
typedef __be32 packet32 __attribute__((aligned(4), may_alias));
typedef __be64 packet64 __attribute__((aligned(8), may_alias));

static __always_inline __u32 get32(const __u8 *p)
{
	return bpf_ntohl(*(const packet32 *)p);
}

static __always_inline __u64 get64(const __u8 *p)
{
	return bpf_be64_to_cpu(*(const packet64 *)p);
}

/* Returns len bytes at offset off of the frame, or NULL. */
static __always_inline __u8 *frame_bytes(struct xdp_md *ctx, __u32 off,
					 __u32 len)
{
	void *p = (void *)(long)ctx->data;

	if (off > PAYLOAD_MAX + MAX_DATAGRAM)
		return NULL;
	p += off;
	barrier_var(p); /* one pointer, or its bounds are those of another */
	if (p + len > (void *)(long)ctx->data_end)
		return NULL;
	return p;
}

/*
 * Whether 1 <= *len <= max, in a form from which the verifier of 6.1 learns
 * both bounds: it takes nothing from a comparison with zero for equality.
 */
static __always_inline bool is_length(__u32 *len, __u32 max)
{
	__s64 n = *len;

	barrier_var(n); /* in a register: of a spilled one it learns nothing */
	if (n > max)
		return false;
	barrier_var(n);
	if (n < 1)
		return false;
	*len = n;
	return true;
}

#endif
