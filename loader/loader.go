// Package loader brings the gate into the kernel and takes it out again: it
// sizes and pins the maps, attaches the program as well as the device allows,
// replaces it in place when a server is restarted, and gives typed access to
// what the program shares with user space.
//
// Everything an instance owns lives in one folder of the BPF file system:
//
//	/sys/fs/bpf/xrudp/<instance>/config, sessions, flows, ...   the maps
//	/sys/fs/bpf/xrudp/<instance>/link                           the attachment
//
// The folder outlives a crash, and with it packets that were acknowledged but
// not yet handled. The next Open of the instance continues from there.
package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Errors that callers branch on. A *commit.MismatchError says that the pinned
// maps were made with another geometry or schema.
var (
	// ErrInUse: another process runs the instance.
	ErrInUse = errors.New("instance is in use by another process")
	// ErrForeign: the device runs an XDP program that is not ours.
	ErrForeign = errors.New("device runs another XDP program")
	// ErrNotSupported: kernel or device cannot do it.
	ErrNotSupported = ebpf.ErrNotSupported
)

// DefaultPinRoot is the folder that holds one folder per instance.
const DefaultPinRoot = "/sys/fs/bpf/xrudp"

// MaxPorts is how many UDP ports one gate serves.
const MaxPorts = 4

// Mode is a way to run the gate, from best to worst: native, generic, none.
type Mode string

const (
	ModeAuto    Mode = "auto"    // the best the device can do
	ModeNative  Mode = "native"  // in the driver
	ModeGeneric Mode = "generic" // in the kernel's receive path, after the driver
	ModeNone    Mode = "none"    // no XDP: UDP sockets and userspace/gate
)

// Options of Open. The zero value plus Interface and Ports works.
type Options struct {
	// Interface is the device to attach to.
	Interface string

	// Instance names the folder under PinRoot: letters, digits, '-' and '_'.
	// Default: Interface, with other characters replaced by '_'.
	Instance string

	// PinRoot is a folder on the BPF file system. Default DefaultPinRoot.
	PinRoot string

	// Mode is where to begin. Default ModeAuto, which begins at ModeNative.
	Mode Mode

	// Require makes less than Mode an error, where Open would otherwise
	// take the next worse one. With ModeAuto it rules out ModeNone only.
	Require bool

	// Geometry of the shared memory. Defaults: 1 worker, as many CPUs as are
	// present, 1024 slots, 4096 sessions, 1 MiB for large messages.
	Geometry commit.Geometry

	// Ports to serve in the standard profile, and those in the compact one:
	// 1 to MaxPorts together.
	Ports, CompactPorts []uint16

	// MaxDatagram is the largest UDP payload to accept, in bytes. Default
	// wire.MaxDatagramLimit, which is also the most.
	MaxDatagram int

	// ControlBytes is what SYN|ACK grants in option CONTROL to those who ask.
	// 0 does not offer it.
	ControlBytes uint32

	// SessionBudget is how many reliable packets of one session may wait for
	// its worker. 0 means what the geometry says.
	SessionBudget int

	// NoSACK keeps selective acknowledgements from being offered.
	NoSACK bool
}

func (o Options) withDefaults() Options {
	if o.Instance == "" {
		o.Instance = strings.Map(func(r rune) rune {
			if legalInInstance(r) {
				return r
			}
			return '_'
		}, o.Interface)
	}
	if o.PinRoot == "" {
		o.PinRoot = DefaultPinRoot
	}
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	g := &o.Geometry
	if g.Workers == 0 {
		g.Workers = 1
	}
	if g.CPUs == 0 {
		g.CPUs = PresentCPUs()
	}
	if g.Slots == 0 {
		g.Slots = 1024
	}
	if g.MaxSessions == 0 {
		unit := 64 * g.Workers
		g.MaxSessions = (4096 + unit - 1) / unit * unit
	}
	if g.TransferBytes == 0 {
		g.TransferBytes = 1 << 20
	}
	if o.MaxDatagram == 0 {
		o.MaxDatagram = wire.MaxDatagramLimit
	}
	if o.SessionBudget == 0 {
		o.SessionBudget = o.Geometry.SessionBudget()
	}
	return o
}

func (o Options) validate() error {
	modes := []Mode{ModeAuto, ModeNative, ModeGeneric, ModeNone}
	if !slices.Contains(modes, o.Mode) {
		return fmt.Errorf("mode %q: want one of %q", o.Mode, modes)
	}
	if o.Mode == ModeNone {
		return nil
	}
	if o.Interface == "" {
		return errors.New("no interface named")
	}
	return errors.Join(validInstance(o.Instance), o.validateMaps())
}

func (o Options) validateMaps() error {
	if err := o.Geometry.Validate(); err != nil {
		return err
	}
	ports := slices.Concat(o.Ports, o.CompactPorts)
	if len(ports) < 1 || len(ports) > MaxPorts {
		return fmt.Errorf("%d ports, want 1 to %d", len(ports), MaxPorts)
	}
	for i, port := range ports {
		if port == 0 || slices.Contains(ports[:i], port) {
			return fmt.Errorf("port %d: want each port once, and not 0", port)
		}
	}
	if o.MaxDatagram < wire.MinSYN || o.MaxDatagram > wire.MaxDatagramLimit {
		return fmt.Errorf("datagrams up to %d bytes, want %d to %d", o.MaxDatagram, wire.MinSYN, wire.MaxDatagramLimit)
	}
	if o.SessionBudget < 1 {
		return fmt.Errorf("session budget of %d packets, want 1 at least", o.SessionBudget)
	}
	return nil
}

func legalInInstance(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// validInstance keeps names out that the BPF file system refuses, dots, or
// that would leave the pin root.
func validInstance(name string) error {
	illegal := strings.ContainsFunc(name, func(r rune) bool { return !legalInInstance(r) })
	if name == "" || len(name) > 64 || illegal {
		return fmt.Errorf("instance %q: want 1 to 64 letters, digits, '-' or '_'", name)
	}
	return nil
}

// rungs lists the modes to try in order. What remains is ModeNone.
func (o Options) rungs() []Mode {
	switch {
	case o.Mode == ModeGeneric:
		return []Mode{ModeGeneric}
	case o.Mode == ModeNative && o.Require:
		return []Mode{ModeNative}
	default:
		return []Mode{ModeNative, ModeGeneric}
	}
}

// Report says what Open obtained, and why not better.
type Report struct {
	Mode      Mode   `json:"mode"`
	Interface string `json:"interface,omitempty"`
	Index     int    `json:"index,omitempty"`
	Driver    string `json:"driver,omitempty"`
	MTU       int    `json:"mtu,omitempty"`
	Queues    int    `json:"queues,omitempty"` // receive queues in use

	// Folder holds the pins.
	Folder string `json:"folder,omitempty"`

	// Frags: the program is loaded for frames in several buffers, which the
	// driver demands at this MTU.
	Frags bool `json:"frags,omitempty"`

	// Reused: the maps are those of an earlier process, to be recovered from.
	Reused bool `json:"reused,omitempty"`

	// InPlace: the program was exchanged under traffic, with no gap.
	InPlace bool `json:"in_place,omitempty"`

	// Steps are the better modes that did not work.
	Steps []Step `json:"steps,omitempty"`
}

// MaxQueues is MAX_QUEUES of headers/maps.h: how many receive queues can have
// AF_XDP sockets. What arrives on others passes to the host's stack.
const MaxQueues = 64

// driverLoopback is Report.Driver of a loopback device.
const driverLoopback = "loopback"

// NoXSK says why AF_XDP sockets are of no use with a driver, and nothing where
// they may be. A frame that is sent on a loopback device comes back without the
// route that such packets carry, and the host's stack takes its sender, an
// address of the host itself, for forged.
func NoXSK(driver string) string {
	if driver == driverLoopback {
		return "the host's stack refuses what AF_XDP sends on a loopback device"
	}
	return ""
}

// Step is a mode that could not be had.
type Step struct {
	Mode   Mode   `json:"mode"`
	Reason string `json:"reason"`
	Err    error  `json:"-"`
}

func (r *Report) step(m Mode, err error) {
	r.Steps = append(r.Steps, Step{Mode: m, Reason: err.Error(), Err: err})
}

// String is one line: the mode, and the reasons why not better.
func (r *Report) String() string {
	var b strings.Builder
	b.WriteString(string(r.Mode))
	for i, s := range r.Steps {
		sep := "; "
		if i == 0 {
			sep = " ("
		}
		fmt.Fprintf(&b, "%snot %s: %s", sep, s.Mode, s.Reason)
	}
	if len(r.Steps) > 0 {
		b.WriteByte(')')
	}
	return b.String()
}

// Instance is what one folder under a pin root holds.
type Instance struct {
	Name     string          `json:"name"`
	Running  bool            `json:"running"`           // a process has it
	Attached int             `json:"attached"`          // index of its device, 0 where none
	Schema   uint32          `json:"schema"`            // 0 where it was never finished
	Geometry commit.Geometry `json:"geometry,omitzero"` // of its maps
}
