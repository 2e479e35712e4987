package loader

import (
	"errors"
	"strings"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
)

func TestOptionsValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string // part of the error, empty where valid
	}{
		{"defaults", func(*Options) {}, ""},
		{"no_interface", func(o *Options) { o.Interface = "" }, "interface"},
		{"none_needs_nothing", func(o *Options) { *o = Options{Mode: ModeNone} }, ""},
		{"mode", func(o *Options) { o.Mode = "fast" }, `mode "fast"`},
		{"instance_dot", func(o *Options) { o.Instance = "a.b" }, "instance"},
		{"instance_parent", func(o *Options) { o.Instance = "../x" }, "instance"},
		{"instance_long", func(o *Options) { o.Instance = strings.Repeat("x", 65) }, "instance"},
		{"vlan_interface", func(o *Options) { o.Interface = "eth0.100" }, ""},
		{"no_port", func(o *Options) { o.Ports = nil }, "0 ports"},
		{"five_ports", func(o *Options) { o.Ports = []uint16{1, 2, 3, 4, 5} }, "5 ports"},
		{"port_zero", func(o *Options) { o.Ports = []uint16{0} }, "port 0"},
		{"port_twice", func(o *Options) { o.Ports = []uint16{7, 7} }, "port 7"},
		{"datagram_large", func(o *Options) { o.MaxDatagram = 1473 }, "1473 bytes"},
		{"datagram_small", func(o *Options) { o.MaxDatagram = 63 }, "63 bytes"},
		{"slots", func(o *Options) { o.Geometry.Slots = 100 }, "power of two"},
		{"three_workers", func(o *Options) { o.Geometry.Workers = 3 }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Interface: "eth0", Ports: []uint16{7777}}
			tt.change(&o)
			err := o.withDefaults().validate()
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestOpenChecksOptionsFirst(t *testing.T) {
	g, report, err := Open(Options{Interface: "no-such-device", Ports: []uint16{1}, Geometry: commit.Geometry{Slots: 3}})
	if g != nil || report != nil || !errors.Is(err, commit.ErrGeometry) {
		t.Errorf("open: %v, %v, %v", g, report, err)
	}
}

func TestReportReads(t *testing.T) {
	tests := []struct {
		name   string
		report Report
		want   string
	}{
		{"native", Report{Mode: ModeNative}, "native"},
		{"one_step", Report{Mode: ModeGeneric, Steps: []Step{{Mode: ModeNative, Reason: "a"}}}, "generic (not native: a)"},
		{"two_steps", Report{Mode: ModeNone, Steps: []Step{{Mode: ModeNative, Reason: "a"}, {Mode: ModeGeneric, Reason: "b"}}},
			"none (not native: a; not generic: b)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.report.String(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
