package gate

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The C list's comments, and the entry it is made of.
var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/`)
	entry    = regexp.MustCompile(`X\(\s*(\w+)\s*,\s*(\w+)\s*\)`)
)

func TestOutcomesAreThoseOfTheHeader(t *testing.T) {
	text, err := os.ReadFile("../../headers/stats.h")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(comments.ReplaceAllString(string(text), ""), "#define GATE_OUTCOMES(X)")
	if !ok {
		t.Fatal("headers/stats.h defines no GATE_OUTCOMES")
	}
	list, _, ok = strings.Cut(list, "enum gate_outcome")
	if !ok {
		t.Fatal("headers/stats.h has no enum gate_outcome behind the list")
	}
	list, _, _ = strings.Cut(list, "#define")

	entries := entry.FindAllStringSubmatch(list, -1)
	if len(entries) != int(OutcomeMax) {
		t.Errorf("headers/stats.h lists %d outcomes, the package %d", len(entries), OutcomeMax)
	}
	for i, e := range entries {
		got := Outcome(i)
		if got >= OutcomeMax {
			t.Errorf("outcome %d: %s is missing", i, e[2])
			continue
		}
		if got.String() != e[2] {
			t.Errorf("outcome %d is %q, want %q", i, got, e[2])
		}
		if verdict := strings.ToUpper(got.Verdict().String()); verdict != e[1] {
			t.Errorf("%v has verdict %s, want %s", got, verdict, e[1])
		}
	}
}

// The kernel's numbers, from linux/bpf.h.
func TestVerdictsAreXDPActions(t *testing.T) {
	tests := []struct {
		verdict Verdict
		action  uint8
	}{{Aborted, 0}, {Drop, 1}, {Pass, 2}, {TX, 3}, {Redirect, 4}}
	for _, tt := range tests {
		if uint8(tt.verdict) != tt.action {
			t.Errorf("%v is %d, want %d", tt.verdict, tt.verdict, tt.action)
		}
	}
}
