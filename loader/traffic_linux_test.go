package loader

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// dial connects a UDP socket of the client's end to the server's port.
func dial(t *testing.T, l *lab.Lab, server netip.Addr) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := l.Client.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 7777)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// knock sends a SYN and reads the answer.
func knock(conn *net.UDPConn, isn uint32) (wire.Header, error) {
	syn := wire.AppendSYN(nil, isn, wire.Options{}, 1)
	if _, err := conn.Write(syn); err != nil {
		return wire.Header{}, err
	}
	buf := make([]byte, wire.MaxDatagram)
	conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	n, err := conn.Read(buf)
	if err != nil {
		return wire.Header{}, err
	}
	h, _, err := wire.ParseHeader(buf[:n])
	return h, err
}

// TestSYNIsAnswered goes the whole way of a packet: ports, addresses and
// secrets written, program attached, frame sent back by XDP_TX. Nothing in the
// server's namespace listens.
func TestSYNIsAnswered(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeGeneric} {
		l := labtest.New(t, lab.Options{Queues: 2})
		opts := testOptions(t, l.Server.Interface)
		opts.Instance, opts.Mode, opts.Require = string(mode), mode, true
		g, _ := mustOpen(t, l, opts)
		defer g.Close()
		tests := []struct {
			name   string
			server netip.Addr
		}{
			{"ipv4", l.Server.IPv4},
			{"ipv6", l.Server.IPv6},
		}
		for _, tt := range tests {
			t.Run(string(mode)+"_"+tt.name, func(t *testing.T) {
				before, err := g.Stats()
				if err != nil {
					t.Fatal(err)
				}
				h, err := knock(dial(t, l, tt.server), 1000)
				if err != nil {
					t.Fatal(err)
				}
				if h.Flags != wire.FlagSYN|wire.FlagACK || h.Ack != 1001 {
					t.Errorf("answer %+v, want a SYN|ACK of 1001", h)
				}
				after, err := g.Stats()
				if err != nil {
					t.Fatal(err)
				}
				if n := after[gate.TXSYNAck] - before[gate.TXSYNAck]; n != 1 {
					t.Errorf("%s counted %d, want 1", gate.TXSYNAck, n)
				}
			})
		}
	}
}

// TestRestartHasNoGap restarts the server while a client knocks without
// pause. A packet that no program sees is refused by the host, as nobody
// listens there; one that meets half a configuration is lost.
func TestRestartHasNoGap(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	conn := dial(t, l, l.Server.IPv4)

	var answered atomic.Uint32
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := knock(conn, answered.Load()); err != nil {
				failed <- err
				return
			}
			answered.Add(1)
		}
	}()
	for range 3 {
		seen := answered.Load()
		if err := g.Keep(); err != nil {
			t.Error(err)
		}
		var report *Report
		g, report = mustOpen(t, l, opts)
		if !report.InPlace {
			t.Errorf("report %+v, want in place", report)
		}
		for deadline := time.Now().Add(3 * time.Second); answered.Load() < seen+10 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("after %d answers: %v", answered.Load(), err)
	}
	if answered.Load() < 30 {
		t.Errorf("only %d answers", answered.Load())
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}
