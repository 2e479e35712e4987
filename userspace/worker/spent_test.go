package worker

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

func TestSpentHellos(t *testing.T) {
	var s spentHellos
	s.init(3)
	key := func(port uint16) wire.Key { return wire.Key{ClientPort: port} }
	s.add(key(1), 10, 0)
	s.add(key(1), 11, 1)
	tests := []struct {
		name string
		key  wire.Key
		isn  uint32
		now  uint64
		want bool
	}{
		{"known", key(1), 10, helloLife - 1, true},
		{"same_key_again", key(1), 11, helloLife - 1, true},
		{"expired", key(1), 10, helloLife, false},
		{"other_sequence", key(1), 12, 1, false},
		{"other_client", key(2), 10, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.has(tt.key, tt.isn, tt.now); got != tt.want {
				t.Errorf("has %v, want %v", got, tt.want)
			}
		})
	}
	for isn := range uint32(10) {
		s.add(key(2), isn, 2)
	}
	if len(s.until) != 3 || s.has(key(1), 11, 2) || !s.has(key(2), 7, 2) || s.has(key(2), 6, 2) {
		t.Errorf("of 12 HELLOs it keeps %v, want the last 3", s.until)
	}
	s.add(key(3), 1, helloLife+2)
	if len(s.until) != 1 {
		t.Errorf("expired HELLOs are kept: %v", s.until)
	}
}

// The network may keep a HELLO back until its session has ended, or the client
// has opened another. Its cookie still verifies.
func TestLateHelloOpensNothing(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: kernel})
		p := w.dial(0)
		var late []byte
		p.onUp = func(payload []byte) {
			if h, body, err := wire.ParseHeader(payload); err == nil && late == nil &&
				h.Flags == wire.FlagACK|wire.FlagPSH && wire.IsHello(body) {
				late = append(late, payload...)
			}
		}
		w.until(time.Second, "opening", p.open)
		if late == nil {
			t.Fatal("no HELLO seen")
		}
		p.connect()
		w.until(time.Second, "opening again", p.open)
		w.run(100 * time.Millisecond)
		if len((*rec).opened) != 2 || len((*rec).closed) != 1 {
			t.Fatalf("%d opened, %d closed before the late HELLO", len((*rec).opened), len((*rec).closed))
		}
		p.atServer(late)
		w.run(time.Second)
		if len((*rec).opened) != 2 || len((*rec).closed) != 1 || !p.open() {
			t.Errorf("%d opened, %d closed, client open %v", len((*rec).opened), len((*rec).closed), p.open())
		}
	})
}
