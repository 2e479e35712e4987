package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/commit"
)

const (
	pinLink = "link"
	// pinNew marks a pin that replaces another once the program runs.
	pinNew = "_new"
)

// lockPatience is how long Open waits for somebody who only looks at an
// instance to let go of it.
const lockPatience = 200 * time.Millisecond

// pinFolder is the folder of one instance on the BPF file system.
type pinFolder string

func (f pinFolder) path(name string) string { return filepath.Join(string(f), name) }

func (f pinFolder) loadMap(name string) (*ebpf.Map, error) {
	return ebpf.LoadPinnedMap(f.path(name), nil)
}

// geometry reads what the pinned maps were made with. Schema version and
// geometry come first in struct config in every version of it.
func (f pinFolder) geometry() (g commit.Geometry, schema uint32, err error) {
	m, err := f.loadMap(mapConfig)
	if err != nil {
		return g, 0, fmt.Errorf("read config of %s: %w", f, err)
	}
	defer m.Close()
	b, err := m.LookupBytes(uint32(0))
	if err != nil {
		return g, 0, fmt.Errorf("read config of %s: %w", f, err)
	}
	var head struct{ schema, workers, cpus, slots, sessions, transferPages uint32 }
	if len(b) < int(unsafe.Sizeof(head)) {
		return g, 0, fmt.Errorf("read config of %s: %d bytes", f, len(b))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&head)), unsafe.Sizeof(head)), b)
	return commit.Geometry{
		Workers: int(head.workers), CPUs: int(head.cpus),
		Slots: int(head.slots), MaxSessions: int(head.sessions),
		TransferBytes: int(head.transferPages) * commit.TransferPage,
	}, head.schema, nil
}

// requireBPFFS tells a missing mount from other errors.
func requireBPFFS(root string) error {
	dir := root
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		switch {
		case err == nil && fs.Type == unix.BPF_FS_MAGIC:
			return nil
		case err == nil:
			return fmt.Errorf("%s is not on a BPF file system; mount one: mount -t bpf bpf /sys/fs/bpf", root)
		case !errors.Is(err, os.ErrNotExist) || dir == "/":
			return fmt.Errorf("inspect %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}

// lock creates the folder if need be and takes it for this process, until the
// file is closed or the process ends.
func (f pinFolder) lock() (lock *os.File, created bool, err error) {
	for deadline := time.Now().Add(lockPatience); ; {
		_, err := os.Stat(string(f))
		created = errors.Is(err, os.ErrNotExist)
		if err := os.MkdirAll(string(f), 0o700); err != nil {
			return nil, false, fmt.Errorf("create instance folder: %w", err)
		}
		lock, err := lockFolder(string(f))
		if errors.Is(err, os.ErrNotExist) {
			continue // its holder removed it meanwhile
		}
		if errors.Is(err, ErrInUse) && time.Now().Before(deadline) {
			time.Sleep(lockPatience / 20)
			continue
		}
		return lock, created, err
	}
}

// lockFolder takes an existing folder. The error wraps os.ErrNotExist where it
// is gone by the time it could be had.
func lockFolder(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open instance folder: %w", err)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err == nil {
		err = sameFolder(dir, path)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return dir, nil
}

// sameFolder checks that a locked folder still is the one at path.
func sameFolder(dir *os.File, path string) error {
	mine, err := dir.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(mine, now) {
		return os.ErrNotExist
	}
	return nil
}

// clean removes what an interrupted Open left: half-made replacements, and the
// maps of a folder that was never finished.
func (f pinFolder) clean() error {
	names, err := f.list()
	if err != nil {
		return err
	}
	_, err = os.Stat(f.path(mapConfig))
	unfinished := errors.Is(err, os.ErrNotExist)
	for _, name := range names {
		if unfinished || strings.HasSuffix(name, pinNew) {
			if err := os.Remove(f.path(name)); err != nil {
				return fmt.Errorf("remove leftover pin: %w", err)
			}
		}
	}
	return nil
}

func (f pinFolder) list() ([]string, error) {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// detach ends the pinned attachment, if there is one, and unpins it.
func (f pinFolder) detach() error {
	var errs []error
	l, err := link.LoadPinnedLink(f.path(pinLink), nil)
	if err == nil {
		if err := l.Detach(); err != nil {
			errs = append(errs, fmt.Errorf("detach gate: %w", err))
		}
		l.Close()
	}
	if err := os.Remove(f.path(pinLink)); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("remove pin: %w", err))
	}
	return errors.Join(errs...)
}

// remove detaches and unpins everything: the link first, then the config, so
// that after an interruption the next Open either continues from what is left
// or clears it.
func (f pinFolder) remove() error {
	errs := []error{f.detach()}
	names, err := f.list()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, name := range append([]string{mapConfig}, names...) {
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove pin: %w", err))
		}
	}
	errs = append(errs, f.removeFolder())
	return errors.Join(errs...)
}

// removeFolder removes the empty folder, and the pin root with the last one.
func (f pinFolder) removeFolder() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove instance folder: %w", err)
	}
	if root := filepath.Dir(string(f)); filepath.Base(root) == filepath.Base(DefaultPinRoot) {
		_ = os.Remove(root) // refused while other instances live there
	}
	return nil
}

// stage pins maps beside those they replace.
func (f pinFolder) stage(set mapSet, names []string) error {
	for _, name := range names {
		if err := set[name].Pin(f.path(name + pinNew)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	return nil
}

// unstage takes stage back.
func (f pinFolder) unstage(names []string) {
	for _, name := range names {
		_ = os.Remove(f.path(name + pinNew))
	}
}

// publish gives staged pins their names, in order.
func (f pinFolder) publish(names []string) error {
	for _, name := range names {
		if err := os.Rename(f.path(name+pinNew), f.path(name)); err != nil {
			return fmt.Errorf("replace pin %s: %w", name, err)
		}
	}
	return nil
}
