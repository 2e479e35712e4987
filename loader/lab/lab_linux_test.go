package lab_test

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/internal/ethtool"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
)

func listen(t *testing.T, end *lab.End, addr netip.Addr) (conn *net.UDPConn) {
	t.Helper()
	err := end.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestDatagramsCross(t *testing.T) {
	l := labtest.New(t, lab.Options{Queues: 2})
	tests := []struct {
		name           string
		server, client netip.Addr
	}{
		{"ipv4", l.Server.IPv4, l.Client.IPv4},
		{"ipv6", l.Server.IPv6, l.Client.IPv6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := listen(t, &l.Server, tt.server)
			client := listen(t, &l.Client, tt.client)
			to := server.LocalAddr().(*net.UDPAddr)
			if _, err := client.WriteTo([]byte("hello"), to); err != nil {
				t.Fatal(err)
			}
			server.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 16)
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			if string(buf[:n]) != "hello" || from.Addr().Unmap() != tt.client {
				t.Errorf("received %q from %s, want %q from %s", buf[:n], from, "hello", tt.client)
			}
		})
	}
}

func TestDeviceSettings(t *testing.T) {
	l := labtest.New(t, lab.Options{Queues: 2, MTU: 1400})
	tests := []struct {
		name    string
		end     *lab.End
		setting ethtool.Setting
		want    bool
	}{
		{"server_tso", &l.Server, ethtool.TSO, false},
		{"client_tso", &l.Client, ethtool.TSO, false},
		{"server_gro", &l.Server, ethtool.GRO, true},
		{"client_gro", &l.Client, ethtool.GRO, true},
		{"client_tx", &l.Client, ethtool.TXChecksum, false},
		{"server_tx", &l.Server, ethtool.TXChecksum, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.end.Do(func() error {
				got, err := ethtool.Get(tt.end.Interface, tt.setting)
				if err == nil && got != tt.want {
					t.Errorf("%s is %v, want %v", tt.setting, got, tt.want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	err := l.Server.Do(func() error {
		dev, err := netlink.LinkByName(l.Server.Interface)
		if err != nil {
			return err
		}
		if got := dev.Attrs(); got.MTU != 1400 || got.NumRxQueues != 2 {
			t.Errorf("MTU %d with %d queues, want 1400 with 2", got.MTU, got.NumRxQueues)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Frames pass the middle whole, and it has nothing to say itself.
func TestMiddle(t *testing.T) {
	l := labtest.New(t, lab.Options{Middle: true})
	whole := []ethtool.Setting{ethtool.TXChecksum, ethtool.TSO, ethtool.GSO}
	tests := []struct {
		name      string
		in        *lab.Namespace
		device    string
		off       []ethtool.Setting
		addresses bool
	}{
		{"server", l.Server.Namespace, l.Server.Interface, whole, true},
		{"client", l.Client.Namespace, l.Client.Interface, whole, true},
		{"towards_server", l.Middle.Namespace, l.Middle.Server.Interface, append(whole, ethtool.GRO), false},
		{"towards_client", l.Middle.Namespace, l.Middle.Client.Interface, append(whole, ethtool.GRO), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.in.Do(func() error {
				for _, s := range tt.off {
					if on, err := ethtool.Get(tt.device, s); on || err != nil {
						t.Errorf("%s is %v, %v", s, on, err)
					}
				}
				dev, err := netlink.LinkByName(tt.device)
				if err != nil {
					return err
				}
				addresses, err := netlink.AddrList(dev, netlink.FAMILY_ALL)
				if (len(addresses) > 0) != tt.addresses {
					t.Errorf("addresses %v", addresses)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestClientRunsXDP(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	err := l.Client.Do(func() error {
		dev, err := netlink.LinkByName(l.Client.Interface)
		if err == nil && (dev.Attrs().Xdp == nil || !dev.Attrs().Xdp.Attached) {
			t.Error("no XDP program on the client end")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChildRunsInside(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "cat", "/proc/self/net/dev")
	cmd.Stdout = &out
	if err := l.Server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), lab.ServerInterface+":") {
		t.Errorf("child does not see %s:\n%s", lab.ServerInterface, out.String())
	}
}

func TestThreadedNAPI(t *testing.T) {
	l := labtest.New(t, lab.Options{ThreadedNAPI: true, ThreadedClient: true})
	if len(l.Server.NAPIThreads) == 0 || len(l.Client.NAPIThreads) == 0 {
		t.Errorf("threads %v at the server's end and %v at the clients'", l.Server.NAPIThreads, l.Client.NAPIThreads)
	}
	for _, pid := range slices.Concat(l.Server.NAPIThreads, l.Client.NAPIThreads) {
		// The system call has 20 for a nice value of 0, and 40 for -20.
		if p, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || p != 40 {
			t.Errorf("thread %d has priority %d, %v", pid, p, err)
		}
	}
	server := listen(t, &l.Server, l.Server.IPv4)
	client := listen(t, &l.Client, l.Client.IPv4)
	if _, err := client.WriteTo([]byte("x"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, _, err := server.ReadFromUDPAddrPort(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestCloseRemovesDevices(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	client := l.Client
	keep := listen(t, &client, l.Client.IPv4) // holds the namespace
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := keep.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 99, 0, 1), Port: 9}); err == nil {
		t.Error("a datagram still leaves through the closed lab")
	}
	if err := l.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
