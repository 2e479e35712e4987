package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/internal/ethtool"
	"github.com/xrudp/xrudp/userspace/commit"
)

// Check finds out what a device and this machine can do for a gate. It works
// for any user; what only root can find out says so. The error is about the
// device's name alone.
func Check(opts CheckOptions) (*Diagnosis, error) {
	if opts.PinRoot == "" {
		opts.PinRoot = DefaultPinRoot
	}
	dev, err := findDevice(opts.Interface)
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	c := &checker{opts: opts, dev: dev, d: &Diagnosis{Interface: dev.name, Mode: ModeNone, AFXDP: afXDPNone}}
	c.kernel()
	c.rights()
	c.pins()
	c.device()
	c.offloads()
	c.program()
	c.modes()
	c.sockets()
	c.hugepages()
	return c.d, nil
}

type checker struct {
	opts CheckOptions
	dev  device
	d    *Diagnosis

	blocked  string // what keeps every XDP mode away, if anything
	features uint64
	known    bool // features were read
}

// block records the first thing that keeps every mode away.
func (c *checker) block(why string) {
	if c.blocked == "" {
		c.blocked = why
	}
}

func (c *checker) kernel() {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		c.d.add("kernel", StatusWarn, err.Error(), "")
		return
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	if err == nil && (major < 6 || major == 6 && minor < 1) {
		c.d.add("kernel", StatusWarn, release, "xrudp is tested on Linux 6.1 and later")
	} else {
		c.d.add("kernel", StatusOK, release, "")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		c.d.add("BTF", StatusWarn, "none", "without CONFIG_DEBUG_INFO_BTF, maps may be refused or shown without field names")
	} else {
		c.d.add("BTF", StatusOK, "/sys/kernel/btf/vmlinux", "")
	}
}

// rights looks at the capabilities XDP needs and the memory AF_XDP may lock.
func (c *checker) rights() {
	effective, err := capabilities()
	if err != nil {
		c.d.add("capabilities", StatusWarn, err.Error(), "")
		return
	}
	has := func(bit int) bool { return effective&(1<<bit) != 0 }
	var missing []string
	for _, need := range []struct {
		name string
		have bool
	}{
		{"CAP_BPF", has(unix.CAP_BPF) || has(unix.CAP_SYS_ADMIN)},
		{"CAP_NET_ADMIN", has(unix.CAP_NET_ADMIN)},
		{"CAP_NET_RAW", has(unix.CAP_NET_RAW)},
	} {
		if !need.have {
			missing = append(missing, need.name)
		}
	}
	if len(missing) > 0 {
		lacks := "missing " + strings.Join(missing, ", ")
		c.d.add("capabilities", StatusFail, lacks, "run as root, or grant them: AmbientCapabilities= in a systemd unit")
		c.block(lacks)
	} else {
		c.d.add("capabilities", StatusOK, "CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW", "")
	}

	var limit unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit)
	switch {
	case err != nil:
		c.d.add("locked memory", StatusWarn, err.Error(), "")
	case has(unix.CAP_IPC_LOCK) || limit.Cur == unix.RLIM_INFINITY:
		c.d.add("locked memory", StatusOK, "not limited", "")
	default:
		c.d.add("locked memory", StatusWarn, fmt.Sprintf("%d KiB", limit.Cur>>10),
			"AF_XDP locks its packet memory: raise LimitMEMLOCK= or grant CAP_IPC_LOCK")
	}
}

// capabilities returns the effective set of this process.
func capabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("read capabilities: not in /proc/self/status")
}

func (c *checker) pins() {
	if err := requireBPFFS(c.opts.PinRoot); err != nil {
		c.d.add("BPF file system", StatusFail, err.Error(), "")
		c.block("no BPF file system at " + c.opts.PinRoot)
		return
	}
	list, err := Instances(c.opts.PinRoot)
	if err != nil {
		c.d.add("BPF file system", StatusWarn, err.Error(), "")
		return
	}
	c.d.add("BPF file system", StatusOK, c.opts.PinRoot, "")
	for _, in := range list {
		where := "attached to nothing"
		if in.Attached != 0 {
			where = fmt.Sprintf("attached to interface %d", in.Attached)
		}
		if in.Running {
			c.d.add("instance "+in.Name, StatusOK, "running, "+where, "")
		} else {
			c.d.add("instance "+in.Name, StatusWarn, "no process, "+where, "the next start of the instance continues from it")
		}
	}
}

func (c *checker) device() {
	d := c.dev
	c.d.add("driver", StatusOK, d.driver, "")
	queues := fmt.Sprintf("%d of %d", d.queues, d.maxQueue)
	if d.queues > MaxQueues {
		c.d.add("receive queues", StatusWarn, queues,
			fmt.Sprintf("only the first %d reach AF_XDP sockets: ethtool -L %s combined %d", MaxQueues, d.name, MaxQueues))
	} else {
		c.d.add("receive queues", StatusOK, queues, "")
	}
	c.d.add("MTU", StatusOK, strconv.Itoa(d.mtu), "")
	// Sysfs may show the devices of another namespace.
	sysfs := filepath.Join("/sys/class/net", d.name)
	if index, err := readInt(filepath.Join(sysfs, "ifindex")); err != nil || index != d.index {
		return
	}
	if node, err := readInt(filepath.Join(sysfs, "device", "numa_node")); err == nil && node >= 0 {
		c.d.add("NUMA node", StatusOK, strconv.Itoa(node), "")
	} else {
		c.d.add("NUMA node", StatusOK, "none", "")
	}
}

func readInt(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func (c *checker) offloads() {
	name := c.dev.name
	if lro, err := ethtool.LRO(name); err == nil && lro {
		c.d.add("large-receive-offload", StatusWarn, "on", "many drivers refuse native XDP with it: ethtool -K "+name+" lro off")
	}
	if strip, err := ethtool.RXVLAN(name); err == nil && strip && c.dev.driver != "veth" {
		c.d.add("rx-vlan-offload", StatusWarn, "on",
			"tagged frames lose their tag before XDP: if you use VLANs, ethtool -K "+name+" rxvlan off")
	}
	if gro, err := ethtool.Get(name, ethtool.GRO); err == nil && !gro && c.dev.driver == "veth" {
		c.d.add("generic-receive-offload", StatusWarn, "off",
			"a veth then receives on the sender's CPU: ethtool -K "+name+" gro on")
	}
	if tso, err := ethtool.Get(name, ethtool.TSO); err == nil && tso && c.dev.driver == "veth" {
		c.d.add("tcp-segmentation-offload", StatusWarn, "on",
			"large frames bypass NAPI on a veth: ethtool -K "+name+" tso off")
	}
}

// program has this kernel's verifier look at the gate.
func (c *checker) program() {
	if c.blocked != "" {
		c.d.add("gate program", StatusFail, "not tried: "+c.blocked, "")
		return
	}
	g, err := Load(Options{
		Geometry: commit.Geometry{Workers: 1, CPUs: PresentCPUs(), Slots: 2, MaxSessions: 64},
		Ports:    []uint16{1},
	})
	if err != nil {
		c.d.add("gate program", StatusFail, err.Error(), "")
		c.block("the kernel refuses the gate program")
		return
	}
	g.Close()
	c.d.add("gate program", StatusOK, "accepted by the kernel", "")
}

// modes finds out which XDP modes the device has and which would be used.
func (c *checker) modes() {
	var err error
	if c.features, err = xdpFeatures(c.dev.index); err == nil {
		c.known = true
	}
	if c.dev.xdpID != 0 {
		c.occupied()
		return
	}
	for _, mode := range []Mode{ModeNative, ModeGeneric} {
		value, err := c.probe(mode)
		if err == nil {
			c.d.add(string(mode)+" XDP", StatusOK, value, "")
			if c.d.Mode == ModeNone {
				c.d.Mode = mode
			}
			continue
		}
		status := StatusWarn
		if mode == ModeGeneric && c.d.Mode == ModeNone {
			status = StatusFail
		}
		c.d.add(string(mode)+" XDP", status, "no: "+err.Error(), "")
		if c.d.Mode == ModeNone {
			c.d.Reasons = append(c.d.Reasons, fmt.Sprintf("not %s: %v", mode, err))
		}
	}
}

// occupied reports on a device that runs a program already.
func (c *checker) occupied() {
	ours, name := c.instanceOn()
	if ours {
		c.d.Mode = c.dev.xdpMode
		c.d.add("XDP program", StatusOK, fmt.Sprintf("%s, of instance %s", c.dev.xdpMode, name), "")
		return
	}
	err := c.dev.foreign()
	c.d.add("XDP program", StatusFail, err.Error(), "detach it, or serve another interface")
	c.d.Reasons = append(c.d.Reasons, "not native: "+err.Error())
}

// instanceOn finds the instance whose link runs on the device.
func (c *checker) instanceOn() (found bool, name string) {
	list, err := Instances(c.opts.PinRoot)
	if err != nil {
		return false, ""
	}
	for _, in := range list {
		if pinFolder(filepath.Join(c.opts.PinRoot, in.Name)).linkedTo(c.dev) {
			return true, in.Name
		}
	}
	return false, ""
}

// probe attaches a program that passes everything, for a moment.
func (c *checker) probe(mode Mode) (string, error) {
	if c.blocked != "" {
		return "", errors.New(c.blocked)
	}
	if c.opts.NoProbe {
		switch {
		case mode == ModeGeneric:
			return "yes, untried", nil
		case !c.known:
			return "", errors.New("untried, and this kernel does not say")
		case c.features&xdpActBasic == 0:
			return "", fmt.Errorf("driver %s does not implement it", c.dev.driver)
		}
		return "yes, says the driver", nil
	}
	a := &attacher{spec: passSpec(), dev: c.dev}
	at, err := a.attach(mode)
	if err != nil {
		return "", err
	}
	if err := at.close(); err != nil {
		return "", fmt.Errorf("detach probe: %w", err)
	}
	if at.frags {
		return fmt.Sprintf("yes, with frames in several buffers at MTU %d", c.dev.mtu), nil
	}
	return "yes", nil
}

// passSpec is a program that passes everything, under the gate's name.
func passSpec() *ebpf.CollectionSpec {
	return &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		programName: {
			Name:         "xrudp_probe",
			Type:         ebpf.XDP,
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
			License:      "Apache-2.0",
		},
	}}
}

// sockets finds out how packets reach workers.
func (c *checker) sockets() {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.d.add("AF_XDP", StatusWarn, "no: "+err.Error(), "packets for workers take UDP sockets instead")
		c.d.Reasons = append(c.d.Reasons, "no AF_XDP: "+err.Error())
		return
	}
	unix.Close(fd)
	if c.d.Mode == ModeNone {
		c.d.add("AF_XDP", StatusWarn, "not without XDP", "")
		return
	}
	if why := NoXSK(c.dev.driver); why != "" {
		c.d.add("AF_XDP", StatusWarn, "no: "+why, "a UDP socket takes its place")
		c.d.Reasons = append(c.d.Reasons, "no AF_XDP: "+why)
		return
	}
	if why := c.zeroCopy(); why != "" {
		c.d.AFXDP = afXDPCopy
		c.d.add("AF_XDP", StatusOK, "copy; not zero-copy: "+why, "")
		c.d.Reasons = append(c.d.Reasons, "not zero-copy: "+why)
		return
	}
	c.d.AFXDP = afXDPZeroCopy
	c.d.add("AF_XDP", StatusOK, afXDPZeroCopy, "")
}

// zeroCopy returns why the device has no zero-copy AF_XDP, or nothing.
func (c *checker) zeroCopy() string {
	switch {
	case c.d.Mode != ModeNative:
		return "needs native XDP"
	case c.known && c.features&xdpActZeroCopy == 0:
		return "driver " + c.dev.driver + " does not implement it"
	case c.known:
		return ""
	case c.opts.NoProbe || c.dev.xdpID != 0:
		return "untried, and this kernel does not say"
	}
	err := bindXSK(c.dev.index, unix.XDP_ZEROCOPY)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "driver " + c.dev.driver + " does not implement it"
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func (c *checker) hugepages() {
	free, err := readInt("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	switch {
	case err != nil:
		c.d.add("huge pages", StatusWarn, "none of 2 MiB on this kernel", "")
	case free == 0:
		c.d.add("huge pages", StatusWarn, "none free", "packet memory takes small pages; to change that: sysctl vm.nr_hugepages=64")
	default:
		c.d.add("huge pages", StatusOK, fmt.Sprintf("%d free, 2 MiB each", free), "")
	}
}
