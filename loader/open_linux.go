package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/xrudp/xrudp/userspace/commit"
)

// Gate is a loaded gate: its program, maps and shared memory. Its methods may
// be called from anywhere until Close, Keep or Detach.
type Gate struct {
	opts   Options
	folder pinFolder // empty where nothing is pinned
	lock   *os.File

	maps    mapSet
	bells   []*Doorbell
	at      *attachment
	mapped  mapped
	regions *commit.Regions

	configMu sync.Mutex
	config   gateConfig

	addrs *addressBook
}

// Open loads the gate, attaches it, and pins what has to outlive the process.
// Where an earlier process of the instance left its maps behind it continues
// with them, and where that process's program still runs it is replaced in
// place.
//
// The Gate is nil, without error, where the report says ModeNone. Errors are
// those of an invalid option, ErrInUse, *commit.MismatchError where maps of
// another geometry hold data to be recovered first, and, if opts.Require is
// set, whatever keeps the mode from being had. Nothing is left behind then.
func Open(opts Options) (*Gate, *Report, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, nil, fmt.Errorf("open gate: %w", err)
	}
	report := &Report{Mode: ModeNone, Interface: opts.Interface}
	if opts.Mode == ModeNone {
		return nil, report, nil
	}
	dev, err := findDevice(opts.Interface)
	if err != nil {
		return nil, nil, fmt.Errorf("open gate: %w", err)
	}
	report.Index, report.Driver, report.MTU, report.Queues = dev.index, dev.driver, dev.mtu, dev.queues

	g, err := open(opts, dev, report)
	if err == nil {
		return g, report, nil
	}
	var mismatch *commit.MismatchError
	if opts.Require || errors.Is(err, ErrInUse) || errors.Is(err, commit.ErrGeometry) ||
		errors.Is(err, ebpf.ErrMapIncompatible) || errors.As(err, &mismatch) {
		return nil, report, fmt.Errorf("open gate on %s: %w", opts.Interface, err)
	}
	if len(report.Steps) == 0 {
		report.step(opts.rungs()[0], err)
	}
	return nil, report, nil
}

// Load creates the maps and loads the program without pinning or attaching
// anything: for tests and measurements. Interface, Instance, PinRoot, Mode and
// Require are ignored.
func Load(opts Options) (*Gate, error) {
	opts = opts.withDefaults()
	if err := opts.validateMaps(); err != nil {
		return nil, fmt.Errorf("load gate: %w", err)
	}
	g := &Gate{opts: opts, maps: make(mapSet)}
	spec, err := specFor(opts.Geometry, MaxQueues)
	if err != nil {
		return nil, err
	}
	if _, err := g.fill(spec); err != nil {
		return nil, errors.Join(explainPermission(err), g.release())
	}
	a := &attacher{spec: spec, maps: g.maps}
	prog, err := a.load(false)
	if err != nil {
		return nil, errors.Join(explainPermission(err), g.release())
	}
	g.at = &attachment{prog: prog, mode: ModeNone}
	return g, nil
}

func open(opts Options, dev device, report *Report) (*Gate, error) {
	if err := requireBPFFS(opts.PinRoot); err != nil {
		return nil, explainPermission(err)
	}
	spec, err := specFor(opts.Geometry, dev.maxQueue)
	if err != nil {
		return nil, err
	}
	folder := pinFolder(filepath.Join(opts.PinRoot, opts.Instance))
	lock, created, err := folder.lock()
	if err != nil {
		return nil, explainPermission(err)
	}
	g := &Gate{opts: opts, folder: folder, lock: lock, maps: make(mapSet)}
	if err := g.start(spec, dev, report); err != nil {
		if created {
			// Removed while still locked, so that nobody is inside.
			err = errors.Join(err, folder.removeFolder())
		}
		return nil, errors.Join(explainPermission(err), g.release())
	}
	report.Folder = string(folder)
	return g, nil
}

// start does what Open promises, inside a locked folder.
func (g *Gate) start(spec *ebpf.CollectionSpec, dev device, report *Report) error {
	if err := g.folder.clean(); err != nil {
		return err
	}
	if dev.xdpID != 0 && !g.folder.linkedTo(dev) {
		return dev.foreign()
	}
	if err := g.maps.reuse(g.folder, spec, g.opts.Geometry); err != nil {
		return err
	}
	report.Reused = g.maps[mapConfig] != nil
	if n := PresentCPUs(); !report.Reused && g.opts.Geometry.CPUs < n {
		// Packets on the other CPUs would find no ring. Maps made before a
		// CPU was added are still good to be recovered from.
		return fmt.Errorf("commit rings for %d CPUs, but packets may arrive on %d: %w", g.opts.Geometry.CPUs, n, commit.ErrGeometry)
	}
	fresh, err := g.fill(spec)
	if err != nil {
		return err
	}
	if g.addrs, err = followAddresses(g.maps[mapLocalAddrs]); err != nil {
		return err
	}
	if err := g.swap(spec, dev, fresh, report); err != nil {
		return err
	}
	report.Mode, report.Frags, report.InPlace = g.at.mode, g.at.frags, g.at.inPlace
	return nil
}

// fill creates the maps that were not reused, maps the memory, and writes
// everything the program reads. It returns the names of the new maps.
func (g *Gate) fill(spec *ebpf.CollectionSpec) (fresh []string, err error) {
	fresh, bells, err := g.maps.create(spec)
	for _, m := range bells {
		bell, bellErr := newDoorbell(m)
		err = errors.Join(err, bellErr)
		if bellErr == nil {
			g.bells = append(g.bells, bell)
		}
	}
	if err != nil {
		return nil, err
	}
	if g.mapped, err = g.maps.mmap(g.opts.Geometry); err != nil {
		return nil, err
	}
	if g.regions, err = commit.NewRegions(g.opts.Geometry, g.mapped.memory); err != nil {
		return nil, err
	}
	return fresh, g.configure()
}

// swap puts the program in charge and the pins in place. Its order is that of
// a crash at any point: until the program runs nothing but marked pins was
// added, which the next Open removes; from then on every pin names what the
// program uses, or did until a moment ago.
//
//	stage     pin new maps under marked names
//	attach    the new program takes over; before this line the old one served
//	publish   give the marked pins their names, config last
//	link      pin the attachment: it stays when this process dies
func (g *Gate) swap(spec *ebpf.CollectionSpec, dev device, fresh []string, report *Report) (err error) {
	if err := g.folder.stage(g.maps, fresh); err != nil {
		g.folder.unstage(fresh)
		return err
	}
	a := &attacher{spec: spec, maps: g.maps, dev: dev}
	if g.at, err = a.takeOver(g.folder, g.opts.Mode); g.at == nil && err == nil {
		g.at, err = a.climb(g.opts.rungs(), report)
	}
	if err != nil {
		g.folder.unstage(fresh)
		return err
	}
	if err := g.folder.publish(fresh); err != nil {
		return g.giveUp(err, report.Reused)
	}
	if !g.at.inPlace {
		if err := g.at.link.Pin(g.folder.path(pinLink)); err != nil {
			return g.giveUp(fmt.Errorf("pin link: %w", err), report.Reused)
		}
	}
	return nil
}

// giveUp takes an attachment back whose pins could not be completed, unless
// it continues that of an earlier process. Maps of an earlier process stay.
func (g *Gate) giveUp(cause error, reused bool) error {
	switch {
	case g.at.inPlace:
		return cause
	case reused:
		return errors.Join(cause, g.at.link.Detach())
	}
	return errors.Join(cause, g.folder.remove())
}

// explainPermission says what an operation that was refused needs.
func explainPermission(err error) error {
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("XDP needs root, or CAP_BPF and CAP_NET_ADMIN with write access to the pin folder: %w", err)
}

// Regions returns the memory shared with the program. It is unmapped by Close,
// Keep and Detach: whatever uses it stops first.
func (g *Gate) Regions() *commit.Regions { return g.regions }

// Geometry returns the geometry the gate runs with.
func (g *Gate) Geometry() commit.Geometry { return g.opts.Geometry }

// Program returns the loaded program, which remains the Gate's.
func (g *Gate) Program() *ebpf.Program { return g.at.prog }

// Map returns a map by its name in bpf/gate.c, or nil. It remains the Gate's.
func (g *Gate) Map(name string) *ebpf.Map { return g.maps[name] }

// Close detaches the gate and removes everything it has in the kernel,
// packets not yet handled included.
func (g *Gate) Close() error {
	var err error
	if g.folder != "" {
		err = g.folder.remove()
	}
	return errors.Join(err, g.release())
}

// Keep lets go of a gate that stays attached and pinned, so that it serves on
// until the next Open of the instance continues from it.
func (g *Gate) Keep() error { return g.release() }

// Detach takes the program off the device, so that nothing more is
// acknowledged, and lets go of the gate. Its maps stay pinned, for the next Open
// of the instance to continue with what lies in them.
func (g *Gate) Detach() error {
	var err error
	if g.folder != "" {
		err = g.folder.detach()
	}
	return errors.Join(err, g.release())
}

// release closes what belongs to this process. Close, Keep and Detach do
// nothing after it.
func (g *Gate) release() error {
	var errs []error
	g.folder = ""
	if g.addrs != nil {
		g.addrs.close()
		g.addrs = nil
	}
	errs = append(errs, g.mapped.unmap())
	for _, b := range g.bells {
		errs = append(errs, b.close())
	}
	g.bells = nil
	if g.at != nil {
		errs = append(errs, g.at.close())
		g.at = nil
	}
	errs = append(errs, g.maps.close())
	if g.lock != nil {
		errs = append(errs, g.lock.Close())
		g.lock = nil
	}
	return errors.Join(errs...)
}
