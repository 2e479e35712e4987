package numa

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	tests := []struct {
		name string
		in   Topology
		n    int
		want []int
	}{
		{"nothing_known", Topology{Allowed: []int{0, 1, 2}}, 2, []int{0, 1}},
		{"near_first", Topology{Allowed: []int{0, 1, 2, 3}, Near: []int{2, 3}}, 3, []int{2, 3, 0}},
		{"avoid_interrupts", Topology{Allowed: []int{0, 1}, Interrupt: []int{0}}, 1, []int{1}},
		{
			"near_beats_free_of_interrupts",
			Topology{Allowed: []int{0, 1, 2, 3}, Near: []int{0, 1}, Interrupt: []int{0, 2}},
			4, []int{1, 0, 3, 2},
		},
		{"more_workers_than_cpus", Topology{Allowed: []int{4, 6}}, 3, []int{4, 6, 4}},
		{"only_far_cpus_allowed", Topology{Allowed: []int{5}, Near: []int{0}}, 1, []int{5}},
		{"no_cpu", Topology{}, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Choose(tt.in, tt.n); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParseList(t *testing.T) {
	tests := []struct {
		name, in string
		want     []int
		bad      bool
	}{
		{"empty", "\n", nil, false},
		{"single", "3\n", []int{3}, false},
		{"ranges", "0-2,8,10-11\n", []int{0, 1, 2, 8, 10, 11}, false},
		{"overlapping", "1-3,2-4", []int{1, 2, 3, 4}, false},
		{"reversed", "3-1", nil, true},
		{"words", "all", nil, true},
		{"open_range", "1-", nil, true},
		{"huge", "0-99999999", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseList(tt.in)
			if (err != nil) != tt.bad || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
