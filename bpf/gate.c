// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The gate: every frame of the NIC passes here first. It answers handshakes,
 * commits reliable data to memory shared with a worker before it acknowledges
 * it, absorbs acknowledgements, and steers what is left to the worker that
 * owns the session. userspace/gate decides the same in Go; PROTOCOL.md says
 * what a packet means.
 *
 * Read from gate() at the end of this file upwards.
 */
#include "check.h"
#include "cookie.h"
#include "gate_maps.h"
#include "order.h"
#include "parse.h"
#include "reply.h"
#include "window.h"

char LICENSE[] SEC("license") = "GPL";

#define unlikely(x) __builtin_expect(!!(x), 0)

#define RTT_MAX_US 60000000ULL

/* What the gate knows of one packet while it decides. */
struct packet {
	struct frame frame;
	__u32 seq;
	__u32 ack;
	__u32 window;
	__u32 flags;
	__u64 timestamp; /* the sender's, microseconds */
	__u64 now;	 /* ns */
	__u32 body;	 /* offset in the frame of what is left to read */
	__u32 body_len;
	__u32 worker; /* to steer to */
	/* Its acknowledgement block. */
	__u32 delay;
	__u64 echo;	 /* 0 where there is none */
	__u8 compact;	 /* the profile */
	__u8 frag;	 /* compact: says that there is a fragment */
	__u8 block_says; /* what its block begins with */
	__u8 sack_words;
	/* What it selects, until accept() has it; then what it is told. */
	__u64 sack[ACKB_WORDS_MAX];
};

/* The cookie for in, made with secret number which. */
__noinline __u64 cookie_for(struct cookie_input *in, __u32 which, __u32 compact)
{
	struct cookie_key *k;

	which &= 1;
	k = bpf_map_lookup_elem(&cookie_keys, &which);
	if (!in || !k)
		return 0;
	return cookie_make(k, which, compact, in);
}

/* Returns the PROFILE_* of a port, 0 if it is not served. */
static __always_inline __u32 port_profile(const struct config *cfg, __be16 port)
{
	for (int i = 0; i < MAX_PORTS; i++)
		if (port && cfg->ports[i].port == port)
			return cfg->ports[i].profile;
	return 0;
}

static __always_inline bool flags_legal(__u32 flags)
{
	__u32 kind = flags & ~(FLAG_URG | FLAG_ECE | FLAG_CWR);

	switch (kind) {
	case FLAG_SYN:
		return flags == FLAG_SYN;
	case FLAG_ACK | FLAG_RST:
		return flags == kind;
	case FLAG_ACK:
	case FLAG_ACK | FLAG_PSH:
		return true;
	case FLAG_ACK | FLAG_PSH | FLAG_FIN:
		return !(flags & FLAG_URG);
	}
	return false;
}

static __always_inline bool compact_flags_legal(const struct packet *p,
						__u8 priority)
{
	if (priority & ~(COMPACT_PRIORITY | COMPACT_CWR))
		return false;
	if (p->flags & (FLAG_SYN | FLAG_RST))
		return (p->flags == FLAG_SYN ||
			p->flags == (FLAG_ACK | FLAG_RST)) &&
		       !priority && !p->frag;
	if ((p->flags & FLAG_ECE) && !(p->flags & FLAG_ACK))
		return false;
	if (p->flags & FLAG_FIN)
		return (p->flags & FLAG_PSH) && !(p->flags & FLAG_URG) &&
		       !p->frag;
	return true;
}

static __always_inline bool udp_intact(struct xdp_md *ctx,
				       const struct frame *fr)
{
	__u32 len = sizeof(struct udphdr) + fr->payload_len;
	__u64 sum = bpf_htons(IPPROTO_UDP) + bpf_htons(len);

	sum += (__u64)fr->key.client_addr[3] + fr->key.server_addr[3];
	if (fr->ip6)
		for (int i = 0; i < 3; i++)
			sum += (__u64)fr->key.client_addr[i] +
			       fr->key.server_addr[i];
	return udp_checksum_valid(ctx, fr->udp, len, sum);
}

/*
 * The header of the compact profile, in the words of the standard one. Numbers
 * stay short until there is a session that they can be told from.
 */
static __always_inline enum gate_outcome read_compact_header(struct xdp_md *ctx,
							     struct packet *p)
{
	__u32 at = p->frame.payload;
	__u8 *h, raw, priority;

	h = frame_bytes(ctx, at, COMPACT_HDR_LEN);
	if (!h)
		return OUTCOME_drop_udp_length;
	raw = h[COMPACT_OFF_FLAGS];
	priority = h[COMPACT_OFF_PRIORITY];
	p->seq = get16(h + COMPACT_OFF_SEQ);
	p->timestamp = get32(h + COMPACT_OFF_TSTAMP);
	p->frag = !!(raw & COMPACT_FLAG_FRAG);
	p->flags = (raw &
		    (COMPACT_FLAG_FIN | COMPACT_FLAG_RST | COMPACT_FLAG_URG)) |
		   (priority & COMPACT_CWR);
	if (raw & COMPACT_FLAG_ACK)
		p->flags |= FLAG_ACK;
	if (raw & COMPACT_FLAG_SYN)
		p->flags |= FLAG_SYN;
	if (raw & COMPACT_FLAG_REL)
		p->flags |= FLAG_PSH;
	if (raw & COMPACT_FLAG_ECE)
		p->flags |= FLAG_ECE;
	p->body = at + COMPACT_HDR_LEN;
	p->body_len = p->frame.payload_len - COMPACT_HDR_LEN;
	if (p->flags & FLAG_ACK) {
		if (p->body_len < COMPACT_ACK_LEN)
			return OUTCOME_drop_truncated;
		h = frame_bytes(ctx, at, COMPACT_HDR_LEN + COMPACT_ACK_LEN);
		if (!h)
			return OUTCOME_drop_udp_length;
		p->block_says = h[COMPACT_OFF_SAYS];
		p->ack = get16(h + COMPACT_OFF_ACK);
		p->window = get16(h + COMPACT_OFF_WINDOW);
		p->body += COMPACT_ACK_LEN;
		p->body_len -= COMPACT_ACK_LEN;
	}
	if (!compact_flags_legal(p, priority))
		return OUTCOME_drop_flags;
	if (!udp_intact(ctx, &p->frame))
		return OUTCOME_drop_checksum;
	return UNDECIDED;
}

/* Lengths, flags and checksum; then the header is in p and body behind it. */
static __always_inline enum gate_outcome
read_header(struct xdp_md *ctx, const struct config *cfg, struct packet *p)
{
	__u32 len = p->frame.payload_len;
	__u8 *h;

	if (!p->frame.length_agrees)
		return OUTCOME_drop_udp_length;
	if (len < (p->compact ? COMPACT_HDR_LEN : HDR_LEN))
		return OUTCOME_drop_truncated;
	if (len > cfg->max_datagram || len > MAX_DATAGRAM)
		return OUTCOME_drop_oversize;
	if (unlikely(p->compact))
		return read_compact_header(ctx, p);
	h = frame_bytes(ctx, p->frame.payload, HDR_LEN);
	if (!h)
		return OUTCOME_drop_udp_length;
	p->seq = get32(h + HDR_OFF_SEQ);
	p->ack = get32(h + HDR_OFF_ACK);
	p->flags = h[HDR_OFF_FLAGS];
	p->window = get16(h + HDR_OFF_WINDOW);
	p->timestamp = get64(h + HDR_OFF_TSTAMP);
	p->body = p->frame.payload + HDR_LEN;
	p->body_len = len - HDR_LEN;
	if (!flags_legal(p->flags))
		return OUTCOME_drop_flags;
	if (!checksum_valid(ctx, p->frame.payload, len))
		return OUTCOME_drop_checksum;
	return UNDECIDED;
}

static __always_inline void cookie_input_of(struct cookie_input *in,
					    const struct packet *p,
					    __u32 client_isn)
{
	in->key = p->frame.key;
	in->client_isn = bpf_htonl(client_isn);
}

/* Appends the options of a SYN|ACK from the sixth byte of words[at] on. */
static __always_inline void reply_options(struct reply *r, int at, __u64 cookie,
					  bool sack, __u64 mtu, __u64 control)
{
	r->words[at] |= OPT_COOKIE << 16 | OPT_COOKIE_LEN << 8 | cookie >> 56;
	r->words[at + 1] = cookie << 8;
	r->len += 2 + OPT_COOKIE_LEN;
	if (sack) {
		r->words[at + 1] |= OPT_SACK;
		r->words[at + 2] = mtu << 24 | control >> 24;
		r->words[at + 3] = control << 40;
		r->len += 2;
	} else {
		r->words[at + 1] |= mtu >> 24;
		r->words[at + 2] = mtu << 40 | control >> 8;
		r->words[at + 3] = control << 56;
	}
	r->len += 2 + OPT_MTU_LEN;
	if (control)
		r->len += 2 + OPT_CONTROL_LEN;
}

/* A SYN is answered from the secret alone: nothing is kept for strangers. */
static __always_inline enum gate_outcome answer_syn(struct xdp_md *ctx,
						    const struct config *cfg,
						    struct packet *p,
						    struct reply *r)
{
	/* Two options, as they stand on the wire. */
	__u64 mtu = OPT_MTU << 24 | OPT_MTU_LEN << 16 | cfg->max_datagram;
	__u64 control = (__u64)OPT_CONTROL << 40 |
			(__u64)OPT_CONTROL_LEN << 32 | cfg->control_bytes;
	struct cookie_input in;
	__u64 cookie;
	bool sack;
	int wants;

	if (p->frame.payload_len < SYN_MIN_LEN)
		return OUTCOME_drop_syn_length;
	wants = syn_options(ctx, p->body, p->body_len);
	if (wants < 0)
		return OUTCOME_drop_syn_option;
	sack = (wants & SYN_WANTS_SACK) && (cfg->features & FEATURE_SACK);
	if (!(wants & SYN_WANTS_CONTROL) || !cfg->control_bytes)
		control = 0;

	cookie_input_of(&in, p, p->seq);
	cookie = cookie_for(&in, cfg->cookie_current, p->compact);
	if (unlikely(p->compact)) {
		reply_compact(r, cookie_server_isn(cookie, true), p->seq + 1,
			      COMPACT_FLAG_SYN | COMPACT_FLAG_ACK, RCV_WINDOW,
			      p->now);
		reply_options(r, 1, cookie, sack, mtu, control);
	} else {
		reply_header(r, cookie_server_isn(cookie, false), p->seq + 1,
			     FLAG_SYN | FLAG_ACK, RCV_WINDOW, p->now);
		reply_options(r, 2, cookie, sack, mtu, control);
	}
	return OUTCOME_tx_syn_ack;
}

static __always_inline __u32 hash_word(__u32 h, __u32 word)
{
	h = (h ^ word) * 0x9e3779b1;
	return h ^ h >> 15;
}

/* Spreads clients over workers; all HELLOs of one client meet. */
static __always_inline __u32 key_hash(const struct session_key *key)
{
	__u32 h = 0;

	for (int i = 0; i < 4; i++)
		h = hash_word(h, bpf_ntohl(key->client_addr[i]));
	for (int i = 0; i < 4; i++)
		h = hash_word(h, bpf_ntohl(key->server_addr[i]));
	h = hash_word(h, bpf_ntohs(key->server_port));
	return hash_word(h, bpf_ntohs(key->client_port));
}

#define HELLO_MIN_LEN (MSG_HDR_LEN + 2 + OPT_COOKIE_LEN)

/*
 * The packet that returns the cookie. A first body byte of MSG_TYPE_HELLO is
 * neither a legal acknowledgement block nor a legal message, so it can be told
 * apart inside a session too, where it means that the client started anew.
 */
static __always_inline bool is_hello(struct xdp_md *ctx, struct packet *p)
{
	__u8 *b;

	if (p->flags != (FLAG_ACK | FLAG_PSH) || !p->body_len ||
	    p->block_says || p->frag)
		return false;
	b = frame_bytes(ctx, p->body, 1);
	if (!b || b[0] != MSG_TYPE_HELLO)
		return false;
	if (unlikely(p->compact)) {
		/* One more than the short number before: up to 0x10000. */
		p->seq = ((p->seq - 1) & 0xffff) + 1;
		p->ack = ((p->ack - 1) & 0xffff) + 1;
	}
	return true;
}

static __always_inline enum gate_outcome check_hello(struct xdp_md *ctx,
						     const struct config *cfg,
						     struct packet *p,
						     const struct session *s)
{
	struct cookie_input in;
	__u64 cookie;
	__u8 *b;

	if (p->body_len < HELLO_MIN_LEN)
		return OUTCOME_drop_hello;
	b = frame_bytes(ctx, p->body, HELLO_MIN_LEN);
	if (!b)
		return OUTCOME_drop_hello;
	/* channel 0, id 0, one message that fills the body, COOKIE first */
	if (b[1] || b[2] || b[3] ||
	    get16(b + MSG_OFF_LENGTH) != p->body_len - MSG_HDR_LEN ||
	    b[MSG_HDR_LEN] != OPT_COOKIE ||
	    b[MSG_HDR_LEN + 1] != OPT_COOKIE_LEN)
		return OUTCOME_drop_hello;
	cookie = get64(b + MSG_HDR_LEN + 2);

	cookie_input_of(&in, p, p->seq - 1);
	if (cookie_for(&in, cookie & 1, p->compact) != cookie ||
	    p->ack != cookie_server_isn(cookie, p->compact) + 1)
		return OUTCOME_drop_cookie;

	if (s)
		p->worker = s->worker;
	else
		p->worker = key_hash(&p->frame.key) % (cfg->workers ?: 1);
	return OUTCOME_redirect_hello;
}

/* How an acknowledgement number relates to what the worker sent. */
enum ack_kind { ACK_FRESH, ACK_STALE, ACK_FORGED };

static __always_inline enum ack_kind ack_kind(const struct flow *f, __u32 ack)
{
	__u32 una = READ_ONCE(f->ack);
	__u32 nxt = READ_ONCE(f->snd_nxt);

	if (nxt - ack <= nxt - una)
		return ACK_FRESH;
	return una - ack <= RCV_WINDOW ? ACK_STALE : ACK_FORGED;
}

/*
 * Reads the acknowledgement block, if the session has them, and steps over it.
 * Bits for packets that the worker did not send yet are as forged as such an
 * ack number.
 */
static __always_inline bool read_ack_block(struct xdp_md *ctx,
					   const struct session *s,
					   const struct flow *f,
					   struct packet *p)
{
	__u32 sent = READ_ONCE(f->snd_nxt) - p->ack; /* from ack on */
	__u32 fixed = p->compact ? COMPACT_ECHO_LEN : ACKB_FIXED_LEN - 1;
	__u32 words = 0, offset;
	__u8 *b;

	if (!p->compact) {
		if (!(s->features & FEATURE_SACK))
			return true;
		b = frame_bytes(ctx, p->body, 1);
		if (!p->body_len || !b)
			return false;
		p->block_says = b[0];
		p->body += 1;
		p->body_len -= 1;
	}
	if (!p->block_says)
		return true;
	offset = p->block_says >> ACKB_OFFSET_SHIFT;
	if (p->block_says != ACKB_NO_WORDS) {
		words = ackb_words(p->block_says);
		if (words - 1 >= ACKB_WORDS_MAX || offset + words > RCV_WORDS)
			return false;
	}
	if (!(s->features & FEATURE_SACK) || p->body_len < fixed + 8 * words)
		return false;
	if (unlikely(p->compact)) {
		b = frame_bytes(ctx, p->body, COMPACT_ECHO_LEN);
		if (!b)
			return false;
		p->echo = get32(b);
		p->delay = get16(b + 4) * COMPACT_DELAY_UNIT;
	} else {
		b = frame_bytes(ctx, p->body, ACKB_FIXED_LEN - 1);
		if (!b)
			return false;
		p->echo = get64(b);
		p->delay = get32(b + 8);
	}
	p->body += fixed;
	p->body_len -= fixed;
	p->sack_words = words;
	if ((__s32)sent < 0)
		sent = 0;
	for (__u32 i = 0; i < ACKB_WORDS_MAX; i++) {
		/* distance of bit 0 from ack */
		__u32 first = 64 * (offset + i) + 1;
		__u64 bits;

		if (i >= p->sack_words)
			break;
		b = frame_bytes(ctx, p->body, 8);
		if (!b)
			return false;
		bits = get64(b);
		if (sent <= first ? bits != 0
				  : sent - first < 64 && bits >> (sent - first))
			return false;
		if (!bits && (!i || i == p->sack_words - 1))
			return false;
		p->sack[i] = bits;
		p->body += 8;
		p->body_len -= 8;
	}
	return true;
}

/*
 * Version is odd while the flow changes. The writers exclude one another by
 * the session's lock.
 */
static __always_inline void flow_begin(struct flow *f)
{
#ifdef __TARGET_ARCH_x86
	WRITE_ONCE(f->version, f->version + 1);
	barrier();
#else
	/* Of those that return a value, which are full barriers. */
	__sync_lock_test_and_set(&f->version, f->version + 1);
#endif
}

static __always_inline void flow_end(struct flow *f)
{
	store_release(&f->version, f->version + 1);
}

/*
 * Forgets what was selected up to ack, the new one, and lets sack_high follow:
 * all that the common case does.
 */
static __always_inline void sack_pass(struct flow *f, __u32 ack)
{
	__u32 next = f->ack + 1;

	if (f->sack_high == f->ack) {
		f->sack_high = ack;
		return;
	}
	if ((__s32)(f->sack_high - ack) <= 1) {
		for (int i = 0; i < RCV_WORDS; i++)
			f->sack[i] = 0;
		f->sack_high = ack;
		return;
	}
	for (int i = 0; i <= RCV_WORDS; i++) {
		__u32 left = ack + 1 - next;
		__u32 shift = next % 64;
		__u64 passed = ~0ULL;

		if (left < 64)
			passed = (1ULL << left) - 1;
		f->sack[(next / 64) % RCV_WORDS] &= ~(passed << shift);
		if (left <= 64 - shift)
			break;
		next += 64 - shift;
	}
}

/* Takes over the words of p's block and returns what is new in them. */
static __always_inline __u64 sack_take(struct flow *f, const struct packet *p)
{
	__u32 from = p->ack + 1 + 64 * (p->block_says >> ACKB_OFFSET_SHIFT);
	__u32 shift = from % 64;
	__u32 high = f->sack_high;
	__u64 last = 0, news = 0;

	for (__u32 i = 0; i < ACKB_WORDS_MAX; i++, from += 64) {
		__u64 *word = &f->sack[(from / 64) % RCV_WORDS];
		__u64 bits = p->sack[i];

		if (i >= p->sack_words)
			break;
		news |= bits << shift & ~*word;
		*word |= bits << shift;
		if (shift) {
			word = &f->sack[(from / 64 + 1) % RCV_WORDS];
			news |= bits >> (64 - shift) & ~*word;
			*word |= bits >> (64 - shift);
		}
		last = bits;
	}
	/* From is behind the last word by now, which is not zero. */
	if (last)
		high = from - __builtin_clzll(last);
	if ((__s32)(high - f->sack_high) > 0)
		f->sack_high = high;
	return news;
}

/*
 * Counts an accepted packet and takes over what it acknowledges. Runs under
 * the session's lock; returns whether the worker has something to look at.
 */
static __always_inline bool accept(struct session *s, struct flow *f,
				   const struct packet *p, enum ack_kind kind)
{
	__u64 rtt = p->now / 1000 - p->echo - p->delay;
	bool changed = false;
	__u64 news = 0;

	if (unlikely(p->compact))
		rtt = (__u32)rtt;
	s->packets++;
	s->bytes += p->frame.payload_len;
	/* A packet may end one episode of congestion and begin the next. */
	if (unlikely(p->frame.ce || (p->flags & FLAG_CWR)))
		s->marked = p->frame.ce;

	flow_begin(f);
	f->last_seen = p->now;
	/* Another CPU may have taken a newer one since kind was found. */
	if (kind == ACK_FRESH && ack_kind(f, p->ack) == ACK_FRESH) {
		if (p->ack != f->ack) {
			sack_pass(f, p->ack);
			f->ack = p->ack;
			changed = true;
			news = 1;
		}
		if (p->sack_words) {
			news |= sack_take(f, p);
			changed = true;
		}
		if (p->window != f->window) {
			f->window = p->window;
			changed = true;
		}
		/* What repeats the news does not tell what brought it. */
		if (news)
			f->echo = p->echo;
		if (p->echo && rtt - 1 < RTT_MAX_US - 1) {
			f->rtt_us = rtt;
			f->rtt_count++;
			changed = true;
		}
		if (p->flags & FLAG_ECE) {
			f->ece++;
			changed = true;
		}
	}
	flow_end(f);
	return changed;
}

static __always_inline void mark_dirty(const struct session *s)
{
	__u32 word = s->slot / 64;
	__u64 *bits = bpf_map_lookup_elem(&dirty, &word);

	if (bits)
		__sync_fetch_and_or(bits, 1ULL << (s->slot % 64));
}

/* The commit ring between this CPU and one worker. */
struct ring {
	struct commit_ctl *ctl;
	__u32 first; /* its first entry in fill, ready and slots */
	__u32 free;  /* slots that can be taken */
};

static __always_inline bool find_ring(const struct config *cfg, __u32 worker,
				      struct ring *ring)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u32 number = cpu * cfg->workers + worker;

	ring->ctl = NULL;
	ring->free = 0;
	if (cpu >= cfg->cpus || worker >= cfg->workers)
		return false;
	ring->ctl = bpf_map_lookup_elem(&commit_ctl, &number);
	if (!ring->ctl)
		return false;
	ring->first = number * cfg->commit_slots;
	/*
	 * The worker's cache line is looked at only when what was seen of it
	 * could make a difference: to the window or to a scarcity of slots.
	 */
	ring->free = ring->ctl->fill_seen - ring->ctl->fill_tail;
	if (ring->free <= RCV_WINDOW || ring->free * 2 < cfg->commit_slots ||
	    ring->free > cfg->commit_slots) {
		ring->ctl->fill_seen = load_acquire(&ring->ctl->fill_head);
		ring->free = ring->ctl->fill_seen - ring->ctl->fill_tail;
		if (ring->free > cfg->commit_slots)
			ring->free = 0; /* indices of no worker of ours */
	}
	return true;
}

/* How many more of a session's packets may wait for its worker. */
static __always_inline __u32 budget_left(const struct config *cfg,
					 const struct flow *f, __u32 committed)
{
	__s32 waiting = committed - READ_ONCE(f->released);

	/* Another CPU may have committed since, and the worker been quick. */
	if (waiting < 0)
		waiting = 0;
	return waiting < cfg->session_budget ? cfg->session_budget - waiting
					     : 0;
}

/* The window to advertise while free slots are left; the worker is told. */
static __always_inline __u32 advertise(const struct config *cfg, struct flow *f,
				       __u32 free, __u32 committed)
{
	__u32 window = budget_left(cfg, f, committed);

	if (window > free)
		window = free;
	if (window > RCV_WINDOW)
		window = RCV_WINDOW;
	if (READ_ONCE(f->advertised) != window)
		WRITE_ONCE(f->advertised, window);
	return window;
}

static __noinline void build_compact_ack(const struct session *s,
					 const struct flow *f,
					 const struct packet *p,
					 const struct window_view *v,
					 struct reply *r)
{
	reply_compact(r, READ_ONCE(f->snd_nxt), v->rcv_nxt,
		      v->marked ? COMPACT_FLAG_ACK | COMPACT_FLAG_ECE
				: COMPACT_FLAG_ACK,
		      v->window, p->now);
	if (!(s->features & FEATURE_SACK))
		return;
	/* The echo is bytes 13 to 16, and there is no delay. */
	r->words[1] |= (__u64)v->says << 56 | (__u32)p->timestamp >> 8;
	r->words[2] = p->timestamp << 56;
	if (v->says != ACKB_NO_WORDS) {
		r->words[2] |= p->sack[0] >> 24;
		for (int i = 1; i < ACKB_WORDS_MAX; i++)
			r->words[2 + i] =
				p->sack[i - 1] << 40 | p->sack[i] >> 24;
		r->words[2 + ACKB_WORDS_MAX] = p->sack[ACKB_WORDS_MAX - 1]
					       << 40;
	}
	r->len += COMPACT_ECHO_LEN + 8 * ackb_words(v->says);
}

static __always_inline void
build_ack(const struct session *s, const struct flow *f, const struct packet *p,
	  const struct window_view *v, struct reply *r)
{
	if (unlikely(p->compact)) {
		build_compact_ack(s, f, p, v, r);
		return;
	}
	reply_header(r, READ_ONCE(f->snd_nxt), v->rcv_nxt,
		     v->marked ? FLAG_ACK | FLAG_ECE : FLAG_ACK, v->window,
		     p->now);
	if (!(s->features & FEATURE_SACK))
		return;
	/* Byte 21, behind the header, is the third last of words[2]. */
	r->words[2] |= v->says << 16 | p->timestamp >> 48;
	r->words[3] = p->timestamp << 16; /* and no delay */
	r->words[4] = 0;
	if (v->says != ACKB_NO_WORDS) {
		r->words[4] = p->sack[0] >> 16;
		for (int i = 1; i < ACKB_WORDS_MAX; i++)
			r->words[4 + i] =
				p->sack[i - 1] << 48 | p->sack[i] >> 16;
		r->words[4 + ACKB_WORDS_MAX] = p->sack[ACKB_WORDS_MAX - 1]
					       << 48;
	}
	r->len = HDR_LEN + ACKB_FIXED_LEN + 8 * ackb_words(v->says);
}

/* Duplicates and keepalives: answered from what is already known. */
static __always_inline void
reacknowledge(const struct config *cfg, struct session *s, struct flow *f,
	      struct packet *p, const struct ring *ring, enum ack_kind kind,
	      bool duplicate, struct reply *r)
{
	struct window_view view;
	bool changed;

	bpf_spin_lock(&s->lock);
	if (duplicate)
		s->duplicates++;
	changed = accept(s, f, p, kind);
	window_view(s, p->seq, &view, p->sack);
	bpf_spin_unlock(&s->lock);
	if (changed)
		mark_dirty(s);
	view.window = advertise(cfg, f, ring->free, view.committed);
	build_ack(s, f, p, &view, r);
}

/* Rings if the worker said that it sleeps; only the first to see it does. */
static __always_inline void ring_doorbell(__u32 worker)
{
	struct worker_ctl *w = bpf_map_lookup_elem(&worker_ctl, &worker);
	__u64 record = 0;
	void *doorbell;

	if (!w || !READ_ONCE(w->asleep))
		return;
	if (!__sync_lock_test_and_set(&w->asleep, 0))
		return;
	doorbell = bpf_map_lookup_elem(&doorbells, &worker);
	if (doorbell)
		bpf_ringbuf_output(doorbell, &record, sizeof(record),
				   BPF_RB_FORCE_WAKEUP);
}

/*
 * Begins to fetch the slot that the next packet will take: the worker wrote
 * to it last, on another CPU, and a store to it would be waited for at the
 * next locked instruction. What lies in a free slot means nothing.
 */
static __always_inline void touch_next(const struct config *cfg,
				       const struct ring *ring)
{
	__u32 mask = cfg->commit_slots - 1;
	struct commit_slot *slot;
	__u64 *fill;
	__u32 at;

	if (!ring->free)
		return;
	at = ring->first + (ring->ctl->fill_tail & mask);
	fill = bpf_map_lookup_elem(&commit_fill, &at);
	if (!fill)
		return;
	at = ring->first + (*fill & mask);
	slot = bpf_map_lookup_elem(&commit_slots, &at);
	if (!slot)
		return;
	WRITE_ONCE(slot->length, 0);
	WRITE_ONCE(slot->data[CACHE_LINE], 0);
}

/*
 * The promise behind an acknowledgement: a slot is reserved first, then the
 * payload copied, then the window marked, then the slot published. Nothing
 * changes before the slot is certain, and the ACK is made after all of it.
 */
static __always_inline enum gate_outcome
commit(struct xdp_md *ctx, const struct config *cfg, struct session *s,
       struct flow *f, struct packet *p, struct ring *ring, enum ack_kind kind,
       struct reply *r)
{
	struct commit_ctl *ctl = ring->ctl;
	__u32 mask = cfg->commit_slots - 1;
	struct window_view view;
	struct commit_slot *slot;
	__u32 at, number, len;
	__u64 *fill, *ready;
	enum place place;
	bool changed;
	__u32 budget;

	if (!ctl || !ring->free)
		return OUTCOME_drop_ring_full;
	if (p->seq != s->rcv_nxt && ring->free * 2 < cfg->commit_slots)
		return OUTCOME_drop_ring_pressure;
	/* As in the ring, what fills a gap finds room that others left it. */
	budget = budget_left(cfg, f, s->committed);
	if (!budget ||
	    (p->seq != s->rcv_nxt && budget * 2 < cfg->session_budget))
		return OUTCOME_drop_session_budget;

	at = ring->first + (ctl->fill_tail & mask);
	fill = bpf_map_lookup_elem(&commit_fill, &at);
	at = ring->first + (ctl->ready_head & mask);
	ready = bpf_map_lookup_elem(&commit_ready, &at);
	if (!fill || !ready)
		return OUTCOME_drop_ring_full;
	number = *fill & mask;
	at = ring->first + number;
	slot = bpf_map_lookup_elem(&commit_slots, &at);
	if (!slot)
		return OUTCOME_drop_ring_full;

	len = p->body_len;
	if (!is_length(&len, MAX_DATAGRAM) ||
	    bpf_xdp_load_bytes(ctx, p->body, slot->data, len))
		return OUTCOME_drop_message;
	slot->received = p->now;
	slot->session_id = s->id;
	slot->session_slot = s->slot;
	slot->sequence = p->seq;
	slot->timestamp = p->timestamp;
	slot->length = len;
	slot->flags = p->flags;

	/* Another CPU may have taken the same packet since it was placed. */
	bpf_spin_lock(&s->lock);
	place = window_place(s, p->seq);
	if (place == PLACE_FRESH) {
		window_mark(s, p->seq);
		s->committed++;
	} else {
		s->duplicates++;
	}
	changed = accept(s, f, p, kind);
	window_view(s, p->seq, &view, p->sack);
	bpf_spin_unlock(&s->lock);
	if (changed)
		mark_dirty(s);

	if (place == PLACE_FRESH)
		ring->free--;
	/* Before the worker can give this packet back: it looks then. */
	view.window = advertise(cfg, f, ring->free, view.committed);
	if (place == PLACE_FRESH) {
		WRITE_ONCE(slot->state, SLOT_COMMITTED);
		*ready = number;
		/*
		 * A full barrier everywhere: what was written above is seen
		 * by whoever sees the new head, and the worker's asleep is
		 * read after the head is out. The worker does the reverse.
		 */
		__sync_lock_test_and_set(&ctl->ready_head, ctl->ready_head + 1);
		WRITE_ONCE(ctl->fill_tail, ctl->fill_tail + 1);
		touch_next(cfg, ring);
		ring_doorbell(s->worker);
	}
	build_ack(s, f, p, &view, r);
	return place == PLACE_FRESH ? OUTCOME_tx_ack : OUTCOME_tx_ack_duplicate;
}

static __always_inline bool messages_fit(struct xdp_md *ctx,
					 const struct packet *p)
{
	int valid = messages_valid(ctx, p->body, p->body_len);

	if (p->compact && !(valid & MESSAGES_FRAGMENT) == !!p->frag)
		return false;
	return valid;
}

static __always_inline enum gate_outcome
reliable(struct xdp_md *ctx, const struct config *cfg, struct session *s,
	 struct flow *f, struct packet *p, enum ack_kind kind, struct reply *r)
{
	struct ring ring;

	find_ring(cfg, s->worker, &ring);
	if (!p->body_len && !(p->flags & FLAG_FIN)) {
		if (p->seq - s->rcv_nxt + RCV_WINDOW >= 2 * RCV_WINDOW)
			return OUTCOME_drop_sequence;
		if (p->frag)
			return OUTCOME_drop_message;
		reacknowledge(cfg, s, f, p, &ring, kind, false, r);
		return OUTCOME_tx_keepalive;
	}

	switch (window_place(s, p->seq)) {
	case PLACE_OUTSIDE:
		return OUTCOME_drop_sequence;
	case PLACE_DUPLICATE:
		reacknowledge(cfg, s, f, p, &ring, kind, true, r);
		return OUTCOME_tx_ack_duplicate;
	case PLACE_FRESH:
		break;
	}

	if (p->flags & FLAG_FIN) {
		__u8 *reason = frame_bytes(ctx, p->body, 1);

		if (p->body_len != 1 || !reason || !reason[0])
			return OUTCOME_drop_message;
	} else if (!messages_fit(ctx, p)) {
		return OUTCOME_drop_message;
	}
	return commit(ctx, cfg, s, f, p, &ring, kind, r);
}

static __always_inline enum gate_outcome
unreliable(struct xdp_md *ctx, struct session *s, struct flow *f,
	   struct packet *p, enum ack_kind kind)
{
	bool fresh = true;
	bool changed = false;

	/* One that says nothing at all, or has a flag of messages. */
	if (!p->body_len && (!(p->flags & FLAG_ACK) || p->frag))
		return OUTCOME_drop_message;
	if (p->body_len && !messages_fit(ctx, p))
		return OUTCOME_drop_message;

	bpf_spin_lock(&s->lock);
	if (p->body_len)
		fresh = replay_fresh(s, p->seq);
	if (fresh)
		changed = accept(s, f, p, kind);
	bpf_spin_unlock(&s->lock);
	if (changed)
		mark_dirty(s);

	if (!fresh)
		return OUTCOME_drop_replay;
	if (p->body_len)
		return OUTCOME_redirect_data;
	return kind == ACK_FRESH ? OUTCOME_absorb_ack
				 : OUTCOME_absorb_ack_stale;
}

static __always_inline enum gate_outcome
check_reset(struct xdp_md *ctx, struct session *s, struct packet *p)
{
	__u8 *reason = frame_bytes(ctx, p->body, 1);

	if (unlikely(p->compact)) {
		__u8 *b = frame_bytes(ctx, p->body, COMPACT_RST_LEN);

		/* Numbers of 16 bits are guessed too easily. */
		if (p->block_says || p->body_len != COMPACT_RST_LEN || !b ||
		    get32(b + 1) != s->token)
			return OUTCOME_drop_reset;
	} else if (p->body_len != 1) {
		return OUTCOME_drop_reset;
	}
	if (!reason || !reason[0] || reason[0] >= REASON_LOCAL)
		return OUTCOME_drop_reset;
	if (p->seq - s->rcv_nxt + RCV_WINDOW > 2 * RCV_WINDOW)
		return OUTCOME_drop_reset;
	__sync_fetch_and_add(&s->packets, 1);
	__sync_fetch_and_add(&s->bytes, p->frame.payload_len);
	return OUTCOME_redirect_reset;
}

/* The number nearest to near that ends in the short one. */
static __always_inline __u32 expand(__u32 low, __u32 near)
{
	return near + (__s16)(low - near);
}

/* A packet that belongs to a session, in the order of PROTOCOL.md. */
static __always_inline enum gate_outcome
in_session(struct xdp_md *ctx, const struct config *cfg, struct session *s,
	   struct packet *p, struct reply *r)
{
	__u32 slot = s->slot;
	enum ack_kind kind;
	struct flow *f;

	f = bpf_map_lookup_elem(&flows, &slot);
	if (!f)
		return OUTCOME_drop_no_session;
	p->worker = s->worker;

	if (is_hello(ctx, p)) {
		struct ring ring;

		if (p->seq != s->client_isn + 1)
			return check_hello(ctx, cfg, p, s);
		find_ring(cfg, s->worker, &ring);
		reacknowledge(cfg, s, f, p, &ring, ACK_STALE, true, r);
		return OUTCOME_tx_ack_duplicate;
	}

	if (unlikely(p->compact)) {
		p->seq = expand(p->seq, p->flags & (FLAG_PSH | FLAG_RST)
						? s->rcv_nxt
						: s->replay_high);
		p->ack = expand(p->ack, READ_ONCE(f->ack));
	}
	/* What does not acknowledge is as good as what says nothing new. */
	kind = p->flags & FLAG_ACK ? ack_kind(f, p->ack) : ACK_STALE;
	if (kind == ACK_FORGED)
		return OUTCOME_drop_ack;
	if (p->flags & FLAG_RST)
		return check_reset(ctx, s, p);
	if (!read_ack_block(ctx, s, f, p))
		return OUTCOME_drop_ack_block;
	if (p->flags & FLAG_PSH)
		return reliable(ctx, cfg, s, f, p, kind, r);
	return unreliable(ctx, s, f, p, kind);
}

static __always_inline bool is_local(const struct packet *p)
{
	struct local_addr addr;

	__builtin_memcpy(&addr, p->frame.key.server_addr, sizeof(addr));
	return bpf_map_lookup_elem(&local_addrs, &addr);
}

static __always_inline enum gate_outcome classify(struct xdp_md *ctx,
						  const struct config *cfg,
						  struct packet *p,
						  struct reply *r)
{
	enum gate_outcome out = parse_frame(ctx, &p->frame);
	struct session *s;
	__u32 profile;

	if (out != UNDECIDED)
		return out;
	profile = port_profile(cfg, p->frame.key.server_port);
	if (!profile)
		return OUTCOME_pass_other_port;
	p->compact = profile == PROFILE_COMPACT;
	if (p->frame.to_group)
		return OUTCOME_pass_other_host;
	s = bpf_map_lookup_elem(&sessions, &p->frame.key);
	if (!s && !is_local(p))
		return OUTCOME_pass_other_host;

	out = read_header(ctx, cfg, p);
	if (out == UNDECIDED) {
		p->now = bpf_ktime_get_ns();
		if (p->flags == FLAG_SYN)
			out = answer_syn(ctx, cfg, p, r);
		else if (s)
			out = in_session(ctx, cfg, s, p, r);
		else if (is_hello(ctx, p))
			out = check_hello(ctx, cfg, p, NULL);
		else
			out = OUTCOME_drop_no_session;
	}
	if (s && ((out >= OUTCOME_drop_udp_length &&
		   out <= OUTCOME_drop_ring_pressure) ||
		  out == OUTCOME_drop_session_budget))
		__sync_fetch_and_add(&s->rejected, 1);
	return out;
}

/* Hands the frame to its worker, or to the host stack if no socket is there. */
static __always_inline enum gate_outcome steer(struct xdp_md *ctx,
					       const struct config *cfg,
					       const struct packet *p,
					       enum gate_outcome out)
{
	__u32 index = ctx->rx_queue_index * cfg->workers + p->worker;

	if (bpf_redirect_map(&xsks, index, XDP_PASS) == XDP_REDIRECT)
		return out;
	return out - OUTCOME_redirect_hello + OUTCOME_pass_hello;
}

#define GATE_OUTCOME_VERDICT(verdict, name) XDP_##verdict,
static const __u8 verdicts[OUTCOME_MAX] = { GATE_OUTCOMES(
	GATE_OUTCOME_VERDICT) };

/* The one exit: counts the outcome and returns its verdict. */
static __always_inline int leave(__u32 out)
{
	__u32 zero = 0;
	__u64 *counters = bpf_map_lookup_elem(&stats, &zero);

	if (out >= OUTCOME_MAX)
		return XDP_ABORTED;
	if (counters)
		counters[out]++;
	return verdicts[out];
}

SEC("xdp")
int gate(struct xdp_md *ctx)
{
	struct packet p = {};
	struct reply r;
	enum gate_outcome out;
	struct config *cfg;
	__u32 zero = 0;

	cfg = bpf_map_lookup_elem(&config, &zero);
	if (!cfg)
		return XDP_PASS;
	out = classify(ctx, cfg, &p, &r);
	switch (verdicts[out]) {
	case XDP_TX:
		if (!answer(ctx, &p.frame, &r))
			out = OUTCOME_aborted_reply;
		break;
	case XDP_REDIRECT:
		out = steer(ctx, cfg, &p, out);
		break;
	}
	return leave(out);
}
