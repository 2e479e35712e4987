package bench

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/relay"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

// relayHere runs servers within the process, without XDP.
type relayHere struct{ started, stopped int }

func (s *relayHere) Start(_ context.Context, t Transport) (*RelayServer, error) {
	if t == TransportXDP {
		return nil, errors.Join(ErrTransport, errNoXDP)
	}
	regions, err := commit.NewMemory(commit.Geometry{Workers: 1, CPUs: 1, Slots: 1024, MaxSessions: 256})
	if err != nil {
		return nil, err
	}
	g, err := gate.New(gate.Config{Features: gate.FeatureSACK}, regions, gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}})
	if err != nil {
		return nil, err
	}
	sockets, err := transport.ListenUDP(transport.UDPOptions{Address: netip.MustParseAddr("127.0.0.1"), Ports: []uint16{0}})
	if err != nil {
		return nil, err
	}
	group, err := worker.NewGroup([]worker.Options{{
		Regions: regions, Transport: sockets[0], Gate: g, NoPin: true, Logger: zerolog.Nop(),
		Handler: worker.Game(game.Options{Kinds: []game.Kind{relay.Kind()}}),
	}})
	if err != nil {
		return nil, err
	}
	group.Start()
	s.started++
	return &RelayServer{
		Address: sockets[0].Addrs()[0].String(),
		CPUTime: func() time.Duration { return 0 },
		Stop: func() error {
			s.stopped++
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return group.Shutdown(ctx)
		},
	}, nil
}

func (s *relayHere) In(f func() error) error { return f() }
func (s *relayHere) Kernel() time.Duration   { return 0 }

func TestRelay(t *testing.T) {
	servers := &relayHere{}
	r, err := Relay(context.Background(), servers, RelayOptions{Duration: 500 * time.Millisecond, WarmUp: 100 * time.Millisecond, Max: 12})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 1 || !strings.Contains(r.WhyNot, errNoXDP.Error()) {
		t.Fatalf("rows %v, why not %q", r.Rows, r.WhyNot)
	}
	row := r.Rows[0]
	if row.Transport != TransportUDP || len(row.Tried) == 0 {
		t.Fatalf("row %+v", row)
	}
	room := row.Tried[0]
	if room.Players != 12 || room.Failed != "" {
		t.Fatalf("first room %+v, want one of 12", room)
	}
	// However slow the machine is, what arrives is what was published.
	if room.Delivered <= 0 || room.Delivered > 1 || room.MessagesPerSecond <= 0 || room.PacketsPerSecond <= 0 {
		t.Errorf("delivered %g, %g messages and %g packets per second", room.Delivered, room.MessagesPerSecond, room.PacketsPerSecond)
	}
	if room.StalenessP50 <= 0 || room.StalenessP99 < room.StalenessP50 {
		t.Errorf("staleness %g and %g ms", room.StalenessP50, room.StalenessP99)
	}
	if servers.started != servers.stopped || servers.started != len(row.Tried) {
		t.Errorf("%d servers started and %d stopped for %d rooms", servers.started, servers.stopped, len(row.Tried))
	}
	var text bytes.Buffer
	r.Write(&text)
	for _, want := range []string{"| udp | 12 |", "staleness p50", r.Machine.Kernel} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
}

func TestRelayStopsServerOnError(t *testing.T) {
	servers := &relayHere{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Relay(ctx, servers, RelayOptions{Duration: time.Second}); !errors.Is(err, context.Canceled) {
		t.Errorf("Relay = %v with a context that is done", err)
	}
	if servers.started == 0 || servers.started != servers.stopped {
		t.Errorf("%d servers started and %d stopped", servers.started, servers.stopped)
	}
}
