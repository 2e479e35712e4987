/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * Wire constants of both profiles. PROTOCOL.md is the normative text;
 * userspace/wire is the Go implementation of the same formats.
 *
 * Every multi-byte wire field is big-endian.
 */
#ifndef XRUDP_PROTO_H
#define XRUDP_PROTO_H

#define HDR_LEN	       21 /* packet header */
#define HDR_OFF_SEQ    0  /* u32 */
#define HDR_OFF_ACK    4  /* u32 */
#define HDR_OFF_FLAGS  8  /* u8 */
#define HDR_OFF_WINDOW 9  /* u16 */
#define HDR_OFF_CSUM   11 /* u16 */
#define HDR_OFF_TSTAMP 13 /* u64, microseconds of the sender's clock */

#define FLAG_SYN 0x01
#define FLAG_ACK 0x02
#define FLAG_FIN 0x04
#define FLAG_RST 0x08
#define FLAG_PSH 0x10 /* reliable */
#define FLAG_URG 0x20
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80

/* Largest UDP payload that ever comes, and smallest SYN. */
#define MAX_DATAGRAM 1472
#define SYN_MIN_LEN  64

/* Options of SYN, SYN|ACK and HELLO: kind u8, length u8 of the value, value. */
#define OPT_PAD		0 /* ends the list; nobody reads what follows */
#define OPT_COOKIE	1 /* 8 bytes */
#define OPT_SACK	2 /* 0 bytes */
#define OPT_MTU		3 /* u16, largest UDP payload the sender accepts */
#define OPT_CONTROL	4 /* u32, bytes of unfinished large messages held */
#define OPT_COOKIE_LEN	8
#define OPT_MTU_LEN	2
#define OPT_CONTROL_LEN 4
#define OPT_MAX		8 /* options in one list, the pad excluded */

/* SYN|ACK: header, COOKIE, SACK where asked for, MTU, CONTROL likewise. */
#define SYNACK_MAX_LEN                                            \
	(HDR_LEN + 2 + OPT_COOKIE_LEN + 2 + 2 + OPT_MTU_LEN + 2 + \
	 OPT_CONTROL_LEN)
_Static_assert(SYNACK_MAX_LEN < SYN_MIN_LEN, "no amplification");

/*
 * The compact profile: this header, with flag ACK the front of the
 * acknowledgement block behind it, and no packet checksum.
 */
#define COMPACT_HDR_LEN	     8
#define COMPACT_OFF_SEQ	     0 /* u16 */
#define COMPACT_OFF_FLAGS    2 /* u8 */
#define COMPACT_OFF_PRIORITY 3 /* u8 */
#define COMPACT_OFF_TSTAMP   4 /* u32, microseconds of the sender's clock */

#define COMPACT_ACK_LEN	   5 /* says u8, ack u16, window u16 */
#define COMPACT_OFF_SAYS   8
#define COMPACT_OFF_ACK	   9
#define COMPACT_OFF_WINDOW 11

/* If it says anything: echo u32, delay u16 in units of 16 microseconds, the bitmap. */
#define COMPACT_ECHO_LEN   6
#define COMPACT_DELAY_UNIT 16

#define COMPACT_FLAG_ACK  0x01
#define COMPACT_FLAG_SYN  0x02
#define COMPACT_FLAG_FIN  0x04
#define COMPACT_FLAG_RST  0x08
#define COMPACT_FLAG_FRAG 0x10 /* one of the messages is a fragment */
#define COMPACT_FLAG_URG  0x20
#define COMPACT_FLAG_REL  0x40
#define COMPACT_FLAG_ECE  0x80

/* Of the priority byte; its other bits are zero. */
#define COMPACT_PRIORITY 0x03
#define COMPACT_CWR	 0x80

/* The body of RST: a reason, and a token that the session's peers know. */
#define COMPACT_RST_LEN 5

/* Reasons of FIN and RST from here on never travel. */
#define REASON_LOCAL 0x80

/* Messages: type u8, channel u8, id u16, length u16, payload. */
#define MSG_HDR_LEN	 6
#define MSG_OFF_LENGTH	 4
#define MSG_MAX		 32   /* messages in one packet */
#define MSG_TYPE_HELLO	 0xf0 /* completes a handshake, never inside a session */
#define MSG_TYPE_CONTROL 0xf0 /* this and above belong to the transport */

/* Types of the transport's own that are legal inside a session. */
#define MSG_TYPE_FRAGMENT 0xf1
#define MSG_TYPE_PAD	  0xf4

/*
 * Acknowledgement block, first in the body of every packet of a session that
 * negotiated SACK, except HELLO and RST: says u8; where it is not zero, echo
 * u64, delay u32 and bitmap words of 64 bits, one less than the low three bits
 * of says. The bits above are how many words of the receive window are left
 * out before them.
 */
#define ACKB_FIXED_LEN	  13
#define ACKB_WORDS_MAX	  4
#define ACKB_NO_WORDS	  1
#define ACKB_OFFSET_SHIFT 3
#define ACKB_MAX_LEN	  (ACKB_FIXED_LEN + 8 * ACKB_WORDS_MAX)

#define ACK_MAX_LEN (HDR_LEN + ACKB_MAX_LEN)

#define COMPACT_ACK_MAX_LEN                                     \
	(COMPACT_HDR_LEN + COMPACT_ACK_LEN + COMPACT_ECHO_LEN + \
	 8 * ACKB_WORDS_MAX)
_Static_assert(COMPACT_ACK_MAX_LEN <= ACK_MAX_LEN, "a reply has room for both");

/* Reliable receive window in packets: a power of two. */
#define RCV_WINDOW 1024
#define RCV_WORDS  (RCV_WINDOW / 64)

/* Replay window of the unreliable sequence space, packets. */
#define REPLAY_WINDOW 64

#endif
