package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/wire"
)

// Sizes of the generator's packets and structs, as in bpf/pktgen.c.
const (
	// GeneratorPayload is the size of the one message in each packet.
	GeneratorPayload = 64

	// GeneratorMaxSessions is the most sessions a Generator can play.
	GeneratorMaxSessions = 4096

	generatorDatagram = wire.HeaderSize + wire.AckBlockMin + wire.MessageHeaderSize + GeneratorPayload
	generatorFrame    = 14 + 20 + 8 + generatorDatagram
	generatorTemplate = 12 + generatorFrame + 2
	generatorBatch    = 64
)

// GeneratorOptions describe the sessions whose packets a Generator sends. All
// have the same sequence numbers and negotiated SACK; only their ports differ.
type GeneratorOptions struct {
	// Sessions is a power of two up to GeneratorMaxSessions.
	Sessions int
	// Interface is the index of the client's end of the veth pair.
	Interface int
	// ClientMAC and ServerMAC are the addresses of the two ends.
	ClientMAC, ServerMAC net.HardwareAddr
	// Client is the address of session 0. The others have the ports above.
	Client netip.AddrPort
	// Server is the address of the server. Both are IPv4.
	Server netip.AddrPort
	// Sequence is the first reliable sequence of every session, Ack what
	// every packet acknowledges.
	Sequence, Ack uint32
}

func (o *GeneratorOptions) validate() error {
	switch {
	case o.Sessions < 1 || o.Sessions > GeneratorMaxSessions || o.Sessions&(o.Sessions-1) != 0:
		return fmt.Errorf("%d sessions: not a power of two up to %d", o.Sessions, GeneratorMaxSessions)
	case !o.Client.Addr().Is4() || !o.Server.Addr().Is4():
		return errors.New("addresses are not IPv4")
	case int(o.Client.Port())+o.Sessions > 1<<16:
		return errors.New("not enough ports above the first")
	case len(o.ClientMAC) != 6 || len(o.ServerMAC) != 6:
		return errors.New("hardware addresses are not Ethernet's")
	}
	return nil
}

// Generator sends packets of established sessions at the speed of the kernel,
// and counts what comes back. It is a tool for benchmarks.
//
// One goroutine owns it. Run and the Attach methods act in the network
// namespace of the calling thread.
type Generator struct {
	objects pktgenObjects
	opts    GeneratorOptions
	data    []byte
}

// generatorSession is struct gen_session.
type generatorSession struct{ Next, Acked uint32 }

// GeneratorCounts are running totals.
type GeneratorCounts struct {
	Sent    uint64 // frames
	Arrived uint64 // frames that came back
	ACKs    uint64 // those that are an ACK and nothing else
}

// NewGenerator loads the programs.
func NewGenerator(opts GeneratorOptions) (*Generator, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("create generator: %w", err)
	}
	g := &Generator{opts: opts}
	if err := g.load(); err != nil {
		g.Close()
		return nil, fmt.Errorf("create generator: %w", err)
	}
	return g, nil
}

func (g *Generator) load() error {
	spec, err := loadPktgen()
	if err != nil {
		return err
	}
	if err := spec.Variables["session_mask"].Set(uint32(g.opts.Sessions - 1)); err != nil {
		return fmt.Errorf("set session mask: %w", err)
	}
	if err := spec.Variables["egress_ifindex"].Set(uint32(g.opts.Interface)); err != nil {
		return fmt.Errorf("set interface: %w", err)
	}
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	template := g.template()
	// The program grows each frame by the byte that is missing here.
	g.data = template[12 : 12+generatorFrame-1]
	if err := g.objects.GenTemplates.Put(uint32(0), template); err != nil {
		return fmt.Errorf("store template: %w", err)
	}
	for i := range uint32(g.opts.Sessions) {
		session := generatorSession{Next: g.opts.Sequence, Acked: g.opts.Sequence}
		if err := g.objects.GenSessions.Put(i, session); err != nil {
			return fmt.Errorf("store session: %w", err)
		}
	}
	return nil
}

// template is struct gen_template.
func (g *Generator) template() []byte {
	var payload [GeneratorPayload]byte
	for i := range payload {
		payload[i] = byte(i)
	}
	data := wire.Header{Ack: g.opts.Ack, Flags: wire.FlagACK | wire.FlagPSH, Window: wire.ReceiveWindow}.AppendTo(nil)
	data = new(wire.AckBlock).AppendTo(data)
	data = wire.AppendMessage(data, wire.Message{Type: 1, Payload: payload[:]})

	t := make([]byte, generatorTemplate)
	var sum1, sum2 uint16
	for _, b := range data {
		sum1 += uint16(b)
		sum2 += sum1
	}
	binary.NativeEndian.PutUint16(t, sum1)
	binary.NativeEndian.PutUint16(t[2:], sum2)
	binary.NativeEndian.PutUint16(t[4:], g.opts.Client.Port())
	binary.NativeEndian.PutUint32(t[8:], g.opts.Sequence)

	frame := t[12 : 12+generatorFrame]
	mac := append(append([]byte(nil), g.opts.ServerMAC...), g.opts.ClientMAC...)
	headers := wire.MakeFrameTemplate(mac, g.opts.Client, g.opts.Server)
	copy(frame[headers.Len:], data)
	headers.Build(frame, len(data))
	// Source port and UDP checksum: the program sets the one, and the other
	// may be absent over IPv4.
	clear(frame[headers.Len-8 : headers.Len-6])
	clear(frame[headers.Len-2 : headers.Len])
	return t
}

// AttachCount puts the counting program on the interface, in driver mode.
func (g *Generator) AttachCount(ifindex int) (link.Link, error) {
	return attachGenerator(g.objects.Count, ifindex, "count")
}

// AttachEcho puts a program that sends every UDP packet straight back on the
// interface, in driver mode.
func (g *Generator) AttachEcho(ifindex int) (link.Link, error) {
	return attachGenerator(g.objects.Echo, ifindex, "echo")
}

func attachGenerator(prog *ebpf.Program, ifindex int, name string) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", name, err)
	}
	return l, nil
}

// Run sends n packets, sessions in turn, each from what was acknowledged last.
// Every call waits for an RCU grace period, so n should be large.
func (g *Generator) Run(n uint32) error {
	if err := g.rewind(); err != nil {
		return fmt.Errorf("generate packets: %w", err)
	}
	_, err := g.objects.Generate.Run(&ebpf.RunOptions{
		Data:      g.data,
		Repeat:    n,
		BatchSize: generatorBatch,
		Flags:     unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	if err != nil {
		return fmt.Errorf("generate packets: %w", err)
	}
	return nil
}

// rewind makes every session go on behind its last ACK.
func (g *Generator) rewind() error {
	for i := range uint32(g.opts.Sessions) {
		var session generatorSession
		if err := g.objects.GenSessions.Lookup(i, &session); err != nil {
			return fmt.Errorf("read session: %w", err)
		}
		session.Next = session.Acked
		if err := g.objects.GenSessions.Put(i, session); err != nil {
			return fmt.Errorf("store session: %w", err)
		}
	}
	return nil
}

// Counts adds up what all CPUs counted.
func (g *Generator) Counts() (GeneratorCounts, error) {
	var all []GeneratorCounts
	if err := g.objects.GenCounts.Lookup(uint32(0), &all); err != nil {
		return GeneratorCounts{}, fmt.Errorf("read generator counts: %w", err)
	}
	var sum GeneratorCounts
	for _, c := range all {
		sum.Sent += c.Sent
		sum.Arrived += c.Arrived
		sum.ACKs += c.ACKs
	}
	return sum, nil
}

// Close unloads the programs.
func (g *Generator) Close() error { return g.objects.Close() }
