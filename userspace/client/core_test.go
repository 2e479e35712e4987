package client

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

const epoch = uint64(time.Hour)

// world joins a core and a backend in virtual time. Each attempt comes from a
// port of its own, as over UDP.
type world struct {
	net      *simnet.Network
	up, down *simnet.Pipe
	core     *core
	backend  *backend
	deaf     bool // the server is gone
	wake     uint64
	buf      [maxPacket]byte
	trace    []string // events and messages, with their time
}

func newWorld(t *testing.T, seed uint64, link simnet.Link, opts Options) *world {
	t.Helper()
	opts.fillDefaults()
	w := &world{net: simnet.New(seed, epoch), wake: never}
	w.up = w.net.NewPipe(link, func(k simnet.Packet) { w.atServer(k.Data) })
	w.down = w.net.NewPipe(link, func(k simnet.Packet) { w.atClient(k.Data) })
	w.backend = newBackend(t, func(key wire.Key, packet []byte) {
		if key == w.key() {
			w.down.Send(packet)
		}
	})
	rng := rand.New(rand.NewPCG(seed, 7))
	w.core = newCore(opts, rng.Uint64, nil, epoch)
	w.pump()
	w.serve()
	return w
}

func (w *world) key() wire.Key {
	port := 40000 + uint16(w.core.attempt)
	return wire.MakeKey(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), netip.MustParseAddrPort("192.0.2.2:7777"))
}

func (w *world) atServer(packet []byte) {
	if !w.deaf {
		w.backend.datagram(w.key(), packet, w.net.Now())
	}
}

func (w *world) serve() {
	if !w.deaf {
		w.backend.pass(w.net.Now())
	}
	w.net.At(w.net.Now()+uint64(5*time.Millisecond), w.serve)
}

func (w *world) atClient(packet []byte) {
	w.core.packet(packet, false, w.net.Now())
	w.pump()
}

// pump does what Conn's goroutine does.
func (w *world) pump() {
	now := w.net.Now()
	w.core.advance(now)
	for n := w.core.fill(w.buf[:], now); n > 0; n = w.core.fill(w.buf[:], now) {
		w.up.Send(w.buf[:n])
	}
	for _, m := range w.core.take() {
		w.note("message %d", binary.BigEndian.Uint32(m.Payload))
	}
	for _, e := range w.core.drain() {
		w.note("%v %v", e.Kind, e.Reason)
	}
	if at := w.core.deadline(); at < w.wake || w.wake <= now {
		w.wake = at
		if at != never {
			w.net.At(at, w.pump)
		}
	}
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) run(d time.Duration) { w.net.Run(w.net.Now() + uint64(d)) }

func (w *world) say(t *testing.T, number uint32) {
	t.Helper()
	if err := w.core.send(Outgoing{
		Mode: ReliableOrdered, Channel: 1, Type: 1, Priority: High, Payload: binary.BigEndian.AppendUint32(nil, number),
	}); err != nil {
		t.Fatalf("send %d: %v", number, err)
	}
	w.pump()
}

func TestCoreSurvivesRestart(t *testing.T) {
	link := simnet.Link{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1, Duplicate: 0.05}
	play := func(seed uint64) []string {
		w := newWorld(t, seed, link, Options{Reconnect: true})
		w.run(10 * time.Second)
		for i := range uint32(20) {
			w.say(t, i)
			w.run(50 * time.Millisecond)
		}
		w.run(2 * time.Second)
		w.backend.restart(w.net.Now())
		w.run(15 * time.Second)
		w.say(t, 20)
		w.run(2 * time.Second)
		return w.trace
	}
	for seed := range uint64(20) {
		var want []string
		want = append(want, "opened reason 0")
		for i := range 20 {
			want = append(want, fmt.Sprintf("message %d", i))
		}
		restarted := append(slices.Clone(want), "closed server restarted", "reconnected reason 0", "message 20")
		// The word of the restart may be lost: then silence tells.
		silent := append(slices.Clone(want), "closed idle timeout", "reconnected reason 0", "message 20")
		got := play(seed)
		if !slices.Equal(got, restarted) && !slices.Equal(got, silent) {
			t.Fatalf("seed %d: %q", seed, got)
		}
		if again := play(seed); !slices.Equal(got, again) {
			t.Fatalf("seed %d is not deterministic: %q, then %q", seed, got, again)
		}
	}
}

// A server that is away for ten minutes is asked ever less often, and found
// again.
func TestCoreBacksOff(t *testing.T) {
	w := newWorld(t, 1, simnet.Link{Delay: 20 * time.Millisecond}, Options{
		Reconnect: true, ReconnectMin: time.Second, ReconnectMax: 40 * time.Second, HandshakeTimeout: 2 * time.Second,
	})
	w.run(time.Second)
	w.deaf = true
	w.run(11 * time.Second)
	if want := []string{"opened reason 0", "closed idle timeout"}; !slices.Equal(w.trace, want) {
		t.Fatalf("trace %q, want %q", w.trace, want)
	}
	w.run(10 * time.Minute)
	// 42 s each at the maximum, fewer seconds before it is reached.
	if n := w.core.attempt; n < 14 || n > 26 {
		t.Errorf("%d attempts in ten minutes", n)
	}
	w.deaf = false
	w.run(time.Minute)
	if last := w.trace[len(w.trace)-1]; last != "reconnected reason 0" {
		t.Errorf("trace ends with %q, want a reconnect", last)
	}
	if w.core.failed != 0 {
		t.Errorf("%d failures counted after success", w.core.failed)
	}
}

func TestCorePause(t *testing.T) {
	tests := []struct {
		name     string
		min, max time.Duration
		failed   int
		want     time.Duration
	}{
		{"first", time.Second, time.Minute, 0, time.Second},
		{"doubles", time.Second, time.Minute, 3, 8 * time.Second},
		{"limited", time.Second, time.Minute, 9, time.Minute},
		{"overflow", time.Hour, 2 * time.Hour, 31, 2 * time.Hour},
		{"very_many", time.Second, time.Minute, 1 << 20, time.Minute},
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &core{opts: Options{ReconnectMin: tt.min, ReconnectMax: tt.max}, random: rng.Uint64, failed: tt.failed}
			varied := false
			for range 50 {
				got := c.pause()
				if got < tt.want*3/4 || got > tt.want*5/4 {
					t.Fatalf("pause() = %v, want %v give or take a quarter", got, tt.want)
				}
				varied = varied || got != tt.want
			}
			if !varied {
				t.Error("pauses do not vary")
			}
		})
	}
}

// The server's FIN is acknowledged although the client has begun to think of the
// next session: the server must not have to wait for its idle timeout.
func TestCoreAcknowledgesTheEnd(t *testing.T) {
	for _, reconnect := range []bool{false, true} {
		t.Run(fmt.Sprintf("reconnect_%v", reconnect), func(t *testing.T) {
			w := newWorld(t, 1, simnet.Link{Delay: 20 * time.Millisecond}, Options{Reconnect: reconnect, ReconnectMin: 5 * time.Second})
			w.run(time.Second)
			for _, p := range w.backend.peers {
				p.Close(wire.ReasonShuttingDown)
			}
			w.run(time.Second)
			if n := len(w.backend.peers); n != 0 {
				t.Errorf("%d sessions of the server still wait for the end", n)
			}
		})
	}
}

func TestCoreReconnectsOnlyWhereItHelps(t *testing.T) {
	tests := []struct {
		reason wire.Reason
		want   bool
	}{
		{wire.ReasonIdle, true},
		{wire.ReasonRestarted, true},
		{wire.ReasonShuttingDown, true},
		{wire.ReasonClosed, false},
		{wire.ReasonKicked, false},
		{wire.ReasonProtocol, false},
		{wire.ReasonSuperseded, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("reason_%d", tt.reason), func(t *testing.T) {
			w := newWorld(t, 1, simnet.Link{}, Options{Reconnect: true})
			w.run(time.Second)
			for _, p := range w.backend.peers {
				p.Abort(tt.reason)
			}
			w.run(5 * time.Second)
			if got := w.core.attempt > 1; got != tt.want {
				t.Errorf("reconnected: %v, want %v", got, tt.want)
			}
			if w.core.over == tt.want {
				t.Errorf("over: %v, want %v", w.core.over, !tt.want)
			}
		})
	}
}

func TestCoreMakesAControllerForEachSession(t *testing.T) {
	made := 0
	w := newWorld(t, 1, simnet.Link{Delay: time.Millisecond}, Options{
		Congestion: func() congestion.Controller {
			made++
			return congestion.NewCubic(congestion.Params{})
		},
	})
	w.run(time.Second)
	w.core.start(w.net.Now())
	w.pump()
	w.run(time.Second)
	if made != 2 {
		t.Errorf("%d controllers for two sessions", made)
	}
}
