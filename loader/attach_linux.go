package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// BPF_F_XDP_HAS_FRAGS of the uapi.
const flagHasFrags = 1 << 5

// attachment is a program at its hook.
type attachment struct {
	prog    *ebpf.Program
	link    link.Link
	mode    Mode
	frags   bool
	inPlace bool
}

func (a *attachment) close() error {
	var errs []error
	if a.link != nil {
		errs = append(errs, a.link.Close())
	}
	if a.prog != nil {
		errs = append(errs, a.prog.Close())
	}
	return errors.Join(errs...)
}

// attacher brings a program to a device.
type attacher struct {
	spec *ebpf.CollectionSpec
	maps mapSet
	dev  device
}

// load verifies the program against the maps.
func (a *attacher) load(frags bool) (*ebpf.Program, error) {
	spec := a.spec.Copy()
	if frags {
		spec.Programs[programName].Flags |= flagHasFrags
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: a.maps})
	if err != nil {
		return nil, fmt.Errorf("load gate: %w", err)
	}
	defer coll.Close()
	return coll.DetachProgram(programName), nil
}

// withProgram loads the program and calls use, which takes it over unless it
// fails. Drivers that need frames in several buffers at the device's MTU
// refuse programs not made for them; those get a second try.
func (a *attacher) withProgram(use func(*ebpf.Program) error) (frags bool, err error) {
	prog, err := a.load(false)
	if err != nil {
		return false, err
	}
	err = use(prog)
	if err == nil {
		return false, nil
	}
	prog.Close()
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ERANGE) && !errors.Is(err, unix.EOPNOTSUPP) {
		return false, err
	}
	prog, loadErr := a.load(true)
	if loadErr != nil {
		return false, err // the first reason is the one that helps
	}
	if again := use(prog); again != nil {
		prog.Close()
		return false, err
	}
	return true, nil
}

// attach makes a new link in the given mode.
func (a *attacher) attach(mode Mode) (*attachment, error) {
	flags := link.XDPDriverMode
	if mode == ModeGeneric {
		flags = link.XDPGenericMode
	}
	at := &attachment{mode: mode}
	frags, err := a.withProgram(func(prog *ebpf.Program) (err error) {
		at.link, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: a.dev.index, Flags: flags})
		at.prog = prog
		return err
	})
	if err != nil {
		return nil, a.explain(mode, err)
	}
	at.frags = frags
	return at, nil
}

// explain puts an attach error into words an operator can act on.
func (a *attacher) explain(mode Mode, err error) error {
	d := a.dev
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno // the path to it says nothing that the words below do not
	}
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		if now, again := findDevice(d.name); again == nil && now.xdpID != 0 {
			return now.foreign()
		}
		return fmt.Errorf("%s is taken by another XDP user: %w", d.name, err)
	case errors.Is(err, unix.EOPNOTSUPP) && mode == ModeNative:
		return fmt.Errorf("driver %s does not run XDP on %s with its present features: %w", d.driver, d.name, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return fmt.Errorf("driver %s refuses XDP on %s with MTU %d and its present offloads: %w", d.driver, d.name, d.mtu, err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("driver %s has no spare queues for XDP_TX on %s: %w", d.driver, d.name, err)
	}
	return fmt.Errorf("attach to %s: %w", d.name, err)
}

// climb tries each rung in turn, and records in report those that fail.
func (a *attacher) climb(rungs []Mode, report *Report) (*attachment, error) {
	var errs []error
	for _, mode := range rungs {
		at, err := a.attach(mode)
		if err == nil {
			return at, nil
		}
		report.step(mode, err)
		errs = append(errs, fmt.Errorf("%s: %w", mode, err))
		if errors.Is(err, ErrForeign) || errors.Is(err, os.ErrPermission) {
			break // a worse mode meets the same
		}
	}
	return nil, errors.Join(errs...)
}

// takeOver exchanges the program of the instance's pinned link, so that no
// packet passes between the old program and the new one. It returns nil where
// no pinned link acts on the device, after removing one that acts on nothing.
func (a *attacher) takeOver(folder pinFolder, asked Mode) (*attachment, error) {
	path := folder.path(pinLink)
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load pinned link: %w", err)
	}
	at := &attachment{link: l, mode: a.dev.xdpMode, inPlace: true}
	usable := linksTo(l, a.dev) && (asked == ModeAuto || asked == at.mode)
	if usable {
		at.frags, err = a.withProgram(func(prog *ebpf.Program) error {
			at.prog = prog
			return l.Update(prog)
		})
		if err == nil {
			return at, nil
		}
		// ENOLINK: the device went away under the link.
		if !errors.Is(err, unix.ENOLINK) {
			l.Close()
			return nil, a.explain(at.mode, err)
		}
	}
	defer l.Close()
	if err := errors.Join(l.Detach(), os.Remove(path)); err != nil {
		return nil, fmt.Errorf("remove old link: %w", err)
	}
	return nil, nil
}

// linksTo reports whether l is what runs on d.
func linksTo(l link.Link, d device) bool {
	info, err := l.Info()
	if err != nil || d.xdpID == 0 {
		return false
	}
	xdp := info.XDP()
	// The index alone could be that of a device in another namespace.
	return xdp != nil && int(xdp.Ifindex) == d.index && info.Program == d.xdpID
}

// linkedTo reports whether the instance's own link runs on d.
func (f pinFolder) linkedTo(d device) bool {
	l, err := link.LoadPinnedLink(f.path(pinLink), nil)
	if err != nil {
		return false
	}
	defer l.Close()
	return linksTo(l, d)
}
