// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
/*
 * Load for the benchmarks and the floor they compare with. Never part of a
 * server.
 *
 *   generate --redirect--> client end ==veth== server end: gate, or echo
 *   count    <------------ client end ==veth== XDP_TX
 *
 * generate runs as live frames under BPF_PROG_TEST_RUN in the client's network
 * namespace: one reliable packet for each run, of established sessions in
 * turn. Frames are recycled, so it writes every byte, and the length, anew.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "proto.h"

#define GEN_SESSIONS_MAX 4096
#define GEN_WINDOW	 256 /* packets of one session beyond its last ACK */
#define GEN_PAYLOAD	 64
#define GEN_BODY \
	(1 + MSG_HDR_LEN + GEN_PAYLOAD) /* empty ACK block, a message */
#define GEN_DATAGRAM (HDR_LEN + GEN_BODY)
#define GEN_OFF_ID   (HDR_LEN + 1 + 2) /* of the message */

struct gen_frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u8 data[GEN_DATAGRAM];
} __attribute__((packed));

/*
 * The packet every session sends, but for its source port, sequence, message
 * id and checksum, which are zero here. sum1 and sum2 are the Fletcher sums of
 * data as it stands.
 */
struct gen_template {
	__u16 sum1;
	__u16 sum2;
	__u16 first_port; /* of session 0, host byte order */
	__u16 pad0;
	__u32 first_sequence;
	struct gen_frame frame;
	__u8 pad1[2];
};

struct gen_session {
	__u32 next;  /* sequence of the next packet */
	__u32 acked; /* newest ack_number that came back */
};

struct gen_counters {
	__u64 sent;
	__u64 arrived; /* frames that came back */
	__u64 acks;    /* those with an ACK alone */
};

_Static_assert(sizeof(struct gen_frame) == 134, "gen_frame");
_Static_assert(sizeof(struct gen_template) == 148, "gen_template");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gen_template);
} gen_templates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GEN_SESSIONS_MAX);
	__type(key, __u32);
	__type(value, struct gen_session);
} gen_sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gen_counters);
} gen_counts SEC(".maps");

const volatile __u32 session_mask =
	0; /* sessions - 1, sessions a power of two */
const volatile __u32 egress_ifindex = 0; /* the client's end */

static __always_inline struct gen_counters *counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&gen_counts, &zero);
}

/* A byte's share of the second Fletcher sum is its distance from the end. */
static __always_inline void sum_byte(__u16 *sum1, __u16 *sum2, __u32 offset,
				     __u8 byte)
{
	*sum1 += byte;
	*sum2 += (GEN_DATAGRAM - offset) * byte;
}

/*
 * Takes the session's next sequence. A session whose packets were refused, or
 * whose ACKs were lost, goes back to what was acknowledged.
 */
static __always_inline __u32 take_sequence(struct gen_session *s)
{
	if (s->next - s->acked >= GEN_WINDOW)
		s->next = s->acked;
	return s->next++;
}

/*
 * The frame arrives one byte short and grows here: the kernel copies length
 * and position to a recycled frame only when the program changed them, and
 * the receiver left them as its reply needed them.
 */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct gen_counters *n = counters();
	struct gen_template *t;
	struct gen_session *s;
	struct gen_frame *f;
	__u32 zero = 0, turn, sequence;
	__u16 sum1, sum2, id;

	t = bpf_map_lookup_elem(&gen_templates, &zero);
	if (!n || !t || bpf_xdp_adjust_tail(ctx, 1))
		return XDP_ABORTED;

	f = (void *)(long)ctx->data;
	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;

	turn = n->sent++ & session_mask;
	s = bpf_map_lookup_elem(&gen_sessions, &turn);
	if (!s)
		return XDP_ABORTED;
	sequence = take_sequence(s);
	id = sequence - t->first_sequence;

	__builtin_memcpy(f, &t->frame, sizeof(*f));
	f->udp.source = bpf_htons(t->first_port + turn);

	sum1 = t->sum1;
	sum2 = t->sum2;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		f->data[HDR_OFF_SEQ + i] = sequence >> (24 - 8 * i);
		sum_byte(&sum1, &sum2, HDR_OFF_SEQ + i,
			 sequence >> (24 - 8 * i));
	}
#pragma unroll
	for (int i = 0; i < 2; i++) {
		f->data[GEN_OFF_ID + i] = id >> (8 - 8 * i);
		sum_byte(&sum1, &sum2, GEN_OFF_ID + i, id >> (8 - 8 * i));
	}
	f->data[HDR_OFF_CSUM] = ~sum2;
	f->data[HDR_OFF_CSUM + 1] = ~sum1;

	return bpf_redirect(egress_ifindex, 0);
}

/* On the client's end: takes in what comes back and notes the ACKs. */
SEC("xdp")
int count(struct xdp_md *ctx)
{
	struct gen_counters *n = counters();
	struct gen_template *t;
	struct gen_session *s;
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct udphdr udp;
		__u8 header[HDR_LEN];
	} __attribute__((packed)) *f = (void *)(long)ctx->data;
	__u32 zero = 0, turn, ack = 0;

	t = bpf_map_lookup_elem(&gen_templates, &zero);
	if (!n || !t)
		return XDP_ABORTED;
	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	if (f->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    f->ip.protocol != IPPROTO_UDP)
		return XDP_DROP;

	n->arrived++;
	if (f->header[HDR_OFF_FLAGS] != FLAG_ACK)
		return XDP_DROP;
	n->acks++;

	turn = (bpf_ntohs(f->udp.dest) - t->first_port) & session_mask;
	s = bpf_map_lookup_elem(&gen_sessions, &turn);
	if (!s)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < 4; i++)
		ack = ack << 8 | f->header[HDR_OFF_ACK + i];
	if ((__s32)(ack - s->acked) > 0)
		s->acked = ack;
	return XDP_DROP;
}

/* On the server's end, in the gate's place: the cheapest reply there is. */
SEC("xdp")
int echo(struct xdp_md *ctx)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct udphdr udp;
	} __attribute__((packed)) *f = (void *)(long)ctx->data;
	__u8 mac[ETH_ALEN];
	__be32 addr;
	__be16 port;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (f->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    f->ip.protocol != IPPROTO_UDP)
		return XDP_PASS;

	__builtin_memcpy(mac, f->eth.h_dest, ETH_ALEN);
	__builtin_memcpy(f->eth.h_dest, f->eth.h_source, ETH_ALEN);
	__builtin_memcpy(f->eth.h_source, mac, ETH_ALEN);
	addr = f->ip.saddr;
	f->ip.saddr = f->ip.daddr;
	f->ip.daddr = addr;
	port = f->udp.source;
	f->udp.source = f->udp.dest;
	f->udp.dest = port;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
