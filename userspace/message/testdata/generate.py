#!/usr/bin/env python3
"""Writes messages.json. Run it after SCHEMA.md changed.

This is a second implementation of SCHEMA.md, without regard to speed. It shares
nothing with the Go code that the examples test, so do not make it call that.
"""

import base64
import json
import os
import struct


class F32(float):
    """A number that is written as float 32."""


class Raw(bytes):
    """MessagePack as it is."""


def pack(v):
    if isinstance(v, Raw):
        return bytes(v)
    if v is None:
        return b"\xc0"
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, F32):
        return b"\xca" + struct.pack(">f", v)
    if isinstance(v, float):
        return b"\xcb" + struct.pack(">d", v)
    if isinstance(v, int):
        if 0 <= v < 0x80:
            return bytes([v])
        if -32 <= v < 0:
            return struct.pack(">b", v)
        for code, form, top in ((0xCC, ">B", 8), (0xCD, ">H", 16), (0xCE, ">I", 32), (0xCF, ">Q", 64)):
            if 0 <= v < 1 << top:
                return bytes([code]) + struct.pack(form, v)
        return b"\xd3" + struct.pack(">q", v)
    if isinstance(v, str):
        b = v.encode()
        if len(b) < 32:
            return bytes([0xA0 | len(b)]) + b
        return counted(len(b), 0xD9) + b
    if isinstance(v, bytes):
        return counted(len(v), 0xC4) + v
    if isinstance(v, list):
        head = bytes([0x90 | len(v)]) if len(v) < 16 else b"\xdc" + struct.pack(">H", len(v))
        return head + b"".join(pack(e) for e in v)
    head = bytes([0x80 | len(v)]) if len(v) < 16 else b"\xde" + struct.pack(">H", len(v))
    return head + b"".join(pack(k) + pack(e) for k, e in v.items())


def counted(n, code):
    if n < 1 << 8:
        return bytes([code, n])
    if n < 1 << 16:
        return bytes([code + 1]) + struct.pack(">H", n)
    return bytes([code + 2]) + struct.pack(">I", n)


def shown(v):
    if isinstance(v, dict):
        return {k: shown(e) for k, e in v.items()}
    if isinstance(v, list):
        return [shown(e) for e in v]
    if isinstance(v, bytes):
        return base64.b64encode(v).decode()
    if isinstance(v, F32):
        return float(v)
    return v


messages, compressed, refused = [], [], []


def message(name, payload, value, foreign=False):
    entry = {"name": name, "hex": payload.hex(), "value": value}
    if foreign:
        entry["foreign"] = True
    messages.append(entry)


def plain(typ, value):
    return bytes([typ, 0]) + pack(value)


def packed(name, typ, value, shows=None):
    message(name, plain(typ, value), shown(value) if shows is None else shows)


def refuse(name, code, payload, typ=None):
    refused.append({"name": name, "type": payload[0] if typ is None else typ,
                    "hex": payload.hex(), "code": code})


# --- fixed layouts ----------------------------------------------------------

position = struct.pack(">BI3x3f", 0x01, 0x01020304, 1.5, -2.25, 1000)
full = struct.pack(">BI3x3fI4f", 0x01, 0xFFFFFFFF, -0.5, 0, 3, 60000, 0.125, -0.25, 0.5, 0.75)
message("position_update", position,
        {"sequence": 0x01020304, "x": 1.5, "y": -2.25, "z": 1000})
message("position_update_full", full,
        {"sequence": 0xFFFFFFFF, "x": -0.5, "y": 0, "z": 3, "time": 60000,
         "orientation": [0.125, -0.25, 0.5, 0.75]})
message("position_ack", struct.pack(">BI", 0x81, 7), {"sequence": 7})
message("assigned", struct.pack(">BBHH", 0x83, 1, 7, 65535), {"none": False, "slot": 7, "generation": 65535})
message("assigned_to_nothing", struct.pack(">BBHH", 0x83, 0, 0, 0), {"none": True, "slot": 0, "generation": 0})
message("game_state_ack", struct.pack(">BBI", 0x08, 63, 9), {"lost": False, "stream": 63, "tick": 9})
message("game_state_lost", struct.pack(">BBI", 0x08, 0x80, 0), {"lost": True, "stream": 0, "tick": 0})
message("game_state_sync", struct.pack(">BH", 0x88, 0x8123) + b"\x5a", {"input": 0x8123, "snapshot": "Wg=="})
message("clock_request", struct.pack(">B3xQ", 0x09, 0x0102030405060708), {"sent": "0x0102030405060708"})
message("clock_answer", struct.pack(">B3xQQQ", 0x89, 1, 1000, 1001),
        {"sent": "0x%016x" % 1, "received": "0x%016x" % 1000, "answered": "0x%016x" % 1001})

refuse("empty", 2, b"", 0x01)
refuse("position_short", 2, position[:-1])
refuse("position_between_sizes", 2, position + bytes(4))
refuse("position_of_another_type", 1, b"\x81" + position[1:], 0x01)
refuse("position_zero_byte_set", 10, position[:7] + b"\x01" + position[8:])
refuse("position_nan", 11, position[:16] + b"\x7f\xc0\x00\x00")
refuse("position_infinite", 11, position[:8] + b"\xff\x80\x00\x00" + position[12:])
refuse("orientation_nan", 11, full[:36] + b"\x7f\x80\x00\x01")
refuse("position_ack_long", 2, struct.pack(">BIx", 0x81, 7))
refuse("assigned_flags", 10, struct.pack(">BBHH", 0x83, 2, 0, 0))
refuse("assigned_to_nothing_with_slot", 10, struct.pack(">BBHH", 0x83, 0, 1, 0))
refuse("game_state_ack_zero_bit_set", 10, struct.pack(">BBI", 0x08, 0x40, 0))
refuse("game_state_ack_short", 2, struct.pack(">BB3x", 0x08, 0))
refuse("game_state_sync_without_snapshot", 2, struct.pack(">BH", 0x88, 1))
refuse("clock_request_long", 2, b"\x09" + bytes(12))
refuse("clock_request_zero_byte_set", 10, b"\x09\x00\x00\x01" + bytes(8))
refuse("clock_answer_zero_byte_set", 10, b"\x89\x00\x01\x00" + bytes(24))
refuse("clock_answer_before_receipt", 11, struct.pack(">B3xQQQ", 0x89, 1, 1000, 999))

# --- MessagePack ------------------------------------------------------------

connect = {"game": "policethief", "version": 3, "name": "Zoë 🚓", "room": 70000, "token": b"\x00\xff secret"}
action = {"number": 300, "action": 2, "time": 123456789, "target": 42, "item": 7,
          "x": F32(1.5), "y": F32(-0.25), "z": F32(100), "data": b"\x01\x02"}
part = {"id": 9, "name": "map.bin", "size": 10, "offset": 6, "sum": 0xE3069283, "data": b"ABCD"}

packed("connect", 0x02, connect)
packed("connect_without_token", 0x02, {"game": "g", "version": 0, "name": "n", "room": 0})
packed("connected", 0x82, {"player": 17, "room": 70000, "ticks": 60, "snapshots": 20, "time": (1 << 53) - 1})
packed("disconnect", 0x03, {"code": 0})
packed("disconnect_with_text", 0x03, {"code": 36, "text": "too many\tactions\nper second"})
packed("player_action", 0x04, action)
packed("player_action_move", 0x04, {"number": 1, "action": 1, "time": 0, "x": F32(0), "y": F32(0), "z": F32(-1)})
packed("reliable_command", 0x05,
       {"number": 1, "command": "give", "args": {"to": "Zoë", "items": [1, -7, None, True, 2.5]}})
packed("reliable_command_without_arguments", 0x05, {"number": 255, "command": "x" * 64, "args": None})
packed("reliable_command_deep", 0x05, {"number": 1, "command": "c", "args": [[[[[[[]]]]]]]})
packed("large_data_transfer", 0x06, part)
packed("media_stream_key_frame", 0x07, {"stream": 1, "media": 1, "number": 0, "time": 0, "data": b"I"})
packed("media_stream_predicted_frame", 0x07, {"stream": 1, "media": 2, "number": 1, "time": 33333, "data": b"P"})
packed("media_stream_audio", 0x07, {"stream": 65535, "media": 3, "number": 4000000000, "time": 1 << 40,
                                    "data": bytes(range(256))})
packed("list_rooms", 0x0A, {"game": "policethief"})
packed("rooms", 0x8A, {"game": "policethief", "rooms": [{"room": 1, "players": 15, "places": 16},
                                                        {"room": 70000, "players": 300, "places": 300}]})
packed("rooms_none", 0x8A, {"game": "g", "rooms": []})
packed("refused", 0x8F, {"code": 11, "type": 4, "number": 300})
packed("refused_with_text", 0x8F, {"code": 200, "type": 5, "number": 0, "text": "ü" * 128})

message("player_action_of_a_language_with_one_kind_of_number",
        plain(0x04, {"x": 1, "y": -3, "z": 0.5, "number": Raw(b"\xd3" + struct.pack(">q", 5)), "action": 5,
                     "later": {"of": ["another", "version"]}}),
        {"number": 5, "action": 5, "time": 0, "x": 1, "y": -3, "z": 0.5}, True)
message("rooms_of_another_version",
        plain(0x8A, {"rooms": [{"places": 8, "map": "town", "room": 3}], "game": "g", "more": 7}),
        {"game": "g", "rooms": [{"room": 3, "players": 0, "places": 8}]}, True)
message("disconnect_empty", plain(0x03, {}), {"code": 0}, True)
message("disconnect_long_forms",
        bytes([0x03, 0]) + b"\xdf\x00\x00\x00\x02\xdb\x00\x00\x00\x04code\xd0\x05\xda\x00\x04text\xd9\x02hi",
        {"code": 5, "text": "hi"}, True)


def field(key, value, of=0x04, base=None):
    return plain(of, {**(action if base is None else base), key: value})


deep = Raw(b"\x91" * 8 + b"\xc0")
refuse("no_encoding", 2, b"\x02")
refuse("unknown_encoding", 3, b"\x02\x02\x80")
refuse("another_type", 1, plain(0x03, connect), 0x02)
refuse("no_value", 5, b"\x02\x00")
refuse("cut_short", 5, plain(0x02, connect)[:-1])
refuse("byte_that_begins_nothing", 5, b"\x03\x00\x81\xa4code\xc1")
refuse("trailing_byte", 6, plain(0x03, {"code": 0}) + b"\xc0")
refuse("not_a_map", 10, plain(0x03, [0]))
refuse("nil", 10, plain(0x03, None))
refuse("nested_nine_deep", 7, plain(0x05, {"number": 1, "command": "c", "args": deep}))
refuse("nested_without_end", 7, b"\x05\x00" + b"\x91" * 1000)
refuse("unknown_key_nested_nine_deep", 7, plain(0x03, {"code": 0, "later": deep}))
refuse("array_larger_than_the_payload", 5, b"\x05\x00\x81\xa4args\xdd\xff\xff\xff\xff")
refuse("map_larger_than_the_payload", 5, b"\x05\x00\xdf\xff\xff\xff\xff\xa1a\xc0")
refuse("text_larger_than_the_payload", 5, b"\x03\x00\x81\xa4text\xdb\xff\xff\xff\xffabc")
refuse("data_larger_than_the_payload", 5, b"\x04\x00\x81\xa4data\xc6\xff\xff\xff\xffabc")
refuse("too_many_values", 8, plain(0x05, {"number": 1, "command": "c", "args": [0] * 16384}))
refuse("long_text", 8, plain(0x03, {"code": 0, "text": "x" * 257}))
refuse("long_unknown_text", 8, plain(0x03, {"code": 0, "later": "x" * 4097}))
refuse("long_token", 8, plain(0x02, {**connect, "token": bytes(2049)}))
refuse("long_data", 8, field("data", bytes(1025)))
refuse("many_rooms", 8, plain(0x8A, {"game": "g", "rooms": [{}] * 257}))
refuse("key_is_a_number", 9, plain(0x03, {0: 0}))
refuse("key_is_long", 9, plain(0x03, {"k" * 65: 0}))
refuse("key_twice", 9, b"\x03\x00\x82\xa4code\x01\xa4code\x02")
refuse("extension", 10, b"\x05\x00\x81\xa4args\xd6\xff\x00\x00\x00\x00")
refuse("text_for_a_number", 10, field("number", "1"))
refuse("text_for_data", 10, field("data", "text"))
refuse("data_for_text", 10, plain(0x03, {"code": 0, "text": b"text"}))
refuse("unknown_action", 10, field("action", 6))
refuse("rooms_not_in_an_array", 10, plain(0x8A, {"game": "g", "rooms": {"room": 1}}))
refuse("room_not_a_map", 10, plain(0x8A, {"game": "g", "rooms": [1]}))
refuse("room_number_twice", 9, b"\x8a\x00\x81\xa5rooms\x91\x82\xa4room\x01\xa4room\x02")
refuse("no_action", 10, plain(0x04, {"number": 1}))
refuse("unknown_media", 10, plain(0x07, {"stream": 1, "media": 4, "number": 0, "time": 0, "data": b""}))
refuse("connected_without_ticks", 10, plain(0x82, {"player": 1, "room": 1, "ticks": 0, "snapshots": 20, "time": 0}))
refuse("refused_without_code", 10, plain(0x8F, {"code": 0, "type": 4, "number": 0}))
refuse("number_negative", 11, field("number", -1))
refuse("number_too_large", 11, field("number", 1 << 32))
refuse("room_number_negative", 11, plain(0x8A, {"game": "g", "rooms": [{"room": -1}]}))
refuse("action_too_large", 11, field("action", 256))
refuse("coordinate_nan", 11, field("x", F32("nan")))
refuse("coordinate_infinite", 11, field("y", float("-inf")))
refuse("coordinate_beyond_single_precision", 11, field("z", 1e39))
refuse("part_beyond_the_whole", 11, field("offset", 7, 0x06, part))
refuse("offset_beyond_the_whole", 11, field("offset", (1 << 64) - 1, 0x06, part))
refuse("part_beyond_all_sizes", 11, plain(0x06, {**part, "size": (1 << 64) - 1, "offset": (1 << 64) - 2}))
refuse("text_not_utf8", 12, b"\x03\x00\x81\xa4text\xa2\xc3\x28")
refuse("text_with_surrogate", 12, b"\x03\x00\x81\xa4text\xa3\xed\xa0\x80")
refuse("text_with_escape", 12, plain(0x03, {"code": 0, "text": "a\x1b[2J"}))
refuse("text_with_delete", 12, plain(0x03, {"code": 0, "text": "a\x7f"}))
refuse("text_with_c1_control", 12, plain(0x03, {"code": 0, "text": "a\x85"}))
refuse("name_empty", 13, field("name", "", 0x02, connect))
refuse("name_long", 13, field("name", "x" * 65, 0x02, connect))
refuse("name_with_line_feed", 13, field("name", "a\nb", 0x02, connect))
refuse("name_turned_around", 13, field("name", "a\u202eb", 0x02, connect))
refuse("game_empty", 13, field("game", "", 0x02, connect))
refuse("rooms_of_no_game", 13, plain(0x0A, {}))
refuse("rooms_without_game", 13, plain(0x8A, {"rooms": []}))
refuse("command_missing", 13, plain(0x05, {"number": 1}))
refuse("transfer_name_empty", 13, field("name", "", 0x06, part))

# --- LZ4 --------------------------------------------------------------------


def length(n):
    """What follows a nibble of 15."""
    n -= 15
    return b"\xff" * (n // 255) + bytes([n % 255])


def block(data, run):
    """data, which repeats the byte before its last 5 for run bytes before them."""
    head = data[:len(data) - 5 - run]
    n = run - 4
    token = min(len(head), 15) << 4 | min(n, 15)
    out = bytes([token]) + (length(len(head)) if len(head) >= 15 else b"") + head + b"\x01\x00"
    out += length(n) if n >= 15 else b""
    return out + bytes([5 << 4]) + data[-5:]


def squeeze(payload, blk, size=None):
    return bytes([payload[0], 1]) + struct.pack(">I", len(payload) - 2 if size is None else size) + blk


smallest = plain(0x05, {"number": 1, "command": "c", "args": "a" * 484})
assert len(smallest) == 513, len(smallest)
long = plain(0x06, {**part, "size": 5000, "offset": 0, "data": b"z" * 4000})
for name, payload, run in (("just_above_512", smallest, 470), ("large", long, 3900)):
    compressed.append({"name": name, "plain": payload.hex(), "packed": squeeze(payload, block(payload[2:], run)).hex()})

good = block(long[2:], 3900)
refuse("compressed_without_block", 2, squeeze(long, b""))
refuse("compressed_block_cut_short", 4, squeeze(long, good[:-1]))
refuse("compressed_larger_than_announced", 4, squeeze(long, good, len(long) - 3))
refuse("compressed_smaller_than_announced", 4, squeeze(long, good, len(long) - 1))
literals = b"\xf0" + length(len(smallest) - 2) + smallest[2:]
refuse("compressed_to_nothing_gained", 4, squeeze(smallest, literals))
short = plain(0x05, {"number": 1, "command": "c", "args": "a" * 483})
refuse("compressed_though_short", 4, squeeze(short, block(short[2:], 470)))
refuse("compressed_bomb", 4, squeeze(long, good[:20], 20 * 255 + 1))
refuse("compressed_beyond_the_limit", 8, squeeze(long, good, 65535))
refuse("compressed_beyond_reason", 8, squeeze(long, good, (1 << 32) - 1))
refuse("compressed_before_the_block", 4, squeeze(long, b"\x0f\x05\x00" + b"\xff" * 15 + b"\x00\x50abcde"))

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "messages.json")
with open(path, "w") as f:
    json.dump({"messages": messages, "compressed": compressed, "refused": refused}, f, indent=1)
    f.write("\n")
