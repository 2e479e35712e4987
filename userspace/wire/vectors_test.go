package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// hexBytes is a string of hexadecimal digits in JSON.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(hexBytes{}, text)
	return err
}

// hex64 is a 64-bit number, which JSON writes as "0x" and 16 digits.
type hex64 uint64

func (n *hex64) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	*n = hex64(v)
	return err
}

// The structs below mirror testdata/vectors/README.md.

type packetVector struct {
	Name    string
	Profile string
	To      string
	SACK    bool
	Hex     hexBytes
	decodedPacket
}

type decodedPacket struct {
	Error    string
	Kind     string
	Header   headerVector
	Options  *optionsVector
	AckBlock *ackBlockVector `json:"ack_block"`
	Messages []messageVector
	Reason   Reason
	Token    uint32
}

type headerVector struct {
	Sequence, Ack uint32
	Flags         []string
	Window        uint16
	Checksum      uint16
	Priority      uint8
	Timestamp     hex64
}

type optionsVector struct {
	Cookie  *hex64
	SACK    bool
	MTU     uint16
	Control *uint32
	Unknown bool // the packet holds bytes that re-encoding leaves out
}

type ackBlockVector struct {
	Present bool
	Echo    hex64
	Delay   uint32
	Offset  int
	Bitmap  []hex64
}

type messageVector struct {
	Type, Channel uint8
	Unordered     bool
	ID            uint16
	Payload       hexBytes
}

func loadVectors(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", name))
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
}

func loadPackets(t testing.TB) []packetVector {
	t.Helper()
	var file struct{ Packets []packetVector }
	loadVectors(t, "packets.json", &file)
	for i, p := range file.Packets {
		if p.Profile == "" {
			file.Packets[i].Profile = Standard.String()
		}
	}
	return file.Packets
}

// profile is how the packet is written.
func (v *packetVector) profile(t testing.TB) Profile {
	t.Helper()
	p, err := ParseProfile(v.Profile)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decode reads a packet on its own, in the order of checks that PROTOCOL.md
// gives. A failed check leaves its name in Error and nothing else.
func decode(p Profile, packet []byte, toServer, sack bool) decodedPacket {
	refuse := func(why string) decodedPacket { return decodedPacket{Error: why} }

	h, body, err := p.ParseHeader(packet)
	legal := p.LegalAtClient
	if toServer {
		legal = p.LegalAtServer
	}
	switch {
	case err != nil:
		return refuse("truncated")
	case len(packet) > MaxDatagramLimit:
		return refuse("oversize")
	case !legal(&h):
		return refuse("flags")
	case !p.Verify(packet):
		return refuse("checksum")
	}

	var d decodedPacket
	if p == Compact {
		d.Header = describeCompact(h, packet)
	} else {
		d.Header = describeHeader(h, packet)
	}
	switch {
	case h.Flags == FlagSYN:
		if len(packet) < MinSYN {
			return refuse("syn_length")
		}
		opts, err := ParseSYNOptions(body)
		if err != nil {
			return refuse("syn_option")
		}
		d.Kind, d.Options = "syn", describeOptions(opts)
		return d
	case h.Flags == FlagSYN|FlagACK:
		_, opts, err := p.ParseSYNACK(packet)
		if err != nil {
			return refuse("syn_ack")
		}
		d.Kind, d.Options = "syn_ack", describeOptions(opts)
		return d
	case p.IsHello(&h, body):
		opts, err := ParseHello(body)
		if err != nil {
			return refuse("hello")
		}
		d.Kind, d.Options = "hello", describeOptions(opts)
		return d
	case h.Flags&FlagRST != 0:
		if p == Compact && len(body) == ReasonSize+4 {
			d.Token = binary.BigEndian.Uint32(body[ReasonSize:])
		}
		if d.Reason, err = p.ParseReset(&h, body, d.Token); err != nil {
			return refuse("reset")
		}
		d.Kind = "reset"
		return d
	}

	var a AckBlock
	if body, err = p.ParseBlock(&h, sack, body, &a); err != nil {
		return refuse("ack_block")
	}
	if sack && h.Flags&FlagACK != 0 {
		d.AckBlock = describeAckBlock(a)
	}
	reliable := h.Flags&FlagPSH != 0
	switch {
	case h.Flags&FlagFIN != 0:
		d.Kind, d.Reason, err = reasonOf("fin", body)
	case len(body) == 0 && (h.Fragment || h.Flags&(FlagACK|FlagPSH) == 0):
		return refuse("message")
	case len(body) == 0 && reliable:
		d.Kind = "keepalive"
	case len(body) == 0:
		d.Kind = "ack"
	default:
		d.Kind = "unreliable"
		if reliable {
			d.Kind = "reliable"
		}
		if _, err = p.CheckMessages(&h, body); err == nil {
			d.Messages, err = describeMessages(body)
		}
	}
	if err != nil {
		return refuse("message")
	}
	return d
}

func reasonOf(kind string, body []byte) (string, Reason, error) {
	reason, err := ParseReason(body)
	return kind, reason, err
}

func describeHeader(h Header, packet []byte) headerVector {
	return headerVector{
		Sequence: h.Sequence, Ack: h.Ack, Flags: strings.Split(h.Flags.String(), "|"),
		Window: h.Window, Checksum: Checksum(packet), Timestamp: hex64(h.Timestamp),
	}
}

var compactNames = []string{"ACK", "SYN", "FIN", "RST", "FRAG", "URGENT", "REL", "ECE"}

// describeCompact has the numbers as they travel.
func describeCompact(h Header, packet []byte) headerVector {
	v := headerVector{
		Sequence: uint32(uint16(h.Sequence)), Ack: uint32(uint16(h.Ack)), Window: h.Window,
		Priority: h.Priority, Timestamp: hex64(h.Timestamp), Flags: []string{},
	}
	for i, name := range compactNames {
		if packet[2]>>i&1 != 0 {
			v.Flags = append(v.Flags, name)
		}
	}
	if h.Flags&FlagCWR != 0 {
		v.Flags = append(v.Flags, "CWR")
	}
	return v
}

func describeOptions(o Options) *optionsVector {
	v := &optionsVector{SACK: o.SACK, MTU: o.MTU}
	if o.HasCookie {
		v.Cookie = (*hex64)(&o.Cookie)
	}
	if o.HasControl {
		v.Control = &o.Control
	}
	return v
}

func describeAckBlock(a AckBlock) *ackBlockVector {
	v := &ackBlockVector{Present: a.Present, Echo: hex64(a.Echo), Delay: a.Delay, Offset: a.Offset}
	if a.Present {
		v.Bitmap = []hex64{}
	}
	for _, word := range a.Bitmap[:a.Words] {
		v.Bitmap = append(v.Bitmap, hex64(word))
	}
	return v
}

func describeMessages(body []byte) ([]messageVector, error) {
	n, err := CheckMessages(body)
	if err != nil {
		return nil, err
	}
	var out []messageVector
	for range n {
		m, rest, err := ParseMessage(body)
		if err != nil {
			return nil, err
		}
		out = append(out, messageVector{
			Type: m.Type, Channel: m.Channel &^ Unordered, Unordered: m.Channel&Unordered != 0,
			ID: m.ID, Payload: hexBytes(m.Payload),
		})
		body = rest
	}
	return out, nil
}

// encode writes the packet that was described, but for what d.Options.Unknown
// stands for.
func encode(p Profile, d *decodedPacket, size int) []byte {
	h := Header{
		Sequence: d.Header.Sequence, Ack: d.Header.Ack, Priority: d.Header.Priority,
		Window: d.Header.Window, Timestamp: uint64(d.Header.Timestamp),
	}
	alias := strings.NewReplacer("REL", "PSH", "URGENT", "URG")
	for bit := range 8 {
		for _, name := range d.Header.Flags {
			if f := Flags(1 << bit); f.String() == alias.Replace(name) {
				h.Flags |= f
			}
		}
	}
	var opts Options
	if d.Options != nil {
		opts = Options{SACK: d.Options.SACK, MTU: d.Options.MTU}
		if d.Options.Cookie != nil {
			opts.Cookie, opts.HasCookie = uint64(*d.Options.Cookie), true
		}
		if d.Options.Control != nil {
			opts.Control, opts.HasControl = *d.Options.Control, true
		}
	}
	switch d.Kind {
	case "syn":
		b := p.AppendSYN(nil, h.Sequence, opts, h.Timestamp)
		b = append(b, make([]byte, max(0, size-len(b)))...)
		if p == Standard {
			Seal(b)
		}
		return b
	case "syn_ack":
		return p.AppendSYNACK(nil, h.Ack-1, opts, h.Timestamp)
	case "hello":
		return p.AppendHello(nil, h.Sequence-1, h.Ack-1, opts, h.Timestamp)
	case "reset":
		return p.AppendReset(nil, h, d.Reason, d.Token)
	}

	var a *AckBlock
	if v := d.AckBlock; v != nil {
		a = &AckBlock{Present: v.Present, Echo: uint64(v.Echo), Delay: v.Delay, Offset: v.Offset, Words: len(v.Bitmap)}
		for i, word := range v.Bitmap {
			a.Bitmap[i] = uint64(word)
		}
	}
	var b []byte
	for _, m := range d.Messages {
		channel := m.Channel
		if m.Unordered {
			channel |= Unordered
		}
		b = AppendMessage(b, Message{Type: m.Type, Channel: channel, ID: m.ID, Payload: m.Payload})
	}
	if d.Reason != 0 {
		b = append(b, byte(d.Reason))
	}
	return p.AppendPacket(nil, h, a, b)
}

func TestPacketVectors(t *testing.T) {
	kinds := map[string]int{}
	for _, tt := range loadPackets(t) {
		t.Run(tt.Name, func(t *testing.T) {
			if tt.To != "server" && tt.To != "client" {
				t.Fatalf("to %q", tt.To)
			}
			profile := tt.profile(t)
			kinds[profile.String()+tt.Kind+tt.Error]++
			want := tt.decodedPacket
			unknown := want.Options != nil && want.Options.Unknown
			if unknown {
				want.Options.Unknown = false
			}
			got := decode(profile, tt.Hex, tt.To == "server", tt.SACK)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("decoded %s\nwant    %s", inJSON(t, got), inJSON(t, want))
			}
			if tt.Error != "" {
				return
			}
			again := encode(profile, &want, len(tt.Hex))
			if same := bytes.Equal(again, tt.Hex); same == unknown {
				t.Errorf("encoded %x\nwant    %x, unknown parts: %v", again, []byte(tt.Hex), unknown)
			}
			eachTruncation(tt.Hex, func(b []byte) { decode(profile, b, tt.To == "server", tt.SACK) })
		})
	}
	for _, kind := range []string{
		"syn", "syn_ack", "hello", "ack", "keepalive", "reliable", "unreliable", "fin", "reset",
		"truncated", "oversize", "flags", "checksum", "syn_length", "syn_option", "ack_block", "message",
	} {
		if kinds["standard"+kind] == 0 {
			t.Errorf("no vector for %s", kind)
		}
		if kinds["compact"+kind] == 0 && kind != "checksum" && kind != "syn_option" {
			t.Errorf("no compact vector for %s", kind)
		}
	}
}

func inJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}

func TestConversationVectors(t *testing.T) {
	for _, name := range []string{"conversation.json", "compact_conversation.json"} {
		t.Run(name, func(t *testing.T) { testConversation(t, name) })
	}
}

func testConversation(t *testing.T, name string) {
	packets := map[string]packetVector{}
	for _, p := range loadPackets(t) {
		packets[p.Name] = p
	}
	var file struct {
		Client, Server string
		Secrets        []map[string]string
		Secret         int
		MaxDatagram    int    `json:"max_datagram"`
		ClientISN      uint32 `json:"client_isn"`
		ServerISN      uint32 `json:"server_isn"`
		Token          uint32
		Steps          []struct {
			Time                         uint64
			From, Packet, Outcome, Reply string
			Opens                        bool
		}
	}
	loadVectors(t, name, &file)
	opened := 0
	for i, step := range file.Steps {
		p, ok := packets[step.Packet]
		if !ok || p.Error != "" || (p.To == "server") != (step.From == "client") {
			t.Fatalf("step %d: %q is not a packet from the %s", i, step.Packet, step.From)
		}
		if step.Opens {
			opened++
			if p.Kind != "hello" || uint16(p.Header.Sequence-file.ClientISN) != 1 || uint16(p.Header.Ack-file.ServerISN) != 1 {
				t.Errorf("step %d: %q opens no session of these initial sequences", i, step.Packet)
			}
		}
		if step.Reply == "" {
			continue
		}
		reply, ok := packets[step.Reply]
		if !ok || reply.To != "client" {
			t.Fatalf("step %d: %q is no reply to the client", i, step.Reply)
		}
		if got := uint64(reply.Header.Timestamp); got != step.Time && (p.Profile == "standard" || uint32(got) != uint32(step.Time)) {
			t.Errorf("step %d: reply is stamped %d at %d", i, got, step.Time)
		}
		if reply.AckBlock != nil && reply.AckBlock.Echo != p.Header.Timestamp {
			t.Errorf("step %d: reply echoes %#x, want %#x", i, reply.AckBlock.Echo, p.Header.Timestamp)
		}
	}
	if opened != 1 {
		t.Errorf("%d steps open the session, want 1", opened)
	}
}

func TestFrameVectors(t *testing.T) {
	type answer struct{ Payload, Frame hexBytes }
	var file struct {
		Frames []struct {
			Name                string
			Hex                 hexBytes
			Verdict             string
			IPv6                bool
			VLANs               int
			Source, Destination netip.AddrPort
			L3, L4, Payload     int
			PayloadLength       int `json:"payload_length"`
			Group               bool
			BadLength           bool `json:"bad_length"`
			Answer              *answer
		}
	}
	loadVectors(t, "frames.json", &file)
	for _, tt := range file.Frames {
		t.Run(tt.Name, func(t *testing.T) {
			f, v := ParseFrame(tt.Hex)
			if v.String() != tt.Verdict {
				t.Fatalf("verdict %v, want %s", v, tt.Verdict)
			}
			if v != FrameUDP {
				return
			}
			want := Frame{
				Key: MakeKey(tt.Source, tt.Destination), VLANs: tt.VLANs, L3: tt.L3, L4: tt.L4,
				Payload: tt.Payload, PayloadLen: tt.PayloadLength, IPv6: tt.IPv6,
				Group: tt.Group, BadLength: tt.BadLength,
			}
			if f != want {
				t.Errorf("located %+v, want %+v", f, want)
			}
			if tt.Answer == nil {
				return
			}
			var template FrameTemplate
			template.Answer(tt.Hex, &f)
			out := make([]byte, template.Len+len(tt.Answer.Payload))
			copy(out[template.Len:], tt.Answer.Payload)
			out = out[:template.Build(out, len(tt.Answer.Payload))]
			if !bytes.Equal(out, tt.Answer.Frame) {
				t.Errorf("answered %x\nwant     %x", out, []byte(tt.Answer.Frame))
			}
		})
	}
}

func TestCookieVectors(t *testing.T) {
	var file struct {
		Secrets []struct{ K0, K1 hex64 }
		Cookies []struct {
			Profile        string
			Client, Server netip.AddrPort
			Sequence       uint32
			Secret         int
			Input          hexBytes
			Cookie         hex64
			ServerSequence uint32 `json:"server_sequence"`
			Token          uint32
		}
	}
	loadVectors(t, "cookies.json", &file)
	for _, tt := range file.Cookies {
		profile := Standard
		if tt.Profile == "compact" {
			profile = Compact
		}
		t.Run(fmt.Sprintf("%v_%v_secret_%d_sequence_%x", profile, tt.Client, tt.Secret, tt.Sequence), func(t *testing.T) {
			key := MakeKey(tt.Client, tt.Server)
			var b [KeySize]byte
			key.Put(&b)
			input := binary.BigEndian.AppendUint32(b[:], tt.Sequence)
			if profile == Compact {
				input = append(input, 2)
			}
			if !bytes.Equal(input, tt.Input) {
				t.Errorf("input %x, want %x", input, []byte(tt.Input))
			}
			if got := profile.ServerSequence(uint64(tt.Cookie)); got != tt.ServerSequence {
				t.Errorf("server sequence %#x, want %#x", got, tt.ServerSequence)
			}
			if got := profile.ResetToken(uint64(tt.Cookie)); got != tt.Token {
				t.Errorf("token %#x, want %#x", got, tt.Token)
			}
			if got := CookieKeyIndex(uint64(tt.Cookie)); got != tt.Secret {
				t.Errorf("secret %d, want %d", got, tt.Secret)
			}
		})
	}
}
