package bench

import (
	"bytes"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	tests := []struct {
		name               string
		largest, good, max int
		steps              int // at most
	}{
		{"between_powers", 300, 300, 2048, 12},
		{"power", 256, 256, 2048, 12},
		{"all", 2048, 2048, 2048, 8},
		{"odd_max", 100, 100, 100, 4},
		{"below_first", 5, 5, 2048, 8},
		{"none", 0, 0, 2048, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &search{largest: tt.max}
			steps := 0
			for n := s.next(); n != 0; n = s.next() {
				if n < 1 || n > tt.max || n <= s.good || s.bad != 0 && n >= s.bad {
					t.Fatalf("tries %d between %d and %d", n, s.good, s.bad)
				}
				s.tried(n, n <= tt.largest, true)
				if steps++; steps > tt.steps {
					t.Fatalf("not done after %d rooms", steps)
				}
			}
			if s.good > tt.good || s.good < tt.good-max(tt.good/relayFinest, 1) {
				t.Errorf("found %d, want %d", s.good, tt.good)
			}
		})
	}
}

func TestSearchDoubtsWhatNothingExplains(t *testing.T) {
	s := &search{largest: 2048}
	first := s.next()
	s.tried(first, false, false)
	if n := s.next(); n != first {
		t.Fatalf("tries %d, want %d again", n, first)
	}
	s.tried(first, true, false)
	if n := s.next(); n != 2*first {
		t.Fatalf("tries %d, want %d", n, 2*first)
	}
	s.tried(2*first, false, false)
	s.tried(2*first, false, false)
	if n := s.next(); n <= first || n >= 2*first {
		t.Errorf("tries %d, want a size between %d and %d", n, first, 2*first)
	}
}

func TestRelayJudges(t *testing.T) {
	tests := []struct {
		name string
		room RelayRoom
		want bool
	}{
		{"good", RelayRoom{Delivered: 0.99, StalenessP99: 99.9}, true},
		{"stale", RelayRoom{Delivered: 1, StalenessP99: 100}, false},
		{"lossy", RelayRoom{Delivered: 0.989, StalenessP99: 1}, false},
		{"failed", RelayRoom{Delivered: 1, StalenessP99: 1, Failed: "gone"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.room.judge(); tt.room.Good != tt.want {
				t.Errorf("good %v, want %v", tt.room.Good, tt.want)
			}
		})
	}
}

func TestRelayConcludes(t *testing.T) {
	good, busy := RelayRoom{Players: 64, Good: true, ServerCPU: 0.5}, RelayRoom{Players: 66, ServerCPU: 1, GeneratorCPU: 0.5}
	idle := RelayRoom{Players: 66, ServerCPU: 0.5, GeneratorCPU: 0.95}
	stalled := RelayRoom{Players: 66, ServerCPU: 0.5, GeneratorCPU: 0.5}
	tests := []struct {
		name   string
		search search
		tried  []RelayRoom
		want   RelayLimit
	}{
		{"server", search{largest: 2048, good: 64, bad: 66}, []RelayRoom{good, busy}, LimitServer},
		{"generator", search{largest: 2048, good: 64, bad: 66}, []RelayRoom{idle, good}, LimitGenerator},
		{"machine", search{largest: 2048, good: 64, bad: 66}, []RelayRoom{stalled, good, stalled}, LimitMachine},
		{"doubted_first", search{largest: 64, good: 64}, []RelayRoom{{Players: 64}, good}, LimitMax},
		{"max", search{largest: 64, good: 64}, []RelayRoom{good}, LimitMax},
		{"time", search{largest: 2048, good: 64, bad: 128}, []RelayRoom{good}, LimitTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row := &RelayRow{Transport: TransportUDP, Tried: tt.tried}
			row.conclude(&tt.search)
			if row.LimitedBy != tt.want || row.LargestRoom != 64 || row.Players != 64 || row.ServerCPU != 0.5 {
				t.Errorf("row %+v, want one of 64 limited by %s", row, tt.want)
			}
			var text bytes.Buffer
			(&RelayResult{Rows: []*RelayRow{row}}).Write(&text)
			if warns := strings.Contains(text.String(), "load generator had no time"); warns != (tt.want == LimitGenerator) {
				t.Errorf("warning %v:\n%s", warns, &text)
			}
		})
	}
}
