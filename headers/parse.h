/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * From a frame to a UDP payload. wire.ParseFrame in userspace/wire is the Go
 * implementation of the same rules.
 */
#ifndef XRUDP_PARSE_H
#define XRUDP_PARSE_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bytes.h"
#include "maps.h"

#define IP_MF	  0x2000
#define IP_DF	  0x4000
#define IP_OFFSET 0x1fff
#define ECN_CE	  0x03

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct cursor {
	void *pos;
	void *end;
};

/* Returns the next n bytes and steps over them, or NULL if there are fewer. */
static __always_inline void *take(struct cursor *c, __u32 n)
{
	void *p = c->pos;

	if (p + n > c->end)
		return NULL;
	c->pos = p + n;
	return p;
}

/* A UDP datagram inside a frame. Offsets count from the start of the frame. */
struct frame {
	struct session_key key; /* the sender taken for the client */
	__u32 l3;
	__u32 udp;
	__u32 payload;
	__u32 payload_len; /* valid once the UDP length was */
	bool ip6;
	bool to_group;	    /* multicast or broadcast at either layer */
	bool length_agrees; /* UDP length equals the IP payload's */
	bool ce;	    /* Congestion Experienced (RFC 3168) */
};

/* No outcome yet: go on. */
#define UNDECIDED OUTCOME_MAX

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) ||
	       proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline bool is_ip6_extension(__u8 nexthdr)
{
	switch (nexthdr) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case 135: /* mobility */
	case 139: /* host identity */
	case 140: /* shim6 */
		return true;
	}
	return false;
}

/* Returns UNDECIDED with ip_payload set, or how the frame leaves the gate. */
static __always_inline enum gate_outcome
parse_ip4(struct cursor *c, struct frame *f, __u32 *ip_payload)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 header, total;

	if (!ip)
		return OUTCOME_pass_not_ip;
	header = ip->ihl * 4;
	if (ip->version != 4 || header < sizeof(*ip))
		return OUTCOME_pass_not_udp;
	if (!take(c, header - sizeof(*ip)))
		return OUTCOME_pass_not_ip;
	total = get16(&ip->tot_len);
	if (total < header || (void *)ip + total > c->end)
		return OUTCOME_pass_not_udp;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return OUTCOME_pass_fragment;
	if (ip->protocol != IPPROTO_UDP)
		return OUTCOME_pass_not_udp;

	f->ce = (ip->tos & ECN_CE) == ECN_CE;
	f->key.client_addr[2] = bpf_htonl(0xffff);
	f->key.client_addr[3] = ip->saddr;
	f->key.server_addr[2] = bpf_htonl(0xffff);
	f->key.server_addr[3] = ip->daddr;
	/* 224.0.0.0/4 and all above it, the limited broadcast included. */
	if (bpf_ntohl(ip->daddr) >= 0xe0000000)
		f->to_group = true;
	f->udp = f->l3 + header;
	*ip_payload = total - header;
	return UNDECIDED;
}

static __always_inline enum gate_outcome
parse_ip6(struct cursor *c, struct frame *f, __u32 *ip_payload)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));

	if (!ip)
		return OUTCOME_pass_not_ip;
	if (ip->version != 6)
		return OUTCOME_pass_not_udp;
	*ip_payload = get16(&ip->payload_len);
	if (c->pos + *ip_payload > c->end)
		return OUTCOME_pass_not_udp;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return OUTCOME_pass_fragment;
	if (is_ip6_extension(ip->nexthdr))
		return OUTCOME_pass_ip6_extension;
	if (ip->nexthdr != IPPROTO_UDP)
		return OUTCOME_pass_not_udp;

	/* The traffic class lies across the first two bytes. */
	f->ce = (ip->flow_lbl[0] >> 4 & ECN_CE) == ECN_CE;
	__builtin_memcpy(f->key.client_addr, &ip->saddr, 16);
	__builtin_memcpy(f->key.server_addr, &ip->daddr, 16);
	if (ip->daddr.in6_u.u6_addr8[0] == 0xff)
		f->to_group = true;
	f->ip6 = true;
	f->udp = f->l3 + sizeof(*ip);
	return UNDECIDED;
}

/* Fills f, which the caller zeroed. Returns UNDECIDED for any UDP datagram. */
static __always_inline enum gate_outcome parse_frame(struct xdp_md *ctx,
						     struct frame *f)
{
	struct cursor c = { .pos = (void *)(long)ctx->data,
			    .end = (void *)(long)ctx->data_end };
	struct ethhdr *eth = take(&c, sizeof(*eth));
	enum gate_outcome out;
	struct udphdr *udp;
	__u32 ip_payload, udp_len;
	__be16 proto;

	if (!eth)
		return OUTCOME_pass_not_ip;
	f->to_group = eth->h_dest[0] & 1;
	f->l3 = sizeof(*eth);
	proto = eth->h_proto;
	for (int i = 0; i < VLAN_MAX_DEPTH && is_vlan(proto); i++) {
		struct vlan_tag *tag = take(&c, sizeof(*tag));

		if (!tag)
			return OUTCOME_pass_not_ip;
		f->l3 += sizeof(*tag);
		proto = tag->proto;
	}
	if (is_vlan(proto))
		return OUTCOME_pass_vlan_depth;

	if (proto == bpf_htons(ETH_P_IP))
		out = parse_ip4(&c, f, &ip_payload);
	else if (proto == bpf_htons(ETH_P_IPV6))
		out = parse_ip6(&c, f, &ip_payload);
	else
		out = OUTCOME_pass_not_ip;
	if (out != UNDECIDED)
		return out;

	udp = take(&c, sizeof(*udp));
	if (!udp)
		return OUTCOME_pass_not_udp;
	f->key.client_port = udp->source;
	f->key.server_port = udp->dest;
	udp_len = get16(&udp->len);
	f->length_agrees = udp_len >= sizeof(*udp) && udp_len == ip_payload;
	f->payload = f->udp + sizeof(*udp);
	f->payload_len = udp_len - sizeof(*udp);
	return UNDECIDED;
}

#endif
