/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * State shared between the gate and the workers. Pinned under the instance's
 * folder; a change of any layout here raises SCHEMA_VERSION.
 *
 * Integers are in host byte order unless their type says otherwise. Structs
 * used by both sides keep what XDP writes and what a worker writes on cache
 * lines of their own.
 */
#ifndef XRUDP_MAPS_H
#define XRUDP_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>

#include "proto.h"
#include "stats.h"

#define SCHEMA_VERSION 3

#define CACHE_LINE  64
#define MAX_PORTS   4
#define MAX_QUEUES  64
#define MAX_WORKERS 64

#define FEATURE_SACK 0x01

#define PROFILE_STANDARD 1
#define PROFILE_COMPACT	 2

struct listen_port {
	__be16 port;
	__u8 profile;
	__u8 pad;
};

/* The one entry of map config. Written by the daemon only. */
struct config {
	__u32 schema_version;
	__u32 workers;	    /* sessions are spread over this many */
	__u32 cpus;	    /* commit rings per worker */
	__u32 commit_slots; /* per ring, a power of two */
	__u32 max_sessions;
	__u32 transfer_pages; /* per worker */
	__u32 max_datagram;   /* largest UDP payload accepted */
	__u32 features;	      /* FEATURE_* offered in SYN|ACK */
	__u32 cookie_current; /* index into cookie_keys of the newest secret */
	struct listen_port ports[MAX_PORTS];
	__u32 control_bytes;  /* granted in option CONTROL, 0: not offered */
	__u32 session_budget; /* packets of a session that wait for its worker */
};

struct cookie_key {
	__u64 k0, k1;
};

/*
 * A client and the server address it talks to, in network byte order. IPv4 is
 * mapped into ::ffff:0:0/96.
 */
struct session_key {
	__be32 client_addr[4];
	__be32 server_addr[4];
	__be16 client_port;
	__be16 server_port;
};

struct local_addr {
	__be32 addr[4];
};

/* Created and deleted by the owning worker, changed by XDP under the lock. */
struct session {
	struct bpf_spin_lock lock;
	__u32 slot; /* index into flows, owned by this session */
	__u64 id;   /* never reused */
	__u32 worker;
	__u32 features;	   /* FEATURE_* agreed */
	__u32 client_isn;  /* sequence of the client's SYN */
	__u32 rcv_nxt;	   /* next reliable sequence expected */
	__u32 rcv_high;	   /* one past the highest reliable sequence held */
	__u32 replay_high; /* highest unreliable sequence seen */
	__u64 replay_bits; /* bit i: replay_high - i was seen */
	__u64 packets;	   /* accepted from the client */
	__u64 bytes;	   /* their UDP payload */
	__u64 committed;   /* reliable packets */
	__u64 duplicates;
	__u64 rejected; /* belonging to the session, but dropped */
	__u32 marked;	/* 1: CE arrived, and no CWR since */
	__u32 token;	/* of RST in the compact profile */

	/* Bit sequence % RCV_WINDOW: held. Untouched by what comes in order. */
	__u64 rcv_bits[RCV_WORDS];
};

/* Values of flow.state. */
#define FLOW_FREE 0
#define FLOW_OPEN 1

/*
 * What the two sides tell one another about a session's server-to-client
 * direction, without system calls. XDP changes its half under the session's
 * lock, version odd while it does; a worker reads again when version moved.
 */
struct flow {
	/* Written by XDP. */
	__u32 version;
	__u32 ack;	 /* next sequence the client expects */
	__u32 window;	 /* what it advertised, packets beyond ack */
	__u32 rtt_us;	 /* newest sample, 0 before the first */
	__u32 rtt_count; /* samples taken */
	__u32 echo;	 /* of the newest news of arrivals, low 32 bits, or 0 */
	__u64 last_seen; /* ns, CLOCK_MONOTONIC */
	__u32 sack_high; /* one past the highest bit of sack; without any, ack */
	__u32 pad0;
	__u64 pad1[3];
	/* A second line, which hardly changes. */
	__u32 ece;	  /* fresh acknowledgements that carried ECE */
	__u32 advertised; /* the last window of an answer, packets */
	__u64 pad2[7];
	/*
	 * Bit sequence % RCV_WINDOW: that packet arrived, of those up to
	 * RCV_WINDOW beyond ack. Untouched while nothing is missing.
	 */
	__u64 sack[RCV_WORDS];

	/* Written by the owning worker. */
	__u64 id;      /* of the session */
	__u32 snd_nxt; /* next reliable sequence it will send */
	__u32 state;   /* FLOW_* */
	__u32 client_isn;
	__u32 server_isn;
	struct session_key key;
	/*
	 * Packets of the session that were given back, as session.committed
	 * counts them; stored now and then.
	 */
	__u32 released;
	__u64 opened; /* ns, CLOCK_MONOTONIC */

	/* Reliable packets before it were handed over; kept without XDP only. */
	__u32 delivered;
	__u32 token; /* of RST in the compact profile */
	__u64 pad4[6];
};

_Static_assert(sizeof(struct session_key) == 36, "session_key");
_Static_assert(sizeof(struct flow) == 384, "flow: 256 bytes, and 128");

/* Commit slot states. */
#define SLOT_FREE      0
#define SLOT_COMMITTED 1

/*
 * One reliable packet, from its acknowledgement until the handler had it.
 * XDP fills a free slot and sets state last; the worker clears state once
 * every message in it was handed over.
 */
struct commit_slot {
	__u64 received; /* ns, CLOCK_MONOTONIC */
	__u64 session_id;
	__u32 session_slot;
	__u32 sequence;
	__u64 timestamp; /* of the client, microseconds */
	__u16 length;	 /* of data in use */
	__u8 flags;	 /* of the packet */
	__u8 pad0;
	__u32 state;		 /* SLOT_* */
	__u8 data[MAX_DATAGRAM]; /* body behind the acknowledgement block */
	__u8 pad1[24];
};

_Static_assert(sizeof(struct commit_slot) == 1536, "commit_slot");

/*
 * Indices of one commit ring, free-running, as in AF_XDP. A ring has a pool
 * of slots and two queues of slot numbers: fill carries free slots from the
 * worker to XDP, ready carries filled ones back. Ring of (cpu, worker) is
 * number cpu * workers + worker; one CPU produces, one worker consumes.
 */
struct commit_ctl {
	/* Written by XDP. */
	__u64 ready_head; /* published slots */
	__u64 fill_tail;  /* slots taken */
	__u64 fill_seen;  /* fill_head when it was last looked at */
	__u64 pad0[13];	  /* a second line, against adjacent-line prefetch */
	/* Written by the worker. */
	__u64 fill_head;  /* slots offered */
	__u64 ready_tail; /* slots picked up */
	__u64 pad1[14];
};

_Static_assert(sizeof(struct commit_ctl) == 256, "commit_ctl");

/* Per worker: asleep is 1 while it waits for a doorbell. */
struct worker_ctl {
	__u32 asleep; /* set by the worker, cleared by whoever rings */
	__u32 pad0;
	__u64 pad1[7];
};

_Static_assert(sizeof(struct worker_ctl) == 64, "worker_ctl");

/* Transfer states. */
#define TRANSFER_FREE	    0
#define TRANSFER_RELIABLE   1
#define TRANSFER_UNRELIABLE 2

#define TRANSFER_PAGE 4096

/*
 * A large message while its chunks arrive: entry n describes the one that
 * begins with page n of the worker's part, first a bitmap of the chunks that
 * are there, in whole cache lines, then the data. XDP has no part in it. The
 * worker copies a chunk here before it gives the commit slot back.
 */
struct transfer {
	__u64 session;	/* id */
	__u32 id;	/* of the transfer, given by the client */
	__u32 sequence; /* highest of a packet with a chunk of it */
	__u32 pages;
	__u32 state;	/* TRANSFER_*, set last */
	__u16 total;	/* chunks */
	__u16 chunk;	/* bytes of each but the last */
	__u16 last;	/* bytes of the last, 0 until it is there */
	__u16 received; /* chunks */
	__u16 message_id;
	__u8 channel;
	__u8 kind; /* type of the message */
	__u32 pad0;
};

struct transfer_page {
	__u8 data[TRANSFER_PAGE];
};

_Static_assert(sizeof(struct transfer) == 40, "transfer");

#endif
