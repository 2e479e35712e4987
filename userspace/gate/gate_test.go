package gate

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Outputs of the reference implementation for key 00 01 .. 0f and input
// 00 01 .. n-1 (vectors_sip64 in SipHash's own tests), as they are written.
var sipVectors = []struct {
	n    int
	want [8]byte
}{
	{0, [8]byte{0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72}},
	{1, [8]byte{0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74}},
	{2, [8]byte{0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d}},
	{3, [8]byte{0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85}},
	{4, [8]byte{0xb7, 0x87, 0x71, 0x27, 0xe0, 0x94, 0x27, 0xcf}},
	{5, [8]byte{0x8d, 0xa6, 0x99, 0xcd, 0x64, 0x55, 0x76, 0x18}},
	{6, [8]byte{0xce, 0xe3, 0xfe, 0x58, 0x6e, 0x46, 0xc9, 0xcb}},
	{7, [8]byte{0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab}},
	{8, [8]byte{0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}},
	{15, [8]byte{0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1}},
	{63, [8]byte{0x72, 0x45, 0x06, 0xeb, 0x4c, 0x32, 0x8a, 0x95}},
}

func TestSipHashReferenceVectors(t *testing.T) {
	in := make([]byte, 64)
	for i := range in {
		in[i] = byte(i)
	}
	key := CookieKey{K0: binary.LittleEndian.Uint64(in), K1: binary.LittleEndian.Uint64(in[8:])}
	for _, tt := range sipVectors {
		if got := sipHash24(key, in[:tt.n]); got != binary.LittleEndian.Uint64(tt.want[:]) {
			t.Errorf("of %d bytes: %#x, want %x reversed", tt.n, got, tt.want)
		}
	}
}

func TestCookiesOfBothSecretsHold(t *testing.T) {
	keys := CookieKeys{Keys: [2]CookieKey{{1, 2}, {3, 4}}}
	key := wire.Key{ClientPort: 5}
	old := keys.Make(wire.Standard, &key, 7)
	keys.Current = 1
	fresh := keys.Make(wire.Standard, &key, 7)
	other := key
	other.ClientPort++
	tests := []struct {
		name   string
		cookie uint64
		key    wire.Key
		isn    uint32
		want   bool
	}{
		{"older_secret", old, key, 7, true},
		{"newer_secret", fresh, key, 7, true},
		{"other_client", fresh, other, 7, false},
		{"other_sequence", fresh, key, 8, false},
		{"flipped_bit", fresh ^ 1<<40, key, 7, false},
		{"flipped_secret", fresh ^ 1, key, 7, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := keys.Check(wire.Standard, tt.cookie, &tt.key, tt.isn); got != tt.want {
				t.Errorf("Check = %v", got)
			}
		})
	}
	keys.Keys[0] = CookieKey{9, 9}
	if keys.Check(wire.Standard, old, &key, 7) {
		t.Error("a cookie outlives its secret")
	}
}

// world is a gate with one session.
type world struct {
	*Gate
	regions *commit.Regions
	key     wire.Key
	init    SessionInit
	now     uint64
	buf     []byte
	reply   [MaxReply]byte
}

func newWorld(t testing.TB, features uint32) *world {
	t.Helper()
	return newWorldOf(t, wire.Standard, features)
}

func newWorldOf(t testing.TB, profile wire.Profile, features uint32) *world {
	t.Helper()
	r, err := commit.NewMemory(commit.Geometry{Workers: 2, CPUs: 1, Slots: 8, MaxSessions: 128})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{regions: r, now: 5_000_000_000, buf: make([]byte, 0, 2048)}
	client, server := netip.MustParseAddrPort("198.51.100.1:1000"), netip.MustParseAddrPort("192.0.2.1:9000")
	if profile == wire.Compact {
		server = netip.MustParseAddrPort("192.0.2.1:9001")
	}
	cfg := Config{Ports: []uint16{9000}, CompactPorts: []uint16{9001}, Local: []netip.Addr{server.Addr()}, Features: FeatureSACK, ControlBytes: 1 << 20}
	if w.Gate, err = New(cfg, r, CookieKeys{Keys: [2]CookieKey{{1, 2}, {3, 4}}}); err != nil {
		t.Fatal(err)
	}
	w.key = wire.MakeKey(client, server)
	w.init = SessionInit{ID: 7, Slot: 70, Worker: 1, Features: features, ClientISN: 1000, ServerISN: 2000, Token: 7}
	info := commit.FlowInfo{ID: 7, Key: w.key, ClientISN: 1000, ServerISN: 2000, SndNxt: 2001, Opened: w.now}
	r.Flow(70).Open(&info, wire.ReceiveWindow)
	if err := w.Create(w.key, w.init); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) send(payload []byte) Result {
	w.now += 1000
	return w.Datagram(w.key, payload, false, w.now, 0, w.reply[:])
}

// release gives back what is in the ring, as a worker that is done with it.
func (w *world) release(rd *commit.Reader) {
	if _, idx, ok := rd.Next(); ok {
		rd.Release(idx)
		flow := w.regions.Flow(w.init.Slot)
		flow.SetReleased(flow.Released() + 1)
	}
}

// packet returns a sealed packet with one message behind the block.
func (w *world) packet(flags wire.Flags, seq, ack uint32, block *wire.AckBlock, message string) []byte {
	b := wire.Header{Sequence: seq, Ack: ack, Flags: flags, Window: 9, Timestamp: 77}.AppendTo(w.buf[:0])
	if w.init.Features&FeatureSACK != 0 {
		b = block.AppendTo(b)
	}
	if message != "" {
		b = wire.AppendMessage(b, wire.Message{Type: 1, Payload: []byte(message)})
	}
	wire.Seal(b)
	return b
}

const reliableFlags = wire.FlagACK | wire.FlagPSH

func TestReliablePacketIsKeptBeforeItIsAcknowledged(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	w.regions.SetAsleep(1)
	res := w.send(w.packet(reliableFlags, 1002, 2001, &wire.AckBlock{}, "hello"))
	if res.Outcome != TXAck || res.Worker != 1 || !res.Wake {
		t.Fatalf("%v for worker %d, wake %v", res.Outcome, res.Worker, res.Wake)
	}
	h, body, err := wire.ParseHeader(res.Reply)
	if err != nil || !wire.Verify(res.Reply) {
		t.Fatalf("reply %x: %v", res.Reply, err)
	}
	want := wire.Header{Sequence: 2001, Ack: 1003, Flags: wire.FlagACK, Window: 7, Timestamp: w.now / 1000}
	if h != want {
		t.Errorf("reply %+v, want %+v", h, want)
	}
	var block wire.AckBlock
	if rest, err := wire.ParseAckBlock(body, &block); err != nil || len(rest) != 0 || block.Echo != 77 || block.Words != 0 {
		t.Errorf("block %+v, %v", block, err)
	}
	slot, _, ok := w.regions.Reader(1).Next()
	if !ok {
		t.Fatal("acknowledged and not kept")
	}
	m, rest, err := wire.ParseMessage(slot.Body())
	if err != nil || len(rest) != 0 || string(m.Payload) != "hello" {
		t.Errorf("kept %q", slot.Body())
	}
	if slot.SessionID != 7 || slot.SessionSlot != 70 || slot.Sequence != 1002 || slot.Received != w.now ||
		slot.Timestamp != 77 || wire.Flags(slot.Flags) != reliableFlags {
		t.Errorf("slot %d %d %d %d %d %d", slot.SessionID, slot.SessionSlot, slot.Sequence, slot.Received, slot.Timestamp, slot.Flags)
	}
}

func TestFullRingAcknowledgesNothing(t *testing.T) {
	w := newWorld(t, 0)
	for seq := range uint32(8) {
		if res := w.send(w.packet(reliableFlags, 1002+seq, 2001, nil, "x")); res.Outcome != TXAck {
			t.Fatalf("packet %d: %v", seq, res.Outcome)
		}
	}
	before, _ := w.Session(w.key)
	res := w.send(w.packet(reliableFlags, 1010, 2001, nil, "x"))
	if res.Outcome != DropRingFull || len(res.Reply) != 0 {
		t.Fatalf("%v, reply %x", res.Outcome, res.Reply)
	}
	after, _ := w.Session(w.key)
	if before.Rejected++; before != after {
		t.Errorf("session changed from %+v to %+v", before, after)
	}
	rd := w.regions.Reader(1)
	_, idx, _ := rd.Next()
	rd.Release(idx)
	if res := w.send(w.packet(reliableFlags, 1010, 2001, nil, "x")); res.Outcome != TXAck {
		t.Errorf("%v with a slot free", res.Outcome)
	}
}

func TestSessionBudget(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	w.cfg.SessionBudget = 4
	flow := w.regions.Flow(70)
	steps := []struct {
		seq    uint32
		want   Outcome
		window uint16
	}{
		{1004, TXAck, 3},
		{1005, TXAck, 2},
		{1006, TXAck, 1},
		{1007, DropSessionBudget, 0}, // ahead of a gap
		{1002, TXAck, 0},
		{1003, DropSessionBudget, 0},
		{1004, TXAckDuplicate, 0},
	}
	for i, tt := range steps {
		before := flow.Advertised()
		res := w.send(w.packet(reliableFlags, tt.seq, 2001, &wire.AckBlock{}, "x"))
		if res.Outcome != tt.want {
			t.Fatalf("step %d: %v, want %v", i, res.Outcome, tt.want)
		}
		if tt.want == DropSessionBudget {
			if flow.Advertised() != before {
				t.Errorf("step %d: dropped, and the window changed", i)
			}
			continue
		}
		if h, _, _ := wire.ParseHeader(res.Reply); h.Window != tt.window || flow.Advertised() != uint32(tt.window) {
			t.Errorf("step %d: window %d, noted %d, want %d", i, h.Window, flow.Advertised(), tt.window)
		}
	}
	flow.SetReleased(2)
	res := w.send(w.packet(reliableFlags, 1003, 2001, &wire.AckBlock{}, "x"))
	if h, _, _ := wire.ParseHeader(res.Reply); res.Outcome != TXAck || h.Window != 1 {
		t.Errorf("%v with a window of %d after two were released", res.Outcome, h.Window)
	}
	// A worker that was quicker than this CPU has released more than it knows.
	flow.SetReleased(9)
	res = w.send(w.packet(reliableFlags, 1007, 2001, &wire.AckBlock{}, "x"))
	if h, _, _ := wire.ParseHeader(res.Reply); res.Outcome != TXAck || h.Window != 2 {
		t.Errorf("%v with a window of %d after more were released than came", res.Outcome, h.Window)
	}
}

func TestMarksAreTold(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	w.regions.Flow(70).SetSndNxt(2050)
	seq := uint32(1002)
	steps := []struct {
		name   string
		ce     bool
		cwr    bool
		marked bool
	}{
		{"plain", false, false, false},
		{"marked", true, false, true},
		{"still_told", false, false, true},
		{"reduced", false, true, false},
		{"not_told_any_more", false, false, false},
		{"marked_again", true, false, true},
		{"reduced_and_marked_anew", true, true, true},
	}
	for _, tt := range steps {
		flags := reliableFlags
		if tt.cwr {
			flags |= wire.FlagCWR
		}
		w.now += 1000
		res := w.Datagram(w.key, w.packet(flags, seq, 2001, &wire.AckBlock{}, "x"), tt.ce, w.now, 0, w.reply[:])
		seq++
		if h, _, _ := wire.ParseHeader(res.Reply); res.Outcome != TXAck || (h.Flags&wire.FlagECE != 0) != tt.marked {
			t.Errorf("%s: %v with flags %v", tt.name, res.Outcome, h.Flags)
		}
	}
	var state commit.FlowState
	for i, flags := range []wire.Flags{wire.FlagACK, wire.FlagACK | wire.FlagECE, wire.FlagACK | wire.FlagECE} {
		ack := 2010 - 5*uint32(i/2) // the last is stale
		w.send(w.packet(flags, seq, ack, &wire.AckBlock{Present: true, Echo: 7<<32 | uint64(i)}, ""))
	}
	w.regions.Flow(70).Peek(&state)
	// The first brought news, the second repeats it.
	if state.ECE != 1 || state.Echo != 0 {
		t.Errorf("%d marks, echo %d; want 1 and 0", state.ECE, state.Echo)
	}
	for i, tt := range []struct {
		name string
		ack  uint32
		sack uint64
		echo uint32
	}{
		{"selects", 2010, 2, 100},
		{"selects_the_same", 2010, 2, 100},
		{"selects_another", 2010, 6, 102},
		{"moves_on", 2014, 0, 103},
		{"says_it_again", 2014, 0, 103},
	} {
		block := &wire.AckBlock{Present: true, Echo: uint64(100 + i)}
		if block.Bitmap[0] = tt.sack; tt.sack != 0 {
			block.Words = 1
		}
		w.send(w.packet(wire.FlagACK, seq, tt.ack, block, ""))
		if w.regions.Flow(70).Peek(&state); state.Echo != tt.echo {
			t.Errorf("%s: echo %d, want %d", tt.name, state.Echo, tt.echo)
		}
	}
}

// TestSelections: what was selected stays so until the acknowledgement number
// passes it, wherever in the window it is.
func TestSelections(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	first := w.regions.Flow(70).Ack()
	w.regions.Flow(70).SetSndNxt(first + wire.ReceiveWindow)
	steps := []struct {
		name     string
		ack      uint32 // relative to first, as all numbers here
		offset   int
		bitmap   []uint64
		selected []uint32
		high     uint32
	}{
		{"nothing", 0, 0, nil, nil, 0},
		{"moves_on", 3, 0, nil, nil, 3},
		{"first_word", 3, 0, []uint64{1 | 1<<63}, []uint32{4, 67}, 68},
		{"end_of_the_window", 3, 15, []uint64{1 << 59}, []uint32{4, 67, 1023}, 1024},
		{"between", 3, 4, []uint64{1 << 7, 1}, []uint32{4, 67, 267, 324, 1023}, 1024},
		{"the_same", 3, 4, []uint64{1 << 7}, []uint32{4, 67, 267, 324, 1023}, 1024},
		{"passes_one", 5, 0, nil, []uint32{67, 267, 324, 1023}, 1024},
		{"up_to_the_next", 266, 0, []uint64{1}, []uint32{267, 324, 1023}, 1024},
		{"just_passes_it", 267, 0, nil, []uint32{324, 1023}, 1024},
		{"all_but_the_last", 1022, 0, nil, []uint32{1023}, 1024},
		{"all", 1024, 0, nil, nil, 1024},
	}
	for _, tt := range steps {
		block := wire.AckBlock{Present: true, Offset: tt.offset, Words: len(tt.bitmap)}
		copy(block.Bitmap[:], tt.bitmap)
		if res := w.send(w.packet(wire.FlagACK, 1002, first+tt.ack, &block, "")); res.Outcome != AbsorbAck {
			t.Fatalf("%s: %v", tt.name, res.Outcome)
		}
		state, _ := w.regions.Flow(70).Load()
		var want [commit.SackWords]uint64
		for _, n := range tt.selected {
			seq := first + n
			want[seq/64%commit.SackWords] |= 1 << (seq % 64)
		}
		if state.Ack != first+tt.ack || state.SackHigh != first+tt.high || state.Sack != want {
			t.Errorf("%s: ack %d, high %d, %x; want %d, %d, %x", tt.name,
				state.Ack-first, state.SackHigh-first, state.Sack, tt.ack, tt.high, want)
		}
	}
}

func TestCreateRefusals(t *testing.T) {
	w := newWorld(t, 0)
	other := w.key
	other.ClientPort++
	tests := []struct {
		name string
		key  wire.Key
		init SessionInit
		want error
	}{
		{"twice", w.key, w.init, ErrExists},
		{"slot_of_another_worker", other, SessionInit{Slot: 3, Worker: 1}, ErrSlot},
		{"slot_out_of_range", other, SessionInit{Slot: 128, Worker: 1}, ErrSlot},
		{"huge_slot", other, SessionInit{Slot: 0xffffffff}, ErrSlot},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.Create(tt.key, tt.init); !errors.Is(err, tt.want) {
				t.Errorf("Create = %v, want %v", err, tt.want)
			}
		})
	}
	w.Delete(w.key)
	w.Delete(w.key)
	if _, ok := w.Session(w.key); ok {
		t.Error("there after Delete")
	}
	if res := w.send(w.packet(wire.FlagACK, 1, 1, nil, "")); res.Outcome != DropNoSession {
		t.Errorf("%v after Delete", res.Outcome)
	}
}

func TestNewRefusesConfig(t *testing.T) {
	w := newWorld(t, 0)
	for _, cfg := range []Config{{MaxDatagram: 1473}, {SessionBudget: -1}, {MaxDatagram: 100}, {Ports: []uint16{9000, 0}}} {
		if _, err := New(cfg, w.regions, CookieKeys{}); err == nil {
			t.Errorf("New took %+v", cfg)
		}
	}
}

// frameOf wraps a payload in a frame with IPv4 options, so that every part of
// Frame has something to do.
func frameOf(payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0}
	b = append(b, 0x46, 0, 0, 0, 0, 0, 0, 0, 9, 17, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1, 1, 1, 1, 0)
	binary.BigEndian.PutUint16(b[20:], uint16(24+8+len(payload)))
	b = binary.BigEndian.AppendUint16(b, 1000)
	b = binary.BigEndian.AppendUint16(b, 9000)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0)
	return append(b, payload...)
}

func TestGateDoesNotAllocate(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	rd := w.regions.Reader(1)
	w.regions.Flow(70).SetSndNxt(2050)
	block := &wire.AckBlock{Present: true, Echo: 4_000_000, Words: 1, Bitmap: [4]uint64{3}}
	cookie := w.keys.Make(wire.Standard, &w.key, 55)
	hello := wire.AppendHello(nil, 55, wire.CookieSequence(cookie), wire.Options{Cookie: cookie, HasCookie: true}, 1)
	out := make([]byte, MaxReplyFrame)
	tests := []struct {
		name    string
		want    Outcome
		payload func() []byte
	}{
		{"syn", TXSYNAck, func() []byte { return wire.AppendSYN(w.buf[:0], 9, wire.Options{SACK: true}, 1) }},
		{"hello", PassHello, func() []byte { return hello }},
		{"reliable", TXAck, func() []byte {
			s := w.sessions[w.key]
			return w.packet(reliableFlags, s.Window.Next, 2001, block, "hello")
		}},
		{"duplicate", TXAckDuplicate, func() []byte { return w.packet(reliableFlags, 1002, 2001, block, "hello") }},
		{"keepalive", TXKeepalive, func() []byte {
			return w.packet(reliableFlags, w.sessions[w.key].Window.Next-1, 2001, block, "")
		}},
		{"pure_ack", AbsorbAck, func() []byte { return w.packet(wire.FlagACK, 1002, 2001, block, "") }},
		{"unreliable", PassData, func() []byte {
			return w.packet(wire.FlagACK, w.sessions[w.key].ReplayHigh+1, 2001, block, "hello")
		}},
		{"forged_ack", DropAck, func() []byte { return w.packet(wire.FlagACK, 1, 9999, block, "") }},
		{"garbage", DropTruncated, func() []byte { return w.buf[:5] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(100, func() {
				if res := w.send(tt.payload()); res.Outcome != tt.want {
					t.Fatalf("Datagram: %v, want %v", res.Outcome, tt.want)
				}
				w.release(rd)
			})
			if allocs != 0 {
				t.Errorf("Datagram: %v allocations per packet", allocs)
			}
			var frames [110][]byte
			for i := range frames {
				frames[i] = frameOf(tt.payload())
			}
			i := 0
			allocs = testing.AllocsPerRun(100, func() {
				w.Frame(frames[i], out, w.now, 0)
				i++
				w.release(rd)
			})
			if allocs != 0 {
				t.Errorf("Frame: %v allocations per packet", allocs)
			}
		})
	}
}

func TestCompactGateDoesNotAllocate(t *testing.T) {
	w := newWorldOf(t, wire.Compact, FeatureSACK)
	rd := w.regions.Reader(1)
	w.regions.Flow(70).SetSndNxt(2050)
	message := wire.AppendMessage(nil, wire.Message{Type: 1, Payload: []byte("hello")})
	block := &wire.AckBlock{Present: true, Echo: 4_000_000, Words: 1, Bitmap: [4]uint64{3}}
	packet := func(flags wire.Flags, seq uint32, block *wire.AckBlock, body []byte) []byte {
		return wire.Compact.AppendPacket(w.buf[:0], wire.Header{Sequence: seq, Ack: 2001, Flags: flags}, block, body)
	}
	tests := []struct {
		name    string
		want    Outcome
		payload func() []byte
	}{
		{"syn", TXSYNAck, func() []byte { return wire.Compact.AppendSYN(w.buf[:0], 9, wire.Options{SACK: true}, 1) }},
		{"reliable", TXAck, func() []byte { return packet(wire.FlagPSH, w.sessions[w.key].Window.Next, nil, message) }},
		{"acknowledging", TXAck, func() []byte { return packet(reliableFlags, w.sessions[w.key].Window.Next, block, message) }},
		{"duplicate", TXAckDuplicate, func() []byte { return packet(wire.FlagPSH, 1002, nil, message) }},
		{"keepalive", TXKeepalive, func() []byte { return packet(wire.FlagPSH, w.sessions[w.key].Window.Next-1, nil, nil) }},
		{"pure_ack", AbsorbAck, func() []byte { return packet(wire.FlagACK, 1002, block, nil) }},
		{"unreliable", PassData, func() []byte { return packet(0, w.sessions[w.key].ReplayHigh+1, nil, message) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(100, func() {
				if res := w.send(tt.payload()); res.Outcome != tt.want {
					t.Fatalf("%v, want %v", res.Outcome, tt.want)
				}
				w.release(rd)
			})
			if allocs != 0 {
				t.Errorf("%v allocations per packet", allocs)
			}
		})
	}
}

func TestStatsCountEveryPacketOnce(t *testing.T) {
	w := newWorld(t, FeatureSACK)
	rng := rand.New(rand.NewPCG(1, 2))
	var want [OutcomeMax]uint64
	for range 500 {
		b := w.packet(wire.Flags(rng.Uint32()), 1000+rng.Uint32N(9), 2001, &wire.AckBlock{}, "x")
		if rng.IntN(3) == 0 {
			b[rng.IntN(len(b))]++
		}
		want[w.send(b).Outcome]++
		w.release(w.regions.Reader(1))
	}
	if *w.Stats() != want {
		t.Errorf("counters %v, want %v", *w.Stats(), want)
	}
}

// FuzzDatagram checks what must hold of any payload: no panic, a reply only
// with TX and never longer than a stranger's request, nothing kept without an
// acknowledgement and the other way round.
func FuzzDatagram(f *testing.F) {
	w := newWorld(f, FeatureSACK)
	f.Add(w.packet(reliableFlags, 1002, 2001, &wire.AckBlock{}, "hello"), true)
	f.Add(wire.AppendSYN(nil, 9, wire.Options{SACK: true, MTU: 1200}, 1), false)
	compact := func(flags wire.Flags, seq uint32) []byte {
		message := wire.AppendMessage(nil, wire.Message{Type: 1, Payload: []byte("hello")})
		return wire.Compact.AppendPacket(nil, wire.Header{Sequence: seq, Ack: 2001, Flags: flags}, nil, message)
	}
	f.Add(compact(wire.FlagPSH, 1002), false)
	f.Add(compact(wire.FlagACK, 1001), false)
	f.Add(wire.Compact.AppendSYN(nil, 9, wire.Options{SACK: true, HasControl: true}, 1), false)
	f.Fuzz(func(t *testing.T, payload []byte, seal bool) {
		if seal && len(payload) >= wire.HeaderSize {
			wire.Seal(payload)
		}
		for _, kind := range []struct {
			profile wire.Profile
			known   bool
		}{{wire.Standard, true}, {wire.Standard, false}, {wire.Compact, true}, {wire.Compact, false}} {
			known := kind.known
			w := newWorldOf(t, kind.profile, FeatureSACK)
			if !known {
				w.Delete(w.key)
			}
			res := w.send(payload)
			if (len(res.Reply) > 0) != (res.Outcome.Verdict() == TX) {
				t.Fatalf("%v with a reply of %d bytes", res.Outcome, len(res.Reply))
			}
			if !known && len(res.Reply) > len(payload) {
				t.Fatalf("%d bytes answered with %d", len(payload), len(res.Reply))
			}
			if len(res.Reply) > 0 && !kind.profile.Verify(res.Reply) {
				t.Fatalf("reply %x has a wrong checksum", res.Reply)
			}
			if kept := w.regions.Reader(1).Pending() == 1; kept != (res.Outcome == TXAck) {
				t.Fatalf("%v, kept %v", res.Outcome, kept)
			}
		}
	})
}

func BenchmarkDatagram(b *testing.B) {
	w := newWorld(b, FeatureSACK)
	rd := w.regions.Reader(1)
	payload := append([]byte(nil), w.packet(reliableFlags, 1002, 2001, &wire.AckBlock{}, string(make([]byte, 64)))...)
	b.ReportAllocs()
	for b.Loop() {
		binary.BigEndian.PutUint32(payload, w.sessions[w.key].Window.Next)
		wire.Seal(payload)
		if res := w.send(payload); res.Outcome != TXAck {
			b.Fatal(res.Outcome)
		}
		w.release(rd)
	}
}
