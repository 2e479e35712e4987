package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// depguard's rule for one package: which folders may hold its importers.
var importRule = regexp.MustCompile(
	`files: \["\*\*/userspace/\*\*", "!\*\*/userspace/\{([^}]*)\}/\*\.go"\]\s+` +
		`deny: \[\{pkg: github\.com/xrudp/xrudp/userspace/([a-z/]+)\$,`)

// What a player's machine cannot have.
var hiddenFromClient = []string{"xsk", "game/space", "game", "game/plaza", "game/tag", "game/relay", "worker"}

// What a player's machine does have.
var onClients = []string{"client", "play"}

// The simulator closes the order: it may import every package, and under
// userspace only tests import it.
var simulator = []string{"simnet", "simworld"}

func TestImportOrderCoversEveryPackage(t *testing.T) {
	var order []string
	importers := map[string][]string{}
	for _, m := range importRule.FindAllStringSubmatch(readFile(t, ".golangci.yml"), -1) {
		order = append(order, m[2])
		importers[m[2]] = strings.Split(m[1], ",")
	}
	order = append(order, simulator...)

	for _, dir := range packageDirs(t, "userspace") {
		if !slices.Contains(order, dir) {
			t.Errorf("userspace/%s has no place in the import order of .golangci.yml", dir)
		}
	}
	for i, pkg := range order[:len(order)-len(simulator)] {
		if _, err := os.Stat(filepath.Join("userspace", pkg)); err != nil {
			t.Errorf("the import order of .golangci.yml names userspace/%s: %v", pkg, err)
		}

		want := slices.DeleteFunc(slices.Clone(order[i:]), func(importer string) bool {
			return slices.Contains(onClients, importer) && slices.Contains(hiddenFromClient, pkg)
		})
		if got := importers[pkg]; !slices.Equal(got, want) {
			t.Errorf("importers of %s in .golangci.yml:\n got %v\nwant %v", pkg, got, want)
		}
	}
}

// packageDirs lists the folders below root that hold Go files, relative to it.
func packageDirs(t *testing.T, root string) []string {
	t.Helper()

	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), "_")) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if dir = filepath.ToSlash(dir); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}
