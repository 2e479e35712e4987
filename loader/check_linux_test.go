package loader

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/xrudp/xrudp/loader/internal/ethtool"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
)

func checkIn(t *testing.T, l *lab.Lab, opts CheckOptions) (d *Diagnosis) {
	t.Helper()
	err := l.Server.Do(func() (err error) {
		d, err = Check(opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Diagnosis) finding(t *testing.T, name string) Finding {
	t.Helper()
	i := slices.IndexFunc(d.Findings, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("nothing found about %q in %+v", name, d.Findings)
	}
	return d.Findings[i]
}

func TestCheck(t *testing.T) {
	l := labtest.New(t, lab.Options{Queues: 2})
	tests := []struct {
		name    string
		opts    CheckOptions
		mode    Mode
		afxdp   string
		reasons []string // part of each
		native  Status
		generic Status
	}{
		{
			name: "veth", opts: CheckOptions{Interface: l.Server.Interface},
			mode: ModeNative, afxdp: afXDPCopy,
			reasons: []string{"not zero-copy: "}, native: StatusOK, generic: StatusOK,
		},
		{
			name: "loopback", opts: CheckOptions{Interface: "lo"},
			mode: ModeGeneric, afxdp: afXDPNone,
			reasons: []string{"not native: driver", "no AF_XDP: "}, native: StatusWarn, generic: StatusOK,
		},
		{
			name: "loopback_without_probe", opts: CheckOptions{Interface: "lo", NoProbe: true},
			mode: ModeGeneric, afxdp: afXDPNone,
			reasons: []string{"not native: ", "no AF_XDP: "}, native: StatusWarn, generic: StatusOK,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := checkIn(t, l, tt.opts)
			if d.Mode != tt.mode || d.AFXDP != tt.afxdp {
				t.Errorf("mode %s, AF_XDP %s, want %s and %s", d.Mode, d.AFXDP, tt.mode, tt.afxdp)
			}
			if !slices.EqualFunc(d.Reasons, tt.reasons, strings.Contains) {
				t.Errorf("reasons %q, want %q", d.Reasons, tt.reasons)
			}
			if f := d.finding(t, "native XDP"); f.Status != tt.native {
				t.Errorf("native XDP: %+v, want %s", f, tt.native)
			}
			if f := d.finding(t, "generic XDP"); f.Status != tt.generic {
				t.Errorf("generic XDP: %+v, want %s", f, tt.generic)
			}
			for _, name := range []string{"kernel", "BTF", "capabilities", "locked memory", "BPF file system", "gate program"} {
				if f := d.finding(t, name); f.Status != StatusOK {
					t.Errorf("%+v, want ok", f)
				}
			}
		})
	}
	if d := deviceOf(t, l); d.xdpID != 0 {
		t.Errorf("probe left program %d attached", d.xdpID)
	}
	if d := checkIn(t, l, CheckOptions{Interface: l.Server.Interface}); d.finding(t, "receive queues").Value != "2 of 2" {
		t.Errorf("%+v, want 2 of 2", d.finding(t, "receive queues"))
	}
}

func TestCheckBesideOthers(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	defer g.Close()
	before := deviceOf(t, l).xdpID

	d := checkIn(t, l, CheckOptions{Interface: l.Server.Interface, PinRoot: opts.PinRoot})
	if f := d.finding(t, "XDP program"); d.Mode != ModeNative || f.Status != StatusOK {
		t.Errorf("beside the own gate: mode %s, %+v", d.Mode, f)
	}
	if f := d.finding(t, "instance "+l.Server.Interface); !strings.HasPrefix(f.Value, "running") {
		t.Errorf("%+v, want a running instance", f)
	}
	// Under another root the same program belongs to somebody else.
	d = checkIn(t, l, CheckOptions{Interface: l.Server.Interface, PinRoot: opts.PinRoot + "-other"})
	if f := d.finding(t, "XDP program"); d.Mode != ModeNone || f.Status != StatusFail || len(d.Reasons) == 0 {
		t.Errorf("beside a foreign program: mode %s, %+v, reasons %q", d.Mode, f, d.Reasons)
	}
	if after := deviceOf(t, l).xdpID; after != before {
		t.Errorf("program %d became %d", before, after)
	}
}

func TestCheckWarnsOfOffloads(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	err := l.Server.Do(func() error { return ethtool.Set(l.Server.Interface, ethtool.GRO, false) })
	if err != nil {
		t.Fatal(err)
	}
	d := checkIn(t, l, CheckOptions{Interface: l.Server.Interface})
	if f := d.finding(t, "generic-receive-offload"); f.Status != StatusWarn || !strings.Contains(f.Advice, "ethtool -K "+l.Server.Interface+" gro on") {
		t.Errorf("%+v", f)
	}
}

func TestCheckUnknownDevice(t *testing.T) {
	if d, err := Check(CheckOptions{Interface: "no-such-device"}); err == nil {
		t.Errorf("diagnosis of nothing: %+v", d)
	}
}

func TestDiagnosisPrints(t *testing.T) {
	d := &Diagnosis{
		Interface: "eth0", Mode: ModeGeneric, AFXDP: afXDPCopy, Reasons: []string{"not native: because"},
		Findings: []Finding{{Name: "driver", Status: StatusOK, Value: "veth"}, {Name: "huge pages", Status: StatusWarn, Value: "none", Advice: "have some"}},
	}
	var table strings.Builder
	if err := d.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	const want = `ok    driver      veth
warn  huge pages  none
                  -> have some

mode: generic, AF_XDP: copy
  not native: because
`
	if table.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", table.String(), want)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"mode":"generic","af_xdp":"copy","reasons":["not native: because"]`) {
		t.Errorf("JSON: %s", b)
	}
}
