package gate

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	ipv4Size     = 20
	ipOptionNOP  = 0x01
	offTotal     = 2 // in an IPv4 header
	offHeaderSum = 10
)

// MaxReplyFrame is the size of the largest frame Frame answers with.
const MaxReplyFrame = wire.MaxFrameHeader + 40 + MaxReply

// Frame decides about an Ethernet frame as XDP does, and returns the frame to
// send back when the verdict is TX. out must hold MaxReplyFrame bytes and not
// overlap frame; reply aliases it.
func (g *Gate) Frame(frame, out []byte, now uint64, cpu int) (outcome Outcome, reply []byte) {
	p := packet{now: now, cpu: cpu, reply: g.reply[:]}
	var f wire.Frame
	outcome = g.decideFrame(frame, &f, &p)
	g.stats[outcome]++
	if outcome.Verdict() == TX {
		reply = answer(out, frame, &f, p.reply[:p.replied])
	}
	return outcome, reply
}

func (g *Gate) decideFrame(frame []byte, f *wire.Frame, p *packet) Outcome {
	var verdict wire.FrameVerdict
	*f, verdict = wire.ParseFrame(frame)
	switch verdict {
	case wire.FrameUDP:
	case wire.FrameNotIP:
		return PassNotIP
	case wire.FrameVLANDepth:
		return PassVLANDepth
	case wire.FrameFragment:
		return PassFragment
	case wire.FrameIP6Extension:
		return PassIP6Extension
	case wire.FrameNotUDP:
		return PassNotUDP
	}
	var ours bool
	if p.profile, ours = g.ports[f.Key.ServerPort]; !ours {
		return PassOtherPort
	}
	if f.Group {
		return PassOtherHost
	}
	p.key, p.ce = f.Key, f.CE
	p.session = g.sessions[f.Key]
	if p.session == nil {
		if _, ours := g.local[f.Key.Server]; !ours {
			return PassOtherHost
		}
	}
	if f.BadLength {
		if p.session != nil {
			p.session.Rejected++
		}
		return DropUDPLength
	}
	p.payload = frame[f.Payload : f.Payload+f.PayloadLen]
	p.intact = p.profile != wire.Compact || f.ChecksumValid(frame)
	return g.decide(p)
}

// answer builds the frame that carries payload back to where frame came from.
// IPv4 options keep their room, as NOPs: XDP rewrites the frame in place.
func answer(out, frame []byte, f *wire.Frame, payload []byte) []byte {
	var t wire.FrameTemplate
	t.Answer(frame, f)
	options := f.Payload - t.Len
	plain := out[options:]
	copy(plain[t.Len:], payload)
	end := options + t.Build(plain, len(payload))
	if options > 0 {
		copy(out, plain[:f.L3+ipv4Size])
		addOptions(out[f.L3:], options)
	}
	return out[:end]
}

// addOptions fills n bytes behind a plain IPv4 header with NOPs and corrects
// the header for them.
func addOptions(ip []byte, n int) {
	for i := range n {
		ip[ipv4Size+i] = ipOptionNOP
	}
	ip[0] += byte(n / 4)
	total := binary.BigEndian.Uint16(ip[offTotal:])
	binary.BigEndian.PutUint16(ip[offTotal:], total+uint16(n))
	binary.BigEndian.PutUint16(ip[offHeaderSum:], 0)
	var sum uint32
	for at := 0; at < ipv4Size+n; at += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[at:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[offHeaderSum:], ^uint16(sum))
}
