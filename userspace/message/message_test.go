package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// score is a message of a game, written by hand as generated code would be.
type score struct {
	typ    uint8
	Points []uint32
}

func (s *score) Kind() uint8  { return s.typ }
func (s *score) Msgsize() int { return 5 + 5*len(s.Points) }
func (s *score) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendArrayHeader(b, uint32(len(s.Points)))
	for _, p := range s.Points {
		b = msgp.AppendUint32(b, p)
	}
	return b, nil
}
func (s *score) UnmarshalMsg(b []byte) ([]byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return b, err
	}
	s.Points = make([]uint32, n)
	for i := range s.Points {
		if s.Points[i], b, err = msgp.ReadUint32Bytes(b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// values are messages whose fields are all set.
func values() []Message {
	return []Message{
		&Connect{Game: "game", Version: 1, Name: "name", Room: 2, Token: []byte("token")},
		&Connected{Player: 1, Room: 2, Ticks: 60, Snapshots: 20, Time: 1 << 60},
		&Disconnect{Code: ErrRate, Text: "text"},
		&PlayerAction{Number: 1, Action: Cast, Time: 2, Target: 3, Item: 4, X: 5, Y: -6, Z: 7.5, Data: []byte("data")},
		&ReliableCommand{Number: 1, Command: "command", Args: msgp.AppendInt(nil, 5)},
		&LargeDataTransfer{ID: 1, Name: "name", Size: 10, Offset: 6, Sum: 3, Data: []byte("data")},
		&MediaStream{Stream: 1, Media: Audio, Number: 2, Time: 3, Data: []byte("data")},
		&ListRooms{Game: "game"},
		&Rooms{Game: "game", Rooms: []RoomInfo{{Room: 1, Players: 2, Places: 3}, {Room: 1 << 31, Players: 1000, Places: 1000}}},
		&Refused{Code: ErrMove, Type: TypePlayerAction, Number: 1, Text: "text"},
	}
}

func TestAppendParse(t *testing.T) {
	for _, m := range values() {
		t.Run(strings.ToLower(reflect.TypeOf(m).Elem().Name()), func(t *testing.T) {
			b, err := Append([]byte{9}, m)
			if err != nil || b[0] != 9 || b[1] != m.Kind() {
				t.Fatalf("appended %x, %v", b, err)
			}
			got := newMessage(m.Kind())
			if err := Parse(b[1:], got); err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("parsed %+v, %v; want %+v", got, err, m)
			}
			if len(b)-1 > plainHead+m.Msgsize() {
				t.Errorf("%d bytes, announced %d", len(b)-1, plainHead+m.Msgsize())
			}
			for n := range len(b) - 1 {
				if err := Parse(b[1:1+n], got); err == nil {
					t.Errorf("%d bytes accepted", n)
				}
			}
		})
	}
}

// A message that is read into one that was used before keeps nothing of it.
func TestParseForgets(t *testing.T) {
	for _, m := range values() {
		if err := Parse([]byte{m.Kind(), encodingPlain, 0x80}, m); err != nil && Reason(err) != ErrField && Reason(err) != ErrName {
			t.Errorf("%T: %v", m, err)
		}
		if want := newMessage(m.Kind()); !reflect.DeepEqual(m, want) {
			t.Errorf("kept %+v", m)
		}
	}
}

func TestMessageOfGame(t *testing.T) {
	tests := []struct {
		name string
		typ  uint8
		err  error
	}{
		{"zero", 0, ErrType},
		{"fixed", TypePositionUpdate, ErrType},
		{"reserved", 0x0b, ErrType},
		{"first_of_clients", 0x10, nil},
		{"last_of_clients", 0x6f, nil},
		{"reserved_70", 0x70, ErrType},
		{"first_of_servers", 0x90, nil},
		{"last_of_servers", 0xdf, nil},
		{"reserved_e0", 0xe0, ErrType},
		{"of_transport", 0xf0, ErrType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Append(nil, &score{tt.typ, []uint32{1, 70000}})
			if !errors.Is(err, tt.err) {
				t.Fatalf("append: %v, want %v", err, tt.err)
			}
			if OfGame(tt.typ) != (tt.err == nil) {
				t.Errorf("of a game: %v", OfGame(tt.typ))
			}
			if err != nil {
				if len(b) != 0 {
					t.Errorf("appended %x", b)
				}
				b = []byte{tt.typ, encodingPlain, 0x90}
			}
			got := &score{typ: tt.typ}
			if err := Parse(b, got); !errors.Is(err, tt.err) {
				t.Errorf("parse: %v, want %v", err, tt.err)
			}
			if tt.err == nil && !reflect.DeepEqual(got.Points, []uint32{1, 70000}) {
				t.Errorf("parsed %v", got.Points)
			}
		})
	}
}

// lazy is a message whose decoder leaves everything.
type lazy struct{ score }

func (l *lazy) UnmarshalMsg(b []byte) ([]byte, error) { return b, nil }

func TestDecoderOfGameLeavesBytes(t *testing.T) {
	if err := Parse([]byte{0x10, encodingPlain, 0x90}, &lazy{score{typ: 0x10}}); !errors.Is(err, ErrTrailing) {
		t.Errorf("got %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	tests := []struct {
		name string
		m    Message
		want Error
	}{
		{"no_name", &Connect{Game: "g"}, ErrName},
		{"no_game", &Connect{Name: "n"}, ErrName},
		{"token", &Connect{Game: "g", Name: "n", Token: make([]byte, MaxToken+1)}, ErrTooLarge},
		{"no_ticks", &Connected{Snapshots: 1}, ErrField},
		{"no_snapshots", &Connected{Ticks: 1}, ErrField},
		{"text", &Disconnect{Text: "\x00"}, ErrText},
		{"long_text", &Disconnect{Text: strings.Repeat("x", MaxNote+1)}, ErrTooLarge},
		{"action", &PlayerAction{}, ErrField},
		{"data", &PlayerAction{Action: Move, Data: make([]byte, MaxData+1)}, ErrTooLarge},
		{"infinite", &PlayerAction{Action: Move, X: Float(math.Inf(1))}, ErrNumber},
		{"args_cut_short", &ReliableCommand{Command: "c", Args: msgp.Raw{0x91}}, ErrMalformed},
		{"args_deep", &ReliableCommand{Command: "c", Args: msgp.Raw("\x91\x91\x91\x91\x91\x91\x91\x91\xc0")}, ErrDepth},
		{"args_long", &ReliableCommand{Command: "c", Args: msgp.AppendBytes(nil, make([]byte, MaxArgs))}, ErrTooLarge},
		{"part", &LargeDataTransfer{Name: "n", Size: 1, Offset: 1, Data: []byte{1}}, ErrNumber},
		{"part_long", &LargeDataTransfer{Name: "n", Size: 1 << 30, Data: make([]byte, MaxTransfer+1)}, ErrTooLarge},
		{"media", &MediaStream{}, ErrField},
		{"frame_long", &MediaStream{Media: Audio, Data: make([]byte, MaxMedia+1)}, ErrTooLarge},
		{"rooms_of_nothing", &ListRooms{}, ErrName},
		{"rooms_without_game", &Rooms{}, ErrName},
		{"many_rooms", &Rooms{Game: "g", Rooms: make([]RoomInfo, MaxRooms+1)}, ErrTooLarge},
		{"no_code", &Refused{}, ErrField},
		{"values", &score{0x10, make([]uint32, MaxValues)}, ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := Append([]byte{9}, tt.m); !errors.Is(err, tt.want) || len(b) != 1 {
				t.Errorf("appended %d bytes, %v; want %v", len(b), err, tt.want)
			}
		})
	}
}

func TestLargestMessagesFit(t *testing.T) {
	name := strings.Repeat("n", MaxName)
	for _, m := range []Message{
		&LargeDataTransfer{Name: name, ID: 1 << 31, Size: 1 << 63, Sum: 1 << 31, Data: make([]byte, MaxTransfer)},
		&MediaStream{Media: Audio, Data: make([]byte, MaxMedia)},
		&ReliableCommand{Command: name, Args: msgp.AppendBytes(nil, make([]byte, MaxArgs-5))},
		&Connect{Game: name, Name: name, Token: make([]byte, MaxToken)},
		&Rooms{Game: name, Rooms: make([]RoomInfo, MaxRooms)},
		&score{0x10, make([]uint32, MaxValues-1)},
	} {
		b, err := Append(nil, m)
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		if err := Parse(b, m); err != nil {
			t.Errorf("%T: %v", m, err)
		}
	}
	b := append([]byte{TypeDisconnect, encodingPlain}, make([]byte, MaxPayload)...)
	if err := Parse(b, &Disconnect{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("payload beyond the limit: %v", err)
	}
}

func TestFloatReadsAnyNumber(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want Float
		err  error
	}{
		{"float32", msgp.AppendFloat32(nil, 1.5), 1.5, nil},
		{"float64", msgp.AppendFloat64(nil, 0.1), Float(float32(0.1)), nil},
		{"largest", msgp.AppendFloat64(nil, math.MaxFloat32), math.MaxFloat32, nil},
		{"too_large", msgp.AppendFloat64(nil, 2*math.MaxFloat32), 0, ErrNumber},
		{"positive", msgp.AppendInt(nil, 7), 7, nil},
		{"negative", msgp.AppendInt(nil, -100000), -100000, nil},
		{"unsigned", msgp.AppendUint64(nil, 1<<63), 1 << 63, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f Float
			rest, err := f.UnmarshalMsg(append(tt.b, 9))
			if f != tt.want || !errors.Is(err, tt.err) || err == nil && len(rest) != 1 {
				t.Errorf("got %v, rest %x, %v; want %v, %v", f, rest, err, tt.want, tt.err)
			}
		})
	}
	var f Float
	if _, err := f.UnmarshalMsg(msgp.AppendString(nil, "1")); err == nil {
		t.Error("text accepted")
	}
}

func TestReason(t *testing.T) {
	if got := Reason(nil); got != 0 {
		t.Errorf("nil: %v", got)
	}
	if got := Reason(errors.New("other")); got != ErrMalformed {
		t.Errorf("another error: %v", got)
	}
	if Error(200).Error() == "" {
		t.Error("a game's code has no text")
	}
	err := Parse([]byte("\x03\x00\x81\xa4code\xa1x"), &Disconnect{})
	if Reason(err) != ErrField || !strings.Contains(err.Error(), "Code") {
		t.Errorf("%v does not name the field", err)
	}
}

func TestFixedMisuse(t *testing.T) {
	nan := float32(math.NaN())
	tests := []struct {
		name string
		f    func()
	}{
		{"position", func() { PositionUpdate{X: nan}.AppendTo(nil) }},
		{"orientation", func() { PositionUpdate{Full: true, Orientation: Quaternion{0, 0, 0, nan}}.AppendTo(nil) }},
		{"answered_before_received", func() { ClockAnswer{Received: 1}.AppendTo(nil) }},
		{"time_of_short_position", func() { PositionView(PositionUpdate{}.AppendTo(nil)).Time() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.f()
		})
	}
}

func noAllocs(t *testing.T, name string, f func()) {
	t.Helper()

	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func TestHotMessagesDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 128)
	var sum float32
	noAllocs(t, "position", func() {
		b := PositionUpdate{Sequence: 1, X: 2, Full: true, Orientation: Quaternion{3}}.AppendTo(buf)
		v, err := ViewPosition(b)
		if err != nil {
			t.Fatal(err)
		}
		u := v.Update()
		sum += u.X + u.Orientation[0]
		if _, err := ViewPosition(b[:7]); err == nil {
			t.Fatal("short position accepted")
		}
		if _, err := ParsePositionAck(AppendPositionAck(buf, 1)); err != nil {
			t.Fatal(err)
		}
	})
	noAllocs(t, "state", func() {
		if _, err := ParseGameStateAck(AppendGameStateAck(buf, snapshot.Ack{Tick: 1})); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseGameStateSync(append(GameStateSync{1}.AppendTo(buf), 1)); err != nil {
			t.Fatal(err)
		}
	})
	noAllocs(t, "clock", func() {
		if _, err := ParseClockRequest(ClockRequest{1}.AppendTo(buf)); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseClockAnswer(ClockAnswer{1, 2, 3}.AppendTo(buf)); err != nil {
			t.Fatal(err)
		}
	})
	in := &PlayerAction{Action: Attack, Target: 1, Data: []byte("data")}
	out := new(PlayerAction)
	noAllocs(t, "action", func() {
		b, err := Append(buf, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := Parse(b, out); err != nil {
			t.Fatal(err)
		}
	})
}

// compressible returns a payload of n bytes.
func compressible(n int) []byte {
	b := []byte{TypeLargeDataTransfer, encodingPlain}
	return append(b, bytes.Repeat([]byte("abcdefgh"), n/8+1)[:n-plainHead]...)
}

func TestNames(t *testing.T) {
	legal := []string{
		"a", " a ", "Zoë 🚓", "👩\u200d🚒", "❤\ufe0f", "می\u200cخواهم", "中村", "a\u0301", strings.Repeat("n", MaxName),
	}
	illegal := []string{
		"", " ", "\u00a0\u3000", "\u200d", "\ufe0f", "a\x00", "a\tb", "a\nb", "a\x7f", "a\u0085", "a\xff", "\xed\xa0\x80",
		"a\u200bb", "a\ufeff", "a\u2060b", "a\u00adb", "a\u202eb", "a\u2066b", "\u200fa", "a\u2028b", "a\u2029b",
		"\u3164", "\u115f", "a\u034fb", "a\U000e0041", strings.Repeat("n", MaxName+1),
	}
	for _, s := range legal {
		if err := CheckName(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range illegal {
		if err := CheckName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCompress(t *testing.T) {
	random := make([]byte, 4000)
	rng := rand.NewChaCha8([32]byte{})
	rng.Read(random)
	random[0], random[1] = TypeLargeDataTransfer, encodingPlain
	state := append(GameStateSync{}.AppendTo(nil), make([]byte, 2000)...)

	tests := []struct {
		name    string
		payload []byte
		packs   bool
	}{
		{"empty", nil, false},
		{"short", []byte{TypeDisconnect}, false},
		{"at_threshold", compressible(CompressAbove), false},
		{"above_threshold", compressible(CompressAbove + 1), true},
		{"large", compressible(MaxPayload), true},
		{"incompressible", random, false},
		{"fixed", state, false},
	}
	var c, d Codec
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			packed := c.Compress(tt.payload)
			if packs := !bytes.Equal(packed, tt.payload); packs != tt.packs || packs && len(packed) >= len(tt.payload) {
				t.Fatalf("%d bytes are %d packed", len(tt.payload), len(packed))
			}
			if len(packed) < plainHead {
				return
			}
			if again := d.Compress(packed); !bytes.Equal(again, packed) {
				t.Error("compressed what was compressed")
			}
			got, err := d.Expand(packed, MaxPayload)
			if err != nil || !bytes.Equal(got, tt.payload) {
				t.Errorf("expands to %d bytes, %v", len(got), err)
			}
			if _, err := d.Expand(packed, len(tt.payload)-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("beyond the limit: %v", err)
			}
		})
	}
}

// What is refused has not been allocated.
func TestBombIsNotAllocated(t *testing.T) {
	bomb := binary.BigEndian.AppendUint32([]byte{TypeLargeDataTransfer, encodingLZ4}, 1<<30)
	bomb = append(bomb, make([]byte, 200)...)
	var c Codec
	noAllocs(t, "bomb", func() {
		if _, err := c.Expand(bomb, MaxPayload); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
		if _, err := c.Expand(bomb, math.MaxInt); !errors.Is(err, ErrCompressed) {
			t.Fatal(err)
		}
	})
	if cap(c.plain) != 0 {
		t.Errorf("%d bytes allocated", cap(c.plain))
	}
}

func TestCodecDoesNotAllocate(t *testing.T) {
	var c, d Codec
	large, small := compressible(100000), compressible(600)
	c.Compress(large)
	if _, err := d.Expand(c.Compress(large), MaxPayload); err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{large, small} {
		noAllocs(t, "codec", func() {
			if _, err := d.Expand(c.Compress(payload), MaxPayload); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A value nested a million deep costs what one of nine does.
func TestDeepNesting(t *testing.T) {
	for _, c := range []string{"\x91", "\x81\xa1k", "\xdd\x00\x00\x00\x01"} {
		b := append([]byte{TypeReliableCommand, encodingPlain}, strings.Repeat(c, 1<<19)...)
		m := new(ReliableCommand)
		noAllocs(t, "nested", func() {
			if err := Parse(b, m); !errors.Is(err, ErrDepth) {
				t.Fatal(err)
			}
		})
	}
}

func FuzzFixed(f *testing.F) {
	for _, m := range readVectors(f).Messages {
		f.Add([]byte(m.Hex))
	}
	for _, m := range readVectors(f).Refused {
		f.Add([]byte(m.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || !fixed(b[0]) {
			return
		}
		if d, err := decode(b[0], b); err == nil && !bytes.Equal(d.again, b) {
			t.Fatalf("%x re-encodes as %x", b, d.again)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, m := range readVectors(f).Messages {
		f.Add([]byte(m.Hex))
	}
	for _, m := range readVectors(f).Refused {
		f.Add([]byte(m.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || fixed(b[0]) {
			return
		}
		m, again := newMessage(b[0]), newMessage(b[0])
		if m == nil {
			return
		}
		before := allocated()
		err := Parse(b, m)
		// Texts and arguments are copied; an error says where it is.
		if after := allocated(); after-before > uint64(4*len(b)+1<<16) {
			t.Fatalf("%d bytes allocated for %d", after-before, len(b))
		}
		if err != nil {
			if Reason(err).Error() == "refused by the game" {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		first, err := Append(nil, m)
		if err != nil {
			t.Fatalf("%x is accepted and cannot be encoded: %v", b, err)
		}
		if err := Parse(first, again); err != nil {
			t.Fatalf("%x re-encodes as %x: %v", b, first, err)
		}
		if second, err := Append(nil, again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x re-encodes as %x, and that as %x, %v", b, first, second, err)
		}
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzValue compares the walk over a value with msgp's, which recurses.
func FuzzValue(f *testing.F) {
	for _, m := range readVectors(f).Messages {
		if !fixed(m.Hex[0]) {
			f.Add([]byte(m.Hex[plainHead:]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<12 {
			return
		}
		err := checkValue(b)
		rest, skipErr := msgp.Skip(b)
		switch {
		case err == nil && (skipErr != nil || len(rest) != 0):
			t.Fatalf("%x accepted; msgp leaves %d bytes, %v", b, len(rest), skipErr)
		case errors.Is(err, ErrTrailing) && (skipErr != nil || len(rest) == 0):
			t.Fatalf("%x has trailing bytes; msgp leaves %d, %v", b, len(rest), skipErr)
		case errors.Is(err, ErrMalformed) && skipErr == nil:
			t.Fatalf("%x is malformed; msgp leaves %d bytes", b, len(rest))
		}
		if err == nil {
			var text bytes.Buffer
			if _, err := msgp.UnmarshalAsJSON(&text, b); err != nil {
				t.Fatalf("%x accepted; msgp as JSON: %v", b, err)
			}
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, m := range readVectors(f).Compressed {
		f.Add([]byte(m.Packed))
	}
	for _, m := range readVectors(f).Refused {
		f.Add([]byte(m.Hex))
	}
	const limit = 1 << 16
	var c, d Codec
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := c.Expand(b, limit)
		if err != nil {
			return
		}
		if len(plain) > limit || len(plain) < len(b) {
			t.Fatalf("%d bytes expand to %d", len(b), len(plain))
		}
		plain = bytes.Clone(plain)
		again, err := c.Expand(d.Compress(plain), limit)
		if err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("%x expands to %x, and to %x after compression, %v", b, plain, again, err)
		}
	})
}

func BenchmarkPosition(b *testing.B) {
	payload := PositionUpdate{X: 1, Full: true}.AppendTo(nil)
	for b.Loop() {
		v, err := ViewPosition(payload)
		if err != nil {
			b.Fatal(err)
		}
		v.At()
	}
}

func BenchmarkPlayerAction(b *testing.B) {
	payload, err := Append(nil, &PlayerAction{Action: Cast, Target: 1, X: 2})
	if err != nil {
		b.Fatal(err)
	}
	m := new(PlayerAction)
	for b.Loop() {
		if err := Parse(payload, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	var c, d Codec
	payload := compressible(4096)
	b.SetBytes(4096)
	for b.Loop() {
		if _, err := d.Expand(c.Compress(payload), MaxPayload); err != nil {
			b.Fatal(err)
		}
	}
}
