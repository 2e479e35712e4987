package loader

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addressBook keeps the map of our addresses equal to those of the host, in
// the network namespace it was made in.
type addressBook struct {
	m       *ebpf.Map
	handle  *netlink.Handle
	updates chan netlink.AddrUpdate // nil while not subscribed
	done    chan struct{}
}

func followAddresses(m *ebpf.Map) (*addressBook, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	b := &addressBook{m: m, handle: h, done: make(chan struct{})}
	// Subscribed before the first look, so that no change falls between.
	if err := errors.Join(b.resubscribe(), b.sync()); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *addressBook) close() {
	close(b.done)
	b.handle.Close()
	if b.updates != nil {
		// The subscription ends only when what it still sends is read.
		go func(updates <-chan netlink.AddrUpdate) {
			for range updates {
			}
		}(b.updates)
	}
}

// resubscribe asks for updates unless they come already.
func (b *addressBook) resubscribe() error {
	if b.updates != nil {
		return nil
	}
	updates := make(chan netlink.AddrUpdate, 16)
	if err := netlink.AddrSubscribe(updates, b.done); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	b.updates = updates
	return nil
}

// listTries bounds how often sync asks again for addresses that change while
// they are listed.
const listTries = 8

// sync makes the map equal to the host's addresses.
func (b *addressBook) sync() error {
	var list []netlink.Addr
	var err error
	for range listTries {
		if list, err = b.handle.AddrList(nil, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	want := make(map[[16]byte]bool, len(list))
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			want[addr.As16()] = true
		}
	}
	if len(want) > maxLocalAddrs {
		return fmt.Errorf("%d local addresses, at most %d can be served", len(want), maxLocalAddrs)
	}
	var gone [][16]byte
	var key [16]byte
	var value uint8
	it := b.m.Iterate()
	for it.Next(&key, &value) {
		if !want[key] {
			gone = append(gone, key)
		}
		delete(want, key)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read addresses that are served: %w", err)
	}
	for _, key := range gone {
		if err := b.m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget address %s: %w", netip.AddrFrom16(key).Unmap(), err)
		}
	}
	for key := range want {
		if err := b.m.Put(&key, uint8(1)); err != nil {
			return fmt.Errorf("add address %s: %w", netip.AddrFrom16(key).Unmap(), err)
		}
	}
	return nil
}
