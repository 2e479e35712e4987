package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// holdBack is how late a reordered packet comes.
	holdBack = 10 * time.Millisecond

	// queueTime is how long a packet waits in a queue that is nearly full.
	queueTime = 100 * time.Millisecond
	// leastQueue has room for some packets at any bandwidth.
	leastQueue = 15000

	// The model counts nanoseconds.
	maxPathDelay = 10 * time.Second
	maxBandwidth = 100e9

	// The bots speak over IPv4, and the lab is Ethernet.
	minMTU = wire.MaxDatagram + 28
	maxMTU = 1500
)

// pathFlag is one way to make a path worse.
type pathFlag struct {
	name, usage string
	text        string
	set         func(c *impair.Conditions, text string) error
	says        string // with %s for the text
}

// pathFlags are those that a command was given.
type pathFlags []*pathFlag

// addPathFlags defines the flags that spoil the path between clients and
// server.
func addPathFlags(fs *flag.FlagSet) pathFlags {
	flags := pathFlags{
		{name: "loss", usage: "`share` of packets lost either way, such as 5% or 0.05", says: "%s lost",
			set: func(c *impair.Conditions, text string) (err error) { c.Loss, err = parseShare(text); return err }},
		{name: "delay", usage: "`time` that every packet takes either way, such as 20ms", says: "%s delay",
			set: func(c *impair.Conditions, text string) (err error) { c.Delay, err = parsePathTime(text); return err }},
		{name: "jitter", usage: "`time` up to which packets take longer, each its own", says: "up to %s jitter",
			set: func(c *impair.Conditions, text string) (err error) { c.Jitter, err = parsePathTime(text); return err }},
		{name: "reorder", usage: fmt.Sprintf("`share` of packets that come %v late", holdBack), says: "%s reordered",
			set: func(c *impair.Conditions, text string) (err error) {
				c.ReorderDelay = holdBack
				c.Reorder, err = parseShare(text)
				return err
			}},
		{name: "duplicate", usage: "`share` of packets that come twice", says: "%s twice",
			set: func(c *impair.Conditions, text string) (err error) { c.Duplicate, err = parseShare(text); return err }},
		{name: "corrupt", usage: "`share` of packets with a damaged byte", says: "%s damaged",
			set: func(c *impair.Conditions, text string) (err error) { c.Corrupt, err = parseShare(text); return err }},
		{name: "mtu", usage: "`bytes` of the largest IP packet that passes either way, such as 1280", says: "MTU %s",
			set: func(c *impair.Conditions, text string) (err error) { c.MTU, err = parseMTU(text); return err }},
		{name: "bandwidth", usage: fmt.Sprintf("`rate` of the path either way, such as 20mbit, with a queue of %v", queueTime), says: "%s/s",
			set: func(c *impair.Conditions, text string) error {
				bits, err := parseBandwidth(text)
				c.Rate.PerSecond = uint64(bits / 8)
				c.Rate.Queue.Bytes = max(int(bits/8*queueTime.Seconds()), leastQueue)
				return err
			}},
	}
	for _, f := range flags {
		fs.StringVar(&f.text, f.name, "", f.usage)
	}
	return flags
}

// addProfileFlag defines how bots write their packets.
func addProfileFlag(fs *flag.FlagSet, profile *client.Profile) {
	fs.Func("profile", "of the packets: `standard` or compact (default standard)", func(text string) (err error) {
		*profile, err = wire.ParseProfile(text)
		return err
	})
}

// addRateFlag defines how many messages bots send, which is easily taken for
// the rate of the path.
func addRateFlag(fs *flag.FlagSet, rate *float64) {
	*rate = 4
	fs.Func("rate", "reliable `messages` of each bot per second, on the plaza (default 4)", func(text string) (err error) {
		if *rate, err = strconv.ParseFloat(text, 64); err == nil {
			return nil
		}
		if _, err := parseBandwidth(text); err == nil {
			return fmt.Errorf("this is how many messages per second a bot sends, such as 4; the path is --bandwidth %s", text)
		}
		return errors.New("not a number of messages per second, such as 4")
	})
}

// given reports whether the path is to be a bad one.
func (p pathFlags) given() bool {
	for _, f := range p {
		if f.text != "" {
			return true
		}
	}
	return false
}

// conditions are those of either direction.
func (p pathFlags) conditions() (c impair.Conditions, err error) {
	for _, f := range p {
		if f.text == "" {
			continue
		}
		if err := f.set(&c, f.text); err != nil {
			return c, fmt.Errorf("--%s %s: %w", f.name, f.text, err)
		}
	}
	return c, nil
}

// arguments pass the flags on to another command.
func (p pathFlags) arguments() (args []string) {
	for _, f := range p {
		if f.text != "" {
			args = append(args, "--"+f.name, f.text)
		}
	}
	return args
}

// String says what the path does to packets.
func (p pathFlags) String() string {
	var all []string
	for _, f := range p {
		if f.text != "" {
			all = append(all, fmt.Sprintf(f.says, f.text))
		}
	}
	return strings.Join(all, ", ") + ", either way"
}

func parseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, errors.New("not a share of the packets from 0% to 100%, such as 5% or 0.05")
	}
	return v, nil
}

func parsePathTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxPathDelay {
		return 0, fmt.Errorf("not a time from 0s to %v, such as 20ms", maxPathDelay)
	}
	return d, nil
}

func parseMTU(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < minMTU || n > maxMTU {
		return 0, fmt.Errorf("not an MTU from %d, which the protocol needs, to %d", minMTU, maxMTU)
	}
	return n, nil
}

// parseBandwidth returns bits per second.
func parseBandwidth(text string) (float64, error) {
	for _, unit := range []struct {
		suffix string
		bits   float64
	}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}} {
		number, ok := strings.CutSuffix(strings.ToLower(text), unit.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err == nil && v*unit.bits >= 8 && v*unit.bits <= maxBandwidth {
			return v * unit.bits, nil
		}
		break
	}
	return 0, errors.New("not a bandwidth from 8bit to 100gbit a second, such as 20mbit")
}

// pathResult is what a bad path did.
type pathResult struct {
	Conditions string       `json:"conditions"`
	ToServer   impair.Stats `json:"to_server"`
	ToClients  impair.Stats `json:"to_clients"`
}

// write prints r for people, unless it is nil.
func (r *pathResult) write(out io.Writer) {
	if r == nil {
		return
	}
	fmt.Fprintf(out, "path: %s\n", r.Conditions)
	for _, way := range []struct {
		name string
		s    impair.Stats
	}{{"to the server", r.ToServer}, {"to the clients", r.ToClients}} {
		fmt.Fprintf(out, "  packets %-20s %d: %d lost, %d dropped by the queue, %d twice, %d damaged\n",
			way.name, way.s.Sent, way.s.Lost, way.s.Dropped, way.s.Duplicated, way.s.Corrupted)
		if over := way.s.Refused + way.s.Missed + way.s.Unsent + way.s.TooLong; over > 0 {
			fmt.Fprintf(out, "  of them lost by overload     %d\n", over)
		}
	}
}
