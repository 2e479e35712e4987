package ethtool

import (
	"bytes"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq with its pointer variant: what SIOCETHTOOL takes.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// value is struct ethtool_value.
type value struct {
	cmd  uint32
	data uint32
}

// channels is struct ethtool_channels.
type channels struct {
	cmd                                     uint32
	maxRX, maxTX, maxOther, maxCombined     uint32
	rxCount, txCount, otherCount, combCount uint32
}

// command pairs the read and the write of one setting.
type command struct{ get, set uint32 }

var commands = map[Setting]command{
	TXChecksum: {unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_STXCSUM},
	TSO:        {unix.ETHTOOL_GTSO, unix.ETHTOOL_STSO},
	GSO:        {unix.ETHTOOL_GGSO, unix.ETHTOOL_SGSO},
	GRO:        {unix.ETHTOOL_GGRO, unix.ETHTOOL_SGRO},
}

func ioctl(name string, arg unsafe.Pointer) error {
	if len(name) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)

	req := ifreq{data: arg}
	copy(req.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(&req)
	if errno != 0 {
		return errno
	}
	return nil
}

// Get reads a setting of the device called name.
func Get(name string, s Setting) (bool, error) {
	v := value{cmd: commands[s].get}
	if err := ioctl(name, unsafe.Pointer(&v)); err != nil {
		return false, fmt.Errorf("read %s of %s: %w", s, name, err)
	}
	return v.data != 0, nil
}

// Set changes a setting of the device called name.
func Set(name string, s Setting, on bool) error {
	v := value{cmd: commands[s].set}
	if on {
		v.data = 1
	}
	if err := ioctl(name, unsafe.Pointer(&v)); err != nil {
		return fmt.Errorf("set %s of %s: %w", s, name, err)
	}
	return nil
}

// DriverOf names the driver of the device called name.
func DriverOf(name string) (Driver, error) {
	info := unix.EthtoolDrvinfo{Cmd: unix.ETHTOOL_GDRVINFO}
	if err := ioctl(name, unsafe.Pointer(&info)); err != nil {
		return Driver{}, fmt.Errorf("read driver of %s: %w", name, err)
	}
	return Driver{
		Name:     text(info.Driver[:]),
		Version:  text(info.Version[:]),
		Firmware: text(info.Fw_version[:]),
		Bus:      text(info.Bus_info[:]),
	}, nil
}

// ChannelsOf returns the queue counts of the device called name.
func ChannelsOf(name string) (Channels, error) {
	c := channels{cmd: unix.ETHTOOL_GCHANNELS}
	if err := ioctl(name, unsafe.Pointer(&c)); err != nil {
		return Channels{}, fmt.Errorf("read channels of %s: %w", name, err)
	}
	return Channels{
		RX: c.rxCount, TX: c.txCount, Combined: c.combCount,
		MaxRX: c.maxRX, MaxTX: c.maxTX, MaxCombined: c.maxCombined,
	}, nil
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Bits of ETHTOOL_GFLAGS.
const (
	flagRXVLAN = 1 << 8
	flagLRO    = 1 << 15
)

func flag(name string, bit uint32) (bool, error) {
	v := value{cmd: unix.ETHTOOL_GFLAGS}
	if err := ioctl(name, unsafe.Pointer(&v)); err != nil {
		return false, fmt.Errorf("read flags of %s: %w", name, err)
	}
	return v.data&bit != 0, nil
}

// LRO reports whether the device joins received segments in hardware, which
// many drivers refuse to combine with XDP.
func LRO(name string) (bool, error) { return flag(name, flagLRO) }

// RXVLAN reports whether the device takes VLAN tags off before XDP sees a
// frame.
func RXVLAN(name string) (bool, error) { return flag(name, flagRXVLAN) }
