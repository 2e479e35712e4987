package difftest

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// edit is a mutant's hold on a packet of a session.
type edit struct {
	p       *pair
	key     wire.Key
	payload []byte // of the twin's frame, to be changed
	head    wire.Header
	state   gate.SessionState
	flow    *commit.Flow
	known   bool // there is a session, and its flow
}

// onPacket makes a mutant that sees packets of the standard profile with a
// right checksum, and may change them for the twin.
func onPacket(change func(e *edit)) func(p *pair, frame []byte) {
	return func(p *pair, frame []byte) {
		f, v := wire.ParseFrame(frame)
		if v != wire.FrameUDP || f.BadLength || profileOf(&f.Key) != wire.Standard {
			return
		}
		e := edit{p: p, key: f.Key, payload: frame[f.Payload : f.Payload+f.PayloadLen]}
		if !wire.Verify(e.payload) {
			return
		}
		e.head, _, _ = wire.ParseHeader(e.payload)
		if e.state, e.known = p.twin.Session(f.Key); e.known {
			e.flow = p.regions.Flow(e.state.Slot)
		}
		change(&e)
	}
}

// onCompact is onPacket for the compact profile. The checksum is put right
// again.
func onCompact(change func(e *edit)) func(p *pair, frame []byte) {
	return func(p *pair, frame []byte) {
		f, v := wire.ParseFrame(frame)
		if v != wire.FrameUDP || f.BadLength || profileOf(&f.Key) != wire.Compact || !f.ChecksumValid(frame) {
			return
		}
		e := edit{p: p, key: f.Key, payload: frame[f.Payload : f.Payload+f.PayloadLen]}
		var err error
		if e.head, _, err = wire.Compact.ParseHeader(e.payload); err != nil {
			return
		}
		if e.state, e.known = p.twin.Session(f.Key); e.known {
			e.flow = p.regions.Flow(e.state.Slot)
		}
		change(&e)
		checksum(frame)
	}
}

// put replaces the header.
func (e *edit) put(h wire.Header) {
	h.Put(e.payload)
	wire.Seal(e.payload)
}

func onReply(change func(reply []byte, f *wire.Frame)) func(p *pair, frame, reply []byte) {
	return func(_ *pair, _, reply []byte) {
		if reply != nil {
			f, _ := wire.ParseFrame(reply)
			change(reply, &f)
		}
	}
}

var mutants = []mutant{
	{name: "checksum_ignored", before: func(_ *pair, frame []byte) {
		f, v := wire.ParseFrame(frame)
		if v == wire.FrameUDP && f.PayloadLen >= wire.HeaderSize && profileOf(&f.Key) == wire.Standard {
			wire.Seal(frame[f.Payload : f.Payload+f.PayloadLen])
		}
	}},
	{name: "urgent_refused", before: onPacket(func(e *edit) {
		if e.head.Flags&wire.FlagURG != 0 {
			e.head.Flags = 0
			e.put(e.head)
		}
	})},
	{name: "datagram_limit_one_off", config: func(c *gate.Config) {
		if c.MaxDatagram--; c.MaxDatagram < wire.MinDatagram {
			c.MaxDatagram += 2
		}
	}},
	{name: "control_not_offered", config: func(c *gate.Config) { c.ControlBytes = 0 }},
	{name: "budget_one_off", config: func(c *gate.Config) { c.SessionBudget++ }},
	{name: "budget_forgotten", config: func(c *gate.Config) { c.SessionBudget = 1 << 20 }},
	{name: "sack_not_offered", config: func(c *gate.Config) { c.Features = 0 }},
	{name: "sockets_elsewhere", config: func(c *gate.Config) { c.Sockets = !c.Sockets }},
	{name: "a_port_missing", config: func(c *gate.Config) { c.Ports = c.Ports[:1] }},
	{name: "an_address_missing", config: func(c *gate.Config) { c.Local = c.Local[:1] }},
	{name: "older_secret_refused", keys: func(k *gate.CookieKeys) { k.Keys[1-k.Current] = gate.CookieKey{} }},
	{name: "stale_ack_one_less", before: onPacket(func(e *edit) {
		if e.known && e.flow.Ack()-e.head.Ack == wire.ReceiveWindow {
			e.head.Ack--
			e.put(e.head)
		}
	})},
	{name: "ack_of_newest_refused", before: onPacket(func(e *edit) {
		if e.known && e.flow.SndNxt() == e.head.Ack && e.head.Flags == wire.FlagACK {
			e.head.Ack++
			e.put(e.head)
		}
	})},
	{name: "window_one_less", before: onPacket(func(e *edit) {
		if e.known && e.head.Sequence-e.state.Window.Next == wire.ReceiveWindow-1 {
			e.head.Sequence++
			e.put(e.head)
		}
	})},
	{name: "reset_range_one_less", before: onPacket(func(e *edit) {
		if e.known && e.head.Flags&wire.FlagRST != 0 && e.head.Sequence-e.state.Window.Next == wire.ReceiveWindow {
			e.head.Sequence++
			e.put(e.head)
		}
	})},
	{name: "replay_window_one_less", before: onPacket(func(e *edit) {
		if e.known && e.state.ReplayHigh-e.head.Sequence == wire.ReplayWindow-1 {
			e.head.Sequence--
			e.put(e.head)
		}
	})},
	{name: "delay_ignored", before: onPacket(func(e *edit) {
		const offDelay = wire.HeaderSize + 9
		if e.known && e.state.Features != 0 && len(e.payload) >= offDelay+4 && e.payload[wire.HeaderSize] != 0 {
			binary.BigEndian.PutUint32(e.payload[offDelay:], 0)
			wire.Seal(e.payload)
		}
	})},
	{name: "group_addresses_served", before: func(_ *pair, frame []byte) { frame[0] &^= 1 }},
	{name: "fragments_served", before: func(_ *pair, frame []byte) {
		if f, v := wire.ParseFrame(frame); v == wire.FrameFragment && !f.IPv6 {
			frame[f.L3+6], frame[f.L3+7] = 0, 0
		}
	}},
	{name: "hop_limit", after: onReply(func(reply []byte, f *wire.Frame) {
		if f.IPv6 {
			reply[f.L3+7] = 63
		}
	})},
	{name: "ip_options_reflected", after: onReply(func(reply []byte, f *wire.Frame) {
		if f.L4-f.L3 > 20 && !f.IPv6 {
			reply[f.L3+20] = 0x44
		}
	})},
	{name: "udp_checksum_left_out", after: onReply(func(reply []byte, f *wire.Frame) {
		reply[f.L4+6], reply[f.L4+7] = 0, 0
	})},
	{name: "dirty_forgotten", after: func(p *pair, _, _ []byte) { clear(p.memory.Dirty) }},
	{
		name:   "worker_not_woken",
		before: func(p *pair, _ []byte) { p.mutantSaw = p.memory.Workers[0] },
		after:  func(p *pair, _, _ []byte) { p.memory.Workers[0] = p.mutantSaw },
	},
	{name: "slot_flags_lost", after: func(p *pair, _, _ []byte) {
		const offFlags = 34
		for at := offFlags; at < len(p.memory.Slots); at += slotSize {
			p.memory.Slots[at] = 0
		}
	}},
	{name: "ready_head_not_moved", after: func(p *pair, _, _ []byte) {
		for at := 0; at < len(p.memory.Ctl); at += 128 {
			if p.memory.Ctl[at] == 5 {
				p.memory.Ctl[at] = 4
			}
		}
	}},
	{name: "sack_forgotten", after: func(p *pair, _, _ []byte) {
		const offSack = 128
		for at := offSack; at < len(p.memory.Flows); at += flowSize {
			clear(p.memory.Flows[at : at+128])
		}
	}},
	{name: "sack_high_forgotten", after: func(p *pair, _, _ []byte) {
		const offAck, offHigh = 4, 32
		for at := 0; at < len(p.memory.Flows); at += flowSize {
			copy(p.memory.Flows[at+offHigh:at+offHigh+4], p.memory.Flows[at+offAck:])
		}
	}},
	{name: "sack_offset_ignored", before: onPacket(func(e *edit) {
		if b := e.payload[wire.HeaderSize:]; e.known && e.state.Features != 0 && len(b) > wire.AckBlockMin && b[0] > 8 && b[0] < 128 {
			b[0] &= 7
			wire.Seal(e.payload)
		}
	})},
	{name: "compact_sack_offset_ignored", before: onCompact(func(e *edit) {
		if e.known && e.head.Flags&wire.FlagACK != 0 && len(e.payload) > 13 && e.payload[8] > 8 && e.payload[8] < 128 {
			e.payload[8] &= 7
		}
	})},
	{name: "sack_around_another_sequence", before: onPacket(func(e *edit) {
		// Duplicates are held wherever they are.
		if e.known && e.head.Flags == pshAck && e.state.Window.Classify(e.head.Sequence) == reliability.Duplicate &&
			e.state.Window.Word(e.head.Sequence) > 3 {
			e.head.Sequence = e.state.Window.Next - 1
			e.put(e.head)
		}
	})},
	{name: "mark_forgotten", before: func(_ *pair, frame []byte) {
		if f, v := wire.ParseFrame(frame); v == wire.FrameUDP && !f.IPv6 {
			frame[f.L3+1] &^= 1
		}
	}},
	{name: "mark_of_ip6_forgotten", before: func(_ *pair, frame []byte) {
		if f, v := wire.ParseFrame(frame); v == wire.FrameUDP && f.IPv6 {
			frame[f.L3+1] &^= 0x10
		}
	}},
	{name: "cwr_ignored", before: onPacket(func(e *edit) {
		if e.head.Flags&wire.FlagCWR != 0 && e.known {
			e.head.Flags &^= wire.FlagCWR
			e.put(e.head)
		}
	})},
	{name: "ece_ignored", before: onPacket(func(e *edit) {
		if e.head.Flags&wire.FlagECE != 0 && e.known {
			e.head.Flags &^= wire.FlagECE
			e.put(e.head)
		}
	})},
	{name: "echo_not_kept", after: func(p *pair, _, _ []byte) {
		const offEcho = 20
		for at := offEcho; at < len(p.memory.Flows); at += flowSize {
			clear(p.memory.Flows[at : at+4])
		}
	}},
	{name: "pad_refused", before: onPacket(func(e *edit) {
		block := wire.AckBlockMin
		if e.state.Features == 0 {
			block = 0
		}
		if body := e.payload[wire.HeaderSize:]; e.known && e.head.Flags == pshAck && len(body) > block && body[block] == wire.TypePad {
			body[block]++
			wire.Seal(e.payload)
		}
	})},
	{name: "compact_checksum_ignored", before: func(_ *pair, frame []byte) {
		if f, v := wire.ParseFrame(frame); v == wire.FrameUDP && profileOf(&f.Key) == wire.Compact {
			checksum(frame)
		}
	}},
	{name: "compact_port_missing", config: func(c *gate.Config) { c.CompactPorts = nil }},
	{name: "compact_port_in_standard_profile", config: func(c *gate.Config) {
		c.Ports, c.CompactPorts = append(c.Ports[:2:2], c.CompactPorts...), nil
	}},
	{name: "compact_fragment_flag_ignored", before: onCompact(func(e *edit) {
		const fragment = 0x10
		if e.known && e.head.Flags&^(wire.FlagACK|wire.FlagPSH) == 0 {
			e.payload[2] &^= fragment
		}
	})},
	{name: "compact_token_ignored", before: onCompact(func(e *edit) {
		if n := len(e.payload); e.known && e.head.Flags == wire.FlagACK|wire.FlagRST && n == 18 {
			binary.BigEndian.PutUint32(e.payload[n-4:], e.state.Token)
		}
	})},
	{name: "compact_delay_ignored", before: onCompact(func(e *edit) {
		if e.known && e.head.Flags&wire.FlagACK != 0 && len(e.payload) >= 19 && e.payload[8] > 0 {
			e.payload[17], e.payload[18] = 0, 0
		}
	})},
	{name: "compact_numbers_not_near", before: onCompact(func(e *edit) {
		// Of a window that wraps, those before the wrap are taken for new.
		if e.known && e.head.Flags&wire.FlagPSH != 0 && uint16(e.state.Window.Next) < uint16(e.head.Sequence) {
			binary.BigEndian.PutUint16(e.payload, uint16(e.head.Sequence-0x8000))
		}
	})},
	{name: "compact_ack_always_there", before: onCompact(func(e *edit) {
		if e.known && e.head.Flags == 0 {
			e.payload[2] |= 0x01
		}
	})},
	{name: "session_starts_over", before: onPacket(func(e *edit) {
		if e.known && e.state.Packets == 20 {
			e.p.twin.Delete(e.key)
			if err := e.p.twin.Create(e.key, e.p.open[e.key]); err != nil {
				panic(err)
			}
		}
	})},
}

// TestMutantsAreCaught breaks one rule of the twin at a time.
func TestMutantsAreCaught(t *testing.T) {
	p := newPair(t, 16)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			pin(t)
			p.mutant = &m
			defer func() { p.mutant = nil }()
			const most = 400_000
			start := p.frames
			for seed := uint64(1); p.frames-start < most; seed++ {
				s, steps, err := p.play(seeded(seed), 2000)
				if errors.Is(err, errHarness) || errors.Is(err, errOutcomes) {
					t.Fatal(err)
				}
				if err == nil {
					continue
				}
				t.Logf("caught after %d packets: %.120v", p.frames-start, err)
				if m.name == "checksum_ignored" {
					if short := p.minimise(s, steps); len(short) > 3 {
						t.Errorf("%d steps left of %d", len(short), len(steps))
					}
				}
				return
			}
			t.Errorf("not caught in %d packets", most)
		})
	}
}
