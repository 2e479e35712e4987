// Package ethtool reads and changes the few device settings XDP depends on,
// through the ethtool ioctl of the calling thread's network namespace.
package ethtool

// Setting is one of the on/off offloads an Ethernet device has.
type Setting string

const (
	TXChecksum Setting = "tx-checksumming"
	TSO        Setting = "tcp-segmentation-offload"
	GSO        Setting = "generic-segmentation-offload"
	GRO        Setting = "generic-receive-offload"
)

// Driver identifies who drives a device.
type Driver struct {
	Name     string
	Version  string
	Firmware string
	Bus      string
}

// Channels are the numbers of queues a device uses.
type Channels struct {
	RX, TX, Combined uint32
	MaxRX, MaxTX     uint32
	MaxCombined      uint32
}

// Queues returns how many receive queues are in use.
func (c Channels) Queues() int { return int(c.RX + c.Combined) }
