package loader

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/xrudp/xrudp/loader/internal/ethtool"
)

// device is what the loader needs to know of a network device.
type device struct {
	name     string
	index    int
	driver   string
	mtu      int
	queues   int // receive queues in use
	maxQueue int // receive queues it has
	xdpMode  Mode
	xdpID    ebpf.ProgramID // 0 where none is attached
}

func findDevice(name string) (device, error) {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return device{}, fmt.Errorf("find interface %s: %w", name, err)
	}
	attrs := dev.Attrs()
	d := device{
		name: name, index: attrs.Index, mtu: attrs.MTU,
		queues: attrs.NumRxQueues, maxQueue: attrs.NumRxQueues,
		driver: dev.Type(), xdpMode: ModeNone,
	}
	if attrs.Flags&net.FlagLoopback != 0 {
		d.driver = driverLoopback
	}
	// Virtual devices answer neither; what netlink says holds for them.
	if driver, err := ethtool.DriverOf(name); err == nil {
		d.driver = driver.Name
	}
	if channels, err := ethtool.ChannelsOf(name); err == nil && channels.Queues() > 0 {
		d.queues = channels.Queues()
	}
	if xdp := attrs.Xdp; xdp != nil && xdp.Attached {
		d.xdpID = ebpf.ProgramID(xdp.ProgId)
		d.xdpMode = ModeNative
		if xdp.AttachMode == nl.XDP_ATTACHED_SKB {
			d.xdpMode = ModeGeneric
		}
	}
	return d, nil
}

// foreign describes the program attached to d, which is not ours.
func (d device) foreign() error {
	name := "unnamed"
	if prog, err := ebpf.NewProgramFromID(d.xdpID); err == nil {
		if info, err := prog.Info(); err == nil && info.Name != "" {
			name = info.Name
		}
		prog.Close()
	}
	return fmt.Errorf("%w: %s has %s program %d (%s); see: bpftool prog show id %d",
		ErrForeign, d.name, d.xdpMode, d.xdpID, name, d.xdpID)
}

// PresentCPUs returns how many CPUs packets may arrive on.
func PresentCPUs() int {
	n, err := lastCPU("/sys/devices/system/cpu/present")
	if err != nil {
		return ebpf.MustPossibleCPU()
	}
	return n + 1
}

// lastCPU reads the highest number of a list such as "0-3,8-11".
func lastCPU(path string) (int, error) {
	list, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(list))
	text = text[strings.LastIndexAny(text, ",-")+1:]
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errors.New("malformed CPU list")
	}
	return n, nil
}
