/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * The answer to a packet, written over the frame that it came in.
 */
#ifndef XRUDP_REPLY_H
#define XRUDP_REPLY_H

#include "bytes.h"
#include "checksum.h"
#include "parse.h"

/*
 * A UDP payload to answer with, as words in host order, the first byte on
 * top, and zeros behind the last. Fields that straddle words are shifted into
 * place: the stack takes no unaligned stores.
 */
#define REPLY_WORDS ((ACK_MAX_LEN + 7) / 8)
struct reply {
	__u64 words[REPLY_WORDS];
	__u32 len;
	__u32 compact;
};

/* Leaves the last three bytes of words[2] to what follows the header. */
static __always_inline void reply_header(struct reply *r, __u32 seq, __u32 ack,
					 __u8 flags, __u16 window, __u64 now)
{
	__u64 timestamp = now / 1000;

	r->words[0] = (__u64)seq << 32 | ack;
	r->words[1] =
		(__u64)flags << 56 | (__u64)window << 40 | timestamp >> 40;
	r->words[2] = timestamp << 24;
	r->len = HDR_LEN;
	r->compact = 0;
}

/*
 * The same in the compact profile, with the front of an acknowledgement block.
 * Leaves the last three bytes of words[1].
 */
static __always_inline void reply_compact(struct reply *r, __u16 seq, __u16 ack,
					  __u8 flags, __u16 window, __u64 now)
{
	r->words[0] =
		(__u64)seq << 48 | (__u64)flags << 40 | (__u32)(now / 1000);
	r->words[1] = (__u64)ack << 40 | (__u64)window << 24;
	r->len = COMPACT_HDR_LEN + COMPACT_ACK_LEN;
	r->compact = 1;
}

/*
 * Addresses swapped, everything the sender chose neutralised. IPv4 options
 * become no-operations, so that nothing moves.
 */
static __always_inline bool answer_ip4(struct iphdr *ip, void *end,
				       __u32 header, __u32 datagram,
				       __u64 addrs)
{
	__be32 client = ip->saddr;
	__u32 *option = (void *)(ip + 1);
	__u64 sum;

	ip->tos = 0;
	ip->tot_len = bpf_htons(header + datagram);
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->check = 0;
	ip->saddr = ip->daddr;
	ip->daddr = client;
	/*
	 * Summed from what was written, not read back: a load of bytes that
	 * were just stored in other sizes waits for all of them.
	 */
	sum = bpf_htons(0x4000 | (header / 4) << 8);
	sum += bpf_htons(header + datagram);
	sum += bpf_htons(IP_DF);
	sum += bpf_htons(64 << 8 | IPPROTO_UDP);
	sum += addrs;
	for (__u32 i = sizeof(*ip); i < 60 && i < header; i += 4) {
		if ((void *)(option + 1) > end)
			return false;
		*option++ = 0x01010101;
		sum += 0x01010101;
	}
	ip->check = csum_fold(sum);
	return true;
}

static __always_inline void answer_ip6(struct ipv6hdr *ip, __u32 datagram)
{
	struct in6_addr client = ip->saddr;

	*(__be32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(datagram);
	ip->hop_limit = 64;
	ip->saddr = ip->daddr;
	ip->daddr = client;
}

/*
 * Turns the words into network order, with the packet checksum of the standard
 * profile in place, and returns their Internet checksum.
 */
static __always_inline __u64 seal(struct reply *r)
{
	struct fletcher_block block = {};
	__u64 checksum, sum = 0;
	struct fletcher f;
	__u32 len = 0;

	if (r->compact) {
		for (__u32 i = 0; i < REPLY_WORDS; i++) {
			if (8 * i < r->len) {
				r->words[i] = bpf_cpu_to_be64(r->words[i]);
				sum += (r->words[i] >> 32) + (__u32)r->words[i];
			}
		}
		return sum;
	}

	for (__u32 i = 0; i < REPLY_WORDS; i++) {
		if (8 * i < r->len) {
			r->words[i] = bpf_cpu_to_be64(r->words[i]);
			fletcher_word(&block, r->words[i]);
			sum += (r->words[i] >> 32) + (__u32)r->words[i];
			len += 8;
		}
	}
	f = fletcher_sums(&block);
	/* Zeros behind the last byte raised the weight of all before them. */
	f.sum2 -= (len - r->len) * f.sum1;

	checksum = bpf_cpu_to_be64((__u64)fletcher_result(&f) << 24);
	r->words[1] |= checksum;
	return sum + (checksum >> 32) + (__u32)checksum;
}

static __always_inline void swap_macs(void *frame)
{
	packet32 *four = frame;
	packet16 *two = frame;
	__u32 dest4 = four[0];
	__u16 dest2 = two[2];

	/* h_dest is bytes 0 to 5, h_source 6 to 11. */
	four[0] = *(packet32 *)&two[3];
	two[2] = two[5];
	*(packet32 *)&two[3] = dest4;
	two[5] = dest2;
}

/* An acknowledgement without bitmap: what nearly every answer is. */
#define ACK_PLAIN_LEN (HDR_LEN + ACKB_FIXED_LEN)

static __always_inline bool put_reply(struct xdp_md *ctx, __u32 off,
				      const struct reply *r, __u32 len)
{
	if (len == ACK_PLAIN_LEN) {
		__u8 *p = frame_bytes(ctx, off, ACK_PLAIN_LEN);

		if (!p)
			return false;
		for (int i = 0; i < ACK_PLAIN_LEN / 8; i++)
			((packet64 *)p)[i] = r->words[i];
		*(packet16 *)(p + ACK_PLAIN_LEN / 8 * 8) =
			(__u16)r->words[ACK_PLAIN_LEN / 8];
		return true;
	}
	return is_length(&len, sizeof(r->words)) &&
	       !bpf_xdp_store_bytes(ctx, off, (void *)r->words, len);
}

/*
 * Turns the frame into its own answer. A frame that cannot grow gets the
 * shortest acknowledgement, which always fits. Returns whether it worked;
 * if not, the frame is half written.
 */
static __always_inline bool answer(struct xdp_md *ctx, const struct frame *fr,
				   struct reply *r)
{
	__u32 frame_len = ctx->data_end - ctx->data;
	__u32 l3 = fr->l3, udp_at = fr->udp;
	void *data, *end;
	struct ethhdr *eth;
	struct udphdr *udp;
	__u32 datagram, len;
	__u64 sum, addrs = 0;

	if (bpf_xdp_adjust_tail(ctx, (int)(fr->payload + r->len - frame_len))) {
		__u32 shortest = r->compact ? COMPACT_HDR_LEN + COMPACT_ACK_LEN
					    : HDR_LEN + 1;

		if (r->len <= shortest)
			return false;
		if (r->compact)
			r->words[1] &= 0x00ffffffff000000ULL;
		else
			r->words[2] &= ~0xffffffULL;
		r->len = shortest;
		if (bpf_xdp_adjust_tail(
			    ctx, (int)(fr->payload + r->len - frame_len)))
			return false;
	}
	sum = seal(r);
	len = r->len;
	datagram = sizeof(*udp) + len;

	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return false;
	swap_macs(data);

	barrier_var(l3);
	if (l3 > L3_MAX)
		return false;
	if (fr->ip6) {
		struct ipv6hdr *ip = data + l3;

		barrier_var(ip);
		if ((void *)(ip + 1) > end)
			return false;
		answer_ip6(ip, datagram);
		for (int i = 0; i < 4; i++)
			addrs += (__u64)fr->key.client_addr[i] +
				 fr->key.server_addr[i];
	} else {
		struct iphdr *ip = data + l3;

		addrs = (__u64)fr->key.client_addr[3] + fr->key.server_addr[3];
		barrier_var(ip);
		if ((void *)(ip + 1) > end ||
		    !answer_ip4(ip, end, udp_at - l3, datagram, addrs))
			return false;
	}

	barrier_var(udp_at);
	if (udp_at > UDP_MAX)
		return false;
	udp = data + udp_at;
	barrier_var(udp);
	if ((void *)(udp + 1) > end)
		return false;
	udp->source = fr->key.server_port;
	udp->dest = fr->key.client_port;
	udp->len = bpf_htons(datagram);
	/* Pseudo header and header; the length is in both. */
	sum += addrs + fr->key.server_port + fr->key.client_port +
	       2 * bpf_htons(datagram) + bpf_htons(IPPROTO_UDP);
	udp->check = csum_fold(sum) ?: 0xffff;
	return put_reply(ctx, fr->payload, r, len);
}

#endif
