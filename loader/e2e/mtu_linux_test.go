package e2e

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/wire"
)

// narrow sets the MTU of both ends of the lab.
func (w *world) narrow(mtu int) {
	w.t.Helper()
	for _, end := range []*lab.End{&w.lab.Server, &w.lab.Client} {
		err := end.Do(func() error {
			link, err := netlink.LinkByName(end.Interface)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(link, mtu)
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestPathMTU has messages of 300 KB echoed over a link whose MTU changes. What the
// clients' socket refuses to send and what the link drops counts as lost, and every
// message comes back once.
func TestPathMTU(t *testing.T) {
	for _, mode := range []string{string(loader.ModeNative), string(loader.ModeGeneric)} {
		for _, profile := range []struct {
			name      string
			mtu, want int
		}{{"1500", 1500, wire.MaxDatagramLimit}, {"1280", 1280, 1280 - 28}} {
			t.Run(mode+"_"+profile.name, func(t *testing.T) {
				w := newWorld(t, mode, commit.Geometry{Workers: 1, Slots: 1024, MaxSessions: 64})
				server := w.start()
				w.narrow(profile.mtu)
				var returned atomic.Int64
				seen := make(map[uint32]bool)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				conn, err := client.Dial(ctx, w.setup.Address.String(), client.Options{
					CloseTimeout: 10 * time.Second,
					Handler: func(_ *client.Conn, m client.Message) {
						_, index, _ := parseLabel(m.Payload)
						if !isWhole(m.Payload) || seen[index] {
							t.Errorf("message %d is damaged, or came again: %v", index, seen[index])
						}
						seen[index] = true
						returned.Add(1)
					},
					DialUDP: func(ctx context.Context, address string) (conn net.Conn, err error) {
						err = w.lab.Client.Do(func() (err error) {
							var d net.Dialer
							conn, err = d.DialContext(ctx, "udp", address)
							return err
						})
						return conn, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				payload := make([]byte, 300_000)
				sent := uint32(0)
				// echo has messages echoed until cond holds.
				echo := func(what string, cond func(st client.Stats) bool) {
					t.Helper()
					eventually(t, what, func() bool {
						if int64(sent) < returned.Load()+2 {
							putLabel(payload, 0, sent, sent)
							if conn.Send(client.ReliableOrdered, 1, kindEcho, payload) == nil {
								sent++
							}
						}
						return cond(conn.Stats())
					})
				}
				echo("a path MTU", func(st client.Stats) bool { return st.PathMTU == profile.want })
				if profile.mtu == 1500 {
					w.narrow(1280)
					echo("a black hole", func(st client.Stats) bool { return st.BlackHoles == 1 && st.PathMTU == wire.MaxDatagram })
				}
				eventually(t, "echoes", func() bool { return returned.Load() == int64(sent) })
				if st := conn.Stats(); profile.mtu != 1500 && st.BlackHoles != 0 {
					t.Errorf("%+v", st)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				server.quit()
			})
		}
	}
}
