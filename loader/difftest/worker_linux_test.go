package difftest

import (
	"net/netip"
	"testing"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// The program and its twin send the HELLOs of a client to the same worker,
// whatever the cookie: of two, only one has a socket.
func TestHelloMeetsOneWorker(t *testing.T) {
	pin(t)
	k := newKernel(t, 64)
	if err := k.onCPU(usableCPUs()[0]); err != nil {
		t.Fatal(err)
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}}
	if err := k.configure(gate.Config{MaxDatagram: wire.MaxDatagramLimit, Features: gate.FeatureSACK, Sockets: true}, keys); err != nil {
		t.Fatal(err)
	}
	if err := k.gate.Map("xsks").Delete(uint32(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for the kernel's own clean-up
		if err := k.gate.Map("xsks").Put(uint32(1), uint32(k.sockets[1])); err != nil {
			t.Error(err)
		}
	})
	sockets := 0
	const ports = 200
	for i := range ports {
		for _, addr := range []string{"198.51.100.7", "2001:db8::77"} {
			client := netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(30000+i))
			server := netip.MustParseAddrPort("192.0.2.1:9000")
			if client.Addr().Is6() {
				server = netip.MustParseAddrPort("[2001:db8::1]:9000")
			}
			key := wire.MakeKey(client, server)
			want := gate.RedirectHello
			if key.Hash()%2 == 1 {
				want = gate.PassHello
			} else {
				sockets++
			}
			for isn := range uint32(3) {
				cookie := keys.Make(wire.Standard, &key, isn)
				hello := wire.AppendHello(nil, isn, wire.CookieSequence(cookie), wire.Options{Cookie: cookie, HasCookie: true}, 1)
				n := copy(k.in[:], wrap(nil, link{v6: client.Addr().Is6()}, &key, hello))
				if _, got, _, err := k.frame(n); err != nil || got != want {
					t.Fatalf("HELLO of %v: %v, %v, want %v", client, got, err, want)
				}
			}
		}
	}
	if sockets < ports/2 || sockets > ports*3/2 {
		t.Errorf("%d of %d clients go to the first worker", sockets, 2*ports)
	}
}
