package bench

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

// localServers has no XDP.
type localServers struct{ started, stopped int }

var errNoXDP = errors.New("not in this test")

func (s *localServers) Start(_ context.Context, t Transport) (string, func() error, error) {
	if t == TransportXDP {
		return "", nil, errors.Join(ErrTransport, errNoXDP)
	}
	regions, err := commit.NewMemory(commit.Geometry{Workers: 1, CPUs: 1, Slots: 1024, MaxSessions: 256})
	if err != nil {
		return "", nil, err
	}
	g, err := gate.New(gate.Config{Features: gate.FeatureSACK}, regions, gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}})
	if err != nil {
		return "", nil, err
	}
	sockets, err := transport.ListenUDP(transport.UDPOptions{Address: netip.MustParseAddr("127.0.0.1"), Ports: []uint16{0}})
	if err != nil {
		return "", nil, err
	}
	group, err := worker.NewGroup([]worker.Options{{
		Regions: regions, Transport: sockets[0], Gate: g, NoPin: true, Handler: worker.Game(plaza.Options()), Logger: zerolog.Nop(),
	}})
	if err != nil {
		return "", nil, err
	}
	group.Start()
	s.started++
	return sockets[0].Addrs()[0].String(), func() error {
		s.stopped++
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return group.Shutdown(ctx)
	}, nil
}

func (s *localServers) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "udp", address)
}

func TestEcho(t *testing.T) {
	servers := &localServers{}
	r, err := Echo(context.Background(), servers, EchoOptions{Sessions: 20, Rate: 50, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.XDP != nil || !strings.Contains(r.WhyNot, errNoXDP.Error()) {
		t.Errorf("XDP %v, why not %q", r.XDP, r.WhyNot)
	}
	u := r.UDP
	if u == nil {
		t.Fatal("nothing measured over UDP")
	}
	if u.Sent < 900 || u.Sent > 1000 || u.Missing != 0 {
		t.Errorf("%d messages sent, %d not echoed, want about 1000 and none", u.Sent, u.Missing)
	}
	if uint64(u.Echo.Samples) != u.Sent {
		t.Errorf("%d echoes measured, want %d", u.Echo.Samples, u.Sent)
	}
	// Small messages share packets only where sending is held up.
	if u.Ack.Samples == 0 || uint64(u.Ack.Samples) > u.Sent {
		t.Errorf("%d acknowledgements measured of %d messages", u.Ack.Samples, u.Sent)
	}
	for _, d := range []Distribution{u.Ack, u.Echo} {
		if d.P50 <= 0 || d.P99 < d.P50 || d.P999 < d.P99 || d.Max < d.P999 {
			t.Errorf("distribution %+v makes no sense", d)
		}
	}
	if servers.started != 2 || servers.stopped != 2 {
		t.Errorf("%d servers started and %d stopped, want 2 and 2", servers.started, servers.stopped)
	}
	var text bytes.Buffer
	r.Write(&text)
	for _, want := range []string{"UDP acknowledgement", "UDP echo by a worker", "p99.9", r.Machine.Kernel} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
	}
}

func TestEchoStopsServerOnError(t *testing.T) {
	servers := &localServers{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Echo(ctx, servers, EchoOptions{Sessions: 2, Duration: time.Second}); err == nil {
		t.Error("Echo = nil with a context that is done")
	}
	if servers.started != servers.stopped {
		t.Errorf("%d servers started and %d stopped", servers.started, servers.stopped)
	}
}
