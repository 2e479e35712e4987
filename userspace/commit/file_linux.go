package commit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// magic begins every state file.
const magic = 0x7872756470636d31 // "xrudpcm1"

// header is the first thing in a state file, in host byte order like the rest.
// A file is used on the machine that wrote it.
type header struct {
	Magic         uint64
	Schema        uint32
	Workers       uint32
	CPUs          uint32
	Slots         uint32
	MaxSessions   uint32
	TransferBytes uint32
}

// OpenFile maps the regions kept in a file, making it first where there is
// none. The file survives the process, however that ends, and one process at
// a time has it; fresh tells that nothing was kept. The regions must not be
// used after close.
//
// The error is a *MismatchError where the file was made with another geometry,
// which the caller can open it with, and wraps ErrLocked where another process
// has it.
func OpenFile(path string, g Geometry) (r *Regions, fresh bool, close func() error, err error) {
	if err := g.Validate(); err != nil {
		return nil, false, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, nil, fmt.Errorf("open commit file: %w", err)
	}
	r, fresh, mapped, err := openLocked(f, g)
	if err != nil {
		f.Close()
		return nil, false, nil, err
	}
	close = func() error {
		return errors.Join(unix.Munmap(mapped), f.Close())
	}
	return r, fresh, close, nil
}

func openLocked(f *os.File, g Geometry) (r *Regions, fresh bool, mapped []byte, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil, fmt.Errorf("lock %s: %w", f.Name(), ErrLocked)
	}
	if err != nil {
		return nil, false, nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	_, size := carve(g, func(int) []byte { return nil })
	size += pageSize
	if fresh, err = checkHeader(f, g, size); err != nil {
		return nil, false, nil, err
	}
	if fresh {
		// From nothing, so that what a failed attempt left is zero again.
		if err := errors.Join(f.Truncate(0), f.Truncate(int64(size))); err != nil {
			return nil, false, nil, fmt.Errorf("size %s: %w", f.Name(), err)
		}
		// Blocks now, since a full disk later is a SIGBUS.
		if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, false, nil, fmt.Errorf("allocate %s: %w", f.Name(), err)
		}
	}
	mapped, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, false, nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	at := pageSize
	m, _ := carve(g, func(n int) []byte {
		b := mapped[at : at+n : at+n]
		at += n
		return b
	})
	r, err = NewRegions(g, m)
	if err != nil {
		return nil, false, nil, errors.Join(err, unix.Munmap(mapped))
	}
	r.repair()
	if fresh {
		// Last: a file without a header holds nothing.
		if err := writeHeader(f, g); err != nil {
			return nil, false, nil, errors.Join(err, unix.Munmap(mapped))
		}
	}
	return r, fresh, mapped, nil
}

// checkHeader reports whether the file has yet to be made, or does not suit g.
func checkHeader(f *os.File, g Geometry, size int) (fresh bool, err error) {
	var h header
	b := make([]byte, binary.Size(h))
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		clear(b[n:])
	} else if err != nil {
		return false, fmt.Errorf("read header of %s: %w", f.Name(), err)
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &h); err != nil {
		return false, fmt.Errorf("read header of %s: %w", f.Name(), err)
	}
	if h == (header{}) {
		return true, nil
	}
	if h.Magic != magic {
		return false, fmt.Errorf("%s: %w", f.Name(), ErrForeign)
	}
	found := Geometry{
		Workers:       int(h.Workers),
		CPUs:          int(h.CPUs),
		Slots:         int(h.Slots),
		MaxSessions:   int(h.MaxSessions),
		TransferBytes: int(h.TransferBytes),
	}
	if h.Schema != SchemaVersion || found != g {
		return false, fmt.Errorf("%s: %w", f.Name(), &MismatchError{Schema: h.Schema, Geometry: found})
	}
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("size %s: %w", f.Name(), err)
	}
	if info.Size() < int64(size) {
		return false, fmt.Errorf("%s: %d bytes, want %d: %w", f.Name(), info.Size(), size, ErrForeign)
	}
	return false, nil
}

func writeHeader(f *os.File, g Geometry) error {
	b, err := binary.Append(nil, binary.NativeEndian, header{
		Magic:         magic,
		Schema:        SchemaVersion,
		Workers:       uint32(g.Workers),
		CPUs:          uint32(g.CPUs),
		Slots:         uint32(g.Slots),
		MaxSessions:   uint32(g.MaxSessions),
		TransferBytes: uint32(g.TransferBytes),
	})
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		return fmt.Errorf("write header of %s: %w", f.Name(), err)
	}
	return nil
}
