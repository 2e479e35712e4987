package loader

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
)

// CookiePeriod is how often the cookie secret changes. A handshake may take
// between one and two periods.
const CookiePeriod = 32 * time.Second

// PROFILE_* of headers/maps.h.
const (
	profileStandard = 1
	profileCompact  = 2
)

// configure writes everything the program reads before it sees a packet.
func (g *Gate) configure() error {
	o := g.opts
	c := gateConfig{
		SchemaVersion: commit.SchemaVersion,
		Workers:       uint32(o.Geometry.Workers),
		Cpus:          uint32(o.Geometry.CPUs),
		CommitSlots:   uint32(o.Geometry.Slots),
		MaxSessions:   uint32(o.Geometry.MaxSessions),
		TransferPages: uint32(o.Geometry.TransferBytes / commit.TransferPage),
		MaxDatagram:   uint32(o.MaxDatagram),
		ControlBytes:  o.ControlBytes,
		SessionBudget: uint32(o.SessionBudget),
	}
	if !o.NoSACK {
		c.Features = gate.FeatureSACK
	}
	for i, port := range slices.Concat(o.Ports, o.CompactPorts) {
		c.Ports[i].Port = networkOrder(port)
		c.Ports[i].Profile = profileStandard
		if i >= len(o.Ports) {
			c.Ports[i].Profile = profileCompact
		}
	}
	var old gateConfig
	if err := g.maps[mapConfig].Lookup(uint32(0), &old); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	c.CookieCurrent = old.CookieCurrent & 1
	if old.SchemaVersion == 0 {
		// Fresh maps: the secret before the first is not one of zeroes,
		// with which anybody could make cookies.
		if err := g.writeSecret(c.CookieCurrent); err != nil {
			return err
		}
	}
	g.configMu.Lock()
	g.config = c
	g.configMu.Unlock()
	// The secret an earlier process used last is still good for a period.
	return g.RotateCookies()
}

// RotateCookies replaces the older of the two cookie secrets and makes it the
// one new cookies are made with. Maintain does it every CookiePeriod.
func (g *Gate) RotateCookies() error {
	g.configMu.Lock()
	defer g.configMu.Unlock()
	next := g.config
	next.CookieCurrent = 1 - next.CookieCurrent
	if err := g.writeSecret(next.CookieCurrent); err != nil {
		return err
	}
	if err := g.maps[mapConfig].Put(uint32(0), &next); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	g.config = next
	return nil
}

func (g *Gate) writeSecret(index uint32) error {
	var b [16]byte
	rand.Read(b[:])
	key := gateCookieKey{
		K0: binary.NativeEndian.Uint64(b[:8]),
		K1: binary.NativeEndian.Uint64(b[8:]),
	}
	if err := g.maps[mapCookieKeys].Put(index, &key); err != nil {
		return fmt.Errorf("write cookie secret: %w", err)
	}
	return nil
}

// Maintain keeps what the program reads up to date, cookie secrets and the
// host's addresses, until ctx is done. It returns before Close or Keep is called.
func (g *Gate) Maintain(ctx context.Context, log zerolog.Logger) {
	tick := time.NewTicker(CookiePeriod)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := g.RotateCookies(); err != nil {
				log.Error().Err(err).Msg("cookie secrets not rotated")
			}
			err = g.addrs.resubscribe()
		case _, ok := <-g.addrs.updates:
			if !ok {
				// Netlink lost messages or broke; the tick tries again.
				g.addrs.updates = nil
			}
		}
		if err == nil {
			err = g.addrs.sync()
		}
		if err != nil {
			log.Error().Err(err).Msg("local addresses not followed")
		}
	}
}

// networkOrder returns port such that its memory is big-endian.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// Register steers what arrives on queue for worker to the AF_XDP socket fd,
// for as long as that is open. Otherwise it passes to the host stack.
func (g *Gate) Register(queue, worker, fd int) error {
	workers := g.opts.Geometry.Workers
	index := queue*workers + worker
	if queue < 0 || worker < 0 || worker >= workers || index >= int(g.maps[mapXSKs].MaxEntries()) {
		return fmt.Errorf("register AF_XDP socket: worker %d on queue %d is out of range", worker, queue)
	}
	if err := g.maps[mapXSKs].Update(uint32(index), uint32(fd), ebpf.UpdateAny); err != nil {
		return fmt.Errorf("register AF_XDP socket: %w", err)
	}
	return nil
}
