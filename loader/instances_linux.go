package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// Instances lists what is pinned under root. It changes nothing.
func Instances(root string) ([]Instance, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	var list []Instance
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		in, err := inspect(filepath.Join(root, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return list, nil
}

func inspect(path string) (Instance, error) {
	in := Instance{Name: filepath.Base(path)}
	lock, err := lockFolder(path)
	switch {
	case errors.Is(err, ErrInUse):
		in.Running = true
	case err != nil:
		return in, err
	default:
		defer lock.Close()
	}
	folder := pinFolder(path)
	if g, schema, err := folder.geometry(); err == nil {
		in.Schema, in.Geometry = schema, g
	}
	if l, err := link.LoadPinnedLink(folder.path(pinLink), nil); err == nil {
		if info, err := l.Info(); err == nil && info.XDP() != nil {
			in.Attached = int(info.XDP().Ifindex)
		}
		l.Close()
	}
	return in, nil
}

// Remove detaches and removes an instance that no process runs, with every
// packet in it that was acknowledged and not handled. It returns ErrInUse
// where one does, and nothing where there is no such instance.
func Remove(root, instance string) error {
	return whileIdle("remove", root, instance, pinFolder.remove)
}

// Suspend detaches the program of an instance that no process runs, and leaves
// its maps to the next Open. It reports whether one was attached, and returns
// ErrInUse where a process runs the instance.
func Suspend(root, instance string) (detached bool, err error) {
	err = whileIdle("suspend", root, instance, func(f pinFolder) error {
		if _, err := os.Stat(f.path(pinLink)); errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		detached = true
		return f.detach()
	})
	return detached && err == nil, err
}

// whileIdle does something to an instance that no process runs, and that none
// can begin to run meanwhile. It does nothing where there is no such instance.
func whileIdle(what, root, instance string, do func(pinFolder) error) error {
	if err := validInstance(instance); err != nil {
		return fmt.Errorf("%s instance: %w", what, err)
	}
	folder := pinFolder(filepath.Join(root, instance))
	lock, err := lockFolder(string(folder))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer lock.Close()
		err = do(folder)
	}
	if err != nil {
		return fmt.Errorf("%s instance %s: %w", what, instance, err)
	}
	return nil
}
