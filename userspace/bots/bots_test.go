package bots

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		want string
	}{
		{"no_server", Options{}, "no server"},
		{"too_many_bots", Options{Server: "x:1", Bots: 1 << 20}, "bots"},
		{"more_rooms_than_bots", Options{Server: "x:1", Bots: 2, Rooms: 3}, "rooms"},
		{"rate", Options{Server: "x:1", Rate: 1e6}, "rate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRunNobodyThere(t *testing.T) {
	c, err := New(Options{Server: "127.0.0.1:9", Bots: 3, JoinTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(context.Background()); err == nil {
		t.Error("Run = nil although nobody answers")
	}
}

func TestJudge(t *testing.T) {
	clean := Result{Expected: 10, Received: 10}
	tests := []struct {
		name string
		edit func(*Result)
		want bool
	}{
		{"clean", func(*Result) {}, true},
		{"lost", func(r *Result) { r.Faults.Lost = 1 }, false},
		{"disconnected", func(r *Result) { r.Disconnected = 1 }, false},
		{"malformed", func(r *Result) { r.Malformed = 1 }, false},
		{"implausible", func(r *Result) { r.Implausible = 1 }, false},
		{"unflushed", func(r *Result) { r.Unflushed = 1 }, false},
		{"undelivered", func(r *Result) { r.Received = 9 }, false},
		{"plan_not_returned", func(r *Result) { r.Plans = 1 }, false},
		{"messages_put_off", func(r *Result) { r.WouldBlock = 1 }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := clean
			tt.edit(&r)
			r.judge()
			if r.Clean != tt.want {
				t.Errorf("Clean = %v, want %v", r.Clean, tt.want)
			}
		})
	}
}

func TestPace(t *testing.T) {
	tests := []struct {
		name string
		rate float64
		at   []time.Duration // when it is asked
		want int             // how often it was due
	}{
		{"steady", 10, every(10*time.Millisecond, time.Second), 10},
		{"fast", 100, every(time.Millisecond, time.Second), 100},
		{"catches_up", 10, append(every(10*time.Millisecond, time.Second), repeat(2*time.Second, 20)...), 20},
		{"gives_up_what_is_long_past", 10, append(every(10*time.Millisecond, time.Second), repeat(time.Minute, 20)...), 12},
		{"never", -1, every(time.Second, time.Hour), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPace(tt.rate, rand.New(rand.NewPCG(1, 1)))
			n := 0
			for _, at := range tt.at {
				if p.due(at) {
					n++
				}
			}
			if n < tt.want-1 || n > tt.want+1 {
				t.Errorf("due %d times, want about %d", n, tt.want)
			}
		})
	}
}

func every(step, end time.Duration) (at []time.Duration) {
	for t := time.Duration(0); t < end; t += step {
		at = append(at, t)
	}
	return at
}

func repeat(t time.Duration, n int) (at []time.Duration) {
	for range n {
		at = append(at, t)
	}
	return at
}
