#!/usr/bin/env python3
"""Writes the JSON files beside it. Run it after PROTOCOL.md changed.

This is a second implementation of PROTOCOL.md, a byte at a time and without
regard to speed. It shares nothing with the Go and C code that the vectors
test, so do not make it call them.
"""

import ipaddress
import json
import os
import struct

FLAGS = {"SYN": 0x01, "ACK": 0x02, "FIN": 0x04, "RST": 0x08,
         "PSH": 0x10, "URG": 0x20, "ECE": 0x40, "CWR": 0x80}
PAD, COOKIE, SACK, MTU, CONTROL = 0, 1, 2, 3, 4
HELLO = 0xF0
WINDOW = 1024
M32 = 0xFFFFFFFF
M64 = 0xFFFFFFFFFFFFFFFF

CLIENT = ("192.0.2.10", 40000)
SERVER = ("198.51.100.1", 7777)
CLIENT6 = ("2001:db8::10", 40000)
SERVER6 = ("2001:db8:1::1", 7777)
SECRETS = [(0x0706050403020100, 0x0F0E0D0C0B0A0908),
           (0x1716151413121110, 0x1F1E1D1C1B1A1918)]


def hex64(v):
    return "0x%016x" % v


# --- packets ---------------------------------------------------------------


def checksum(packet):
    sum1 = sum2 = 0
    for i, byte in enumerate(packet):
        if i in (11, 12):
            byte = 0
        sum1 = (sum1 + byte) & 0xFFFF
        sum2 = (sum2 + sum1) & 0xFFFF
    return (((sum2 << 8) | (sum1 & 0xFF)) & 0xFFFF) ^ 0xFFFF


def seal(packet):
    return packet[:11] + struct.pack(">H", checksum(packet)) + packet[13:]


def packet(flags, seq, ack, timestamp, body=b"", window=WINDOW):
    bits = 0
    for name in flags.split("|"):
        bits |= FLAGS[name]
    header = struct.pack(">IIBHHQ", seq & M32, ack & M32, bits, window, 0, timestamp)
    return seal(header + body)


def option(kind, value=b""):
    return bytes([kind, len(value)]) + value


def options(cookie=None, sack=False, mtu=None, control=None):
    out = b""
    if cookie is not None:
        out += option(COOKIE, struct.pack(">Q", cookie))
    if sack:
        out += option(SACK)
    if mtu is not None:
        out += option(MTU, struct.pack(">H", mtu))
    if control is not None:
        out += option(CONTROL, struct.pack(">I", control))
    return out


def message(kind, channel, ident, payload, unordered=False):
    return struct.pack(">BBHH", kind, channel | (0x80 if unordered else 0), ident, len(payload)) + payload


def block(echo=None, delay=0, words=(), offset=0):
    if echo is None:
        return b"\x00"
    return struct.pack(">BQI", offset << 3 | (1 + len(words)), echo, delay) + b"".join(struct.pack(">Q", w) for w in words)


def syn(seq, timestamp, opts=b"", size=64):
    body = opts + b"\x00" * max(0, size - 21 - len(opts))
    return packet("SYN", seq, 0, timestamp, body)


def hello(seq, ack, timestamp, opts):
    return packet("ACK|PSH", seq, ack, timestamp, message(HELLO, 0, 0, opts))


# --- cookies ---------------------------------------------------------------


def siphash24(k0, k1, data):
    def rotl(x, n):
        return ((x << n) | (x >> (64 - n))) & M64

    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
         k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & M64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & M64
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M64
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    tail = len(data) % 8
    padded = data + b"\x00" * (7 - tail) + bytes([len(data) & 0xFF])
    for (m,) in struct.iter_unpack("<Q", padded):
        v[3] ^= m
        rounds(2)
        v[0] ^= m
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


# The example of the SipHash paper, appendix A.
assert siphash24(*SECRETS[0], bytes(range(15))) == 0xA129CA6149BE45E5


def address(text):
    ip = ipaddress.ip_address(text)
    return ip.packed if ip.version == 6 else b"\x00" * 10 + b"\xff\xff" + ip.packed


def cookie_input(client, server, seq):
    return address(client[0]) + address(server[0]) + struct.pack(">HHI", client[1], server[1], seq)


def cookie_for(which, client, server, seq):
    return siphash24(*SECRETS[which], cookie_input(client, server, seq)) & ~1 | which


def server_sequence(cookie):
    return (cookie >> 1) & M32


# --- packets.json ----------------------------------------------------------


def describe_header(data):
    seq, ack, bits, window, csum, timestamp = struct.unpack(">IIBHHQ", data[:21])
    return {
        "sequence": seq, "ack": ack,
        "flags": [name for name, bit in FLAGS.items() if bits & bit],
        "window": window, "checksum": csum, "timestamp": hex64(timestamp),
    }


def valid(name, to, data, kind, sack=True, **fields):
    entry = {"name": name, "to": to, "sack": sack, "hex": data.hex(), "kind": kind,
             "header": describe_header(data)}
    entry.update(fields)
    return entry


def invalid(name, to, data, error, sack=True):
    return {"name": name, "to": to, "sack": sack, "hex": data.hex(), "error": error}


def said(cookie=None, sack=False, mtu=None, control=None, unknown=False):
    out = {"sack": sack}
    if cookie is not None:
        out["cookie"] = hex64(cookie)
    if mtu is not None:
        out["mtu"] = mtu
    if control is not None:
        out["control"] = control
    if unknown:
        out["unknown"] = True
    return out


def acked(echo=None, delay=0, words=(), offset=0):
    if echo is None:
        return {"present": False}
    return {"present": True, "echo": hex64(echo), "delay": delay, "offset": offset,
            "bitmap": [hex64(w) for w in words]}


def told(kind, channel, ident, payload, unordered=False):
    return {"type": kind, "channel": channel, "unordered": unordered, "id": ident, "payload": payload.hex()}


X = 0x1A2B3C4D
COOKIE_X = cookie_for(0, CLIENT, SERVER, X)
Y = server_sequence(COOKIE_X)


def recorder(packets, steps):
    """Two functions that add what client and server say to a conversation."""

    def ask(at, outcome, entry, reply=None, **more):
        packets.append(entry)
        step = {"time": at, "from": "client", "packet": entry["name"], "outcome": outcome}
        if reply is not None:
            packets.append(reply)
            step["reply"] = reply["name"]
        step.update(more)
        steps.append(step)

    def tell(at, entry):
        packets.append(entry)
        steps.append({"time": at, "from": "server", "packet": entry["name"]})

    return ask, tell


def conversation():
    """Returns the packets of the conversation, and its steps."""
    packets, steps = [], []
    c0 = 900_000_000  # the client's clock
    s0 = 5_000_000    # the server's

    ask, tell = recorder(packets, steps)

    def ack(name, at, number, echo, words=(), seq=Y + 1):
        return valid(name, "client", packet("ACK", seq, number, at, block(echo, 0, words)),
                     "ack", ack_block=acked(echo, 0, words))

    ask(s0, "tx_syn_ack",
        valid("syn", "server", syn(X, c0, options(sack=True, mtu=1200)), "syn",
              options=said(sack=True, mtu=1200)),
        valid("syn_ack", "client",
              packet("SYN|ACK", Y, X + 1, s0, options(COOKIE_X, True, 1472)), "syn_ack",
              options=said(COOKIE_X, True, 1472)))
    ask(s0 + 20_000, "redirect_hello",
        valid("hello", "server", hello(X + 1, Y + 1, c0 + 20_000, options(COOKIE_X, True, 1200)),
              "hello", options=said(COOKIE_X, True, 1200)),
        opens=True)
    tell(s0 + 20_040,
         valid("hello_ack", "client",
               packet("ACK", Y + 1, X + 2, s0 + 20_040, block(c0 + 20_000, 40)), "ack",
               ack_block=acked(c0 + 20_000, 40)))

    first = [(0x01, 0, 0, b"hello"), (0x02, 3, 0, b"\x00\x2a", True)]
    body = block(s0 + 20_040, 15) + b"".join(message(*m) for m in first)
    ask(s0 + 40_000, "tx_ack",
        valid("data", "server", packet("ACK|PSH", X + 2, Y + 1, c0 + 40_000, body), "reliable",
              ack_block=acked(s0 + 20_040, 15), messages=[told(*m) for m in first]),
        ack("data_ack", s0 + 40_000, X + 3, c0 + 40_000))

    third = (0x01, 0, 2, b"third")
    ask(s0 + 50_000, "tx_ack",
        valid("data_ahead", "server", packet("ACK|PSH", X + 4, Y + 1, c0 + 50_000, block() + message(*third)),
              "reliable", ack_block=acked(), messages=[told(*third)]),
        ack("data_ahead_ack", s0 + 50_000, X + 3, c0 + 50_000, [1]))
    second = (0x01, 0, 1, b"second")
    ask(s0 + 60_000, "tx_ack",
        valid("data_late", "server", packet("ACK|PSH", X + 3, Y + 1, c0 + 60_000, block() + message(*second)),
              "reliable", ack_block=acked(), messages=[told(*second)]),
        ack("data_late_ack", s0 + 60_000, X + 5, c0 + 60_000))
    steps.append({"time": s0 + 61_000, "from": "client", "packet": "data_late",
                  "outcome": "tx_ack_duplicate", "reply": "duplicate_ack"})
    packets.append(ack("duplicate_ack", s0 + 61_000, X + 5, c0 + 60_000))
    steps.append({"time": s0 + 62_000, "from": "client", "packet": "hello",
                  "outcome": "tx_ack_duplicate", "reply": "duplicate_hello_ack"})
    packets.append(ack("duplicate_hello_ack", s0 + 62_000, X + 5, c0 + 20_000))
    far = (0x01, 0, 3, b"too far")
    ask(s0 + 63_000, "drop_sequence",
        valid("data_beyond_window", "server",
              packet("ACK|PSH", X + 5 + WINDOW, Y + 1, c0 + 63_000, block() + message(*far)),
              "reliable", ack_block=acked(), messages=[told(*far)]))

    answer = (0x05, 0, 0, b"world")
    tell(s0 + 70_000,
         valid("server_data", "client",
               packet("ACK|PSH", Y + 1, X + 5, s0 + 70_000, block() + message(*answer)), "reliable",
               ack_block=acked(), messages=[told(*answer)]))
    ask(s0 + 90_000, "absorb_ack",
        valid("client_ack", "server",
              packet("ACK", X + 5, Y + 2, c0 + 80_000, block(s0 + 70_000, 100)), "ack",
              ack_block=acked(s0 + 70_000, 100)))
    ask(s0 + 91_000, "absorb_ack_stale",
        valid("client_ack_stale", "server", packet("ACK", X + 5, Y + 1, c0 + 79_000, block()), "ack",
              ack_block=acked()))
    ask(s0 + 92_000, "drop_ack",
        valid("client_ack_forged", "server", packet("ACK", X + 5, Y + 3, c0 + 81_000, block()), "ack",
              ack_block=acked()))
    ask(s0 + 93_000, "drop_ack_block",
        valid("client_sack_forged", "server",
              packet("ACK", X + 5, Y + 2, c0 + 82_000, block(s0 + 70_000, 0, [1])), "ack",
              ack_block=acked(s0 + 70_000, 0, [1])))

    moved = (0x10, 1, 0, b"\x01\x02\x03\x04")
    ask(s0 + 100_000, "redirect_data",
        valid("unreliable", "server", packet("ACK", X + 1, Y + 2, c0 + 100_000, block() + message(*moved)),
              "unreliable", ack_block=acked(), messages=[told(*moved)]))
    steps.append({"time": s0 + 101_000, "from": "client", "packet": "unreliable", "outcome": "drop_replay"})

    ask(s0 + 1_100_000, "tx_keepalive",
        valid("keepalive", "server", packet("ACK|PSH", X + 4, Y + 2, c0 + 1_100_000, block()), "keepalive",
              ack_block=acked()),
        ack("keepalive_ack", s0 + 1_100_000, X + 5, c0 + 1_100_000, seq=Y + 2))
    ask(s0 + 1_150_000, "drop_reset",
        valid("reset_outside_window", "server",
              packet("ACK|RST", X + 6 + WINDOW, Y + 2, c0 + 1_150_000, b"\x03"), "reset", reason=3))
    ask(s0 + 1_200_000, "tx_ack",
        valid("fin", "server", packet("ACK|PSH|FIN", X + 5, Y + 2, c0 + 1_200_000, block() + b"\x01"), "fin",
              ack_block=acked(), reason=1),
        ack("fin_ack", s0 + 1_200_000, X + 6, c0 + 1_200_000, seq=Y + 2))
    ask(s0 + 1_300_000, "redirect_reset",
        valid("reset", "server", packet("ACK|RST", X + 6, Y + 2, c0 + 1_300_000, b"\x08"), "reset", reason=8))
    return packets, steps


def more_valid():
    """Packets outside the conversation."""
    out = []
    out.append(valid("syn_base_only", "server", syn(0xFFFFFFFF, 0), "syn", sack=False, options=said()))
    unknown = option(SACK) + option(9, b"abc") + option(0xFF)
    out.append(valid("syn_control", "server", syn(1, 2, options(sack=True, mtu=1472, control=1 << 20)), "syn",
                     options=said(sack=True, mtu=1472, control=1 << 20)))
    out.append(valid("syn_ack_control", "client",
                     packet("SYN|ACK", Y, X + 1, 7, options(COOKIE_X, True, 1472, 0)), "syn_ack",
                     options=said(COOKIE_X, True, 1472, 0)))
    out.append(valid("hello_control", "server",
                     hello(X + 1, Y + 1, 7, options(COOKIE_X, True, 1472, M32)), "hello",
                     options=said(COOKIE_X, True, 1472, M32)))
    out.append(valid("syn_unknown_options", "server", syn(1, 2, unknown), "syn",
                     options=said(sack=True, unknown=True)))
    out.append(valid("syn_eight_options", "server",
                     syn(1, 2, option(MTU, b"\x02\x24") + b"".join(option(k) for k in range(5, 12))), "syn",
                     options=said(mtu=548, unknown=True)))
    full = b"".join(option(k, b"\x55" * n) for k, n in ((SACK, 0), (5, 20), (6, 17)))
    assert len(full) == 43
    out.append(valid("syn_without_pad", "server", syn(1, 2, full), "syn", options=said(sack=True, unknown=True)))
    out.append(valid("syn_behind_pad_unread", "server",
                     syn(1, 2, option(SACK) + b"\x00" + b"\xff" * 40), "syn",
                     options=said(sack=True, unknown=True)))
    out.append(valid("syn_long", "server", syn(1, 2, option(SACK), 1472), "syn", options=said(sack=True)))
    out.append(valid("syn_ack_base_only", "client",
                     packet("SYN|ACK", Y, X + 1, 7, options(COOKIE_X, mtu=1200)), "syn_ack", sack=False,
                     options=said(COOKIE_X, mtu=1200)))
    out.append(valid("hello_base_only", "server", hello(X + 1, Y + 1, 7, options(COOKIE_X)), "hello",
                     sack=False, options=said(COOKIE_X)))
    out.append(valid("hello_unknown_option", "server",
                     hello(X + 1, Y + 1, 7, options(COOKIE_X) + option(0x20, b"x")), "hello",
                     options=said(COOKIE_X, unknown=True)))
    out.append(valid("ack_base_only", "server", packet("ACK", 5, 6, 7), "ack", sack=False))
    plain = (0x01, 0, 0, b"hello")
    out.append(valid("data_base_only", "server", packet("ACK|PSH", 5, 6, 7, message(*plain)), "reliable",
                     sack=False, messages=[told(*plain)]))
    out.append(valid("keepalive_base_only", "server", packet("ACK|PSH", 5, 6, 7), "keepalive", sack=False))
    out.append(valid("fin_base_only", "client", packet("ACK|PSH|FIN", 5, 6, 7, b"\x07"), "fin", sack=False, reason=7))
    words = [0x8000000000000001, 0, M64, 0x10]
    out.append(valid("ack_four_words", "client", packet("ACK", 5, 6, 7, block(M64, M32, words)), "ack",
                     ack_block=acked(M64, M32, words)))
    out.append(valid("ack_last_four_words", "client", packet("ACK", 5, 6, 7, block(1, 2, words, 12)), "ack",
                     ack_block=acked(1, 2, words, 12)))
    out.append(valid("ack_last_word", "server", packet("ACK", 5, 6, 7, block(1, 2, [1], 15)), "ack",
                     ack_block=acked(1, 2, [1], 15)))
    empty = (0xEF, 127, 0xFFFF, b"", True)
    out.append(valid("empty_message", "server", packet("ACK", 5, 6, 7, block() + message(*empty)), "unreliable",
                     ack_block=acked(), messages=[told(*empty)]))
    many = [(1, 0, i, bytes([i])) for i in range(32)]
    out.append(valid("thirty_two_messages", "server",
                     packet("ACK|PSH", 5, 6, 7, block() + b"".join(message(*m) for m in many)), "reliable",
                     ack_block=acked(), messages=[told(*m) for m in many]))
    control = [(0xF1, 2, 5, struct.pack(">IHHHB", 7, 1, 3, 4, 9) + b"data"), (0xF2, 2, 6, b"", True),
               (0xF3, 0, 0, b""), (0xF4, 0, 0, bytes(20))]
    out.append(valid("control_messages", "server",
                     packet("ACK|PSH", 5, 6, 7, block() + b"".join(message(*m) for m in control)), "reliable",
                     ack_block=acked(), messages=[told(*m) for m in control]))
    large = (1, 0, 0, bytes(i & 0xFF for i in range(1472 - 21 - 1 - 6)))
    out.append(valid("largest", "server", packet("ACK|PSH", 5, 6, 7, block() + message(*large)), "reliable",
                     ack_block=acked(), messages=[told(*large)]))
    out.append(valid("urgent_with_marks", "server",
                     packet("ACK|PSH|URG|ECE|CWR", 5, 6, 7, block() + message(*plain), window=0), "reliable",
                     ack_block=acked(), messages=[told(*plain)]))
    out.append(valid("fin_with_marks", "server", packet("ACK|PSH|FIN|ECE", 5, 6, 7, block() + b"\x7f"), "fin",
                     ack_block=acked(), reason=127))
    out.append(valid("server_full", "client", packet("ACK|RST", Y + 1, X + 2, 7, b"\x06"), "reset", reason=6))
    return out


def all_invalid():
    out = []
    good = packet("ACK", 5, 6, 7, block())
    for n in (0, 1, 20):
        out.append(invalid("cut_to_%d" % n, "server", good[:n], "truncated"))
    out.append(invalid("oversize", "server", packet("ACK", 5, 6, 7, block() + message(1, 0, 0, b"x" * 1445)),
                       "oversize"))
    server_only = [("no_flags", 0), ("psh_alone", 0x10), ("syn_psh", 0x11), ("syn_urgent", 0x21), ("syn_ece", 0x41),
                   ("fin_alone", 0x04), ("ack_fin", 0x06), ("rst_alone", 0x08), ("rst_psh", 0x1A),
                   ("rst_urgent", 0x2A), ("rst_cwr", 0x8A), ("fin_urgent", 0x36), ("syn_rst", 0x09), ("all", 0xFF)]

    def flagged(bits):
        data = bytearray(good)
        data[8] = bits
        return seal(bytes(data))

    for name, bits in server_only:
        out.append(invalid("flags_" + name, "server", flagged(bits), "flags"))
    out.append(invalid("flags_syn_ack_at_server", "server",
                       packet("SYN|ACK", Y, X + 1, 7, options(COOKIE_X, mtu=1200)), "flags"))
    out.append(invalid("flags_syn_at_client", "client", syn(1, 2), "flags"))
    for i in (0, 11, 12, 20, 21):
        data = bytearray(good)
        data[i] ^= 0x01
        out.append(invalid("checksum_byte_%d" % i, "server", bytes(data), "checksum"))
    out.append(invalid("syn_short", "server", syn(1, 2, size=63), "syn_length"))
    lists = [("cookie", options(COOKIE_X)), ("descending", option(MTU, b"\x04\xb0") + option(SACK)),
             ("twice", option(SACK) + option(SACK)), ("sack_with_value", option(SACK, b"\x00")),
             ("mtu_of_one_byte", option(MTU, b"\x04")), ("mtu_of_three_bytes", option(MTU, b"\x00\x04\xb0")),
             ("control_of_three_bytes", option(CONTROL, b"\x00\x10\x00")),
             ("control_of_five_bytes", option(CONTROL, b"\x00\x10\x00\x00\x00")),
             ("value_beyond_end", bytes([9, 42])),
             ("kind_at_end", option(SACK) + option(5, b"\x55" * 38) + b"\x06"),
             ("nine", b"".join(option(k) for k in range(5, 14)))]
    for name, opts in lists:
        out.append(invalid("syn_option_" + name, "server", syn(1, 2, opts), "syn_option"))

    out.append(invalid("syn_ack_without_cookie", "client", packet("SYN|ACK", Y, X + 1, 7, options(sack=True)), "syn_ack"))
    out.append(invalid("syn_ack_with_pad", "client",
                       packet("SYN|ACK", Y, X + 1, 7, options(COOKIE_X) + b"\x00"), "syn_ack"))

    def malformed_hello(name, body):
        out.append(invalid("hello_" + name, "server", packet("ACK|PSH", X + 1, Y + 1, 7, body), "hello"))

    opts = options(COOKIE_X)
    malformed_hello("type_alone", b"\xf0")
    malformed_hello("cut", message(HELLO, 0, 0, opts)[:-1])
    malformed_hello("trailing_byte", message(HELLO, 0, 0, opts) + b"\x00")
    malformed_hello("channel", message(HELLO, 1, 0, opts))
    malformed_hello("id", message(HELLO, 0, 1, opts))
    malformed_hello("without_cookie", message(HELLO, 0, 0, option(9, b"\x00" * 8)))
    malformed_hello("cookie_length", message(HELLO, 0, 0, option(COOKIE, b"\x00" * 7) + b"\x09"))

    def malformed_block(name, body):
        out.append(invalid("ack_block_" + name, "server", packet("ACK", 5, 6, 7, body), "ack_block"))

    malformed_block("missing", b"")
    malformed_block("cut", block(1, 2, [3])[:-1])
    malformed_block("fixed_part_cut", block(1, 2)[:-1])
    malformed_block("six_words", b"\x06" + b"\x11" * 52)
    malformed_block("no_count", b"\x08" + b"\x11" * 52)
    malformed_block("offset_without_words", block(1, 2, (), 1))
    malformed_block("beyond_the_window", block(1, 2, [1, 1], 15))
    malformed_block("offset_beyond_the_window", block(1, 2, [1], 16))
    malformed_block("zero_word", block(1, 2, [0]))
    malformed_block("zero_first_word", block(1, 2, [0, 1]))
    malformed_block("zero_last_word", block(1, 2, [1, 0]))

    def malformed_messages(name, body, flags="ACK|PSH"):
        out.append(invalid("message_" + name, "server", packet(flags, 5, 6, 7, block() + body), "message"))

    one = message(1, 0, 0, b"hello")
    malformed_messages("header_cut", one[:5])
    malformed_messages("payload_cut", one[:-1])
    malformed_messages("trailing_byte", one + b"\x01")
    malformed_messages("type_zero", message(0, 0, 0, b"hello"))
    malformed_messages("type_control", message(0xF0, 0, 0, b"hello"))
    malformed_messages("type_beyond_control", message(0xF5, 0, 0, b"hello"))
    malformed_messages("type_control_unreliable", message(0xFF, 0, 0, b"hello"), "ACK")
    malformed_messages("thirty_three", message(1, 0, 0, b"") * 33)
    malformed_messages("fin_without_reason", b"", "ACK|PSH|FIN")
    malformed_messages("fin_reason_zero", b"\x00", "ACK|PSH|FIN")
    malformed_messages("fin_two_bytes", b"\x01\x01", "ACK|PSH|FIN")
    out.append(invalid("reset_without_reason", "server", packet("ACK|RST", 5, 6, 7), "reset"))
    out.append(invalid("reset_reason_zero", "server", packet("ACK|RST", 5, 6, 7, b"\x00"), "reset"))
    out.append(invalid("reset_with_block", "server", packet("ACK|RST", 5, 6, 7, block() + b"\x01"), "reset"))
    return out


# --- the compact profile ---------------------------------------------------

COMPACT_FLAGS = {"ACK": 0x01, "SYN": 0x02, "FIN": 0x04, "RST": 0x08,
                 "FRAG": 0x10, "URGENT": 0x20, "REL": 0x40, "ECE": 0x80}
COMPACT_SERVER = ("198.51.100.1", 7778)
COMPACT_X = 0xFFFD  # numbers wrap soon


def compact_cookie_input(client, server, seq):
    return cookie_input(client, server, seq) + b"\x02"


def compact_cookie(which, client, server, seq):
    return siphash24(*SECRETS[which], compact_cookie_input(client, server, seq)) & ~1 | which


COMPACT_COOKIE = compact_cookie(0, CLIENT, COMPACT_SERVER, COMPACT_X)
COMPACT_Y = COMPACT_COOKIE >> 1 & 0xFFFF
TOKEN = COMPACT_COOKIE >> 32


def compact(flags, seq, timestamp, body=b"", ack=0, window=WINDOW, says=0, priority=0):
    """A packet; body is what follows the window, or the header without ACK."""
    bits = 0
    for name in flags.split("|"):
        if name == "CWR":
            priority |= 0x80
        elif name:
            bits |= COMPACT_FLAGS[name]
    header = struct.pack(">HBBI", seq & 0xFFFF, bits, priority, timestamp & M32)
    if bits & COMPACT_FLAGS["ACK"]:
        header += struct.pack(">BHH", says, ack & 0xFFFF, window)
    return header + body


def compact_echo(echo, delay, bitmap=()):
    return struct.pack(">IH", echo & M32, delay // 16) + b"".join(struct.pack(">Q", w) for w in bitmap)


def compact_ack(number, seq, timestamp, echo, delay=0, bitmap=()):
    return compact("ACK", seq, timestamp, compact_echo(echo, delay, bitmap), number, says=1 + len(bitmap))


def describe_compact(data):
    seq, bits, priority, timestamp = struct.unpack(">HBBI", data[:8])
    names = [name for name, bit in COMPACT_FLAGS.items() if bits & bit]
    if priority & 0x80:
        names.append("CWR")
    out = {"sequence": seq, "flags": names, "priority": priority & 3, "timestamp": hex64(timestamp)}
    if bits & COMPACT_FLAGS["ACK"]:
        _, out["ack"], out["window"] = struct.unpack(">BHH", data[8:13])
    return out


def compact_valid(name, to, data, kind, sack=True, **fields):
    entry = {"name": "compact_" + name, "profile": "compact", "to": to, "sack": sack, "hex": data.hex(),
             "kind": kind, "header": describe_compact(data)}
    if data[2] & COMPACT_FLAGS["ACK"] and kind not in ("syn_ack", "hello", "reset") and sack:
        entry["ack_block"] = acked()
    entry.update(fields)
    return entry


def compact_invalid(name, to, data, error, sack=True):
    return {"name": "compact_" + name, "profile": "compact", "to": to, "sack": sack, "hex": data.hex(), "error": error}


def compact_conversation():
    packets, steps = [], []
    c0 = 900_000_000
    s0 = (7 << 32) - 30_000  # 32 bits of the server's clock wrap
    X, Y = COMPACT_X, COMPACT_Y

    ask, tell = recorder(packets, steps)

    def ack(name, at, number, echo, bitmap=(), seq=Y + 1):
        return compact_valid(name, "client", compact_ack(number, seq, at, echo, 0, bitmap), "ack",
                             ack_block=acked(echo, 0, bitmap))

    opts = options(sack=True, mtu=1472)
    ask(s0, "tx_syn_ack",
        compact_valid("syn", "server", compact("SYN", X, c0, opts + b"\x00" * (56 - len(opts))), "syn",
                      options=said(sack=True, mtu=1472)),
        compact_valid("syn_ack", "client",
                      compact("SYN|ACK", Y, s0, options(COMPACT_COOKIE, True, 1472), X + 1), "syn_ack",
                      options=said(COMPACT_COOKIE, True, 1472)))
    ask(s0 + 20_000, "redirect_hello",
        compact_valid("hello", "server",
                      compact("ACK|REL", X + 1, c0 + 20_000,
                              message(HELLO, 0, 0, options(COMPACT_COOKIE, True, 1472)), Y + 1),
                      "hello", options=said(COMPACT_COOKIE, True, 1472)),
        opens=True)
    tell(s0 + 20_048,
         compact_valid("hello_ack", "client", compact_ack(X + 2, Y + 1, s0 + 20_048, c0 + 20_000, 48), "ack",
                       ack_block=acked(c0 + 20_000, 48)))
    first = (0x01, 0, 0, b"hello")
    ask(s0 + 40_000, "tx_ack",
        compact_valid("data", "server", compact("REL", X + 2, c0 + 40_000, message(*first), priority=2), "reliable",
                      messages=[told(*first)]),
        ack("data_ack", s0 + 40_000, X + 3, c0 + 40_000))
    third = (0x01, 0, 2, b"third")
    ask(s0 + 50_000, "tx_ack",
        compact_valid("data_ahead", "server",
                      compact("ACK|REL", X + 4, c0 + 50_000, message(*third), Y + 1), "reliable",
                      messages=[told(*third)]),
        ack("data_ahead_ack", s0 + 50_000, X + 3, c0 + 50_000, [1]))
    chunk = (0xF1, 3, 0, struct.pack(">IHHHB", 0, 0, 2, 4, 9) + b"data")
    ask(s0 + 60_000, "tx_ack",
        compact_valid("fragment", "server",
                      compact("REL|FRAG", X + 3, c0 + 60_000, message(*chunk)), "reliable", messages=[told(*chunk)]),
        ack("fragment_ack", s0 + 60_000, X + 5, c0 + 60_000))
    steps.append({"time": s0 + 61_000, "from": "client", "packet": "compact_data", "outcome": "tx_ack_duplicate",
                  "reply": "compact_duplicate_ack"})
    packets.append(ack("duplicate_ack", s0 + 61_000, X + 5, c0 + 40_000))
    far = (0x01, 0, 3, b"too far")
    ask(s0 + 63_000, "drop_sequence",
        compact_valid("data_beyond_window", "server",
                      compact("REL", X + 5 + WINDOW, c0 + 63_000, message(*far)), "reliable", messages=[told(*far)]))
    answer = (0x05, 0, 0, b"world")
    tell(s0 + 70_000,
         compact_valid("server_data", "client", compact("REL", Y + 1, s0 + 70_000, message(*answer)), "reliable",
                       messages=[told(*answer)]))
    ask(s0 + 90_000, "absorb_ack",
        compact_valid("client_ack", "server", compact_ack(Y + 2, X + 5, c0 + 80_000, s0 + 70_000, 96), "ack",
                      ack_block=acked((s0 + 70_000) & M32, 96)))
    ask(s0 + 92_000, "drop_ack",
        compact_valid("client_ack_forged", "server", compact("ACK", X + 5, c0 + 81_000, b"", Y + 3), "ack"))
    moved = (0x10, 1, 0, b"\x01\x02\x03\x04")
    ask(s0 + 100_000, "redirect_data",
        compact_valid("unreliable", "server", compact("", X + 1, c0 + 100_000, message(*moved), priority=3),
                      "unreliable", messages=[told(*moved)]))
    steps.append({"time": s0 + 101_000, "from": "client", "packet": "compact_unreliable", "outcome": "drop_replay"})
    ask(s0 + 1_100_000, "tx_keepalive",
        compact_valid("keepalive", "server", compact("REL", X + 4, c0 + 1_100_000), "keepalive"),
        ack("keepalive_ack", s0 + 1_100_000, X + 5, c0 + 1_100_000, seq=Y + 2))
    ask(s0 + 1_150_000, "drop_reset",
        compact_valid("reset_wrong_token", "server",
                      compact("ACK|RST", X + 5, c0 + 1_150_000, b"\x03" + struct.pack(">I", TOKEN ^ 1), Y + 2, 0),
                      "reset", reason=3, token=TOKEN ^ 1))
    ask(s0 + 1_200_000, "tx_ack",
        compact_valid("fin", "server", compact("REL|FIN", X + 5, c0 + 1_200_000, b"\x01"), "fin", reason=1),
        ack("fin_ack", s0 + 1_200_000, X + 6, c0 + 1_200_000, seq=Y + 2))
    ask(s0 + 1_300_000, "redirect_reset",
        compact_valid("reset", "server",
                      compact("ACK|RST", X + 6, c0 + 1_300_000, b"\x08" + struct.pack(">I", TOKEN), Y + 2, 0),
                      "reset", reason=8, token=TOKEN))
    return packets, steps


def compact_more():
    one = message(1, 0, 0, b"hello")
    told_one = [told(1, 0, 0, b"hello")]
    chunk = message(0xF1, 0, 0, struct.pack(">IHHHB", 0, 1, 2, 4, 9) + b"d")
    out = [
        compact_valid("four_words", "client",
                      compact("ACK|ECE", 5, 7, compact_echo(M32, 65535 * 16, [1 << 63, 0, M64, 2]), 6, says=5), "ack",
                      ack_block=acked(M32, 65535 * 16, [1 << 63, 0, M64, 2])),
        compact_valid("last_two_words", "server",
                      compact("ACK", 5, 7, compact_echo(1, 16, [1, 2]), 6, says=14 << 3 | 3), "ack",
                      ack_block=acked(1, 16, [1, 2], 14)),
        compact_invalid("beyond_the_window", "server",
                        compact("ACK", 5, 7, compact_echo(1, 0, [1, 2]), 6, says=15 << 3 | 3), "ack_block"),
        compact_invalid("zero_first_word", "server",
                        compact("ACK", 5, 7, compact_echo(1, 0, [0, 1]), 6, says=3), "ack_block"),
        compact_valid("urgent_reduced", "server", compact("REL|URGENT|CWR", 5, 7, one, priority=1), "reliable",
                      messages=told_one),
        compact_valid("without_sack", "server", compact("ACK|REL", 5, 7, one, 6), "reliable", sack=False,
                      messages=told_one),
        compact_valid("fin_acknowledging", "client", compact("ACK|REL|FIN", 5, 7, b"\x07", 6), "fin", reason=7),
        compact_invalid("truncated", "server", compact("REL", 5, 7)[:7], "truncated"),
        compact_invalid("block_truncated", "server", compact("ACK", 5, 7, b"", 6)[:12], "truncated"),
        compact_invalid("oversize", "server", compact("", 5, 7, message(1, 0, 0, b"x" * 1459)), "oversize"),
        compact_invalid("priority_bit_2", "server", compact("", 5, 7, one, priority=4), "flags"),
        compact_invalid("ece_without_ack", "server", compact("ECE", 5, 7, one), "flags"),
        compact_invalid("fin_unreliable", "server", compact("FIN", 5, 7, b"\x01"), "flags"),
        compact_invalid("fin_frag", "server", compact("REL|FIN|FRAG", 5, 7, b"\x01"), "flags"),
        compact_invalid("rst_without_ack", "server", compact("RST", 5, 7, b"\x01" + bytes(4)), "flags"),
        compact_invalid("rst_with_priority", "server",
                        compact("ACK|RST", 5, 7, b"\x01" + bytes(4), 6, priority=1), "flags"),
        compact_invalid("syn_short", "server", compact("SYN", 5, 7, bytes(55)), "syn_length"),
        compact_invalid("rst_without_token", "server", compact("ACK|RST", 5, 7, b"\x01", 6), "reset"),
        compact_invalid("rst_behind_a_block", "server",
                        compact("ACK|RST", 5, 7, b"\x01" + bytes(4), 6, says=1), "reset"),
        compact_invalid("echo_cut", "server", compact("ACK", 5, 7, compact_echo(1, 0)[:5], 6, says=1), "ack_block"),
        compact_invalid("six_words", "server", compact("ACK", 5, 7, compact_echo(1, 0, [1] * 5), 6, says=6), "ack_block"),
        compact_invalid("zero_last_word", "server",
                        compact("ACK", 5, 7, compact_echo(1, 0, [1, 0]), 6, says=3), "ack_block"),
        compact_invalid("echo_without_sack", "server",
                        compact("ACK", 5, 7, compact_echo(1, 0), 6, says=1), "ack_block", sack=False),
        compact_invalid("nothing", "server", compact("", 5, 7), "message"),
        compact_invalid("ack_with_frag", "client", compact("ACK|FRAG", 5, 7, ack=6), "message"),
        compact_invalid("keepalive_with_frag", "server", compact("REL|FRAG", 5, 7), "message"),
        compact_invalid("frag_without_fragment", "server", compact("REL|FRAG", 5, 7, one), "message"),
        compact_invalid("fragment_without_frag", "server", compact("REL", 5, 7, one + chunk), "message"),
        compact_invalid("message_cut", "server", compact("REL", 5, 7, one[:-1]), "message"),
    ]
    return out


# --- frames.json -----------------------------------------------------------

MACS = bytes.fromhex("020000000001" "020000000002")
REPLY_MACS = MACS[6:] + MACS[:6]
TAGS = [bytes.fromhex("88a82064"), bytes.fromhex("81000007")]


def ones(data):
    if len(data) % 2:
        data += b"\x00"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def frame(src, dst, payload, tags=(), macs=MACS, ip_options=b"", **change):
    """Builds a frame; change sets fields to what they should not be."""
    s, d = ipaddress.ip_address(src[0]), ipaddress.ip_address(dst[0])
    udp_length = change.get("udp_length", 8 + len(payload))
    udp = struct.pack(">HHHH", src[1], dst[1], udp_length, 0) + payload
    pseudo = s.packed + d.packed + struct.pack(">II", len(udp), 17)
    udp = udp[:6] + struct.pack(">H", ones(pseudo + udp) or 0xFFFF) + udp[8:]
    if s.version == 4:
        ihl = change.get("ihl", 5 + len(ip_options) // 4)
        total = change.get("ip_length", 20 + len(ip_options) + len(udp))
        ip = struct.pack(">BBHHHBBH", change.get("version", 4) << 4 | ihl, 0, total, 0,
                         change.get("fragment", 0x4000), 64, change.get("protocol", 17), 0)
        ip += s.packed + d.packed + ip_options
        ip = ip[:10] + struct.pack(">H", ones(ip)) + ip[12:]
        kind = 0x0800
    else:
        ip = struct.pack(">IHBB", change.get("version", 6) << 28, change.get("ip_length", len(udp)),
                         change.get("protocol", 17), 64) + s.packed + d.packed
        kind = 0x86DD
    kind = change.get("ether_type", kind)
    return macs + b"".join(tags) + struct.pack(">H", kind) + ip + udp + change.get("padding", b"")


def frames():
    out = []
    payload = bytes.fromhex(conversation()[0][0]["hex"])
    reply = bytes.fromhex(conversation()[0][1]["hex"])

    def ours(name, data, src, dst, tags=(), ip_options=b"", answered=True, **fields):
        l3 = 14 + 4 * len(tags)
        ip6 = ":" in src[0]
        l4 = l3 + (40 if ip6 else 20 + len(ip_options))
        entry = {"name": name, "hex": data.hex(), "verdict": "udp", "ipv6": ip6, "vlans": len(tags),
                 "source": "%s:%d" % (("[%s]" if ip6 else "%s") % src[0], src[1]),
                 "destination": "%s:%d" % (("[%s]" if ip6 else "%s") % dst[0], dst[1]),
                 "l3": l3, "l4": l4, "payload": l4 + 8, "payload_length": len(payload),
                 "group": False, "bad_length": False}
        entry.update(fields)
        if answered:
            entry["answer"] = {"payload": reply.hex(), "frame": frame(dst, src, reply, tags, REPLY_MACS).hex()}
        out.append(entry)

    for version, src, dst in ((4, CLIENT, SERVER), (6, CLIENT6, SERVER6)):
        for n in range(3):
            tags = TAGS[2 - n:] if n == 1 else TAGS[:n]
            ours("ipv%d_%d_tags" % (version, n), frame(src, dst, payload, tags), src, dst, tags)
        ours("ipv%d_padded" % version, frame(src, dst, payload, padding=b"\x00" * 5), src, dst)
        for name, length in (("below_header", 7), ("short", 71), ("long", 73)):
            ours("ipv%d_udp_length_%s" % (version, name),
                 frame(src, dst, payload, udp_length=length, padding=b"\x00"), src, dst,
                 answered=False, bad_length=True, payload_length=0)
    nops = b"\x01" * 7 + b"\x00"
    ours("ipv4_options", frame(CLIENT, SERVER, payload, ip_options=nops), CLIENT, SERVER, ip_options=nops)
    group4, group6 = ("224.0.0.251", 7777), ("ff02::1", 7777)
    ours("ipv4_multicast", frame(CLIENT, group4, payload), CLIENT, group4, answered=False, group=True)
    ours("ipv4_broadcast", frame(CLIENT, ("255.255.255.255", 7777), payload), CLIENT, ("255.255.255.255", 7777),
         answered=False, group=True)
    ours("ipv6_multicast", frame(CLIENT6, group6, payload), CLIENT6, group6, answered=False, group=True)
    ours("ethernet_multicast", frame(CLIENT, SERVER, payload, macs=b"\x03" + MACS[1:]), CLIENT, SERVER,
         answered=False, group=True)

    def other(name, data, verdict):
        out.append({"name": name, "hex": data.hex(), "verdict": verdict})

    v4, v6 = frame(CLIENT, SERVER, payload), frame(CLIENT6, SERVER6, payload)
    other("empty", b"", "pass_not_ip")
    other("ethernet_cut", v4[:13], "pass_not_ip")
    other("arp", frame(CLIENT, SERVER, payload, ether_type=0x0806), "pass_not_ip")
    other("tag_cut", frame(CLIENT, SERVER, payload, TAGS[:1])[:17], "pass_not_ip")
    other("three_tags", frame(CLIENT, SERVER, payload, TAGS + TAGS[1:]), "pass_vlan_depth")
    other("ipv4_header_cut", v4[:33], "pass_not_ip")
    other("ipv4_version", frame(CLIENT, SERVER, payload, version=5), "pass_not_udp")
    other("ipv4_ihl_four", frame(CLIENT, SERVER, payload, ihl=4), "pass_not_udp")
    other("ipv4_options_cut", frame(CLIENT, SERVER, b"", ihl=15), "pass_not_ip")
    other("ipv4_length_below_header", frame(CLIENT, SERVER, payload, ip_length=19), "pass_not_udp")
    other("ipv4_length_beyond_frame", v4[:-1], "pass_not_udp")
    other("ipv4_first_fragment", frame(CLIENT, SERVER, payload, fragment=0x2000), "pass_fragment")
    other("ipv4_last_fragment", frame(CLIENT, SERVER, payload, fragment=0x0010), "pass_fragment")
    other("ipv4_tcp", frame(CLIENT, SERVER, payload, protocol=6), "pass_not_udp")
    other("ipv4_udp_header_cut", frame(CLIENT, SERVER, payload, ip_length=27)[:41], "pass_not_udp")
    other("ipv6_header_cut", v6[:53], "pass_not_ip")
    other("ipv6_version", frame(CLIENT6, SERVER6, payload, version=5), "pass_not_udp")
    other("ipv6_length_beyond_frame", v6[:-1], "pass_not_udp")
    other("ipv6_fragment", frame(CLIENT6, SERVER6, payload, protocol=44), "pass_fragment")
    for protocol in (0, 43, 51, 60, 135, 139, 140):
        other("ipv6_extension_%d" % protocol, frame(CLIENT6, SERVER6, payload, protocol=protocol),
              "pass_ip6_extension")
    other("ipv6_tcp", frame(CLIENT6, SERVER6, payload, protocol=6), "pass_not_udp")
    other("ipv6_udp_header_cut", frame(CLIENT6, SERVER6, payload, ip_length=7)[:61], "pass_not_udp")
    return out


# --- sequences.json --------------------------------------------------------


def sequences():
    acks = []
    for una, count in ((100, 10), (0xFFFFFFFB, 10), (0, 0)):
        nxt = (una + count) & M32
        for ack in {una, nxt, (una + 1) & M32, (nxt + 1) & M32, (una - 1) & M32, (una - WINDOW) & M32,
                    (una - WINDOW - 1) & M32, (una + 0x80000000) & M32}:
            if (nxt - ack) & M32 <= (nxt - una) & M32:
                result = "fresh"
            elif (una - ack) & M32 <= WINDOW:
                result = "stale"
            else:
                result = "forged"
            acks.append({"una": una, "next": nxt, "ack": ack, "result": result})
    acks.sort(key=lambda a: (a["una"], a["ack"]))

    windows = []
    for nxt, held in ((5000, []), (5000, [5001, 5003, 5070]), (10, []), (0xFFFFFFF0, [2])):
        for seq in (nxt, nxt + 1, nxt + 2, nxt + 3, nxt + 70, nxt + 18, nxt + WINDOW - 1, nxt + WINDOW,
                    nxt - 1, nxt - WINDOW, nxt - WINDOW - 1, nxt + 0x80000000):
            seq &= M32
            ahead = (seq - nxt) & M32
            if ahead < WINDOW:
                result = "duplicate" if seq in held else "fresh"
            else:
                result = "duplicate" if -ahead & M32 <= WINDOW else "outside"
            windows.append({"next": nxt, "held": held, "sequence": seq, "result": result})

    resets = [{"next": 5000, "sequence": seq & M32, "accepted": abs(seq - 5000) <= WINDOW}
              for seq in (5000, 5000 + WINDOW, 5000 + WINDOW + 1, 5000 - WINDOW, 5000 - WINDOW - 1)]
    keepalives = [{"next": 5000, "sequence": seq, "accepted": 5000 - WINDOW <= seq < 5000 + WINDOW}
                  for seq in (4999, 5000, 5000 + WINDOW - 1, 5000 + WINDOW, 5000 - WINDOW, 5000 - WINDOW - 1)]

    isn = 0xFFFFFFFE
    high, seen, replay = isn, {isn}, []
    for step in (1, 2, 2, 4, 3, 1, 70, 7, 6, 70, 71 + 65535, 71 + 65535 + 65537, 71, 0):
        seq = (isn + step) & M32
        ahead = (seq - high) & M32
        ahead -= 1 << 32 if ahead >= 1 << 31 else 0
        fresh = ahead <= 65536 and ahead > -64 and seq not in seen
        if fresh:
            seen.add(seq)
            if ahead > 0:
                high = seq
        replay.append({"sequence": seq, "accepted": fresh})
    return {"acks": acks, "receive_window": windows, "resets": resets, "keepalives": keepalives,
            "replay": {"isn": isn, "packets": replay}}


def cookies():
    out = []
    for client, server in ((CLIENT, SERVER), (CLIENT6, SERVER6)):
        for which in (0, 1):
            for seq in (X, 0, M32):
                cookie = cookie_for(which, client, server, seq)
                text = [("[%s]:%d" if ":" in a[0] else "%s:%d") % a for a in (client, server)]
                out.append({"client": text[0], "server": text[1], "sequence": seq, "secret": which,
                            "input": cookie_input(client, server, seq).hex(),
                            "cookie": hex64(cookie), "server_sequence": server_sequence(cookie)})
    for client, server in ((CLIENT, COMPACT_SERVER), (CLIENT6, SERVER6)):
        for which in (0, 1):
            for seq in (COMPACT_X, 0, 0xFFFF):
                cookie = compact_cookie(which, client, server, seq)
                text = [("[%s]:%d" if ":" in a[0] else "%s:%d") % a for a in (client, server)]
                out.append({"profile": "compact",
                            "client": text[0], "server": text[1], "sequence": seq, "secret": which,
                            "input": compact_cookie_input(client, server, seq).hex(),
                            "cookie": hex64(cookie), "server_sequence": cookie >> 1 & 0xFFFF,
                            "token": cookie >> 32})
    return {"secrets": [{"k0": hex64(a), "k1": hex64(b)} for a, b in SECRETS], "cookies": out}


def write(name, value):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def main():
    packets, steps = conversation()
    packets += more_valid() + all_invalid()
    compact_packets, compact_steps = compact_conversation()
    packets += compact_packets + compact_more()
    names = [p["name"] for p in packets]
    assert len(names) == len(set(names)), "two packets of one name"
    write("packets.json", {"packets": packets})
    write("conversation.json", {
        "client": "%s:%d" % CLIENT, "server": "%s:%d" % SERVER,
        "secrets": [{"k0": hex64(a), "k1": hex64(b)} for a, b in SECRETS], "secret": 0,
        "max_datagram": 1472, "client_isn": X, "server_isn": Y, "steps": steps})
    write("compact_conversation.json", {
        "client": "%s:%d" % CLIENT, "server": "%s:%d" % COMPACT_SERVER,
        "secrets": [{"k0": hex64(a), "k1": hex64(b)} for a, b in SECRETS], "secret": 0,
        "max_datagram": 1472, "client_isn": COMPACT_X, "server_isn": COMPACT_Y, "token": TOKEN,
        "steps": compact_steps})
    write("frames.json", {"frames": frames()})
    write("cookies.json", cookies())
    write("sequences.json", sequences())


if __name__ == "__main__":
    main()
