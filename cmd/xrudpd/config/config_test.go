package config

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := c.Geometry(2, 4); got.Validate() != nil {
		t.Errorf("geometry %+v: %v", got, got.Validate())
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // parts of the message, none when valid
	}{
		{"instance_path", func(c *Config) { c.Instance = "../x" }, []string{"instance", `"../x"`, "a-z"}},
		{"interface_long", func(c *Config) { c.Interface = "a-name-too-long-for-linux" }, []string{"interface", "15"}},
		{"listen_without_port", func(c *Config) { c.Listen = "7777" }, []string{"listen", `"7777"`, ":port"}},
		{"listen_port_zero", func(c *Config) { c.Listen = ":0" }, []string{"listen", "1 to 65535"}},
		{"listen_port_huge", func(c *Config) { c.Listen = ":70000" }, []string{"listen"}},
		{"listen_hostname", func(c *Config) { c.Listen = "game:1" }, []string{"listen"}},
		{"listen_ipv6", func(c *Config) { c.Listen = "[::1]:7777" }, nil},
		{"mode", func(c *Config) { c.Mode = "fast" }, []string{"mode", `"fast"`, "native"}},
		{"require", func(c *Config) { c.Require = []string{"luck"} }, []string{"require", `"luck"`, "zerocopy"}},
		{"workers_negative", func(c *Config) { c.Workers = -1 }, []string{"workers", "-1", "0 to 64"}},
		{"cpus_negative", func(c *Config) { c.CPUs = []int{-2} }, []string{"cpus", "-2"}},
		{"compact_same_port", func(c *Config) { c.CompactListen = c.Listen }, []string{"compact_listen", "another port"}},
		{"compact_no_port", func(c *Config) { c.CompactListen = "7778" }, []string{"compact_listen", "7778"}},
		{"compact_other_address", func(c *Config) { c.CompactListen = "127.0.0.1:7778" }, []string{"compact_listen", "same address"}},
		{"cpus_twice", func(c *Config) { c.CPUs = []int{3, 1, 3} }, []string{"cpus is [3 1 3]", "once"}},
		{"cpus_too_few", func(c *Config) { c.CPUs = []int{1}; c.Workers = 2 }, []string{"cpus", "workers is 2"}},
		{"sessions", func(c *Config) { c.MaxSessions = 0 }, []string{"max_sessions", "0"}},
		{"budget", func(c *Config) { c.SessionBudget = 63 }, []string{"session_budget", "63", "64 to"}},
		{"transfers", func(c *Config) { c.TransferMemory = 1025 }, []string{"transfer_memory", "1025", "1 to 1024"}},
		{"slots_odd", func(c *Config) { c.CommitSlots = 1000 }, []string{"commit_slots", "power of two"}},
		{"congestion", func(c *Config) { c.Congestion = "vegas" }, []string{"congestion", "vegas", "adaptive"}},
		{"bandwidth", func(c *Config) { c.Bandwidth = 999 }, []string{"bandwidth", "999", "1000 to"}},
		{"min_rto", func(c *Config) { c.MinRTO = 0 }, []string{"min_rto", "0s", "1ms to"}},
		{"max_rto", func(c *Config) { c.MaxRTO = Duration(20 * time.Millisecond) }, []string{"max_rto", "20ms", "30ms to"}},
		{"tick", func(c *Config) { c.TickRate = 0 }, []string{"tick_rate"}},
		{"idle", func(c *Config) { c.IdleTimeout = Duration(time.Millisecond) }, []string{"idle_timeout", "1ms"}},
		{"state_dir", func(c *Config) { c.StateDir = "" }, []string{"state_dir"}},
		{"level", func(c *Config) { c.LogLevel = "loud" }, []string{"log_level", "debug"}},
		{"xdp_without_interface", func(c *Config) { c.Mode = ModeXDP }, []string{"interface is empty"}},
		{"xdp_with_interface", func(c *Config) { c.Mode = ModeXDP; c.Interface = "eth1" }, nil},
		{
			"xdp_with_address",
			func(c *Config) { c.Mode, c.Interface, c.Listen = ModeXDP, "eth1", "192.0.2.1:7" },
			[]string{"listen", `":7"`},
		},
		{"udp_with_require", func(c *Config) { c.Mode = ModeUDP; c.Require = []string{"xsk"} }, []string{"require", "udp"}},
		{"udp_with_keep", func(c *Config) { c.Mode = ModeUDP; c.Keep = true }, []string{"keep"}},
		{
			"generic_with_zerocopy",
			func(c *Config) { c.Mode, c.Interface, c.Require = ModeGeneric, "eth1", []string{"zerocopy"} },
			[]string{"require", "generic"},
		},
		{
			"several_at_once",
			func(c *Config) { c.Mode = "x"; c.TickRate = -1; c.LogLevel = "" },
			[]string{"mode", "tick_rate", "log_level"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			err := c.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("message %q lacks %q", err, part)
				}
			}
		})
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "xrudpd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	c := Default()
	err := c.Load(write(t, `
interface = "eth1"
listen = ":9000"
require = ["native", "xsk"]
cpus = [2, 3]
idle_timeout = "30s"
busy_poll = true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Interface, want.Listen = "eth1", ":9000"
	want.Require = []string{"native", "xsk"}
	want.CPUs = []int{2, 3}
	want.IdleTimeout = Duration(30 * time.Second)
	want.BusyPoll = true
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
}

func TestLoadRejects(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"unknown_key", `intreface = "eth1"`, []string{`"intreface"`, "interface"}},
		{"unknown_table", "[workers_]\nn = 1", []string{"workers_"}},
		{"wrong_type", `workers = "two"`, []string{".toml: ", "workers"}},
		{"bad_duration", `idle_timeout = "soon"`, []string{".toml, line 1: idle_timeout: ", "soon"}},
		{"not_toml", "= 3", []string{"line 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			err := c.Load(write(t, tt.text))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("message %q lacks %q", err, part)
				}
			}
		})
	}
	c := Default()
	if err := c.Load(filepath.Join(t.TempDir(), "absent.toml")); err == nil {
		t.Error("a file that does not exist was accepted")
	}
}

func TestFlagsOverrideFile(t *testing.T) {
	c := Default()
	if err := c.Load(write(t, "workers = 1\nmode = \"udp\"\n")); err != nil {
		t.Fatal(err)
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.Flags(fs)
	if err := fs.Parse([]string{"--workers", "2", "--cpus", "0,1", "--require", "xsk, native", "--idle-timeout=3s"}); err != nil {
		t.Fatal(err)
	}
	if c.Workers != 2 || c.Mode != ModeUDP || time.Duration(c.IdleTimeout) != 3*time.Second {
		t.Errorf("workers %d, mode %q, idle timeout %v", c.Workers, c.Mode, c.IdleTimeout)
	}
	if !slices.Equal(c.CPUs, []int{0, 1}) || !slices.Equal(c.Require, []string{"xsk", "native"}) {
		t.Errorf("cpus %v, require %q", c.CPUs, c.Require)
	}
	if fs.Parse([]string{"--idle-timeout", "soon"}) == nil || fs.Parse([]string{"--cpus", "x"}) == nil {
		t.Error("bad flag values were accepted")
	}
}

func TestKeysAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range keys() {
		if key == "" || seen[key] {
			t.Errorf("key %q is empty or taken", key)
		}
		seen[key] = true
	}
}

func TestCommitSlotsByDefault(t *testing.T) {
	tests := []struct{ cpus, workers, want int }{
		{1, 1, 4096},
		{2, 1, 4096},
		{4, 3, 4096},
		{14, 1, 2048},
		{8, 3, 2048},
		{8, 4, 1024},
		{51, 1, 1024},
		{54, 1, 512},
		{128, 4, 64},
		{1024, 64, 64},
	}
	for _, tt := range tests {
		c := Default()
		g := c.Geometry(tt.workers, tt.cpus)
		if g.Slots != tt.want || g.Validate() != nil {
			t.Errorf("%d CPUs and %d workers: %d slots, want %d; %v", tt.cpus, tt.workers, g.Slots, tt.want, g.Validate())
		}
		if total := g.Sizes().Slots; total > commitMemory && g.Slots > minCommitSlots {
			t.Errorf("%d CPUs and %d workers: %d MiB", tt.cpus, tt.workers, total>>20)
		}
		c.CommitSlots = 8192
		if got := c.Geometry(tt.workers, tt.cpus).Slots; got != 8192 {
			t.Errorf("configured 8192 slots, got %d", got)
		}
	}
}

func TestTransferMemoryIsSharedOut(t *testing.T) {
	tests := []struct{ memory, workers, want int }{
		{16, 1, 16 << 20},
		{16, 3, 5591040}, // whole pages
		{16, 64, 1 << 20},
		{1, 4, 1 << 20},
		{1024, 1, 1 << 30},
	}
	for _, tt := range tests {
		c := Default()
		c.TransferMemory = tt.memory
		g := c.Geometry(tt.workers, 1)
		if g.TransferBytes != tt.want || g.Validate() != nil {
			t.Errorf("%d MiB for %d workers: %d bytes each, want %d; %v", tt.memory, tt.workers, g.TransferBytes, tt.want, g.Validate())
		}
	}
}
