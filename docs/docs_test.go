package docs_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/userspace/metrics"
)

// TestMain runs the tests in the top folder, where the paths begin.
func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// settings returns the lines of the example configuration as key and value.
func settings(t *testing.T) map[string]string {
	t.Helper()

	line := regexp.MustCompile(`(?m)^([a-z_]+) = (.*?)(?:\s+#.*)?$`)
	found := map[string]string{}
	for _, m := range line.FindAllStringSubmatch(readFile(t, "deploy/xrudpd.toml"), -1) {
		found[m[1]] = m[2]
	}
	return found
}

func TestExampleConfigurationHoldsTheDefaults(t *testing.T) {
	got := config.Default()
	if err := got.Load("deploy/xrudpd.toml"); err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}

	want := config.Default()
	if got.Interface == want.Interface {
		t.Error("the example names no interface")
	}
	want.Interface = got.Interface
	// Empty lists are as good as none.
	if len(got.Require) == 0 && len(got.CPUs) == 0 {
		got.Require, got.CPUs = want.Require, want.CPUs
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example differs from the defaults:\n got %+v\nwant %+v", got, want)
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	example := settings(t)
	doc := readFile(t, "docs/operating.md")
	fields := reflect.TypeFor[config.Config]()
	for i := range fields.NumField() {
		key := fields.Field(i).Tag.Get("toml")
		value, ok := example[key]
		if !ok {
			t.Errorf("deploy/xrudpd.toml lacks %s", key)
			continue
		}
		if key == "interface" {
			value = `""`
		}
		row := "\n| `" + key + "` | `" + value + "` | "
		if !strings.Contains(doc, row) {
			t.Errorf("docs/operating.md has no row that begins with %q", row[1:])
		}
	}
}

func TestEveryCounterIsDocumented(t *testing.T) {
	doc := readFile(t, "docs/operating.md")
	counters := regexp.MustCompile(`\bX\([A-Z]+, (\w+)\)`).FindAllStringSubmatch(readFile(t, "headers/stats.h"), -1)
	if len(counters) == 0 {
		t.Fatal("no counters in headers/stats.h")
	}
	documented := map[string]bool{}
	// The first column; a row may explain several.
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*)\\|").FindAllStringSubmatch(doc, -1) {
		for _, name := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[name[1]] = true
		}
	}
	for _, m := range counters {
		if !documented[m[1]] {
			t.Errorf("docs/operating.md has no row for %s", m[1])
		}
	}
	var workers metrics.Snapshot
	workers.Each(func(c metrics.Counter, _ uint64) {
		if !documented[c.String()] {
			t.Errorf("docs/operating.md has no row for %s", c)
		}
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Go code in the README is part of an example that compiles.
func TestReadmeCodeCompiles(t *testing.T) {
	example := readFile(t, "userspace/client/example_test.go")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, "README.md"), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go code")
	}
	for _, b := range blocks {
		indented := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(b[1], "\t$1")
		if !strings.Contains(example, indented) {
			t.Errorf("userspace/client/example_test.go does not contain\n%s", b[1])
		}
	}
}

// What the documentation cites as a test exists.
func TestCitedTestsExist(t *testing.T) {
	var sources strings.Builder
	for _, root := range []string{"userspace", "loader", "cmd"} {
		for _, dir := range packageDirs(t, root) {
			files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				sources.WriteString(readFile(t, file))
			}
		}
	}

	cited := 0
	for _, file := range []string{"README.md", "docs/architecture.md", "docs/development.md", "docs/handlers.md", "docs/operating.md"} {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z]\\w*)`").FindAllStringSubmatch(readFile(t, file), -1) {
			cited++
			if !strings.Contains(sources.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("%s cites %s, which does not exist", file, m[1])
			}
		}
	}
	if cited == 0 {
		t.Error("no test is cited")
	}
}
