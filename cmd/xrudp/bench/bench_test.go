package bench

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/wire"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   float64
	}{
		{"none", nil, 0},
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{9, 1, 5, 7}, 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := median(tt.values); got != tt.want {
				t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
			}
		})
	}
}

func TestDistribution(t *testing.T) {
	var all []time.Duration
	for i := 1000; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Microsecond)
	}
	want := Distribution{P50: 501, P99: 991, P999: 1000, Max: 1000, Samples: 1000}
	if got := distribution(all); got != want {
		t.Errorf("distribution = %+v, want %+v", got, want)
	}
	if all[0] != 1000*time.Microsecond {
		t.Error("distribution reorders what it is given")
	}
	if got := distribution(nil); got != (Distribution{}) {
		t.Errorf("distribution(nil) = %+v", got)
	}
}

// wireConn is a socket whose incoming packets the test chooses.
type wireConn struct {
	net.Conn
	in [][]byte
}

func (c *wireConn) Write(b []byte) (int, error) { return len(b), nil }

func (c *wireConn) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, errors.New("nothing more")
	}
	n := copy(b, c.in[0])
	c.in = c.in[1:]
	return n, nil
}

func packet(h wire.Header, message bool) []byte {
	b := new(wire.AckBlock).AppendTo(h.AppendTo(nil))
	if message {
		b = wire.AppendMessage(b, wire.Message{Type: 1, Payload: []byte("x")})
	}
	wire.Seal(b)
	return b
}

func TestTap(t *testing.T) {
	const data = wire.FlagACK | wire.FlagPSH
	send := func(seq uint32) []byte { return packet(wire.Header{Sequence: seq, Flags: data}, true) }
	ack := func(next uint32) []byte { return packet(wire.Header{Ack: next, Flags: wire.FlagACK}, false) }
	keepalive := packet(wire.Header{Sequence: 9, Flags: data}, false)
	unreliable := packet(wire.Header{Sequence: 9, Flags: wire.FlagACK}, true)
	tests := []struct {
		name     string
		out, in  [][]byte
		measured int
		waiting  int
	}{
		{"one", [][]byte{send(10)}, [][]byte{ack(11)}, 1, 0},
		{"cumulative", [][]byte{send(10), send(11), send(12)}, [][]byte{ack(12)}, 2, 1},
		{"again", [][]byte{send(10), send(10)}, [][]byte{ack(11), ack(11)}, 1, 0},
		{"wraps", [][]byte{send(0xffffffff), send(0)}, [][]byte{ack(1)}, 2, 0},
		{"older_ack", [][]byte{send(10)}, [][]byte{ack(10)}, 0, 1},
		{"not_data", [][]byte{keepalive, unreliable}, [][]byte{ack(100)}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var acks samples
			c := &tap{Conn: &wireConn{in: tt.in}, acks: &acks}
			for _, b := range tt.out {
				if _, err := c.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 2048)
			for range tt.in {
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			if len(acks.all) != tt.measured || len(c.waiting) != tt.waiting {
				t.Errorf("%d measured and %d waiting, want %d and %d", len(acks.all), len(c.waiting), tt.measured, tt.waiting)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name string
		run  func() error
		want string
	}{
		{"sessions_not_a_power_of_two", func() error {
			_, err := KernelAck(context.Background(), KernelAckOptions{Sessions: 3})
			return err
		}, "power of two"},
		{"negative_rounds", func() error {
			_, err := KernelAck(context.Background(), KernelAckOptions{Rounds: -1})
			return err
		}, "rounds"},
		{"echo_rate", func() error {
			_, err := Echo(context.Background(), nil, EchoOptions{Rate: -1})
			return err
		}, "rate"},
		{"echo_sessions", func() error {
			_, err := Echo(context.Background(), nil, EchoOptions{Sessions: -1})
			return err
		}, "sessions"},
		{"tcp_rounds", func() error {
			_, err := TCP(context.Background(), TCPOptions{Rounds: -1})
			return err
		}, "rounds"},
		{"tcp_duration", func() error {
			_, err := TCP(context.Background(), TCPOptions{Rounds: 100, Duration: time.Second})
			return err
		}, "duration"},
		{"tcp_warm_up", func() error {
			_, err := TCP(context.Background(), TCPOptions{WarmUp: -1})
			return err
		}, "warm-up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.run(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
