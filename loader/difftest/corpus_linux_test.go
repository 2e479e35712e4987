package difftest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

var update = flag.Bool("update", false, "write testdata/packets from the cases in this package")

// The corpus: named cases, each a few frames that arrive at a gate in the same
// state, with how each leaves.
const corpusFile = "../../testdata/packets/gate.json"

type corpus struct {
	Setup    corpusSetup     `json:"setup"`
	Sessions []corpusSession `json:"sessions"`
	Cases    []corpusCase    `json:"cases"`
}

type corpusSetup struct {
	Ports       []uint16     `json:"ports"`
	Compact     []uint16     `json:"compact_ports"`
	Local       []netip.Addr `json:"local"`
	MaxDatagram int          `json:"max_datagram"`
	SACK        bool         `json:"sack"`
	Control     uint32       `json:"control_bytes"`
	Budget      int          `json:"session_budget"`
	Workers     int          `json:"workers"`
	Slots       int          `json:"slots"` // per commit ring
	MaxSessions int          `json:"max_sessions"`
	Secrets     [2][2]hex64  `json:"secrets"`
	Current     uint32       `json:"current"`
}

type corpusSession struct {
	Client    netip.AddrPort `json:"client"`
	Server    netip.AddrPort `json:"server"`
	ID        uint64         `json:"id"`
	Slot      uint32         `json:"slot"`
	Worker    uint32         `json:"worker"`
	SACK      bool           `json:"sack"`
	ClientISN uint32         `json:"client_isn"`
	ServerISN uint32         `json:"server_isn"`
	Token     uint32         `json:"token,omitempty"`
	SndNxt    uint32         `json:"snd_nxt"`
}

type corpusCase struct {
	Name   string        `json:"name"`
	Frames []corpusFrame `json:"frames"`
}

type corpusFrame struct {
	Now     uint64   `json:"now_ns"`
	Frame   hexBytes `json:"frame"`
	Outcome string   `json:"outcome"`
	Reply   hexBytes `json:"reply,omitempty"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type hex64 uint64

func (n hex64) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#016x", uint64(n)), nil }

func (n *hex64) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	*n = hex64(v)
	return err
}

func loadCorpus(t *testing.T) *corpus {
	t.Helper()
	text, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	var c corpus
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatalf("read %s: %v", corpusFile, err)
	}
	if len(c.Cases) == 0 {
		t.Fatalf("%s has no cases", corpusFile)
	}
	return &c
}

func (c *corpus) setup() setup {
	s := setup{config: gate.Config{
		MaxDatagram: c.Setup.MaxDatagram, Ports: c.Setup.Ports, CompactPorts: c.Setup.Compact, Local: c.Setup.Local,
		ControlBytes: c.Setup.Control, SessionBudget: c.Setup.Budget,
	}}
	if c.Setup.SACK {
		s.config.Features = gate.FeatureSACK
	}
	for i, secret := range c.Setup.Secrets {
		s.keys.Keys[i] = gate.CookieKey{K0: uint64(secret[0]), K1: uint64(secret[1])}
	}
	s.keys.Current = c.Setup.Current
	return s
}

// steps are what brings a gate into the state the cases start from.
func (c *corpus) steps() (steps []step) {
	for _, s := range c.Sessions {
		open := step{kind: stepOpen, key: wire.MakeKey(s.Client, s.Server), init: gate.SessionInit{
			ID: s.ID, Slot: s.Slot, Worker: s.Worker, ClientISN: s.ClientISN, ServerISN: s.ServerISN, Token: s.Token,
		}}
		if s.SACK {
			open.init.Features = gate.FeatureSACK
		}
		steps = append(steps, open, step{kind: stepSndNxt, n: int(s.Slot), value: s.SndNxt})
	}
	return steps
}

// twinOf returns a gate as the cases find it.
func (c *corpus) twinOf(t *testing.T) *gate.Gate {
	t.Helper()
	r, err := commit.NewMemory(commit.Geometry{
		Workers: c.Setup.Workers, CPUs: 1, Slots: c.Setup.Slots, MaxSessions: c.Setup.MaxSessions,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := c.setup()
	g, err := gate.New(s.config, r, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range c.steps() {
		if st.kind == stepSndNxt {
			r.Flow(uint32(st.n)).SetSndNxt(st.value)
			continue
		}
		info := commit.FlowInfo{ID: st.init.ID, Key: st.key, ClientISN: st.init.ClientISN, ServerISN: st.init.ServerISN, SndNxt: st.init.ServerISN + 1}
		r.Flow(st.init.Slot).Open(&info, wire.ReceiveWindow)
		if err := g.Create(st.key, st.init); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// TestCorpusTwin runs the corpus through the Go gate, and with -update writes
// the file anew with the replies it gives.
func TestCorpusTwin(t *testing.T) {
	var c *corpus
	if *update {
		c = newCorpus()
	} else {
		c = loadCorpus(t)
	}
	var out [gate.MaxReplyFrame]byte
	for i := range c.Cases {
		tt := &c.Cases[i]
		t.Run(tt.Name, func(t *testing.T) {
			g := c.twinOf(t)
			for n := range tt.Frames {
				f := &tt.Frames[n]
				outcome, reply := g.Frame(f.Frame, out[:], f.Now, 0)
				if outcome.String() != f.Outcome {
					t.Errorf("frame %d: %v, want %s", n, outcome, f.Outcome)
				}
				if *update {
					f.Reply = bytes.Clone(reply)
				}
				if !bytes.Equal(reply, f.Reply) {
					t.Errorf("frame %d: reply\n%x, want\n%x", n, reply, []byte(f.Reply))
				}
			}
		})
	}
	if *update && !t.Failed() {
		c.write(t)
	}
}

func (c *corpus) write(t *testing.T) {
	t.Helper()
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(corpusFile), 0o755)
	}
	if err == nil {
		err = os.WriteFile(corpusFile, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCorpusXDP runs the corpus through the XDP program, beside the twin.
func TestCorpusXDP(t *testing.T) {
	c := loadCorpus(t)
	p := newPair(t, c.Setup.Slots)
	for _, tt := range c.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			pin(t)
			if err := p.reset(c.setup()); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.steps() {
				if err := p.apply(&s); err != nil {
					t.Fatal(err)
				}
			}
			for n, f := range tt.Frames {
				before := p.seen
				if err := p.apply(&step{kind: stepFrame, frame: f.Frame}); err != nil {
					t.Fatalf("frame %d: %v", n, err)
				}
				for outcome := range gate.OutcomeMax {
					if p.seen[outcome] != before[outcome] && outcome.String() != f.Outcome {
						t.Errorf("frame %d: %v, want %s", n, outcome, f.Outcome)
					}
				}
			}
			if err := p.compareAll(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestCorpusNamesEveryOutcome keeps the corpus complete. Sockets are the
// sequences' business.
func TestCorpusNamesEveryOutcome(t *testing.T) {
	named := map[string]bool{}
	names := map[string]bool{}
	for _, tt := range loadCorpus(t).Cases {
		if names[tt.Name] {
			t.Errorf("two cases named %s", tt.Name)
		}
		names[tt.Name] = true
		for _, f := range tt.Frames {
			named[f.Outcome] = true
		}
	}
	for outcome := range gate.OutcomeMax {
		if outcome.Verdict() != gate.Redirect && outcome != gate.AbortedReply && !named[outcome.String()] {
			t.Errorf("no case leaves by %v", outcome)
		}
	}
}
