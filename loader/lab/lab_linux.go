package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/internal/ethtool"
)

var (
	serverIPv4 = netip.MustParsePrefix("10.99.0.1/24")
	clientIPv4 = netip.MustParsePrefix("10.99.0.2/24")
	serverIPv6 = netip.MustParsePrefix("fd99::1/64")
	clientIPv6 = netip.MustParsePrefix("fd99::2/64")
)

// Lab is a running pair. Close may be called more than once.
type Lab struct {
	Server End
	Client End
	Middle *Middle // nil unless asked for
	MTU    int     // of every interface

	pass *ebpf.Program
	peer link.Link
}

// New builds a lab. An error that wraps ErrUnavailable means that this process
// may not create namespaces, or that the kernel lacks veth.
func New(opts Options) (*Lab, error) {
	opts = opts.withDefaults()
	l := &Lab{}
	if err := l.build(opts); err != nil {
		l.Close()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("build lab: %w: %w", ErrUnavailable, err)
		}
		return nil, fmt.Errorf("build lab: %w", err)
	}
	return l, nil
}

func (l *Lab) build(opts Options) error {
	l.MTU = opts.MTU
	for _, end := range []*End{&l.Server, &l.Client} {
		ns, err := newNamespace()
		if err != nil {
			return err
		}
		end.Namespace = ns
	}
	l.Server.Interface, l.Server.IPv4, l.Server.IPv6 = ServerInterface, serverIPv4.Addr(), serverIPv6.Addr()
	l.Client.Interface, l.Client.IPv4, l.Client.IPv6 = ClientInterface, clientIPv4.Addr(), clientIPv6.Addr()

	server := map[ethtool.Setting]bool{}
	client := map[ethtool.Setting]bool{ethtool.TXChecksum: false}
	if opts.Middle {
		if err := l.buildMiddle(opts); err != nil {
			return err
		}
		server = map[ethtool.Setting]bool{ethtool.TXChecksum: false, ethtool.GSO: false}
		client = server
	} else {
		err := l.Server.Do(func() error { return addPair(opts, ServerInterface, ClientInterface, l.Client.Namespace) })
		if err != nil {
			return err
		}
	}
	if err := l.Server.configure(serverIPv4, serverIPv6, server); err != nil {
		return err
	}
	if err := l.Client.configure(clientIPv4, clientIPv6, client); err != nil {
		return err
	}
	if err := l.introduce(); err != nil {
		return err
	}
	if err := l.attachPass(opts); err != nil {
		return err
	}
	if err := l.awaitUp(); err != nil {
		return err
	}
	if opts.TXQueue > 0 {
		if err := l.Server.queue(opts.TXQueue); err != nil {
			return err
		}
	}
	if opts.ThreadedNAPI {
		if err := l.Server.threadNAPI(opts.NAPICPU); err != nil {
			return err
		}
	}
	if opts.ThreadedClient {
		return l.Client.threadNAPI(opts.ClientCPU)
	}
	return nil
}

// buildMiddle makes the namespace in the middle and its two pairs.
func (l *Lab) buildMiddle(opts Options) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	l.Middle = &Middle{
		Namespace: ns,
		Server:    Port{Interface: middleServerInterface},
		Client:    Port{Interface: middleClientInterface},
	}
	for _, pair := range []struct {
		end  *End
		port *Port
	}{{&l.Server, &l.Middle.Server}, {&l.Client, &l.Middle.Client}} {
		err := ns.Do(func() error {
			if err := addPair(opts, pair.port.Interface, pair.end.Interface, pair.end.Namespace); err != nil {
				return err
			}
			return pair.port.configure()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addPair makes a veth pair between the thread's namespace and another.
func addPair(opts Options, name, peer string, in *Namespace) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.MTU = opts.MTU
	attrs.NumTxQueues = opts.Queues
	attrs.NumRxQueues = opts.Queues
	veth := netlink.NewVeth(attrs)
	veth.PeerName = peer
	veth.PeerNamespace = netlink.NsFd(in.fd)
	veth.PeerNumTxQueues = uint32(opts.Queues)
	veth.PeerNumRxQueues = uint32(opts.Queues)
	veth.PeerMTU = uint32(opts.MTU)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("create veth pair: %w", err)
	}
	return nil
}

// configure brings a port up in such a way that it says nothing by itself and
// shows frames as they were sent.
func (p *Port) configure() error {
	for _, s := range []ethtool.Setting{ethtool.TXChecksum, ethtool.TSO, ethtool.GSO, ethtool.GRO} {
		if err := ethtool.Set(p.Interface, s, false); err != nil {
			return err
		}
	}
	sysctl := filepath.Join("/proc/sys/net/ipv6/conf", p.Interface, "disable_ipv6")
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("disable IPv6 on %s: %w", p.Interface, err)
	}
	dev, err := netlink.LinkByName(p.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", p.Interface, err)
	}
	p.Index = dev.Attrs().Index
	if err := netlink.LinkSetARPOff(dev); err != nil {
		return fmt.Errorf("silence ARP on %s: %w", p.Interface, err)
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return fmt.Errorf("bring %s up: %w", p.Interface, err)
	}
	return nil
}

// configure gives an end its addresses and offload settings and brings it up.
//
// Segmentation would hand the other side frames larger than its MTU, and
// without GRO a veth delivers on the sender's CPU and bypasses NAPI.
func (e *End) configure(ipv4, ipv6 netip.Prefix, extra map[ethtool.Setting]bool) error {
	return e.Do(func() error {
		dev, err := netlink.LinkByName(e.Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", e.Interface, err)
		}
		e.Index, e.MAC = dev.Attrs().Index, dev.Attrs().HardwareAddr

		settings := map[ethtool.Setting]bool{ethtool.TSO: false, ethtool.GRO: true}
		for s, on := range extra {
			settings[s] = on
		}
		for s, on := range settings {
			if err := ethtool.Set(e.Interface, s, on); err != nil {
				return err
			}
		}
		// Without router solicitations the only traffic is the lab's own.
		sysctl := filepath.Join("/proc/sys/net/ipv6/conf", e.Interface, "router_solicitations")
		if err := os.WriteFile(sysctl, []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("silence router solicitations: %w", err)
		}
		for _, prefix := range []netip.Prefix{ipv4, ipv6} {
			if err := addAddress(dev, prefix); err != nil {
				return err
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		for _, up := range []netlink.Link{lo, dev} {
			if err := netlink.LinkSetUp(up); err != nil {
				return fmt.Errorf("bring %s up: %w", up.Attrs().Name, err)
			}
		}
		return nil
	})
}

func addAddress(dev netlink.Link, prefix netip.Prefix) error {
	addr := &netlink.Addr{
		IPNet: &net.IPNet{
			IP:   prefix.Addr().AsSlice(),
			Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		},
		Flags: unix.IFA_F_NODAD,
	}
	err := netlink.AddrAdd(dev, addr)
	if prefix.Addr().Is6() && errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a kernel without IPv6 still makes an IPv4 lab
	}
	if err != nil {
		return fmt.Errorf("add address %s: %w", prefix, err)
	}
	return nil
}

// queue gives the end's device a queue of so many packets.
func (e *End) queue(packets int) error {
	return e.Do(func() error {
		dev, err := netlink.LinkByName(e.Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", e.Interface, err)
		}
		if err := netlink.LinkSetTxQLen(dev, packets); err != nil {
			return fmt.Errorf("set queue length of %s: %w", e.Interface, err)
		}
		qdisc := &netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: e.Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			QdiscType:  "pfifo",
		}
		if err := netlink.QdiscReplace(qdisc); err != nil {
			return fmt.Errorf("add queue to %s: %w", e.Interface, err)
		}
		return nil
	})
}

// introduce tells each end the other's hardware address, so that the first
// packet does not wait for ARP.
func (l *Lab) introduce() error {
	pairs := []struct{ at, of *End }{{&l.Server, &l.Client}, {&l.Client, &l.Server}}
	for _, p := range pairs {
		err := p.at.Do(func() error {
			for _, addr := range []netip.Addr{p.of.IPv4, p.of.IPv6} {
				n := &netlink.Neigh{
					LinkIndex:    p.at.Index,
					State:        netlink.NUD_PERMANENT,
					IP:           addr.AsSlice(),
					HardwareAddr: p.of.MAC,
				}
				err := netlink.NeighSet(n)
				if addr.Is6() && errors.Is(err, unix.EOPNOTSUPP) {
					continue
				}
				if err != nil {
					return fmt.Errorf("add neighbour %s: %w", addr, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// attachPass puts a program that passes everything on the server's peer. Only
// with one there does a veth keep taking what the other end sends by XDP_TX.
func (l *Lab) attachPass(opts Options) error {
	peer, index := l.Client.Namespace, l.Client.Index
	if l.Middle != nil {
		peer, index = l.Middle.Namespace, l.Middle.Server.Index
	} else if opts.PlainClient {
		return nil
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "lab_pass",
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
		License:      "Apache-2.0",
	})
	if err != nil {
		return fmt.Errorf("load pass program: %w", err)
	}
	l.pass = prog
	return peer.Do(func() error {
		l.peer, err = link.AttachXDP(link.XDPOptions{
			Program: prog, Interface: index, Flags: link.XDPDriverMode,
		})
		if err != nil {
			return fmt.Errorf("attach pass program: %w", err)
		}
		return nil
	})
}

// awaitUp returns when every interface sends and receives. Until the kernel has
// dealt with the carrier's coming up and with new addresses, some time later,
// it drops frames and says nothing.
func (l *Lab) awaitUp() error {
	for _, end := range []*End{&l.Server, &l.Client} {
		if err := await(end.Namespace, end.Interface, end.local); err != nil {
			return err
		}
	}
	if l.Middle == nil {
		return nil
	}
	for _, port := range []*Port{&l.Middle.Server, &l.Middle.Client} {
		if err := await(l.Middle.Namespace, port.Interface, func() bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// await returns when an interface is up and more holds in its namespace.
func await(in *Namespace, name string, more func() bool) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		up := false
		err := in.Do(func() error {
			dev, err := netlink.LinkByName(name)
			if err != nil || dev.Attrs().OperState != netlink.OperUp {
				return err
			}
			up = more()
			// Whoever brought it up has finished once this gets the lock.
			return netlink.LinkSetUp(dev)
		})
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		if up {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: it does not come up", name)
		}
	}
}

// local reports whether the thread's namespace takes the end's addresses for
// its own. A new IPv6 address has to wait for that.
func (e *End) local() bool {
	for _, addr := range []netip.Addr{e.IPv4, e.IPv6} {
		routes, err := netlink.RouteGet(addr.AsSlice())
		if addr.Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
			continue
		}
		if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return false
		}
	}
	return true
}

// Close takes the pair down. Processes still inside a namespace keep it.
func (l *Lab) Close() error {
	var errs []error
	if l.peer != nil {
		errs = append(errs, l.peer.Close())
		l.peer = nil
	}
	if l.pass != nil {
		errs = append(errs, l.pass.Close())
		l.pass = nil
	}
	for _, end := range []*End{&l.Server, &l.Client} {
		if end.Namespace != nil {
			errs = append(errs, end.remove(), end.Namespace.Close())
			end.Namespace = nil
		}
	}
	if l.Middle != nil {
		errs = append(errs, l.Middle.Close())
		l.Middle = nil
	}
	return errors.Join(errs...)
}

// remove deletes the end's device, and with it the other end of the pair;
// closing the namespaces alone leaves that to the kernel's own time.
func (e *End) remove() error {
	return e.Do(func() error {
		dev, err := netlink.LinkByName(e.Interface)
		if err != nil {
			return nil // it went with the other end, or never was
		}
		return netlink.LinkDel(dev)
	})
}

// MountBPFFS mounts the BPF file system where tools expect it unless it is
// there already.
func MountBPFFS() error {
	const path = "/sys/fs/bpf"
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("inspect %s: %w", path, err)
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", path, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}
