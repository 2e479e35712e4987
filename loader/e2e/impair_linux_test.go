package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	xrudpd "github.com/xrudp/xrudp/cmd/xrudpd/serve"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/bots"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/worker"
)

// TestBots has bots play in either profile, over a path with everything that
// paths do to packets, both ways.
func TestBots(t *testing.T) {
	tests := []struct {
		mode    string
		profile client.Profile
	}{
		{config.ModeNative, client.Standard},
		{config.ModeNative, client.Compact},
		{config.ModeGeneric, client.Compact},
		{config.ModeUDP, client.Compact},
	}
	for _, tt := range tests {
		t.Run(tt.mode+"_"+tt.profile.String(), func(t *testing.T) { testBots(t, tt.mode, tt.profile) })
	}
}

func testBots(t *testing.T, mode string, profile client.Profile) {
	const compactPort = port + 1
	bad := impair.Conditions{Link: impair.Link{
		Delay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.02, Corrupt: 0.02,
		Reorder: 0.05, ReorderDelay: 15 * time.Millisecond,
	}}
	l := labtest.New(t, lab.Options{Middle: true})
	stage, err := impair.Start(context.Background(), l, impair.Options{ToServer: bad, ToClient: bad})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	}()

	cfg := config.Default()
	cfg.Instance = fmt.Sprintf("e2e-%d", os.Getpid())
	cfg.Interface, cfg.Mode, cfg.Workers = lab.ServerInterface, mode, 1
	cfg.CompactListen = fmt.Sprintf(":%d", compactPort)
	cfg.MaxSessions, cfg.CommitSlots, cfg.StateDir = 64, 1024, t.TempDir()
	var server *xrudpd.Server
	err = l.Server.Do(func() (err error) {
		server, err = xrudpd.Open(cfg, worker.Game(plaza.Options()), zerolog.Nop())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		_ = loader.Remove(loader.DefaultPinRoot, cfg.Instance)
	}()
	server.Start()

	address := netip.AddrPortFrom(l.Server.IPv4, port)
	if profile == client.Compact {
		address = netip.AddrPortFrom(l.Server.IPv4, compactPort)
	}
	check, err := bots.New(bots.Options{
		Server: address.String(),
		Bots:   12, Rooms: 2, Rate: 20, Duration: 3 * time.Second,
		Client: client.Options{
			Profile:      profile,
			CloseTimeout: 10 * time.Second,
			DialUDP: func(ctx context.Context, address string) (conn net.Conn, err error) {
				err = l.Client.Do(func() (err error) {
					var d net.Dialer
					conn, err = d.DialContext(ctx, "udp", address)
					return err
				})
				return conn, err
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := check.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean || r.Sent < 12*20 || r.Retransmitted == 0 {
		t.Errorf("bots: %+v", r)
	}
	st, err := server.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Gate[gate.TXAck] == 0 {
		t.Error("the gate acknowledged nothing")
	}
	for d, name := range map[impair.Direction]string{impair.ToServer: "to the server", impair.ToClient: "to the clients"} {
		s := stage.Stats(d)
		t.Logf("%s: %+v", name, s)
		if s.Lost == 0 || s.Duplicated == 0 || s.Corrupted == 0 {
			t.Errorf("%s, the path was good: %+v", name, s)
		}
		if s.Missed+s.TooLong+s.Unsent+s.Refused != 0 {
			t.Errorf("%s, the stage could not follow: %+v", name, s)
		}
	}
}
