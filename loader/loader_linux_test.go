package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/commit"
)

// testOptions are small, and pin where no server does.
func testOptions(t *testing.T, iface string) Options {
	t.Helper()
	root := filepath.Join("/sys/fs/bpf", "xrudp-test-"+strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"))
	t.Cleanup(func() {
		list, err := Instances(root)
		if err != nil {
			t.Error(err)
		}
		for _, in := range list {
			if err := Remove(root, in.Name); err != nil {
				t.Error(err)
			}
		}
		os.Remove(root)
	})
	return Options{
		Interface: iface,
		PinRoot:   root,
		Geometry:  commit.Geometry{Workers: 1, CPUs: PresentCPUs(), Slots: 64, MaxSessions: 64, TransferBytes: 3 << 20},
		Ports:     []uint16{7777},
	}
}

// openIn opens inside the server's namespace and closes with the test.
func openIn(t *testing.T, l *lab.Lab, opts Options) (g *Gate, report *Report, err error) {
	t.Helper()
	err = l.Server.Do(func() (err error) {
		g, report, err = Open(opts)
		return err
	})
	return g, report, err
}

func mustOpen(t *testing.T, l *lab.Lab, opts Options) (*Gate, *Report) {
	t.Helper()
	g, report, err := openIn(t, l, opts)
	if err != nil {
		t.Fatal(err)
	}
	if g == nil {
		t.Fatalf("no gate: %s", report)
	}
	return g, report
}

func deviceOf(t *testing.T, l *lab.Lab) (d device) {
	t.Helper()
	err := l.Server.Do(func() (err error) {
		d, err = findDevice(l.Server.Interface)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantGone checks that nothing of an instance is left.
func wantGone(t *testing.T, opts Options) {
	t.Helper()
	opts = opts.withDefaults()
	if _, err := os.Stat(filepath.Join(opts.PinRoot, opts.Instance)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("instance folder is left behind (%v)", err)
	}
}

func TestOpenClose(t *testing.T) {
	tests := []struct {
		name string
		mode Mode
		want Mode
	}{
		{"auto", ModeAuto, ModeNative},
		{"native", ModeNative, ModeNative},
		{"generic", ModeGeneric, ModeGeneric},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := labtest.New(t, lab.Options{Queues: 2})
			opts := testOptions(t, l.Server.Interface)
			opts.Mode, opts.Require = tt.mode, true
			g, report := mustOpen(t, l, opts)
			if report.Mode != tt.want || len(report.Steps) != 0 || report.Reused || report.InPlace {
				t.Errorf("report %+v, want %s at once", report, tt.want)
			}
			if report.Queues != 2 || report.Driver != "veth" {
				t.Errorf("report %+v, want 2 queues of veth", report)
			}
			if d := deviceOf(t, l); d.xdpMode != tt.want || d.xdpID == 0 {
				t.Errorf("device runs %s program %d, want %s", d.xdpMode, d.xdpID, tt.want)
			}
			for _, name := range append(keptMaps, mapStats, mapLocalAddrs, mapXSKs, mapDoorbells, pinLink) {
				if _, err := os.Stat(g.folder.path(name)); err != nil {
					t.Errorf("pin missing: %v", err)
				}
			}
			for range 2 {
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if d := deviceOf(t, l); d.xdpID != 0 {
				t.Errorf("program %d is still attached", d.xdpID)
			}
			wantGone(t, opts)
		})
	}
}

func TestOpenOnLoopback(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, "lo")
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if report.Mode != ModeGeneric || len(report.Steps) != 1 || report.Steps[0].Mode != ModeNative {
		t.Errorf("report %s, want generic after native was refused", report)
	}
	if !strings.Contains(report.String(), "generic (not native: driver") {
		t.Errorf("report reads %q", report)
	}
}

func TestOpenStepsDown(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, "lo")
	opts.Mode, opts.Require = ModeNative, true
	g, report, err := openIn(t, l, opts)
	if err == nil || g != nil {
		t.Fatalf("native was required and not had, but: %v, %v", g, report)
	}
	if strings.Contains(err.Error(), "\n") || !errors.Is(err, ErrNotSupported) && !strings.Contains(err.Error(), "driver") {
		t.Errorf("error reads %q", err)
	}
	wantGone(t, opts)

	opts.Mode, opts.Require = ModeNone, false
	g, report, err = openIn(t, l, opts)
	if g != nil || err != nil || report.Mode != ModeNone {
		t.Errorf("mode none: %v, %v, %v", g, report, err)
	}
	wantGone(t, opts)
}

func TestOpenNeedsFrags(t *testing.T) {
	l := labtest.New(t, lab.Options{MTU: 9000, PlainClient: true})
	opts := testOptions(t, l.Server.Interface)
	opts.Mode, opts.Require = ModeNative, true
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if !report.Frags {
		t.Error("attached at MTU 9000 without frags")
	}
}

func TestForeignProgramStays(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "other", Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	var other link.Link
	err = l.Server.Do(func() (err error) {
		other, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: l.Server.Index})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before := deviceOf(t, l).xdpID

	opts := testOptions(t, l.Server.Interface)
	g, report, err := openIn(t, l, opts)
	if g != nil || err != nil || report.Mode != ModeNone || len(report.Steps) != 1 || !errors.Is(report.Steps[0].Err, ErrForeign) {
		t.Fatalf("beside a foreign program: %v, %v, %v", g, report, err)
	}
	opts.Require = true
	_, _, err = openIn(t, l, opts)
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "(other); see: bpftool prog show id") {
		t.Errorf("error reads %q", err)
	}
	if after := deviceOf(t, l).xdpID; after != before {
		t.Errorf("program %d became %d", before, after)
	}
	wantGone(t, opts)
}

func TestSecondProcessRefused(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	defer g.Close()
	before := deviceOf(t, l).xdpID

	if _, _, err := openIn(t, l, opts); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: %v, want %v", err, ErrInUse)
	}
	if err := Remove(opts.PinRoot, g.opts.Instance); !errors.Is(err, ErrInUse) {
		t.Errorf("remove: %v, want %v", err, ErrInUse)
	}
	// Another instance on the same device finds a foreign program.
	opts.Instance, opts.Require = "second", true
	if _, _, err := openIn(t, l, opts); !errors.Is(err, ErrForeign) {
		t.Errorf("another instance: %v, want %v", err, ErrForeign)
	}
	wantGone(t, opts)
	if after := deviceOf(t, l).xdpID; after != before {
		t.Errorf("program %d became %d", before, after)
	}
}

func TestRestartContinues(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	g.Regions().Flow(5).SetSndNxt(12345)
	secrets := readSecrets(t, g)
	first, link := deviceOf(t, l).xdpID, linkID(t, g)
	if err := g.Keep(); err != nil {
		t.Fatal(err)
	}
	if id := deviceOf(t, l).xdpID; id != first {
		t.Fatalf("kept program %d became %d", first, id)
	}

	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if !report.Reused || !report.InPlace || report.Mode != ModeNative {
		t.Errorf("report %+v, want the same maps and link", report)
	}
	if id := deviceOf(t, l).xdpID; id == first || id == 0 {
		t.Errorf("program %d was not replaced", id)
	}
	if id := linkID(t, g); id != link {
		t.Errorf("link %d became %d", link, id)
	}
	if got := g.Regions().Flow(5).SndNxt(); got != 12345 {
		t.Errorf("flow was forgotten: %d", got)
	}
	now := readSecrets(t, g)
	if kept := g.config.CookieCurrent ^ 1; now[kept] != secrets[kept] || now[kept] == (gateCookieKey{}) {
		t.Error("cookies handed out before the restart are void")
	}
	names, err := g.folder.list()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, pinNew) {
			t.Errorf("pin %s is left over", name)
		}
	}
	if fd, pinned := mapID(t, g.maps[mapXSKs]), pinnedID(t, g, mapXSKs); fd != pinned {
		t.Errorf("pin of xsks names map %d, the program uses %d", pinned, fd)
	}
}

func TestRestartAfterLinkWasRemoved(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	g.Regions().Flow(5).SetSndNxt(12345)
	if err := g.at.link.Detach(); err != nil {
		t.Fatal(err)
	}
	if err := g.Keep(); err != nil {
		t.Fatal(err)
	}
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if !report.Reused || report.InPlace || report.Mode != ModeNative {
		t.Errorf("report %+v, want the same maps on a new link", report)
	}
	if got := g.Regions().Flow(5).SndNxt(); got != 12345 {
		t.Errorf("flow was forgotten: %d", got)
	}
}

func TestDetachLeavesTheMaps(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeGeneric} {
		t.Run(string(mode), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			opts := testOptions(t, l.Server.Interface)
			opts.Mode = mode
			g, _ := mustOpen(t, l, opts)
			folder := g.folder
			g.Regions().Flow(5).SetSndNxt(12345)
			for range 2 {
				if err := g.Detach(); err != nil {
					t.Fatal(err)
				}
			}
			if d := deviceOf(t, l); d.xdpID != 0 {
				t.Errorf("program %d is still attached", d.xdpID)
			}
			if _, err := os.Stat(folder.path(pinLink)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the link is still pinned (%v)", err)
			}
			g, report := mustOpen(t, l, opts)
			defer g.Close()
			if !report.Reused || report.InPlace || report.Mode != mode {
				t.Errorf("report %+v, want the same maps on a new link", report)
			}
			if got := g.Regions().Flow(5).SndNxt(); got != 12345 {
				t.Errorf("flow was forgotten: %d", got)
			}
		})
	}
}

func TestRestartWithAnotherMode(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	opts.Mode = ModeGeneric
	g, _ := mustOpen(t, l, opts)
	if err := g.Keep(); err != nil {
		t.Fatal(err)
	}
	opts.Mode = ModeNative
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if !report.Reused || report.Mode != ModeNative || deviceOf(t, l).xdpMode != ModeNative {
		t.Errorf("report %+v, want the same maps, native", report)
	}
}

func TestOtherGeometryIsNamed(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	before := deviceOf(t, l).xdpID
	if err := g.Keep(); err != nil {
		t.Fatal(err)
	}
	want := opts.Geometry
	opts.Geometry.Slots *= 2
	_, _, err := openIn(t, l, opts)
	var mismatch *commit.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Geometry != want || mismatch.Schema != commit.SchemaVersion {
		t.Fatalf("open: %v, want the geometry %+v", err, want)
	}
	if after := deviceOf(t, l).xdpID; after != before {
		t.Errorf("program %d became %d", before, after)
	}
	opts.Geometry = mismatch.Geometry
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if !report.InPlace {
		t.Errorf("report %+v, want to continue in place", report)
	}
}

func TestEveryCPUNeedsRings(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	if opts.Geometry.CPUs == 1 {
		t.Skip("this machine has one CPU")
	}
	opts.Geometry.CPUs--
	if g, _, err := openIn(t, l, opts); g != nil || !errors.Is(err, commit.ErrGeometry) {
		t.Errorf("open: %v, %v, want %v", g, err, commit.ErrGeometry)
	}
	wantGone(t, opts)
}

func TestUnfinishedFolderIsCleared(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	g.Regions().Flow(5).SetSndNxt(12345)
	folder := g.folder
	if err := g.at.link.Detach(); err != nil {
		t.Fatal(err)
	}
	if err := g.Keep(); err != nil {
		t.Fatal(err)
	}
	// As if the first start had died before it was done.
	for _, name := range []string{pinLink, mapConfig} {
		if err := os.Remove(folder.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	g, report := mustOpen(t, l, opts)
	defer g.Close()
	if report.Reused || g.Regions().Flow(5).SndNxt() != 0 {
		t.Errorf("report %+v, want fresh maps", report)
	}
}

func readSecrets(t *testing.T, g *Gate) (keys [2]gateCookieKey) {
	t.Helper()
	for i := range keys {
		if err := g.maps[mapCookieKeys].Lookup(uint32(i), &keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func linkID(t *testing.T, g *Gate) link.ID {
	t.Helper()
	info, err := g.at.link.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

func pinnedID(t *testing.T, g *Gate, name string) ebpf.MapID {
	t.Helper()
	m, err := g.folder.loadMap(name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return mapID(t, m)
}
