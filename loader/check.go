package loader

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// CheckOptions select what Check looks at.
type CheckOptions struct {
	// Interface is the device to look at.
	Interface string

	// PinRoot is where instances would be pinned. Default DefaultPinRoot.
	PinRoot string

	// NoProbe keeps Check from attaching a program that passes everything
	// for a moment, which makes some drivers interrupt traffic. Native and
	// generic XDP are then told from what the kernel says only.
	NoProbe bool
}

// Status grades a Finding.
type Status string

const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn" // works, but not as well as it could
	StatusFail Status = "fail" // keeps XDP from working
)

// Finding is one thing that Check looked at.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Value  string `json:"value"`
	Advice string `json:"advice,omitempty"`
}

// Diagnosis says what a device and this machine can do for a gate.
type Diagnosis struct {
	Interface string    `json:"interface"`
	Mode      Mode      `json:"mode"`    // what ModeAuto would obtain
	AFXDP     string    `json:"af_xdp"`  // "zero-copy", "copy" or "none"
	Reasons   []string  `json:"reasons"` // why not better, best first
	Findings  []Finding `json:"findings"`
}

// Modes of AF_XDP in a Diagnosis.
const (
	afXDPZeroCopy = "zero-copy"
	afXDPCopy     = "copy"
	afXDPNone     = "none"
)

func (d *Diagnosis) add(name string, status Status, value, advice string) {
	d.Findings = append(d.Findings, Finding{Name: name, Status: status, Value: value, Advice: advice})
}

// WriteTable prints the diagnosis for people: one line for each finding, then
// the mode that would be used and why not a better one.
func (d *Diagnosis) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range d.Findings {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Status, f.Name, f.Value)
		if f.Advice != "" {
			fmt.Fprintf(tw, "\t\t-> %s\n", f.Advice)
		}
	}
	fmt.Fprintf(tw, "\nmode: %s, AF_XDP: %s\n", d.Mode, d.AFXDP)
	for _, r := range d.Reasons {
		fmt.Fprintf(tw, "  %s\n", r)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print diagnosis: %w", err)
	}
	return nil
}
