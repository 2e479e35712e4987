// Package config reads and checks the settings of xrudpd, from a TOML file and
// from flags that override it.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/BurntSushi/toml"
	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
)

// Modes say which engine is wanted.
const (
	ModeAuto    = "auto"    // the best that the machine offers
	ModeXDP     = "xdp"     // native or generic XDP
	ModeNative  = "native"  // XDP in the driver
	ModeGeneric = "generic" // XDP in the network stack
	ModeUDP     = "udp"     // ordinary sockets
)

// Requirements that --require can name.
const (
	RequireNative    = "native"
	RequireXSK       = "xsk"
	RequireZeroCopy  = "zerocopy"
	RequireHugePages = "hugepages"
)

var (
	modes        = []string{ModeAuto, ModeXDP, ModeNative, ModeGeneric, ModeUDP}
	requirements = []string{RequireNative, RequireXSK, RequireZeroCopy, RequireHugePages}
	levels       = []string{"debug", "info", "warn", "error"}
)

// Limits of settings.
const (
	leastBandwidth = 1000 // bytes per second: less than a packet each second is no session
	maxTickRate    = 1000
	minCommitSlots = 64

	minSessionBudget = 64 // less hardly keeps a window open
	maxAutoSlots     = 4096
	commitMemory     = 80 << 20 // bytes, of all rings, where CommitSlots is 0
	longestTime      = 24 * time.Hour

	minTransferBytes  = 1 << 20 // of a worker
	maxTransferMemory = commit.MaxTransferBytes >> 20
)

// Config is the settings. Default returns the defaults; the zero value does
// not mean anything.
type Config struct {
	// Instance names this server among others of the machine, in the paths
	// of pinned maps and of the state file.
	Instance string `toml:"instance"`

	// Interface to serve. Empty serves every address, which only mode udp
	// can do.
	Interface string `toml:"interface"`

	// Listen is the UDP port, with an address in front in mode udp: ":7777".
	Listen string `toml:"listen"`

	// CompactListen is a second port, which speaks the compact profile. It is
	// written like Listen, with the same address if any; empty: none.
	CompactListen string `toml:"compact_listen"`

	Mode    string   `toml:"mode"`
	Require []string `toml:"require"`

	// Workers is the number of worker threads. 0 takes one per CPU but one,
	// at most four.
	Workers int `toml:"workers"`

	// CPUs pins workers to these, in order. Empty lets the server choose.
	CPUs []int `toml:"cpus"`

	// BusyPoll has workers never sleep, and poll AF_XDP queues in place of
	// interrupts.
	BusyPoll bool `toml:"busy_poll"`

	Status bool `toml:"status"`
	Keep   bool `toml:"keep"`

	MaxSessions int `toml:"max_sessions"`

	// CommitSlots is how many packets one commit ring keeps, a power of two.
	// 0 takes as many as commitMemory allows all rings together, at most 4096.
	CommitSlots int `toml:"commit_slots"`

	// SessionBudget is how many acknowledged packets of one session may wait
	// for its worker. 0 takes half of a commit ring, and 64 at least.
	SessionBudget int `toml:"session_budget"`

	// TransferMemory is the memory for large messages while they arrive, in
	// MiB, shared out among the workers. Each gets at least one.
	TransferMemory int `toml:"transfer_memory"`

	// Congestion names the congestion controller of sessions.
	Congestion string `toml:"congestion"`

	// Bandwidth bounds what the server sends in one session, bytes of UDP
	// payload per second. 0: no bound.
	Bandwidth int `toml:"bandwidth"`

	// MinRTO and MaxRTO bound the retransmission timeout.
	MinRTO Duration `toml:"min_rto"`
	MaxRTO Duration `toml:"max_rto"`

	TickRate        int      `toml:"tick_rate"` // Hz
	IdleTimeout     Duration `toml:"idle_timeout"`
	ShutdownTimeout Duration `toml:"shutdown_timeout"`

	// StateDir is the folder of the state file of mode udp, and of the settings
	// that an interface had before it was busy-polled.
	StateDir string `toml:"state_dir"`
	LogLevel string `toml:"log_level"`

	// RecordDir is a folder for recordings of games. Empty: none are kept.
	RecordDir string `toml:"record_dir"`

	// Truth lets players of Police and Thief ask for what is hidden from them,
	// so that bots can check the server.
	Truth bool `toml:"truth"`
}

// Duration is a time.Duration written as "10s" in a file.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"10s\"", text)
	}
	*d = Duration(v)
	return nil
}

// String is the duration as a file has it.
func (d Duration) String() string { return time.Duration(d).String() }

// Set makes Duration a flag.Value.
func (d *Duration) Set(s string) error { return d.UnmarshalText([]byte(s)) }

// Default returns the settings of a server that was told nothing.
func Default() Config {
	return Config{
		Instance:        "default",
		Listen:          ":7777",
		Mode:            ModeAuto,
		MaxSessions:     65536,
		TransferMemory:  16,
		Congestion:      congestion.Names()[0],
		MinRTO:          Duration(30 * time.Millisecond),
		MaxRTO:          Duration(2 * time.Second),
		TickRate:        60,
		IdleTimeout:     Duration(10 * time.Second),
		ShutdownTimeout: Duration(5 * time.Second),
		StateDir:        "/var/lib/xrudp",
		LogLevel:        "info",
	}
}

// Load replaces settings by those of a file. A key that does not exist is an
// error, since it is a typing mistake whose effect would be missed.
func (c *Config) Load(path string) error {
	meta, err := toml.DecodeFile(path, c)
	if err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return fmt.Errorf("read %s, line %d: %s", path, parse.Position.Line, what(&parse))
		}
		if errors.As(err, new(*fs.PathError)) {
			return fmt.Errorf("read configuration: %w", err)
		}
		return fmt.Errorf("read %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		names := make([]string, len(unknown))
		for i, key := range unknown {
			names[i] = strconv.Quote(key.String())
		}
		return fmt.Errorf("%s: unknown %s %s; known are %s", path,
			plural(len(names), "key", "keys"), strings.Join(names, ", "), strings.Join(keys(), ", "))
	}
	return nil
}

// what is an error of the file's syntax or of a value's type, without its line.
func what(e *toml.ParseError) string {
	if e.LastKey == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.LastKey, e.Message)
}

// keys lists the keys of a file, in the order of Config.
func keys() []string {
	var names []string
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("toml"))
	}
	return names
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Flags adds a flag for each setting that is worth changing from a command
// line. Parsing them overrides what c holds.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Instance, "instance", c.Instance, "name among the servers of this machine")
	fs.StringVar(&c.Interface, "iface", c.Interface, "network interface to serve; empty: all, in mode udp")
	fs.StringVar(&c.Interface, "interface", c.Interface, "the same as --iface")
	fs.StringVar(&c.Listen, "listen", c.Listen, "UDP port to serve, as :port")
	fs.StringVar(&c.CompactListen, "compact-listen", c.CompactListen, "UDP port to serve in the compact profile, as :port; empty: none")
	fs.StringVar(&c.Mode, "mode", c.Mode, strings.Join(modes, ", "))
	fs.Var((*list)(&c.Require), "require", "comma-separated: do not start without "+strings.Join(requirements, ", "))
	fs.Var((*number)(&c.Workers), "workers", "worker threads; 0: by the number of CPUs")
	fs.Var((*numbers)(&c.CPUs), "cpus", "comma-separated: CPUs to pin workers to")
	fs.BoolVar(&c.BusyPoll, "busy-poll", c.BusyPoll, "never sleep: lowest latency for a CPU per worker")
	fs.BoolVar(&c.Status, "status", c.Status, "print a status line each second")
	fs.BoolVar(&c.Keep, "keep", c.Keep, "leave the XDP program attached on exit, acknowledging into pinned memory")
	fs.Var((*number)(&c.MaxSessions), "max-sessions", "sessions at a time")
	fs.Var((*number)(&c.CommitSlots), "commit-slots", "packets kept per CPU and worker, a power of two; 0: by the number of these")
	fs.Var((*number)(&c.SessionBudget), "session-budget", "packets of one session kept at a time; 0: half of a commit ring")
	fs.Var((*number)(&c.TransferMemory), "transfer-memory", "memory for large messages while they arrive, MiB")
	fs.StringVar(&c.Congestion, "congestion", c.Congestion, strings.Join(congestion.Names(), ", "))
	fs.Var((*number)(&c.Bandwidth), "bandwidth", "bytes per second sent in one session at most; 0: no bound")
	fs.Var(&c.MinRTO, "min-rto", "least retransmission timeout")
	fs.Var(&c.MaxRTO, "max-rto", "longest retransmission timeout")
	fs.Var((*number)(&c.TickRate), "tick-rate", "application ticks per second")
	fs.Var(&c.IdleTimeout, "idle-timeout", "silence after which a session ends")
	fs.Var(&c.ShutdownTimeout, "shutdown-timeout", "longest wait for sessions to close on exit")
	fs.StringVar(&c.StateDir, "state-dir", c.StateDir, "folder of the files that a crash must not lose")
	fs.StringVar(&c.RecordDir, "record-dir", c.RecordDir, "folder for recordings of games of Police and Thief; empty: none")
	fs.BoolVar(&c.Truth, "truth", c.Truth, "tell players of Police and Thief what is hidden from them, if they ask: for checks")
	fs.StringVar(&c.LogLevel, "log-level", c.LogLevel, strings.Join(levels, ", "))
}

// list is a flag of comma-separated words.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = nil
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}

// number is a flag of one number.
type number int

func (n *number) String() string { return strconv.Itoa(int(*n)) }

func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", s)
	}
	*n = number(v)
	return nil
}

// numbers is a flag of comma-separated numbers.
type numbers []int

func (n *numbers) String() string {
	words := make([]string, len(*n))
	for i, v := range *n {
		words[i] = strconv.Itoa(v)
	}
	return strings.Join(words, ",")
}

func (n *numbers) Set(s string) error {
	*n = nil
	for word := range strings.SplitSeq(s, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("%q is not a whole number", word)
		}
		*n = append(*n, v)
	}
	return nil
}

// instanceName keeps the name usable as one element of a path.
var instanceName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// Validate checks every setting by itself and with the others, and returns one
// sentence for each that is wrong.
func (c *Config) Validate() error {
	var wrong []error
	bad := func(key string, value any, right string) {
		wrong = append(wrong, fmt.Errorf("%s is %#v, but has to be %s", key, value, right))
	}
	number := func(key string, value, low, high int) {
		if value < low || value > high {
			bad(key, value, fmt.Sprintf("from %d to %d", low, high))
		}
	}
	span := func(key string, value Duration, low time.Duration) {
		if time.Duration(value) < low || time.Duration(value) > longestTime {
			bad(key, value.String(), fmt.Sprintf("from %v to %v", low, longestTime))
		}
	}

	if !instanceName.MatchString(c.Instance) {
		bad("instance", c.Instance, "1 to 32 of a-z, 0-9, - and _, the first a letter or digit")
	}
	if len(c.Interface) > 15 || strings.ContainsAny(c.Interface, "/ \t\n") {
		bad("interface", c.Interface, "a name of at most 15 characters without spaces and slashes, as `ip link` shows it")
	}
	const address = `":port" or "address:port" with a port from 1 to 65535`
	addr, err := c.Address()
	if err != nil {
		bad("listen", c.Listen, address)
	}
	if compact, err := c.CompactAddress(); err != nil {
		bad("compact_listen", c.CompactListen, address)
	} else if compact.Port() == addr.Port() && compact.Port() != 0 || c.CompactListen != "" && compact.Addr() != addr.Addr() {
		bad("compact_listen", c.CompactListen, "another port than that of listen, with the same address in front")
	}
	if !slices.Contains(modes, c.Mode) {
		bad("mode", c.Mode, "one of "+strings.Join(modes, ", "))
	}
	for _, r := range c.Require {
		if !slices.Contains(requirements, r) {
			bad("require", r, "one of "+strings.Join(requirements, ", "))
		}
	}
	number("workers", c.Workers, 0, commit.MaxWorkers)
	for i, cpu := range c.CPUs {
		number("cpus", cpu, 0, commit.MaxCPUs-1)
		if slices.Contains(c.CPUs[:i], cpu) {
			wrong = append(wrong, fmt.Errorf("cpus is %v, but has to name each CPU once", c.CPUs))
		}
	}
	number("max_sessions", c.MaxSessions, 1, commit.MaxSessions)
	if c.CommitSlots != 0 {
		number("commit_slots", c.CommitSlots, minCommitSlots, commit.MaxSlots)
	}
	if c.CommitSlots > 0 && c.CommitSlots&(c.CommitSlots-1) != 0 {
		bad("commit_slots", c.CommitSlots, "a power of two, or 0 to leave it to the server")
	}
	if c.SessionBudget != 0 {
		number("session_budget", c.SessionBudget, minSessionBudget, commit.MaxSlots)
	}
	number("transfer_memory", c.TransferMemory, 1, maxTransferMemory)
	if !slices.Contains(congestion.Names(), c.Congestion) {
		bad("congestion", c.Congestion, "one of "+strings.Join(congestion.Names(), ", "))
	}
	if c.Bandwidth != 0 {
		number("bandwidth", c.Bandwidth, leastBandwidth, math.MaxInt32)
	}
	span("min_rto", c.MinRTO, time.Millisecond)
	span("max_rto", c.MaxRTO, time.Duration(c.MinRTO))
	number("tick_rate", c.TickRate, 1, maxTickRate)
	span("idle_timeout", c.IdleTimeout, time.Second)
	span("shutdown_timeout", c.ShutdownTimeout, 0)
	if c.StateDir == "" {
		bad("state_dir", c.StateDir, "the path of a folder")
	}
	if !slices.Contains(levels, c.LogLevel) {
		bad("log_level", c.LogLevel, "one of "+strings.Join(levels, ", "))
	}
	if err == nil {
		wrong = append(wrong, c.together(addr)...)
	}
	return errors.Join(wrong...)
}

// together checks settings that depend on one another.
func (c *Config) together(addr netip.AddrPort) (wrong []error) {
	xdp := c.Mode == ModeXDP || c.Mode == ModeNative || c.Mode == ModeGeneric
	if xdp && c.Interface == "" {
		wrong = append(wrong, fmt.Errorf("mode is %q, but interface is empty; XDP attaches to one, so name it", c.Mode))
	}
	if c.Mode == ModeUDP && len(c.Require) > 0 {
		wrong = append(wrong, fmt.Errorf("require is %q, but mode is %q, which has none of it; remove one of the two", c.Require, c.Mode))
	}
	if c.Mode == ModeGeneric && (slices.Contains(c.Require, RequireNative) || slices.Contains(c.Require, RequireZeroCopy)) {
		wrong = append(wrong, fmt.Errorf("require is %q, but mode is %q, which has no driver's part; remove one of the two", c.Require, c.Mode))
	}
	if len(c.CPUs) > 0 && c.Workers > len(c.CPUs) {
		wrong = append(wrong, fmt.Errorf("cpus has %d entries, but workers is %d; name a CPU for each worker", len(c.CPUs), c.Workers))
	}
	if xdp && OneAddress(addr) {
		wrong = append(wrong, fmt.Errorf("listen is %q, but mode is %q, which serves every address of the interface; write %q",
			c.Listen, c.Mode, fmt.Sprintf(":%d", addr.Port())))
	}
	if c.Keep && c.Mode == ModeUDP {
		wrong = append(wrong, fmt.Errorf("keep is true, but mode is %q, which attaches nothing to keep; remove one of the two", c.Mode))
	}
	return wrong
}

// Address is Listen, parsed. Without an address in front the result has the
// zero Addr.
func (c *Config) Address() (netip.AddrPort, error) { return parseListen(c.Listen) }

// CompactAddress is CompactListen, parsed likewise: zero if it is empty.
func (c *Config) CompactAddress() (netip.AddrPort, error) {
	if c.CompactListen == "" {
		return netip.AddrPort{}, nil
	}
	return parseListen(c.CompactListen)
}

// CompactPorts are the ports of the compact profile.
func (c *Config) CompactPorts() []uint16 {
	if addr, err := c.CompactAddress(); err == nil && addr.Port() != 0 {
		return []uint16{addr.Port()}
	}
	return nil
}

func parseListen(listen string) (netip.AddrPort, error) {
	at := strings.LastIndexByte(listen, ':')
	if at < 0 {
		return netip.AddrPort{}, fmt.Errorf("parse %q: no port", listen)
	}
	host, text := listen[:at], listen[at+1:]
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("parse port of %q", listen)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse address of %q: %w", listen, err)
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// OneAddress reports whether what Address returned is to be served on one
// address only.
func OneAddress(addr netip.AddrPort) bool {
	return addr.Addr().IsValid() && !addr.Addr().IsUnspecified()
}

// Level is LogLevel for zerolog.
func (c *Config) Level() zerolog.Level {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return zerolog.InfoLevel
	}
	return level
}

// Geometry is the shape of the shared memory for a number of workers and of
// CPUs. MaxSessions is rounded up to what the layout can share out.
func (c *Config) Geometry(workers, cpus int) commit.Geometry {
	step := 64 * workers
	transfers := max(c.TransferMemory<<20/workers, minTransferBytes)
	slots := c.CommitSlots
	if slots == 0 {
		slots = autoSlots(workers * cpus)
	}
	return commit.Geometry{
		Workers:     workers,
		CPUs:        cpus,
		Slots:       slots,
		MaxSessions: min((c.MaxSessions+step-1)/step*step, commit.MaxSessions/step*step),

		TransferBytes: transfers / commit.TransferPage * commit.TransferPage,
	}
}

// autoSlots is the largest power of two that keeps the slots of all rings
// within commitMemory, in the bounds of what a ring is good for.
func autoSlots(rings int) int {
	slots := maxAutoSlots
	for slots > minCommitSlots && rings*slots*int(unsafe.Sizeof(commit.Slot{})) > commitMemory {
		slots /= 2
	}
	return slots
}
