package loader

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/commit"
)

// Names of maps in bpf/gate.c, which are also the names of their pins.
const (
	mapConfig      = "config"
	mapCookieKeys  = "cookie_keys"
	mapSessions    = "sessions"
	mapLocalAddrs  = "local_addrs"
	mapStats       = "stats"
	mapFlows       = "flows"
	mapDirty       = "dirty"
	mapCommitCtl   = "commit_ctl"
	mapCommitFill  = "commit_fill"
	mapCommitReady = "commit_ready"
	mapCommitSlots = "commit_slots"
	mapWorkerCtl   = "worker_ctl"
	mapTransfers   = "transfers"
	mapPages       = "transfer_pages"
	mapXSKs        = "xsks"
	mapDoorbells   = "doorbells"
)

const programName = "gate"

// keptMaps hold what must survive a server: acknowledged packets and what is
// needed to make sense of them. They are reused or refused, never replaced.
var keptMaps = []string{
	mapCookieKeys, mapSessions, mapFlows, mapDirty,
	mapCommitCtl, mapCommitFill, mapCommitReady, mapCommitSlots, mapWorkerCtl,
	mapTransfers, mapPages,
	mapConfig, // last: a folder without it was never finished
}

// softMaps are reused where they fit and begin anew where they do not.
var softMaps = []string{mapStats, mapLocalAddrs}

// maxLocalAddrs is the bound of headers/gate_maps.h.
const maxLocalAddrs = 1024

// specFor returns the object's specification with every map sized.
func specFor(g commit.Geometry, queues int) (*ebpf.CollectionSpec, error) {
	spec, err := loadGate()
	if err != nil {
		return nil, fmt.Errorf("parse gate: %w", err)
	}
	rings := g.Rings()
	sizes := map[string]int{
		mapSessions:    g.MaxSessions,
		mapFlows:       g.MaxSessions,
		mapDirty:       g.MaxSessions / 64,
		mapCommitCtl:   rings,
		mapCommitFill:  rings * g.Slots,
		mapCommitReady: rings * g.Slots,
		mapCommitSlots: rings * g.Slots,
		mapWorkerCtl:   g.Workers,
		mapTransfers:   g.Workers * g.TransferBytes / commit.TransferPage,
		mapPages:       g.Workers * g.TransferBytes / commit.TransferPage,
		mapXSKs:        max(1, min(queues, MaxQueues)) * g.Workers,
		mapDoorbells:   g.Workers,
	}
	for name, n := range sizes {
		m := spec.Maps[name]
		if m == nil {
			return nil, fmt.Errorf("size map %s: not in the object", name)
		}
		m.MaxEntries = uint32(n)
	}
	// A ring buffer is a whole number of pages.
	spec.Maps[mapDoorbells].InnerMap.MaxEntries = uint32(os.Getpagesize())
	return spec, nil
}

// mapSet owns the maps of one instance by name.
type mapSet map[string]*ebpf.Map

func (s mapSet) close() error {
	var errs []error
	for _, m := range s {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// create makes every map of spec that s does not have, and returns the names
// of those in the order in which they are to be pinned.
func (s mapSet) create(spec *ebpf.CollectionSpec) (fresh []string, bells []*ebpf.Map, err error) {
	for _, name := range pinOrder(spec) {
		if s[name] != nil {
			continue
		}
		m := spec.Maps[name].Copy()
		if name == mapDoorbells {
			if bells, err = createBells(m); err != nil {
				return fresh, bells, fmt.Errorf("create map %s: %w", name, err)
			}
		}
		created, err := ebpf.NewMap(m)
		if errors.Is(err, unix.EPERM) {
			// Without the library's advice on RLIMIT_MEMLOCK, which
			// does not limit maps since Linux 5.11.
			err = unix.EPERM
		}
		if err != nil {
			return fresh, bells, fmt.Errorf("create map %s: %w", name, err)
		}
		s[name] = created
		fresh = append(fresh, name)
	}
	return fresh, bells, nil
}

// createBells makes one ring buffer per entry of the doorbells map.
func createBells(outer *ebpf.MapSpec) (bells []*ebpf.Map, err error) {
	for i := range outer.MaxEntries {
		bell, err := ebpf.NewMap(outer.InnerMap)
		if err != nil {
			return bells, err
		}
		bells = append(bells, bell)
		outer.Contents = append(outer.Contents, ebpf.MapKV{Key: i, Value: bell})
	}
	return bells, nil
}

// pinOrder lists the maps of spec, config last. The compiler's own, whose names
// begin with a dot, are not shared.
func pinOrder(spec *ebpf.CollectionSpec) []string {
	names := slices.Sorted(maps.Keys(spec.Maps))
	names = slices.DeleteFunc(names, func(n string) bool {
		return n == mapConfig || n[0] == '.'
	})
	return append(names, mapConfig)
}

// reuse loads what an earlier process pinned. An empty set without error means
// that there is nothing to continue from.
func (s mapSet) reuse(folder pinFolder, spec *ebpf.CollectionSpec, want commit.Geometry) error {
	found, schema, err := folder.geometry()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if schema != commit.SchemaVersion || found != want {
		return fmt.Errorf("reuse %s: %w", folder, &commit.MismatchError{Schema: schema, Geometry: found})
	}
	for _, name := range keptMaps {
		m, err := folder.loadMap(name)
		if err != nil {
			return fmt.Errorf("reuse pinned map %s: %w", name, err)
		}
		s[name] = m
		if err := spec.Maps[name].Compatible(m); err != nil {
			return fmt.Errorf("reuse pinned map %s: %w", name, err)
		}
	}
	for _, name := range softMaps {
		m, err := folder.loadMap(name)
		if err != nil {
			continue
		}
		if spec.Maps[name].Compatible(m) != nil {
			m.Close()
			continue
		}
		s[name] = m
	}
	return nil
}

// mapped is the memory of the shared arrays.
type mapped struct {
	memory commit.Memory
	all    [][]byte
}

func (s mapSet) mmap(g commit.Geometry) (mapped, error) {
	var m mapped
	sizes := g.Sizes()
	regions := []struct {
		name string
		size int
		to   *[]byte
	}{
		{mapFlows, sizes.Flows, &m.memory.Flows},
		{mapDirty, sizes.Dirty, &m.memory.Dirty},
		{mapCommitCtl, sizes.Ctl, &m.memory.Ctl},
		{mapCommitFill, sizes.Fill, &m.memory.Fill},
		{mapCommitReady, sizes.Ready, &m.memory.Ready},
		{mapCommitSlots, sizes.Slots, &m.memory.Slots},
		{mapWorkerCtl, sizes.Workers, &m.memory.Workers},
		{mapTransfers, sizes.Transfers, &m.memory.Transfers},
		{mapPages, sizes.TransferPages, &m.memory.TransferPages},
	}
	page := os.Getpagesize()
	for _, r := range regions {
		whole := (r.size + page - 1) / page * page
		b, err := unix.Mmap(s[r.name].FD(), 0, whole, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return m, errors.Join(fmt.Errorf("map %s: %w", r.name, err), m.unmap())
		}
		m.all = append(m.all, b)
		*r.to = b[:r.size:r.size]
	}
	return m, nil
}

func (m *mapped) unmap() error {
	var errs []error
	for _, b := range m.all {
		errs = append(errs, unix.Munmap(b))
	}
	m.all = nil
	return errors.Join(errs...)
}
