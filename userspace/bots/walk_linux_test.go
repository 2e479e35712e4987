package bots

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game"
	rooms "github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/worker"
)

type walker struct{ At, Velocity game.Vec }

func walkerSchema(t *testing.T) *snapshot.Schema[walker] {
	t.Helper()
	axis := func(k int) snapshot.Field[walker] {
		return snapshot.Axis(func(s *walker) *float32 { return &s.At[k] }, snapshot.Range{Min: -100, Max: 100, Resolution: 0.01},
			func(s *walker) *float32 { return &s.Velocity[k] }, snapshot.Range{Min: -100, Max: 100, Resolution: 0.1})
	}
	schema, err := snapshot.NewSchema(time.Second/60, axis(0), axis(1), axis(2))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// field is a room in which everybody has a walker.
type field struct{ world *game.World[walker] }

func (f *field) Join(p *game.Player) error {
	id, _ := f.world.Add(walker{})
	f.world.Assign(p, id)
	return nil
}

func (f *field) Leave(p *game.Player, _ game.Why) {
	if id, ok := f.world.Entity(p); ok {
		f.world.Remove(id)
	}
}

func (f *field) Tick(game.Tick) {}

// newField runs a server of fields, and returns its address and how to play there.
func newField(t *testing.T) (address string, o rooms.Options[walker]) {
	t.Helper()
	schema := walkerSchema(t)
	position := func(s *walker) *game.Vec { return &s.At }
	address = newServer(t, worker.Game(game.Options{Kinds: []game.Kind{{
		Name: "field", New: func(r *game.Room) game.Logic {
			return &field{game.NewWorld(r, game.WorldOptions[walker]{Schema: schema, Position: position})}
		},
	}}}))
	return address, rooms.Options[walker]{Schema: schema, Position: position}
}

// TestPlayersWalkOverUDP has two players walk apart, each of whom sees the other
// arrive, and then be gone.
func TestPlayersWalkOverUDP(t *testing.T) {
	address, opts := newField(t)
	var players [2]*rooms.Player[walker]
	for i := range players {
		p, err := rooms.Dial(t.Context(), address, client.Options{}, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Join(rooms.Join{Game: "field", Name: "walker"}); err != nil {
			t.Fatal(err)
		}
		players[i] = p
	}
	frame := time.NewTicker(time.Second / 60)
	defer frame.Stop()
	until := func(what string, done func() bool) {
		t.Helper()
		for range 60 * 60 {
			<-frame.C
			for _, p := range players {
				for _, e := range p.Update(p.Now()) {
					if e.Kind == rooms.Disconnected || e.Kind == rooms.Refused {
						t.Fatalf("%v: %+v", e.Kind, e)
					}
				}
			}
			if done() {
				return
			}
		}
		t.Fatalf("waited for %s in vain: %+v, %+v", what, players[0].Stats(), players[1].Stats())
	}
	sees := func(p *rooms.Player[walker], id rooms.ID, x float32) bool {
		for _, e := range p.View(nil) {
			if e.ID == id && e.State.At[0] > x-0.1 && e.State.At[0] < x+0.1 {
				return true
			}
		}
		return false
	}
	until("a place", func() bool {
		_, a := players[0].At()
		_, b := players[1].At()
		return a && b
	})
	var ids [2]rooms.ID
	for i, p := range players {
		ids[i], _ = p.Own()
	}
	until("each to arrive", func() bool {
		for i, p := range players {
			at, _ := p.At()
			to := []float32{-10, 10}[i]
			at[0] += min(max(to-at[0], -0.2), 0.2)
			p.Move(at, [4]float32{})
		}
		return sees(players[0], ids[1], 10) && sees(players[1], ids[0], -10)
	})
	if err := players[1].Close(); err != nil {
		t.Fatal(err)
	}
	left := players[0]
	players[1] = left
	until("the other to be gone", func() bool { return len(left.View(nil)) == 1 })
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
}

// cut is a socket over which nothing comes any more once it is cut.
type cut struct {
	*net.UDPConn
	is atomic.Bool
}

func (c *cut) Read(b []byte) (int, error) {
	for {
		n, err := c.UDPConn.Read(b)
		if err != nil || !c.is.Load() {
			return n, err
		}
	}
}

func (c *cut) Write(b []byte) (int, error) {
	if c.is.Load() {
		return len(b), nil
	}
	return c.UDPConn.Write(b)
}

// TestPlayerComesBack cuts a player's connection, who goes on in its room by another.
func TestPlayerComesBack(t *testing.T) {
	address, opts := newField(t)
	var socket atomic.Pointer[cut] // the newest
	p, err := rooms.Dial(t.Context(), address, client.Options{
		Reconnect: true, IdleTimeout: time.Second, KeepaliveInterval: 200 * time.Millisecond,
		DialUDP: func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "udp", address)
			if err != nil {
				return nil, err
			}
			c := &cut{UDPConn: conn.(*net.UDPConn)}
			socket.Store(c)
			return c, nil
		},
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Join(rooms.Join{Game: "field", Name: "walker", Room: 77}); err != nil {
		t.Fatal(err)
	}
	frame := time.NewTicker(time.Second / 60)
	defer frame.Stop()
	var players []uint32
	lost := false
	for range 60 * 60 {
		<-frame.C
		for _, e := range p.Update(p.Now()) {
			switch e.Kind {
			case rooms.Joined:
				if e.Room != 77 {
					t.Errorf("joined %+v", e)
				}
				players = append(players, e.Player)
			case rooms.Placed:
				if !lost && len(players) == 1 {
					socket.Load().is.Store(true)
				}
			case rooms.Disconnected:
				lost = true
			case rooms.Refused, rooms.Left:
				t.Fatalf("%v: %+v", e.Kind, e)
			default:
			}
		}
		if _, placed := p.At(); lost && placed && len(p.View(nil)) > 0 {
			if len(players) < 2 || players[0] == players[1] {
				t.Errorf("was in the room as %v", players)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Fatalf("did not come back: %+v", p.Stats())
}
