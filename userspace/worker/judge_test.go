package worker

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// What reaches the host's stack around the XDP program is taken only where the
// worker can verify it.
func TestScreen(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	k := w.group.workers[0]
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}}
	k.opts.CookieHolds = keys.Check

	s := (*rec).last
	state, _ := w.gates[0].Session(p.key)
	snd := s.flow.SndNxt()
	message := wire.AppendMessage([]byte{0}, wire.Message{Type: 1, Payload: number(9)})
	unreliable := uint32(100) + s.clientISN
	packet := func(h wire.Header, body []byte) []byte {
		b := append(h.AppendTo(nil), body...)
		wire.Seal(b)
		return b
	}
	data := func(seq, ack uint32, body []byte) []byte {
		return packet(wire.Header{Sequence: seq, Ack: ack, Flags: wire.FlagACK}, body)
	}
	reset := func(seq, ack uint32) []byte {
		return packet(wire.Header{Sequence: seq, Ack: ack, Flags: wire.FlagACK | wire.FlagRST}, []byte{byte(wire.ReasonClosed)})
	}
	stranger := p.key
	stranger.ClientPort++
	cookie := keys.Make(wire.Standard, &stranger, 50)
	hello := func(cookie uint64) []byte {
		return wire.AppendHello(nil, 50, wire.CookieSequence(cookie), wire.Options{Cookie: cookie, HasCookie: true}, 1)
	}
	damaged := data(unreliable+1, snd, message)
	damaged[len(damaged)-1] ^= 1

	tests := []struct {
		name   string
		key    wire.Key
		packet []byte
		want   bool
	}{
		{"data", p.key, data(unreliable, snd, message), true},
		{"data_again", p.key, data(unreliable, snd, message), false},
		{"data_damaged", p.key, damaged, false},
		{"data_truncated", p.key, damaged[:20], false},
		{"data_oversize", p.key, make([]byte, wire.MaxDatagram+1), false},
		{"data_of_stranger", stranger, data(unreliable+2, snd, message), false},
		{"data_acknowledges_future", p.key, data(unreliable+3, snd+1, message), false},
		{"data_acknowledges_long_ago", p.key, data(unreliable+4, snd-wire.ReceiveWindow-1, message), false},
		{"data_without_block", p.key, data(unreliable+5, snd, nil), false},
		{"data_malformed_message", p.key, data(unreliable+6, snd, message[:4]), false},
		{"pure_acknowledgement", p.key, data(unreliable+7, snd, []byte{0}), false},
		{"reliable", p.key, packet(wire.Header{Sequence: state.Window.Next, Ack: snd, Flags: wire.FlagACK | wire.FlagPSH}, message), false},
		{"syn", p.key, wire.AppendSYN(nil, 7, wire.Options{}, 1), false},
		{"reset_far_off", p.key, reset(state.Window.Next+wire.ReceiveWindow+1, snd), false},
		{"reset", p.key, reset(state.Window.Next, snd), true},
		{"hello", stranger, hello(cookie), true},
		{"hello_forged", stranger, hello(cookie + 2), false},
		{"hello_of_another", p.key, hello(cookie), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := k.screen(&transport.Datagram{Payload: tt.packet, Key: tt.key}); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	k.opts.CookieHolds = nil
	if k.screen(&transport.Datagram{Payload: hello(cookie), Key: stranger}) {
		t.Error("a HELLO passed although nobody can verify it")
	}
}

// Sessions whose packets all come by the fallback, as on a device without
// AF_XDP: the program judges, the host's stack delivers.
func TestServingByFallback(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler, kernel: true})
	k := w.group.workers[0]
	fallback := k.opts.Fallback.(*memoryLane)
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}}
	k.opts.CookieHolds = keys.Check
	(*rec).onMessage = func(s *Session, m session.Message) {
		if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
			t.Error(err)
		}
	}
	w.passedTo = fallback
	p := w.opened(0)
	for _, mode := range []session.Mode{session.Unreliable, session.ReliableOrdered} {
		if err := p.send(mode, 0, 1, number(1)); err != nil {
			t.Fatal(err)
		}
	}
	w.until(time.Second, "the echo", func() bool { return len(p.got) == 2 })
	p.engine.Abort(wire.ReasonClosed)
	p.pump()
	w.until(time.Second, "the end", func() bool { return len((*rec).closed) == 1 })
}
