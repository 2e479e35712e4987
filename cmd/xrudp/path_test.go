package main

import (
	"flag"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader/lab/impair"
)

func TestPathFlags(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want impair.Conditions
		says string
	}{
		{"percent", []string{"--loss", "5%"}, impair.Conditions{Link: impair.Link{Loss: 0.05}}, "5% lost, either way"},
		{"share", []string{"--loss", "0.05"}, impair.Conditions{Link: impair.Link{Loss: 0.05}}, "0.05 lost, either way"},
		{"times", []string{"--delay", "20ms", "--jitter", "1.5ms"},
			impair.Conditions{Link: impair.Link{Delay: 20 * time.Millisecond, Jitter: 1500 * time.Microsecond}},
			"20ms delay, up to 1.5ms jitter, either way"},
		{"reorder", []string{"--reorder", "25%"},
			impair.Conditions{Link: impair.Link{Reorder: 0.25, ReorderDelay: holdBack}}, "25% reordered, either way"},
		{"rest", []string{"--duplicate", "50%", "--corrupt", "100%"},
			impair.Conditions{Link: impair.Link{Duplicate: 0.5, Corrupt: 1}}, "50% twice, 100% damaged, either way"},
		{"mtu", []string{"--mtu", "1280"}, impair.Conditions{Link: impair.Link{MTU: 1280}}, "MTU 1280, either way"},
		{"bandwidth", []string{"--bandwidth", "20Mbit"},
			impair.Conditions{Rate: impair.Rate{PerSecond: 2_500_000, Queue: impair.Limit{Bytes: 250_000}}},
			"20Mbit/s, either way"},
		{"little_bandwidth", []string{"--bandwidth", "64kbit"},
			impair.Conditions{Rate: impair.Rate{PerSecond: 8000, Queue: impair.Limit{Bytes: leastQueue}}},
			"64kbit/s, either way"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := flag.NewFlagSet("test", flag.ContinueOnError)
			path := addPathFlags(fs)
			if path.given() {
				t.Error("a path is bad before anything was said")
			}
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			got, err := path.conditions()
			if err != nil || got != tt.want {
				t.Errorf("conditions %+v, %v, want %+v", got, err, tt.want)
			}
			if !path.given() || path.String() != tt.says {
				t.Errorf("given %v: %q, want %q", path.given(), path, tt.says)
			}
			again := flag.NewFlagSet("test", flag.ContinueOnError)
			passed := addPathFlags(again)
			if err := again.Parse(path.arguments()); err != nil || passed.String() != tt.says {
				t.Errorf("passed on: %q, %v", passed, err)
			}
		})
	}
}
