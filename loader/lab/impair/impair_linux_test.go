package impair_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/simnet"
)

func start(t testing.TB, opts impair.Options) (*lab.Lab, *impair.Stage) {
	t.Helper()
	l := labtest.New(t, lab.Options{Middle: true})
	opts.Seed = 7
	s, err := impair.Start(context.Background(), l, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close stage: %v", err)
		}
	})
	return l, s
}

func listen(t testing.TB, end *lab.End, addr netip.Addr) (conn *net.UDPConn) {
	t.Helper()
	err := end.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetReadBuffer(4 << 20)
	return conn
}

// pair opens a socket at either end.
func pair(t testing.TB, l *lab.Lab) (server, client *net.UDPConn) {
	return listen(t, &l.Server, l.Server.IPv4), listen(t, &l.Client, l.Client.IPv4)
}

// strangers is how many frames the kernel may send by itself meanwhile: it
// reports the IPv6 groups that it listens to.
const strangers = 8

// settled waits until nothing is on its way, and checks that no frame was
// forgotten.
func settled(t testing.TB, s *impair.Stage, d impair.Direction, sent uint64) impair.Stats {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	st := s.Stats(d)
	for ; st.Sent < sent || st.OnTheWay > 0; st = s.Stats(d) {
		if time.Now().After(deadline) {
			t.Fatalf("of %d frames: %+v", sent, st)
		}
		time.Sleep(time.Millisecond)
	}
	if st.Missed+st.TooLong+st.Unsent+st.Refused != 0 {
		t.Errorf("the stage could not follow: %+v", st)
	}
	if st.Sent > sent+strangers || st.Sent+st.Duplicated != st.Lost+st.Dropped+st.Delivered {
		t.Errorf("frames do not add up for %d: %+v", sent, st)
	}
	return st
}

// shoot sends numbered datagrams to the server in bursts, and returns the
// numbers in the order of arrival.
func shoot(t testing.TB, s *impair.Stage, server, client *net.UDPConn, n int) (numbers []uint32) {
	t.Helper()
	const burst = 50
	before := s.Stats(impair.ToServer)
	b := make([]byte, 100)
	for i := range n {
		binary.BigEndian.PutUint32(b, uint32(i))
		if _, err := client.WriteTo(b, server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if i%burst == burst-1 {
			for s.Stats(impair.ToServer).Sent < before.Sent+uint64(i+1) {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	st := settled(t, s, impair.ToServer, before.Sent+uint64(n))
	most := st.Delivered - before.Delivered - (st.Corrupted - before.Corrupted)
	drain(server, most-min(most, strangers), func() error {
		if _, err := server.Read(b); err != nil {
			return err
		}
		numbers = append(numbers, binary.BigEndian.Uint32(b))
		return nil
	})
	if got := uint64(len(numbers)); got > most || got+strangers < most {
		t.Errorf("%d datagrams arrived, %d were delivered", got, most)
	}
	return numbers
}

// drain reads at least so many datagrams, and what else has arrived by then.
func drain(conn *net.UDPConn, least uint64, read func() error) {
	for n := uint64(0); ; n++ {
		patience := 5 * time.Second
		if n >= least {
			patience = 50 * time.Millisecond
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		if read() != nil {
			return
		}
	}
}

func TestDatagramsCross(t *testing.T) {
	l, s := start(t, impair.Options{})
	tests := []struct {
		name           string
		server, client netip.Addr
	}{
		{"ipv4", l.Server.IPv4, l.Client.IPv4},
		{"ipv6", l.Server.IPv6, l.Client.IPv6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, client := listen(t, &l.Server, tt.server), listen(t, &l.Client, tt.client)
			numbers := shoot(t, s, server, client, 1000)
			for i, number := range numbers {
				if int(number) != i {
					t.Fatalf("datagram %d in place of %d", number, i)
				}
			}
		})
	}
	if st := s.Stats(impair.ToClient); st.Sent > strangers {
		t.Errorf("somebody answered: %+v", st)
	}
}

func TestTrouble(t *testing.T) {
	const n = 4000
	l, s := start(t, impair.Options{})
	server, client := pair(t, l)
	near := func(got uint64, share float64) bool {
		return float64(got) > 0.8*share*n && float64(got) < 1.2*share*n
	}
	tests := []struct {
		name string
		link impair.Link
		ok   func(was, is impair.Stats, numbers []uint32) bool
	}{
		{"loss", impair.Link{Loss: 0.2}, func(was, is impair.Stats, numbers []uint32) bool {
			return near(is.Lost-was.Lost, 0.2) && slices.IsSorted(numbers)
		}},
		{"duplicate", impair.Link{Duplicate: 0.2}, func(was, is impair.Stats, numbers []uint32) bool {
			return near(is.Duplicated-was.Duplicated, 0.2) && near(uint64(len(numbers)-n), 0.2)
		}},
		{"corrupt", impair.Link{Corrupt: 0.2}, func(was, is impair.Stats, numbers []uint32) bool {
			return near(is.Corrupted-was.Corrupted, 0.2) && slices.IsSorted(numbers)
		}},
		{"reorder", impair.Link{Reorder: 0.2, ReorderDelay: 5 * time.Millisecond}, func(_, _ impair.Stats, numbers []uint32) bool {
			return len(numbers) == n && !slices.IsSorted(numbers)
		}},
		{"jitter", impair.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond}, func(_, _ impair.Stats, numbers []uint32) bool {
			return len(numbers) == n && !slices.IsSorted(numbers)
		}},
		{"bursts", impair.Link{Bursts: simnet.Bursts(0.2, 5)}, func(was, is impair.Stats, numbers []uint32) bool {
			gaps := uint64(0)
			for i := 1; i < len(numbers); i++ {
				if numbers[i] != numbers[i-1]+1 {
					gaps++
				}
			}
			lost := is.Lost - was.Lost
			return near(lost, 0.2) && lost > 3*gaps && lost < 7*gaps
		}},
		{"nothing", impair.Link{}, func(_, _ impair.Stats, numbers []uint32) bool {
			return len(numbers) == n && slices.IsSorted(numbers)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			was := s.Stats(impair.ToServer)
			s.Set(impair.ToServer, impair.Conditions{Link: tt.link})
			numbers := shoot(t, s, server, client, n)
			if is := s.Stats(impair.ToServer); !tt.ok(was, is, numbers) {
				t.Errorf("%d arrived, from %+v to %+v", len(numbers), was, is)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	const there, back = 20 * time.Millisecond, 10 * time.Millisecond
	l, _ := start(t, impair.Options{
		ToServer: impair.Conditions{Link: impair.Link{Delay: there}},
		ToClient: impair.Conditions{Link: impair.Link{Delay: back}},
	})
	server, client := pair(t, l)
	var trips []time.Duration
	b := make([]byte, 16)
	for range 20 {
		started := time.Now()
		if _, err := client.WriteTo(b, server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		for _, hop := range []struct{ at, next *net.UDPConn }{{server, client}, {client, nil}} {
			hop.at.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := hop.at.Read(b); err != nil {
				t.Fatal(err)
			}
			if hop.next != nil {
				if _, err := hop.at.WriteTo(b, hop.next.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
		}
		trips = append(trips, time.Since(started))
	}
	slices.Sort(trips)
	if least := trips[0]; least < there+back {
		t.Errorf("a round trip took %v, want %v at least", least, there+back)
	}
	// Of a busy machine only the middle says something.
	if middle := trips[len(trips)/2]; middle > there+back+10*time.Millisecond {
		t.Errorf("round trips took %v, want %v or a little more", middle, there+back)
	}
}

// A bottleneck lets as much through as it says, marks what it holds up if that
// can be marked, and drops what exceeds its queue.
func TestRate(t *testing.T) {
	const (
		payload, frame = 458, 500
		perSecond      = 500_000 // 1,000 frames
		queue, mark    = 100, 50
	)
	l, s := start(t, impair.Options{ToServer: impair.Conditions{Rate: impair.Rate{
		PerSecond: perSecond, Queue: impair.Limit{Packets: queue}, Mark: impair.Limit{Packets: mark},
	}}})
	tests := []struct {
		name           string
		server, client netip.Addr
		level, option  int
		receive        int
		frame          int
	}{
		{"ipv4", l.Server.IPv4, l.Client.IPv4, unix.IPPROTO_IP, unix.IP_TOS, unix.IP_RECVTOS, frame},
		{"ipv6", l.Server.IPv6, l.Client.IPv6, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS, frame + 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const sent = 300
			server, client := listen(t, &l.Server, tt.server), listen(t, &l.Client, tt.client)
			setOption(t, client, tt.level, tt.option, 2) // ECT(0)
			setOption(t, server, tt.level, tt.receive, 1)
			was := s.Stats(impair.ToServer)
			began := time.Now()
			for range sent {
				if _, err := client.WriteTo(make([]byte, payload), server.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			is := settled(t, s, impair.ToServer, was.Sent+sent)
			took := time.Since(began)
			delivered := is.Delivered - was.Delivered
			if delivered < queue || is.Dropped-was.Dropped < sent/4 {
				t.Errorf("of %d: from %+v to %+v", sent, was, is)
			}
			// The stage slept a little longer than the frames took.
			if least := time.Duration(delivered) * time.Second * time.Duration(tt.frame) / perSecond; took < least-time.Millisecond || took > 3*least {
				t.Errorf("%d frames took %v, want %v", delivered, took, least)
			}
			marked := uint64(0)
			b, oob := make([]byte, payload), make([]byte, 64)
			drain(server, delivered-strangers, func() error {
				_, n, _, _, err := server.ReadMsgUDPAddrPort(b, oob)
				if err == nil && trafficClass(t, oob[:n])&3 == 3 {
					marked++
				}
				return err
			})
			if marked == 0 || marked != is.Marked-was.Marked || marked > delivered-mark {
				t.Errorf("%d of %d frames arrived marked: from %+v to %+v", marked, delivered, was, is)
			}
		})
	}
}

func setOption(t *testing.T, conn *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func trafficClass(t *testing.T, oob []byte) byte {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	return messages[0].Data[0]
}

// TCP sends long frames and unfinished checksums where a device allows it.
func TestTCP(t *testing.T) {
	bad := impair.Conditions{Link: impair.Link{Loss: 0.005, Corrupt: 0.005, Delay: time.Millisecond}}
	l, s := start(t, impair.Options{ToServer: bad, ToClient: bad})
	var listener net.Listener
	err := l.Server.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(l.Server.IPv4, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	echoed := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(conn, conn)
			conn.Close()
		}
		echoed <- err
	}()
	var conn net.Conn
	err = l.Client.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	want := make([]byte, 2<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	go func() {
		if _, err := conn.Write(want); err == nil {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d came back, equal: %v, %v", len(got), len(want), bytes.Equal(got, want), err)
	}
	if err := <-echoed; err != nil {
		t.Error(err)
	}
	for _, d := range []impair.Direction{impair.ToServer, impair.ToClient} {
		if st := s.Stats(d); st.TooLong+st.Missed+st.Unsent != 0 || st.Lost == 0 || st.Corrupted == 0 {
			t.Errorf("frames: %+v", st)
		}
	}
}

// Nothing crosses when nobody forwards.
func TestEndsWithContext(t *testing.T) {
	open := openFiles(t)
	l := labtest.New(t, lab.Options{Middle: true})
	ctx, cancel := context.WithCancel(context.Background())
	before := openFiles(t)
	s, err := impair.Start(ctx, l, impair.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, client := pair(t, l)
	if got := shoot(t, s, server, client, 10); len(got) != 10 {
		t.Errorf("%d of 10 datagrams arrived", len(got))
	}
	server.Close()
	client.Close()
	cancel()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files, %d before the stage", after, before)
	}
	server, client = pair(t, l)
	if _, err := client.WriteTo([]byte("x"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("a datagram crosses without a stage")
	}
	server.Close()
	client.Close()
	if err := l.Close(); err != nil {
		t.Errorf("close lab: %v", err)
	}
	if after := openFiles(t); after > open {
		t.Errorf("%d open files, %d before the lab", after, open)
	}
}

// A stage whose lab goes away ends by itself and says so.
func TestLabCloses(t *testing.T) {
	l := labtest.New(t, lab.Options{Middle: true})
	s, err := impair.Start(context.Background(), l, impair.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("the stage does not miss its interfaces")
	}
}

func TestNeedsMiddle(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := impair.Start(context.Background(), l, impair.Options{}); err == nil {
		t.Error("started without a middle")
	}
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func BenchmarkStage(b *testing.B) {
	l, s := start(b, impair.Options{ToServer: impair.Conditions{Link: impair.Link{Delay: 10 * time.Millisecond}}})
	server, client := pair(b, l)
	packet := make([]byte, 1200)
	for i := 0; b.Loop(); i++ {
		if _, err := client.WriteTo(packet, server.LocalAddr()); err != nil {
			b.Fatal(err)
		}
		for i%64 == 0 && s.Stats(impair.ToServer).Sent+128 < uint64(i) {
			time.Sleep(50 * time.Microsecond)
		}
	}
	st := settled(b, s, impair.ToServer, uint64(b.N))
	b.ReportMetric(float64(st.Delivered)/b.Elapsed().Seconds(), "frames/s")
}
