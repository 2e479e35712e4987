package message

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

func readSchema(t *testing.T) string {
	t.Helper()

	b, err := os.ReadFile("SCHEMA.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// constants returns the constants of a file whose names begin with prefix, or whose
// type has that name.
func constants(t *testing.T, file, prefix string) map[string]int {
	t.Helper()

	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		typ, _ := spec.Type.(*ast.Ident)
		if !strings.HasPrefix(spec.Names[0].Name, prefix) && (typ == nil || typ.Name != prefix) {
			return true
		}
		found[spec.Names[0].Name] = constant(t, spec.Values[0])
		return true
	})
	if len(found) == 0 {
		t.Fatalf("%s has no constants %s", file, prefix)
	}
	return found
}

func constant(t *testing.T, e ast.Expr) int {
	t.Helper()

	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.ParseInt(e.Value, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	case *ast.BinaryExpr:
		if e.Op == token.SHL {
			return constant(t, e.X) << constant(t, e.Y)
		}
	}
	t.Fatalf("no number: %T", e)
	return 0
}

// field is a field of a MessagePack message as its tag has it.
type field struct {
	key, field, typ string
	limit           string
	omitEmpty       bool
	elements        []field // of the maps in an array
}

func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		options := strings.Split(f.Tag.Get("msg"), ",")
		entry := field{key: options[0], field: f.Name, omitEmpty: slices.Contains(options, "omitempty")}
		for _, o := range options {
			if limit, ok := strings.CutPrefix(o, "limit="); ok {
				entry.limit = limit
			}
		}
		switch {
		case f.Type == reflect.TypeFor[[]byte]():
			entry.typ = "bin"
		case f.Type == reflect.TypeFor[msgp.Raw]():
			entry.typ = "any"
		case f.Type == reflect.TypeFor[Float]():
			entry.typ = "float"
		case f.Type == reflect.TypeFor[string]():
			entry.typ = "str"
		case f.Type.Kind() == reflect.Slice:
			entry.typ, entry.elements = "array", fieldsOf(f.Type.Elem())
		default:
			entry.typ = fmt.Sprintf("u%d", f.Type.Bits())
		}
		all = append(all, entry)
	}
	return all
}

// Where a text is a name, its field is checked as one.
var names = []string{"game", "name", "command"}

func TestSchemaHasEveryType(t *testing.T) {
	schema := readSchema(t)
	types := constants(t, "doc.go", "Type")
	rows := regexp.MustCompile(`(?m)^\| (0x[0-9a-f]{2}) \| (\w+) \| [a-z]+ \| (fixed|MessagePack) \|`).FindAllStringSubmatch(schema, -1)
	if len(rows) != len(types) {
		t.Errorf("SCHEMA.md has %d types, the code %d", len(rows), len(types))
	}
	for _, row := range rows {
		typ, ok := types["Type"+row[2]]
		if !ok || fmt.Sprintf("0x%02x", typ) != row[1] {
			t.Errorf("SCHEMA.md: %s is %s, the code has %#x", row[2], row[1], typ)
		}
		if fixed(uint8(typ)) != (row[3] == "fixed") {
			t.Errorf("SCHEMA.md: %s is %s", row[2], row[3])
		}
		if !fixed(uint8(typ)) != legalType(uint8(typ)) {
			t.Errorf("%s is neither fixed nor a legal type of MessagePack, or both", row[2])
		}
		if !strings.Contains(schema, "\n### "+row[1]+" "+row[2]+"\n") {
			t.Errorf("SCHEMA.md has no section for %s", row[2])
		}
	}
}

// section returns the part of SCHEMA.md below the heading of a message.
func section(t *testing.T, schema string, typ uint8) string {
	t.Helper()

	_, text, ok := strings.Cut(schema, fmt.Sprintf("\n### 0x%02x ", typ))
	if !ok {
		t.Fatalf("SCHEMA.md has no section for %#x", typ)
	}
	if i := strings.Index(text, "\n##"); i >= 0 {
		text = text[:i]
	}
	return text
}

func TestSchemaHasEveryField(t *testing.T) {
	schema := readSchema(t)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ?(.*)\\|$")
	for typ := range 256 {
		m := newMessage(uint8(typ))
		if m == nil {
			continue
		}
		rows := row.FindAllStringSubmatch(section(t, schema, uint8(typ)), -1)
		var fields []field
		for _, f := range fieldsOf(reflect.TypeOf(m).Elem()) {
			fields = append(append(fields, f), f.elements...)
		}
		if len(rows) != len(fields) {
			t.Errorf("SCHEMA.md has %d fields of %T, the code %d", len(rows), m, len(fields))
			continue
		}
		for i, f := range fields {
			want := f.typ
			if want == "str" && slices.Contains(names, f.key) {
				want = "name"
			}
			if rows[i][1] != f.key || rows[i][2] != want {
				t.Errorf("SCHEMA.md has %s %s of %T where the code has %s %s", rows[i][1], rows[i][2], m, f.key, want)
			}
			of := map[string]string{"bin": "bytes", "array": "rooms"}[f.typ]
			if f.limit != "" && !strings.Contains(rows[i][3], "up to "+f.limit+" "+of) {
				t.Errorf("SCHEMA.md does not tell that %s of %T has up to %s %s", f.key, m, f.limit, of)
			}
		}
	}
}

func TestSchemaHasEverySize(t *testing.T) {
	schema := readSchema(t)
	tests := []struct {
		typ   uint8
		sizes []int
	}{
		{TypePositionUpdate, []int{PositionSize, PositionFullSize}},
		{TypePositionAck, []int{PositionAckSize}},
		{TypeAssigned, []int{AssignedSize}},
		{TypeGameStateAck, []int{GameStateAckSize}},
		{TypeGameStateSync, []int{GameStateSyncHead}},
		{TypeClockRequest, []int{ClockRequestSize}},
		{TypeClockAnswer, []int{ClockAnswerSize}},
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \| `)
	for _, tt := range tests {
		text := section(t, schema, tt.typ)
		end := 0
		for _, m := range row.FindAllStringSubmatch(text, -1) {
			offset, _ := strconv.Atoi(m[1])
			size, _ := strconv.Atoi(m[2])
			if offset != end {
				t.Errorf("SCHEMA.md has a hole in %#x at %d", tt.typ, end)
			}
			end = offset + size
		}
		if end != tt.sizes[len(tt.sizes)-1] {
			t.Errorf("SCHEMA.md: the fields of %#x end at %d", tt.typ, end)
		}
		for _, size := range tt.sizes {
			if !strings.Contains(text, fmt.Sprintf("%d bytes", size)) {
				t.Errorf("SCHEMA.md does not say that %#x has %d bytes", tt.typ, size)
			}
		}
	}
}

func TestSchemaHasEveryNumber(t *testing.T) {
	schema := readSchema(t)
	tests := []struct {
		name   string
		prefix string // of the names of the constants, or their type
		files  []string
		head   string // of the table
		row    string // of the table, with the number and the name in some order
	}{
		{"errors", "Err", []string{"errors.go"}, "\n| code | name | meaning |\n", "| %[2]d | %[1]s | "},
		{"actions", "Action", []string{"kinds.go"}, "\n| action | name | uses |\n", "| %[2]d | %[1]s | "},
		{"media", "Media", []string{"kinds.go"}, "\n| media | name | meaning |\n", "| %[2]d | %[1]s | "},
		{"limits", "Max", []string{"check.go", "messages.go"}, "\n| limit | value | of |\n", "| Max%[1]s | %[2]d | "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, table, ok := strings.Cut(schema, tt.head)
			if !ok {
				t.Fatalf("SCHEMA.md has no table %q", tt.head)
			}
			table, _, _ = strings.Cut(table, "\n\n")
			rows := strings.Split(strings.TrimSpace(table), "\n")[1:]
			count := 0
			for _, file := range tt.files {
				for name, number := range constants(t, file, tt.prefix) {
					count++
					want := fmt.Sprintf(tt.row, strings.TrimPrefix(name, tt.prefix), number)
					if !slices.ContainsFunc(rows, func(row string) bool { return strings.HasPrefix(row, want) }) {
						t.Errorf("SCHEMA.md has no row that begins with %q", want)
					}
				}
			}
			if len(rows) != count {
				t.Errorf("SCHEMA.md has %d rows, the code %d constants", len(rows), count)
			}
		})
	}
	if want := fmt.Sprintf("payload of more than %d bytes", CompressAbove); !strings.Contains(schema, want) {
		t.Errorf("SCHEMA.md lacks %q", want)
	}
	for e := range errorTexts {
		if !strings.Contains(schema, fmt.Sprintf("\n| %d | ", uint8(e))) {
			t.Errorf("%v has a text and no number", e)
		}
	}
	if errs := constants(t, "errors.go", "Err"); len(errs) != len(errorTexts) {
		t.Errorf("%d errors, %d texts", len(errs), len(errorTexts))
	}
}

// The limits in tags are numbers, those of the checks are constants.
func TestTagsHaveTheLimits(t *testing.T) {
	want := map[string]int{
		"Connect.token": MaxToken, "PlayerAction.data": MaxData,
		"LargeDataTransfer.data": MaxTransfer, "MediaStream.data": MaxMedia, "Rooms.rooms": MaxRooms,
	}
	for typ := range 256 {
		m := newMessage(uint8(typ))
		if m == nil {
			continue
		}
		for _, f := range fieldsOf(reflect.TypeOf(m).Elem()) {
			if f.typ != "bin" && f.typ != "array" {
				continue
			}
			name := reflect.TypeOf(m).Elem().Name() + "." + f.key
			if f.limit != strconv.Itoa(want[name]) {
				t.Errorf("%s has the limit %q, want %d", name, f.limit, want[name])
			}
		}
	}
}
