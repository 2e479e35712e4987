package message

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors mirrors testdata/README.md.
type vectors struct {
	Messages []struct {
		Name    string
		Hex     hexBytes
		Value   map[string]any
		Foreign bool
	}
	Compressed []struct {
		Name   string
		Plain  hexBytes
		Packed hexBytes
	}
	Refused []struct {
		Name string
		Type uint8
		Hex  hexBytes
		Code Error
	}
}

func readVectors(t testing.TB) vectors {
	t.Helper()

	data, err := os.ReadFile(filepath.Join("testdata", "messages.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Messages) == 0 || len(v.Compressed) == 0 || len(v.Refused) == 0 {
		t.Fatal("testdata/messages.json lacks a list")
	}
	return v
}

// newMessage returns an empty message of a type that is MessagePack.
func newMessage(typ uint8) Message {
	for _, m := range []Message{
		&Connect{}, &Connected{}, &Disconnect{}, &PlayerAction{}, &ReliableCommand{},
		&LargeDataTransfer{}, &MediaStream{}, &ListRooms{}, &Rooms{}, &Refused{},
	} {
		if m.Kind() == typ {
			return m
		}
	}
	return nil
}

// A decoded is a message of any type, its fields as messages.json has them and
// what it encodes to.
type decoded struct {
	fields map[string]any
	again  []byte
}

// decode reads a payload as a message of type typ.
func decode(typ uint8, payload []byte) (d decoded, err error) {
	switch typ {
	case TypePositionUpdate:
		v, err := ViewPosition(payload)
		if err != nil {
			return d, err
		}
		u := v.Update()
		d.again = u.AppendTo(nil)
		d.fields = map[string]any{"sequence": u.Sequence, "x": u.X, "y": u.Y, "z": u.Z}
		if u.Full {
			d.fields["time"], d.fields["orientation"] = u.Time, u.Orientation
		}
	case TypePositionAck:
		sequence, err := ParsePositionAck(payload)
		if err != nil {
			return d, err
		}
		d.again = AppendPositionAck(nil, sequence)
		d.fields = map[string]any{"sequence": sequence}
	case TypeGameStateAck:
		a, err := ParseGameStateAck(payload)
		if err != nil {
			return d, err
		}
		d.again = AppendGameStateAck(nil, a)
		d.fields = map[string]any{"lost": a.Lost, "stream": a.Stream, "tick": a.Tick}
	case TypeGameStateSync:
		s, rest, err := ParseGameStateSync(payload)
		if err != nil {
			return d, err
		}
		d.again = append(s.AppendTo(nil), rest...)
		d.fields = map[string]any{"input": s.Input, "snapshot": rest}
	case TypeAssigned:
		a, err := ParseAssigned(payload)
		if err != nil {
			return d, err
		}
		d.again = a.AppendTo(nil)
		d.fields = map[string]any{"none": a.None, "slot": a.ID.Slot, "generation": a.ID.Generation}
	case TypeClockRequest:
		r, err := ParseClockRequest(payload)
		if err != nil {
			return d, err
		}
		d.again = r.AppendTo(nil)
		d.fields = map[string]any{"sent": wide(r.Sent)}
	case TypeClockAnswer:
		a, err := ParseClockAnswer(payload)
		if err != nil {
			return d, err
		}
		d.again = a.AppendTo(nil)
		d.fields = map[string]any{"sent": wide(a.Sent), "received": wide(a.Received), "answered": wide(a.Answered)}
	default:
		m := newMessage(typ)
		if m == nil {
			return d, ErrType
		}
		if err := Parse(payload, m); err != nil {
			return d, err
		}
		if d.again, err = Append(nil, m); err != nil {
			return d, errors.New("append what was parsed: " + err.Error())
		}
		d.fields = messageFields(m)
	}
	return d, nil
}

func wide(n uint64) string { return fmt.Sprintf("0x%016x", n) }

// messageFields reads a message by its tags, not through the generated code.
func messageFields(m Message) map[string]any { return structFields(reflect.ValueOf(m).Elem()) }

func structFields(v reflect.Value) map[string]any {
	fields := map[string]any{}
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByName(f.field)
		if f.omitEmpty && value.IsZero() {
			continue
		}
		if f.elements != nil {
			all := make([]any, value.Len())
			for i := range all {
				all[i] = structFields(value.Index(i))
			}
			fields[f.key] = all
			continue
		}
		switch value := value.Interface().(type) {
		case msgp.Raw:
			fields[f.key] = fromMessagePack(value)
		case []byte:
			fields[f.key] = base64.StdEncoding.EncodeToString(value)
		default:
			fields[f.key] = value
		}
	}
	return fields
}

// fromMessagePack decodes b without knowing what it is.
func fromMessagePack(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	var text bytes.Buffer
	rest, err := msgp.UnmarshalAsJSON(&text, b)
	if err != nil || len(rest) != 0 {
		return fmt.Sprintf("%d bytes are left: %v", len(rest), err)
	}
	var value any
	if err := json.Unmarshal(text.Bytes(), &value); err != nil {
		return err.Error()
	}
	return value
}

// asJSON makes values comparable whose number types differ.
func asJSON(t *testing.T, v any) any {
	t.Helper()

	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestGoldenMessages(t *testing.T) {
	seen := map[uint8]bool{}
	for _, tt := range readVectors(t).Messages {
		t.Run(tt.Name, func(t *testing.T) {
			typ := tt.Hex[0]
			seen[typ] = true
			got, err := decode(typ, tt.Hex)
			if err != nil {
				t.Fatal(err)
			}
			want := asJSON(t, tt.Value)
			if fields := asJSON(t, got.fields); !reflect.DeepEqual(fields, want) {
				t.Errorf("fields:\n got %v\nwant %v", fields, want)
			}
			if bytes.Equal(got.again, tt.Hex) == tt.Foreign {
				t.Errorf("encodes to\n%x, and foreign is %v of\n%x", got.again, tt.Foreign, tt.Hex)
			}
			if !fixed(typ) && !tt.Foreign {
				if value := asJSON(t, fromMessagePack(tt.Hex[plainHead:])); !reflect.DeepEqual(value, want) {
					t.Errorf("a generic decoder reads:\n got %v\nwant %v", value, want)
				}
			}
		})
	}
	for name, typ := range constants(t, "doc.go", "Type") {
		if !seen[uint8(typ)] {
			t.Errorf("testdata/messages.json has no %s", name)
		}
	}
}

func TestGoldenRefusals(t *testing.T) {
	seen := map[Error]bool{}
	for _, tt := range readVectors(t).Refused {
		t.Run(tt.Name, func(t *testing.T) {
			seen[tt.Code] = true
			var c Codec
			payload := []byte(tt.Hex)
			var err error
			if len(payload) > 1 && payload[1] == encodingLZ4 && !fixed(tt.Type) {
				payload, err = c.Expand(payload, 65536)
			}
			if err == nil {
				_, err = decode(tt.Type, payload)
			}
			if !errors.Is(err, tt.Code) || Reason(err) != tt.Code {
				t.Errorf("got %v, want %v", err, tt.Code)
			}
		})
	}
	for code := range errorTexts {
		if code < ErrVersion && !seen[code] {
			t.Errorf("testdata/messages.json has nothing that is refused with %v", code)
		}
	}
}

func TestGoldenCompressed(t *testing.T) {
	for _, tt := range readVectors(t).Compressed {
		t.Run(tt.Name, func(t *testing.T) {
			var c Codec
			got, err := c.Expand(tt.Packed, len(tt.Plain))
			if err != nil || !bytes.Equal(got, tt.Plain) {
				t.Errorf("expands to %x, %v; want %x", got, err, tt.Plain)
			}
			if _, err := c.Expand(tt.Packed, len(tt.Plain)-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("one byte beyond the limit: %v", err)
			}
		})
	}
}
