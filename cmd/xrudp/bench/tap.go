package bench

import (
	"net"
	"slices"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/wire"
)

// samples collects round trips from any number of goroutines.
type samples struct {
	mu  sync.Mutex
	all []time.Duration
	off bool // not measuring
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	if !s.off {
		s.all = append(s.all, d)
	}
	s.mu.Unlock()
}

func (s *samples) measure(on bool) {
	s.mu.Lock()
	s.off = !on
	s.mu.Unlock()
}

// Distribution sums up round trips, in microseconds.
type Distribution struct {
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
	Max     float64 `json:"max_us"`
	Samples int     `json:"samples"`
}

func distribution(all []time.Duration) Distribution {
	if len(all) == 0 {
		return Distribution{}
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) float64 {
		return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Nanoseconds()) / 1e3
	}
	return Distribution{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1), Samples: len(sorted)}
}

// tap is a client's socket that measures how long reliable packets wait for
// the first acknowledgement number that covers them.
type tap struct {
	net.Conn
	acks *samples

	mu      sync.Mutex
	waiting []sentPacket // by sequence
}

type sentPacket struct {
	seq uint32
	at  time.Time
}

// maxWaiting bounds what a tap remembers, far above what a window of echoes
// needs.
const maxWaiting = 4096

func (t *tap) Write(b []byte) (int, error) {
	if h, body, err := wire.ParseHeader(b); err == nil && carriesMessages(h, body) {
		t.mu.Lock()
		// A packet sent again keeps the time it was sent first.
		newest := len(t.waiting) == 0 || wire.SeqLess(t.waiting[len(t.waiting)-1].seq, h.Sequence)
		if newest && len(t.waiting) < maxWaiting {
			t.waiting = append(t.waiting, sentPacket{h.Sequence, time.Now()})
		}
		t.mu.Unlock()
	}
	return t.Conn.Write(b)
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if err != nil {
		return n, err
	}
	now := time.Now()
	if h, _, err := wire.ParseHeader(b[:n]); err == nil && h.Flags&wire.FlagSYN == 0 {
		t.mu.Lock()
		covered := 0
		for covered < len(t.waiting) && wire.SeqLess(t.waiting[covered].seq, h.Ack) {
			t.acks.add(now.Sub(t.waiting[covered].at))
			covered++
		}
		t.waiting = slices.Delete(t.waiting, 0, covered)
		t.mu.Unlock()
	}
	return n, nil
}

// carriesMessages tells reliable data from keepalives, FINs and HELLOs.
func carriesMessages(h wire.Header, body []byte) bool {
	if h.Flags&(wire.FlagPSH|wire.FlagFIN) != wire.FlagPSH || len(body) == 0 || wire.IsHello(body) {
		return false
	}
	var block wire.AckBlock
	rest, err := wire.ParseAckBlock(body, &block)
	return err == nil && len(rest) > 0
}
