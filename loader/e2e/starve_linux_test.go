package e2e

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// greet goes through the handshake up to the HELLO, which only the gate sees.
func (f *wireTap) greet(i int) {
	f.w.t.Helper()
	isn := uint32(1000 + i)
	syn := func() { f.send(stranger(i), wire.AppendSYN(nil, isn, wire.Options{SACK: true}, 1)) }
	f.answers() // what players were told meanwhile may fill the socket
	syn()
	again := time.Now()
	var frame [2048]byte
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		n, err := unix.Read(f.fd, frame[:])
		if err != nil {
			if time.Since(again) > 50*time.Millisecond {
				again = time.Now()
				syn()
			}
			time.Sleep(20 * time.Microsecond)
			continue
		}
		parsed, v := wire.ParseFrame(frame[:n])
		if v != wire.FrameUDP || parsed.Dst() != stranger(i) {
			continue
		}
		h, opts, err := wire.ParseSYNACK(frame[parsed.Payload : parsed.Payload+parsed.PayloadLen])
		if err != nil {
			continue
		}
		f.send(stranger(i), wire.AppendHello(nil, isn, h.Sequence, wire.Options{Cookie: opts.Cookie, HasCookie: true}, 2))
		return
	}
	f.w.t.Fatalf("SYN %d was not answered", i)
}

// TestStarvedRings stalls the worker while handshakes and unreliable packets
// flood an AF_XDP socket with 64 frames. They are lost, but no reliable message
// and no frame is, and service goes on.
func TestStarvedRings(t *testing.T) {
	tests := []struct {
		name, mode string
	}{
		{"native", string(loader.ModeNative)},
		{"generic", string(loader.ModeGeneric)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.mode == string(loader.ModeGeneric) {
				t.Skip("short")
			}
			w := newWorld(t, tt.mode, commit.Geometry{Workers: 1, Slots: 256, MaxSessions: 1024})
			w.setup.RXFrames = 64
			s := w.open()
			tap := newWireTap(w)
			w.join(3, netip.AddrPort{})
			noise := w.players[2]
			for _, p := range w.players[:2] {
				p.play(w.dice.Uint64(), kindPlain, 0)
			}
			const rounds, greetings, packets = 2, 150, 1500
			for round := range rounds {
				for _, p := range w.players[:2] {
					from := p.count(func() int { return p.acked })
					eventually(t, "progress", func() bool { return p.count(func() int { return p.acked }) > from+500 })
				}
				s.log.stall.Store(int64(500 * time.Millisecond))
				eventually(t, "a stalled handler", func() bool { return s.log.stall.Load() == 0 })
				var flooding sync.WaitGroup
				flooding.Go(func() {
					for range packets {
						_ = noise.conn.Send(client.Unreliable, 0, kindPlain, make([]byte, 200))
						time.Sleep(50 * time.Microsecond)
					}
				})
				for i := range greetings {
					tap.greet(round*greetings + i)
				}
				flooding.Wait()
			}
			w.join(1, netip.AddrPort{})
			late := w.players[3]
			late.play(w.dice.Uint64(), kindEcho, 200)
			eventually(t, "echoes", func() bool { return late.count(late.returned) == 200 })
			w.leave()

			counted, err := s.outcomes()
			if err != nil {
				t.Fatal(err)
			}
			// Those who only greeted never say good-bye.
			if err := s.stop(100 * time.Millisecond); err != nil {
				t.Error(err)
			}
			lost := s.ports[0].Stats()
			account := s.device.Account()
			if err := s.close(); err != nil {
				t.Error(err)
			}
			v := w.check(true)
			t.Logf("%d HELLOs and %d unreliable packets redirected, %d of them lost to an empty fill ring, %d to a full RX ring; %+v: %+v",
				counted[gate.RedirectHello], counted[gate.RedirectData], lost.FillEmpty, lost.RingFull, account, v)
			if lost.FillEmpty+lost.RingFull == 0 {
				t.Error("the rings were not starved")
			}
			if err := account.Check(); err != nil {
				t.Error(err)
			}
			if v.repeats != 0 {
				t.Errorf("%d messages came twice", v.repeats)
			}
		})
	}
}

// open runs the server in this process.
func (w *world) open() (s *server) {
	w.t.Helper()
	err := w.lab.Server.Do(func() (err error) {
		s, err = openServer(w.setup)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if !s.closed { // the test ended early
			_ = s.stop(0)
			_ = s.close()
		}
	})
	return s
}
