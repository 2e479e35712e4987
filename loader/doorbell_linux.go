package loader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Doorbell wakes a worker that waits. Its file descriptor turns readable when
// the gate rings and stays so until Drain. One goroutine uses it.
type Doorbell struct {
	ring     *ebpf.Map
	consumer []byte // page with the position of the reader
	producer []byte // page with the position of the kernel
}

func newDoorbell(ring *ebpf.Map) (*Doorbell, error) {
	page := os.Getpagesize()
	d := &Doorbell{ring: ring}
	var err error
	d.consumer, err = unix.Mmap(ring.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		d.producer, err = unix.Mmap(ring.FD(), int64(page), page, unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map doorbell: %w", err), d.close())
	}
	return d, nil
}

// FD returns the descriptor to poll for reading. It remains the Doorbell's.
func (d *Doorbell) FD() int { return d.ring.FD() }

// Drain silences the bell. What a record says does not matter: the caller
// looks at its rings afterwards, and every packet was published before the
// bell rang for it.
func (d *Doorbell) Drain() {
	rung := atomic.LoadUint64((*uint64)(unsafe.Pointer(unsafe.SliceData(d.producer))))
	atomic.StoreUint64((*uint64)(unsafe.Pointer(unsafe.SliceData(d.consumer))), rung)
}

func (d *Doorbell) close() error {
	var errs []error
	for _, page := range [][]byte{d.consumer, d.producer} {
		if page != nil {
			errs = append(errs, unix.Munmap(page))
		}
	}
	return errors.Join(append(errs, d.ring.Close())...)
}

// Doorbell returns the bell of a worker. It works until Close or Keep.
func (g *Gate) Doorbell(worker int) *Doorbell { return g.bells[worker] }
