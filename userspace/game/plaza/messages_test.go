package plaza

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// reencode parses b as the payload of a message of type typ and encodes the
// result again.
func reencode(typ uint8, b []byte) ([]byte, error) {
	switch typ {
	case TypePosition:
		m, err := ParsePosition(b)
		return m.AppendTo(nil), err
	case TypeChat:
		m, err := ParseChat(b)
		if err != nil {
			return nil, err
		}
		return m.AppendTo(nil), nil
	case TypeAction:
		m, err := ParseAction(b)
		return m.AppendTo(nil), err
	case TypeJoined, TypeLeft:
		m, err := ParsePlayer(b)
		return AppendPlayer(nil, m), err
	case TypeChatFrom:
		m, err := ParseChatFrom(b)
		if err != nil {
			return nil, err
		}
		return m.AppendTo(nil), nil
	case TypeActionFrom:
		m, err := ParseActionFrom(b)
		return m.AppendTo(nil), err
	case TypeBuild:
		m, err := ParseBuild(b)
		if err != nil {
			return nil, err
		}
		return m.AppendTo(nil), nil
	case TypeBuilt:
		m, err := ParseBuilt(b)
		if err != nil {
			return nil, err
		}
		return m.AppendTo(nil), nil
	case TypePositions:
		m, err := ParsePositions(b)
		if err != nil {
			return nil, err
		}
		var all []Placed
		for i := range m.Len() {
			all = append(all, m.At(i))
		}
		return AppendPositions(nil, m.Round, all), nil
	default:
		return nil, errLength
	}
}

// The bytes are written out by hand from MESSAGES.md.
func TestEncoding(t *testing.T) {
	tests := []struct {
		name string
		typ  uint8
		got  []byte
		want string
	}{
		{"position", TypePosition, Position{1, -2, 0.5}.AppendTo(nil), "3f800000 c0000000 3f000000"},
		{"chat", TypeChat, Chat{7, []byte("hé")}.AppendTo(nil), "00000007 68c3a9"},
		{"action", TypeAction, Action{8, 0x1122, []byte{9}}.AppendTo(nil), "00000008 1122 09"},
		{"action_without_data", TypeAction, Action{8, 1, nil}.AppendTo(nil), "00000008 0001"},
		{"joined", TypeJoined, AppendPlayer(nil, 5), "00000005"},
		{
			"positions", TypePositions,
			AppendPositions(nil, 6, []Placed{{7, Position{1, 1, 1}}, {8, Position{-2, -2, -2}}}),
			"00000006 00000007 3f800000 3f800000 3f800000 00000008 c0000000 c0000000 c0000000",
		},
		{"chat_from", TypeChatFrom, ChatFrom{9, Chat{7, []byte("a")}}.AppendTo(nil), "00000009 00000007 61"},
		{"build", TypeBuild, Build{7, []byte{9}}.AppendTo(nil), "00000007 09"},
		{"built", TypeBuilt, Built{7, 0x01020304, []byte{9}}.AppendTo(nil), "00000007 01020304 09"},
		{"action_from", TypeActionFrom, ActionFrom{9, Action{8, 1, nil}}.AppendTo(nil), "00000009 00000008 0001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(tt.got, want) {
				t.Fatalf("encoded:\n got %x\nwant %x", tt.got, want)
			}
			again, err := reencode(tt.typ, want)
			if err != nil || !bytes.Equal(again, want) {
				t.Errorf("parsed and encoded again: %x, %v", again, err)
			}
			for _, cut := range []int{0, 1, 3} {
				if _, err := reencode(tt.typ, want[:cut]); err == nil {
					t.Errorf("accepted when cut to %d bytes", cut)
				}
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 4+MaxChat+1)
	tests := []struct {
		name string
		typ  uint8
		in   []byte
	}{
		{"position_with_tail", TypePosition, make([]byte, 13)},
		{"chat_without_text", TypeChat, make([]byte, 4)},
		{"chat_too_long", TypeChat, long},
		{"chat_not_utf8", TypeChat, []byte{0, 0, 0, 1, 0xff}},
		{"action_too_long", TypeAction, make([]byte, 6+MaxAction+1)},
		{"build_without_plan", TypeBuild, make([]byte, 4)},
		{"plan_too_long", TypeBuild, make([]byte, 4+MaxPlan+1)},
		{"built_without_plan", TypeBuilt, make([]byte, 8)},
		{"built_too_long", TypeBuilt, make([]byte, 8+MaxPlan+1)},
		{"positions_empty", TypePositions, make([]byte, 4)},
		{"positions_uneven", TypePositions, make([]byte, 4+placedSize+1)},
		{"positions_too_many", TypePositions, make([]byte, 4+placedSize*(MaxPositions+1))},
		{"relayed_chat_not_utf8", TypeChatFrom, []byte{0, 0, 0, 9, 0, 0, 0, 1, 0xff}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := reencode(tt.typ, tt.in); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint8(TypeJoined), []byte{0, 0, 0, 1})
	f.Add(uint8(TypePosition), Position{1, 2, float32(math.NaN())}.AppendTo(nil))
	f.Add(uint8(TypeChat), Chat{1, []byte("hello")}.AppendTo(nil))
	f.Add(uint8(TypeAction), Action{1, 2, []byte{3}}.AppendTo(nil))
	f.Add(uint8(TypeBuild), Build{1, []byte{3}}.AppendTo(nil))
	f.Add(uint8(TypeBuilt), Built{1, 2, []byte{3}}.AppendTo(nil))
	f.Add(uint8(TypeChatFrom), ChatFrom{1, Chat{2, []byte("hello")}}.AppendTo(nil))
	f.Add(uint8(TypeActionFrom), ActionFrom{1, Action{2, 3, nil}}.AppendTo(nil))
	f.Add(uint8(TypePositions), AppendPositions(nil, 1, []Placed{{2, Position{3, 4, 5}}}))
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		again, err := reencode(typ, b)
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("type %#x: accepted %x but encodes it as %x", typ, b, again)
		}
	})
}
