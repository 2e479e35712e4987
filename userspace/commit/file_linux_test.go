package commit

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func openFile(t *testing.T, path string) (*Regions, bool, func() error) {
	t.Helper()
	r, fresh, closeFile, err := OpenFile(path, small())
	if err != nil {
		t.Fatal(err)
	}
	return r, fresh, closeFile
}

func TestFileKeepsWhatWasCommitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commit")
	r, fresh, closeFile := openFile(t, path)
	if !fresh {
		t.Error("a new file is not fresh")
	}
	prepare(t, r, 2, 3)
	info := FlowInfo{ID: 42, SndNxt: 7}
	r.Flow(200).Open(&info, 5)
	r.SetAsleep(1)
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}

	r, fresh, closeFile = openFile(t, path)
	defer closeFile()
	if fresh {
		t.Error("a used file is fresh")
	}
	if held, ready := takeOver(t, r, 2); fmt.Sprint(held, ready) != "[1] [2 3]" {
		t.Errorf("held %v, ready %v", held, ready)
	}
	if !r.Flow(200).IsOpen() || r.Flow(200).Info() != info {
		t.Error("the flow is gone")
	}
	if r.Wake(1) {
		t.Error("a dead worker sleeps")
	}
	for n := range small().Rings() {
		if n != 2 {
			useAll(t, r, n)
		}
	}
}

func TestFileIsNotShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commit")
	_, _, closeFile := openFile(t, path)
	if _, _, _, err := OpenFile(path, small()); !errors.Is(err, ErrLocked) {
		t.Errorf("second OpenFile: %v", err)
	}
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
	_, _, closeFile = openFile(t, path)
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
}

func TestFileMismatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commit")
	r, _, closeFile := openFile(t, path)
	prepare(t, r, 0, 0)
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
	var mismatch *MismatchError
	other := small()
	other.TransferBytes += TransferPage
	if _, _, _, err := OpenFile(path, other); !errors.As(err, &mismatch) {
		t.Fatalf("OpenFile with more memory for transfers: %v", err)
	}
	other = small()
	other.Slots *= 2
	_, _, _, err := OpenFile(path, other)
	if !errors.As(err, &mismatch) {
		t.Fatalf("OpenFile with another geometry: %v", err)
	}
	if mismatch.Schema != SchemaVersion || mismatch.Geometry != small() {
		t.Errorf("found %+v", mismatch)
	}
	r, fresh, closeFile, err := OpenFile(path, mismatch.Geometry)
	if err != nil || fresh {
		t.Fatalf("OpenFile with the geometry found: fresh %v, %v", fresh, err)
	}
	if held, ready := takeOver(t, r, 0); fmt.Sprint(held, ready) != "[1] [2 3]" {
		t.Errorf("held %v, ready %v", held, ready)
	}
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}

	// Behind the magic: another schema.
	edit(t, path, 8, []byte{0xff, 0xff, 0xff, 0xff})
	_, _, _, err = OpenFile(path, small())
	if !errors.As(err, &mismatch) || mismatch.Schema != 0xffffffff {
		t.Errorf("OpenFile with another schema: %v", err)
	}
	edit(t, path, 0, []byte("something"))
	if _, _, _, err := OpenFile(path, small()); !errors.Is(err, ErrForeign) {
		t.Errorf("OpenFile of another's file: %v", err)
	}
}

func TestFileShortOrUnfinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "commit")
	r, _, closeFile := openFile(t, path)
	prepare(t, r, 0, 0)
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2*pageSize); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := OpenFile(path, small()); !errors.Is(err, ErrForeign) {
		t.Errorf("OpenFile of a cut file: %v", err)
	}

	// Without a header the file was never finished, whatever is in it.
	if err := os.WriteFile(path, append(make([]byte, 64), 1, 2, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	r, fresh, closeFile := openFile(t, path)
	defer closeFile()
	if !fresh {
		t.Error("an unfinished file is not fresh")
	}
	useAll(t, r, 0)
	if _, _, _, err := OpenFile(filepath.Join(t.TempDir(), "no", "commit"), small()); err == nil {
		t.Error("OpenFile below a folder that is not there")
	}
}

func edit(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

const victimEnv = "XRUDP_COMMIT_VICTIM"

// TestFileSurvivesSIGKILL kills a process that commits as fast as it can, and
// checks that everything it said it had committed, and did not release, is in
// the file.
func TestFileSurvivesSIGKILL(t *testing.T) {
	if path := os.Getenv(victimEnv); path != "" {
		beKilled(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "commit")
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFileSurvivesSIGKILL$")
		cmd.Env = append(os.Environ(), victimEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var committed, released int64 = -1, -1
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 300*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			var seq int64
			if _, err := fmt.Sscanf(lines.Text(), "committed %d", &seq); err == nil {
				committed = seq
			} else if _, err := fmt.Sscanf(lines.Text(), "releasing %d", &seq); err == nil {
				released = seq
			} else {
				t.Fatalf("victim says %q", lines.Text())
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("victim ended by itself: %v", err)
		}

		r, _, closeFile := openFile(t, path)
		held, ready := takeOver(t, r, 0)
		found := map[int64]int{}
		for _, seq := range append(held, ready...) {
			found[int64(seq)]++
		}
		for seq := released + 1; seq <= committed; seq++ {
			if found[seq] != 1 {
				t.Errorf("round %d: %d was committed and is there %d times (released up to %d)",
					round, seq, found[seq], released)
			}
		}
		for seq, n := range found {
			if n != 1 || seq < released {
				t.Errorf("round %d: %d is there %d times, after %d was released", round, seq, n, released)
			}
		}
		useAll(t, r, 0)
		if err := closeFile(); err != nil {
			t.Fatal(err)
		}
	}
}

// beKilled commits, holds and releases, and says so: a commit after it
// happened, a release before.
func beKilled(t *testing.T, path string) {
	r, _, _, err := OpenFile(path, small())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(r, 0); err != nil {
		t.Fatal(err)
	}
	w, rd := r.Writer(0), r.Reader(0)
	var held []uint32
	for seq := uint32(0); ; {
		for range 3 {
			if put(w, seq) {
				fmt.Printf("committed %d\n", seq)
				seq++
			}
		}
		for {
			_, idx, ok := rd.Next()
			if !ok {
				break
			}
			held = append(held, idx)
		}
		for len(held) > 2 {
			fmt.Printf("releasing %d\n", rd.Slot(held[0]).Sequence)
			rd.Release(held[0])
			held = held[1:]
		}
	}
}
