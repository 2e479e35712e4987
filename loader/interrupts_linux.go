package loader

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Settings of a device that is polled. Interrupts stay off for as long as
// somebody polls, and for two rounds of the timer after that, so that a poller
// that is late does not lose the queue to them at once.
const (
	sysfsNet           = "/sys/class/net"
	deferHardIRQs      = "napi_defer_hard_irqs"
	groFlushTimeout    = "gro_flush_timeout"
	polledHardIRQs     = "2"
	polledFlushTimeout = "200000" // ns
)

// interruptSettings are what a device had before it was polled.
type interruptSettings struct {
	Interface     string `json:"interface"`
	Address       string `json:"address"`
	DeferHardIRQs string `json:"napi_defer_hard_irqs"`
	FlushTimeout  string `json:"gro_flush_timeout"`
}

// DeferInterrupts has a device hold its interrupts back while AF_XDP sockets
// busy-poll it. The former settings are first written to the file saved, which
// survives this process: RestoreInterrupts puts them back, in this process or
// the next.
func DeferInterrupts(iface, saved string) error {
	if err := deferInterrupts(iface, saved); err != nil {
		return fmt.Errorf("defer interrupts of %s: %w", iface, err)
	}
	return nil
}

func deferInterrupts(iface, saved string) error {
	if err := RestoreInterrupts(saved); err != nil {
		return err
	}
	address, err := shownBySysfs(iface)
	if err != nil {
		return err
	}
	before := interruptSettings{Interface: iface, Address: address}
	if before.DeferHardIRQs, err = readAttribute(iface, deferHardIRQs); err != nil {
		return fmt.Errorf("%w (requires Linux 5.9)", err)
	}
	if before.FlushTimeout, err = readAttribute(iface, groFlushTimeout); err != nil {
		return err
	}
	text, err := json.Marshal(before)
	if err != nil {
		return err
	}
	if err := os.WriteFile(saved, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	polled := interruptSettings{Interface: iface, DeferHardIRQs: polledHardIRQs, FlushTimeout: polledFlushTimeout}
	if err := polled.write(); err != nil {
		return errors.Join(err, RestoreInterrupts(saved))
	}
	return nil
}

// RestoreInterrupts puts back what DeferInterrupts saved, and removes the file.
// Without the file, or with the device gone, there is nothing to put back.
func RestoreInterrupts(saved string) error {
	text, err := os.ReadFile(saved)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var before interruptSettings
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil {
		return fmt.Errorf("read saved interrupt settings: %w", err)
	}
	if dev, err := net.InterfaceByName(before.Interface); err == nil && dev.HardwareAddr.String() == before.Address {
		_, err := shownBySysfs(before.Interface)
		if err == nil {
			err = before.write()
		}
		if err != nil {
			return fmt.Errorf("restore interrupt settings of %s: %w", before.Interface, err)
		}
	}
	if err := os.Remove(saved); err != nil {
		return fmt.Errorf("remove saved interrupt settings: %w", err)
	}
	return nil
}

// write sets both settings. The timeout comes first: deferring without a timer
// would leave packets lying.
func (s *interruptSettings) write() error {
	for _, a := range [][2]string{{groFlushTimeout, s.FlushTimeout}, {deferHardIRQs, s.DeferHardIRQs}} {
		if err := os.WriteFile(filepath.Join(sysfsNet, s.Interface, a[0]), []byte(a[1]), 0); err != nil {
			return fmt.Errorf("set %s to %s: %w", a[0], a[1], err)
		}
	}
	return nil
}

// shownBySysfs checks that sysfs shows the device that this thread calls iface,
// and returns its address. Sysfs shows the network namespace that it was
// mounted in, where another device may have the name.
func shownBySysfs(iface string) (address string, err error) {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return "", err
	}
	if dev.Flags&net.FlagLoopback != 0 {
		return "", errors.New("a loopback device has none")
	}
	address = dev.HardwareAddr.String()
	index, err := readAttribute(iface, "ifindex")
	if err != nil {
		return "", err
	}
	shown, err := readAttribute(iface, "address")
	if err != nil {
		return "", err
	}
	if index != fmt.Sprint(dev.Index) || shown != address {
		return "", fmt.Errorf("%s shows another network namespace", sysfsNet)
	}
	return address, nil
}

func readAttribute(iface, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(sysfsNet, iface, name))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(text)), nil
}
