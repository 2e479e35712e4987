/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * Every way a frame can leave the gate. The list is append-only: its order is
 * the layout of the pinned stats map and of gate.Outcome in userspace/gate.
 *
 * X(verdict, name)
 */
#ifndef XRUDP_STATS_H
#define XRUDP_STATS_H

/* clang-format off */
#define GATE_OUTCOMES(X)                                                       \
	/* Not ours: untouched. */                                             \
	X(PASS, pass_not_ip)	     /* neither IPv4 nor IPv6, or truncated */ \
	X(PASS, pass_vlan_depth)     /* more than two VLAN tags */             \
	X(PASS, pass_fragment)	     /* IPv4 fragment, IPv6 fragment header */ \
	X(PASS, pass_ip6_extension)  /* IPv6 extension header */               \
	X(PASS, pass_not_udp)	     /* another transport, bad IP header */    \
	X(PASS, pass_other_port)     /* UDP to a port we do not serve */       \
	X(PASS, pass_other_host)     /* our port, not our address; multicast */\
	/* Ours but bad: dropped. */                                           \
	X(DROP, drop_udp_length)     /* UDP length disagrees with the frame */ \
	X(DROP, drop_truncated)	     /* shorter than a header */               \
	X(DROP, drop_oversize)	     /* longer than max_datagram */            \
	X(DROP, drop_flags)	     /* combination that no peer sends */      \
	X(DROP, drop_checksum)                                                 \
	X(DROP, drop_syn_length)     /* SYN smaller than its reply may be */   \
	X(DROP, drop_syn_option)     /* malformed option list */               \
	X(DROP, drop_no_session)                                               \
	X(DROP, drop_cookie)	     /* HELLO with a forged or stale cookie */ \
	X(DROP, drop_hello)	     /* HELLO malformed */                     \
	X(DROP, drop_ack)	     /* acknowledges what was never sent */    \
	X(DROP, drop_ack_block)	     /* malformed, or selects what was never sent */ \
	X(DROP, drop_sequence)	     /* outside the receive window */          \
	X(DROP, drop_replay)	     /* unreliable packet seen before or too old */ \
	X(DROP, drop_message)	     /* message framing */                     \
	X(DROP, drop_reset)	     /* RST outside the window or malformed */ \
	X(DROP, drop_ring_full)	     /* no commit slot: not acknowledged */    \
	X(DROP, drop_ring_pressure)  /* out of order while slots are scarce */ \
	/* Absorbed: its effect is in shared memory. */                        \
	X(DROP, absorb_ack)                                                    \
	X(DROP, absorb_ack_stale)    /* older than what is already known */    \
	/* Answered in place. */                                               \
	X(TX, tx_syn_ack)                                                      \
	X(TX, tx_ack)		     /* reliable packet committed */           \
	X(TX, tx_ack_duplicate)                                                \
	X(TX, tx_keepalive)                                                    \
	/* Steered to the owner's AF_XDP socket. */                            \
	X(REDIRECT, redirect_hello)                                            \
	X(REDIRECT, redirect_data)                                             \
	X(REDIRECT, redirect_reset)                                            \
	/* The same, with no socket in the slot: up the host stack. */         \
	X(PASS, pass_hello)                                                    \
	X(PASS, pass_data)                                                     \
	X(PASS, pass_reset)                                                    \
	/* Failure after the first write to the frame. */                      \
	X(ABORTED, aborted_reply)                                              \
	X(DROP, drop_session_budget) /* too many of the session wait already */
/* clang-format on */

#define GATE_OUTCOME_ENUM(verdict, name) OUTCOME_##name,
enum gate_outcome {
	GATE_OUTCOMES(GATE_OUTCOME_ENUM) OUTCOME_MAX,
};

#define GATE_OUTCOME_FIELD(verdict, name) __u64 name;
struct gate_stats {
	GATE_OUTCOMES(GATE_OUTCOME_FIELD)
};

_Static_assert(sizeof(struct gate_stats) == OUTCOME_MAX * sizeof(__u64),
	       "one counter for each outcome");

#endif
