package loader

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

func structOf(t *testing.T, name string) *btf.Struct {
	t.Helper()
	spec, err := loadGate()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatalf("struct %s: %v", name, err)
	}
	return s
}

// plain makes sack_words and sackWords the same.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// isPad reports whether a member only fills space.
func isPad(name string) bool { return name == "_" || strings.HasPrefix(name, "pad") }

// regionElem returns the type of the elements of an unexported view that
// commit.Regions lays over a map.
func regionElem(t *testing.T, field string) reflect.Type {
	t.Helper()
	f, ok := reflect.TypeFor[commit.Regions]().FieldByName(field)
	if !ok || f.Type.Kind() != reflect.Slice {
		t.Fatalf("commit.Regions has no view %s", field)
	}
	return f.Type.Elem()
}

func memberOf(s *btf.Struct, offset uintptr) *btf.Member {
	for i := range s.Members {
		if m := &s.Members[i]; uintptr(m.Offset.Bytes()) == offset {
			return m
		}
	}
	return nil
}

func TestMirrorsEqualBTF(t *testing.T) {
	flowKey, _ := regionElem(t, "flows").FieldByName("key")
	tests := []struct {
		name   string
		mirror reflect.Type
		// other maps the name of a Go field to that of its C member, where
		// they differ; joined lists members that one Go field covers.
		other  map[string]string
		joined map[string][]string
	}{
		{name: "flow", mirror: regionElem(t, "flows")},
		{
			name:   "session_key",
			mirror: flowKey.Type,
			other:  map[string]string{"client": "client_addr", "server": "server_addr"},
		},
		{name: "commit_slot", mirror: regionElem(t, "slots")},
		{name: "commit_ctl", mirror: regionElem(t, "ctl")},
		{name: "worker_ctl", mirror: regionElem(t, "workers")},
		{name: "transfer", mirror: regionElem(t, "transfers")},
		{name: "config", mirror: reflect.TypeFor[gateConfig]()},
		{name: "cookie_key", mirror: reflect.TypeFor[gate.CookieKey]()},
		{name: "session", mirror: reflect.TypeFor[gateSession]()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := structOf(t, tt.name)
			if int(tt.mirror.Size()) != int(s.Size) {
				t.Errorf("%s has %d bytes, the struct %d", tt.mirror, tt.mirror.Size(), s.Size)
			}
			covered := map[string]bool{}
			for field := range fields(tt.mirror) {
				for _, name := range compareField(t, s, field, tt.other, tt.joined) {
					covered[name] = true
				}
			}
			for _, m := range s.Members {
				if !isPad(m.Name) && !covered[m.Name] {
					t.Errorf("%s lacks %s", tt.mirror, m.Name)
				}
			}
		})
	}
}

// fields yields the fields of a struct type that are not padding.
func fields(typ reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !isPad(strings.ToLower(f.Name)) && !yield(f) {
				return
			}
		}
	}
}

// compareField checks a Go field against the members at its offset, whose
// names it returns.
func compareField(t *testing.T, s *btf.Struct, f reflect.StructField, other map[string]string, joined map[string][]string) []string {
	t.Helper()
	m := memberOf(s, f.Offset)
	if m == nil {
		t.Errorf("%s at %d: no member there", f.Name, f.Offset)
		return nil
	}
	if names := joined[f.Name]; names != nil {
		end := f.Offset
		for _, name := range names {
			if m := memberOf(s, end); m == nil || m.Name != name {
				t.Errorf("%s at %d: want %s", f.Name, end, name)
				return names
			} else if size, err := btf.Sizeof(m.Type); err == nil {
				end += uintptr(size)
			}
		}
		if end != f.Offset+f.Type.Size() {
			t.Errorf("%s ends at %d, its members at %d", f.Name, f.Offset+f.Type.Size(), end)
		}
		return names
	}
	want := f.Name
	if name, ok := other[f.Name]; ok {
		want = name
	}
	if plain(m.Name) != plain(want) {
		t.Errorf("%s at %d: the member there is %s", f.Name, f.Offset, m.Name)
	}
	if size, err := btf.Sizeof(m.Type); err != nil || uintptr(size) != f.Type.Size() {
		t.Errorf("%s has %d bytes, %s %d (%v)", f.Name, f.Type.Size(), m.Name, size, err)
	}
	return []string{m.Name}
}

func TestOutcomesEqualStats(t *testing.T) {
	s := structOf(t, "gate_stats")
	if len(s.Members) != int(gate.OutcomeMax) {
		t.Fatalf("%d outcomes, %d counters", gate.OutcomeMax, len(s.Members))
	}
	for i, m := range s.Members {
		if out := gate.Outcome(i); out.String() != m.Name {
			t.Errorf("outcome %d is %s, the counter %s", i, out, m.Name)
		}
		if m.Offset.Bytes() != uint32(8*i) {
			t.Errorf("counter %s at %d, want %d", m.Name, m.Offset.Bytes(), 8*i)
		}
	}
}

func TestConstantsEqual(t *testing.T) {
	if reliability.WindowSize/64 != len(gateSession{}.RcvBits) {
		t.Errorf("receive window of %d, the gate has %d words", reliability.WindowSize, len(gateSession{}.RcvBits))
	}
	if MaxPorts != len(gateConfig{}.Ports) {
		t.Errorf("%d ports, the gate has %d", MaxPorts, len(gateConfig{}.Ports))
	}
	if s := structOf(t, "session_key"); wire.KeySize != s.Size {
		t.Errorf("keys of %d bytes, the gate has %d", wire.KeySize, s.Size)
	}
	if s := structOf(t, "transfer_page"); commit.TransferPage != s.Size {
		t.Errorf("transfer pages of %d bytes, the gate has %d", commit.TransferPage, s.Size)
	}
	spec, err := loadGate()
	if err != nil {
		t.Fatal(err)
	}
	if n := spec.Maps[mapLocalAddrs].MaxEntries; n != maxLocalAddrs {
		t.Errorf("%d local addresses, the gate has %d", maxLocalAddrs, n)
	}
	if n := spec.Maps[mapDoorbells].MaxEntries; n != commit.MaxWorkers {
		t.Errorf("%d workers, the gate has %d doorbells", commit.MaxWorkers, n)
	}
	known := slices.Concat(keptMaps, softMaps, []string{mapXSKs, mapDoorbells})
	for name := range spec.Maps {
		if name[0] != '.' && !slices.Contains(known, name) {
			t.Errorf("map %s of the object is not accounted for", name)
		}
	}
}
