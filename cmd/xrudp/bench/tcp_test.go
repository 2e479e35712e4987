package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestTCPTargets(t *testing.T) {
	r := &TCPResult{
		GoodputRounds: map[string][]float64{
			"tcp_cubic": {9, 2, 1}, "xrudp_adaptive": {3, 1, 4}, "xrudp_bbr": {5, 3, 0}, "xrudp_cubic": {2, 2, 2},
		},
		P50Rounds: map[string][]float64{"tcp_cubic": {30}, "xrudp_bbr": {25}},
		P99Rounds: map[string][]float64{
			"tcp_cubic": {200, 100}, "xrudp_adaptive": {75}, "xrudp_bbr": {74}, "xrudp_cubic": {150},
		},
		sides: []string{"tcp_cubic", "xrudp_adaptive", "xrudp_bbr", "xrudp_cubic"},
	}
	r.sum([]string{"adaptive", "bbr", "cubic"})
	for controller, want := range map[string]float64{"adaptive": 1.5, "bbr": 1.5, "cubic": 1} {
		if got := r.Ratio[controller]; got != want {
			t.Errorf("ratio of %s is %g, want %g", controller, got, want)
		}
	}
	want := []struct {
		name string
		got  float64
		met  bool
	}{
		{"goodput with bbr", 1.5, false},
		{"goodput with adaptive", 1.5, false},
		{"p99 of messages with adaptive", 0.5, false},
		{"p99 of messages with bbr", 74. / 150, true},
		{"p99 of messages with cubic", 1, false},
	}
	if len(r.Targets) != len(want) {
		t.Fatalf("targets %+v", r.Targets)
	}
	for i, w := range want {
		if got := r.Targets[i]; !strings.HasPrefix(got.Name, w.name) || math.Abs(got.Got-w.got) > 1e-9 || got.Met != w.met {
			t.Errorf("target %+v, want %+v", got, w)
		}
	}
	r.GoodputRounds["xrudp_bbr"], r.GoodputRounds["xrudp_adaptive"] = []float64{4}, []float64{3.08}
	r.Targets = nil
	r.sum([]string{"adaptive", "bbr"})
	if !r.Targets[0].Met || !r.Targets[1].Met {
		t.Errorf("targets %+v", r.Targets)
	}
	r.Overload = 3
	var out bytes.Buffer
	r.Write(&out)
	for _, want := range []string{"xrudp_cubic", ", met\n", ", MISSED\n", "NOT VALID"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
