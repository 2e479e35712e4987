package gate

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// hex64 is a 64-bit number, which the vectors write as "0x" and digits.
type hex64 uint64

func (n *hex64) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	*n = hex64(v)
	return err
}

type secretVector struct{ K0, K1 hex64 }

func cookieKeys(secrets []secretVector, current int) CookieKeys {
	keys := CookieKeys{Current: uint32(current)}
	for i, s := range secrets {
		keys.Keys[i] = CookieKey{K0: uint64(s.K0), K1: uint64(s.K1)}
	}
	return keys
}

func loadVectors(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", name))
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
}

func TestCookieVectors(t *testing.T) {
	var file struct {
		Secrets []secretVector
		Cookies []struct {
			Profile        string
			Client, Server netip.AddrPort
			Sequence       uint32
			Secret         int
			Cookie         hex64
		}
	}
	loadVectors(t, "cookies.json", &file)
	var seen [2]int
	for _, tt := range file.Cookies {
		profile, other := wire.Standard, wire.Compact
		if tt.Profile == "compact" {
			profile, other = other, profile
		}
		seen[profile]++
		keys := cookieKeys(file.Secrets, tt.Secret)
		key := wire.MakeKey(tt.Client, tt.Server)
		if got := keys.Make(profile, &key, tt.Sequence); got != uint64(tt.Cookie) {
			t.Errorf("%v, %v, secret %d, sequence %#x: cookie %#x, want %#x",
				profile, tt.Client, tt.Secret, tt.Sequence, got, uint64(tt.Cookie))
		}
		keys.Current ^= 1
		if !keys.Check(profile, uint64(tt.Cookie), &key, tt.Sequence) {
			t.Errorf("%v, %v, secret %d: cookie refused after rotation", profile, tt.Client, tt.Secret)
		}
		if keys.Check(other, uint64(tt.Cookie), &key, tt.Sequence) {
			t.Errorf("%v, %v, secret %d: cookie serves in the other profile", profile, tt.Client, tt.Secret)
		}
	}
	if seen[wire.Standard] == 0 || seen[wire.Compact] == 0 {
		t.Errorf("vectors by profile: %v", seen)
	}
}

// TestConversationVectors plays a session's life and compares every outcome
// and reply.
func TestConversationVectors(t *testing.T) {
	for _, name := range []string{"conversation.json", "compact_conversation.json"} {
		t.Run(name, func(t *testing.T) { testConversation(t, name) })
	}
}

func testConversation(t *testing.T, name string) {
	var packets struct {
		Packets []struct {
			Name, Hex, Kind string
			Header          struct{ Sequence uint32 }
			Messages        []json.RawMessage
		}
	}
	loadVectors(t, "packets.json", &packets)
	payloads, reliable := map[string][]byte{}, map[string]uint32{}
	for _, p := range packets.Packets {
		b, err := hex.DecodeString(p.Hex)
		if err != nil {
			t.Fatalf("packet %s: %v", p.Name, err)
		}
		payloads[p.Name] = b
		if p.Kind == "reliable" {
			reliable[p.Name] = p.Header.Sequence
		}
	}
	var file struct {
		Client, Server netip.AddrPort
		Secrets        []secretVector
		Secret         int
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

	regions, err := commit.NewMemory(commit.Geometry{Workers: 1, CPUs: 1, Slots: 4096, MaxSessions: 64})
	if err != nil {
		t.Fatalf("make regions: %v", err)
	}
	if _, err := commit.Recover(regions, 0); err != nil {
		t.Fatalf("fill ring: %v", err)
	}
	compactPorts := []uint16{7778}
	g, err := New(Config{Features: FeatureSACK, Sockets: true, CompactPorts: compactPorts}, regions, cookieKeys(file.Secrets, file.Secret))
	if err != nil {
		t.Fatalf("make gate: %v", err)
	}
	key := wire.MakeKey(file.Client, file.Server)
	flow := regions.Flow(0)
	buf := make([]byte, MaxReply)
	for i, step := range file.Steps {
		payload := payloads[step.Packet]
		if step.From == "server" {
			if seq, ok := reliable[step.Packet]; ok {
				next := flow.SndNxt()
				flow.SetSndNxt(next + uint32(uint16(seq-next)) + 1)
			}
			continue
		}
		got := g.Datagram(key, payload, false, step.Time*1000, 0, buf)
		if got.Outcome.String() != step.Outcome {
			t.Fatalf("step %d, %s: outcome %v, want %s", i, step.Packet, got.Outcome, step.Outcome)
		}
		if want := payloads[step.Reply]; !bytes.Equal(got.Reply, want) {
			t.Errorf("step %d, %s: reply %x, want %x", i, step.Packet, got.Reply, want)
		}
		if step.Opens {
			flow.Open(&commit.FlowInfo{
				ID: 1, Key: key, ClientISN: file.ClientISN, ServerISN: file.ServerISN, SndNxt: file.ServerISN + 1,
				Token: file.Token,
			}, wire.ReceiveWindow)
			init := SessionInit{
				ID: 1, Features: FeatureSACK, ClientISN: file.ClientISN, ServerISN: file.ServerISN, Token: file.Token,
			}
			if err := g.Create(key, init); err != nil {
				t.Fatalf("open session: %v", err)
			}
		}
	}
}

func TestSequenceVectors(t *testing.T) {
	var file struct {
		Acks []struct {
			Una, Next, Ack uint32
			Result         string
		}
		ReceiveWindow []struct {
			Next     uint32
			Held     []uint32
			Sequence uint32
			Result   string
		} `json:"receive_window"`
		Replay struct {
			ISN     uint32
			Packets []struct {
				Sequence uint32
				Accepted bool
			}
		}
	}
	loadVectors(t, "sequences.json", &file)

	regions, err := commit.NewMemory(commit.Geometry{Workers: 1, CPUs: 1, Slots: 64, MaxSessions: 64})
	if err != nil {
		t.Fatalf("make regions: %v", err)
	}
	names := map[ackKind]string{ackFresh: "fresh", ackStale: "stale", ackForged: "forged"}
	for _, tt := range file.Acks {
		flow := regions.Flow(0)
		flow.Open(&commit.FlowInfo{SndNxt: tt.Una}, 0)
		flow.SetSndNxt(tt.Next)
		if got := names[relate(flow, tt.Ack)]; got != tt.Result {
			t.Errorf("acknowledged %d of %d to %d: %s, want %s", tt.Ack, tt.Una, tt.Next, got, tt.Result)
		}
	}
	for _, tt := range file.ReceiveWindow {
		var w reliability.ReceiveWindow
		w.Reset(tt.Next)
		for _, seq := range tt.Held {
			w.Mark(seq)
		}
		if got := w.Classify(tt.Sequence).String(); got != tt.Result {
			t.Errorf("sequence %d with %d expected and %d held: %s, want %s", tt.Sequence, tt.Next, tt.Held, got, tt.Result)
		}
	}
	s := NewSessionState(SessionInit{ClientISN: file.Replay.ISN})
	for i, tt := range file.Replay.Packets {
		if got := s.unseen(tt.Sequence); got != tt.Accepted {
			t.Errorf("packet %d, sequence %#x: accepted %v, want %v", i, tt.Sequence, got, tt.Accepted)
		}
	}
}
