package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/wire"
)

// The room that is measured.
const (
	roomTicks     = 60 // per second
	roomSnapshots = 20 // per second and player
	roomClaims    = 20 // positions per second and player
	roomRadius    = 50 // units that a player sees
	roomTrip      = 50 * time.Millisecond
	roomWarmUp    = time.Second
	roomKept      = 20 // snapshots, by a player: full after the warm-up
	roomSample    = 8  // one snapshot of so many is also counted in full

	roomServerCPU, roomClientCPU = 1, 0
)

// RoomOptions adjust Room. The zero value works.
type RoomOptions struct {
	// Players are the sizes of rooms. Default 250, 500, 1000, 2000 and 4000.
	Players []int
	// Duration is how long each room is measured, after a second. Default 10 s.
	Duration time.Duration
	// Seen is how many others are within a player's sight, about. Default 30.
	Seen int
	// Seed is that of the players' walks. Default 1.
	Seed uint64
}

func (o *RoomOptions) fillDefaults() {
	if len(o.Players) == 0 {
		o.Players = []int{250, 500, 1000, 2000, 4000}
	}
	o.Duration = cmp.Or(o.Duration, 10*time.Second)
	o.Seen = cmp.Or(o.Seen, 30)
	o.Seed = cmp.Or(o.Seed, 1)
}

func (o *RoomOptions) validate() error {
	for _, n := range o.Players {
		if n < 1 || n > 20_000 {
			return fmt.Errorf("room of %d players: not from 1 to 20000", n)
		}
	}
	if o.Seen < 1 || o.Seen > 20_000 {
		return fmt.Errorf("%d others within sight: not from 1 to 20000", o.Seen)
	}
	if o.Duration < 0 {
		return errors.New("negative duration")
	}
	return nil
}

// RoomResult is what rooms in which everybody moves cost a server, on one CPU.
type RoomResult struct {
	Rows []RoomRow `json:"rows"`

	TickRate     int     `json:"ticks_per_second"`
	SnapshotRate int     `json:"snapshots_per_second"`
	ClaimRate    int     `json:"positions_per_second"`
	Radius       float64 `json:"radius"`
	RoundTrip    float64 `json:"rtt_ms"`
	Seconds      float64 `json:"seconds_per_room"`
	Machine      Machine `json:"machine"`
}

// RoomRow is what was measured in one room.
type RoomRow struct {
	Players int     `json:"players"`
	Seen    float64 `json:"seen"` // others that a player is told of, on average

	// Ticks are from applying positions to the last finished packet.
	TickP50 float64 `json:"tick_p50_ms"`
	TickP99 float64 `json:"tick_p99_ms"`
	TickMax float64 `json:"tick_max_ms"`
	// TickCPU is the same in CPU time, without what other programs took.
	TickCPUP50 float64 `json:"tick_cpu_p50_ms"`
	TickCPUP99 float64 `json:"tick_cpu_p99_ms"`
	Ticks      int     `json:"ticks"`
	Lost       uint64  `json:"ticks_lost"` // for want of time

	// ServerCPU is the share of a CPU that the server's thread used, with the
	// positions and acknowledgements that came between ticks.
	ServerCPU float64 `json:"server_cpu"`

	// BytesDelta are those of snapshots for one player per second, BytesFull
	// those that the same snapshots have in full.
	BytesFull  float64 `json:"bytes_full"`
	BytesDelta float64 `json:"bytes_delta"`
	Ratio      float64 `json:"ratio"`

	// BytesSent is all UDP payload for one player per second.
	BytesSent float64 `json:"bytes_sent"`

	// Snapshots is how many a player got per second: fewer where the server
	// thinned them out.
	Snapshots float64 `json:"snapshots"`
	Refused   uint64  `json:"snapshots_refused"` // that a player could not decode
}

// Room measures rooms of players who walk about and see those around them: how
// long ticks take, and how many bytes snapshots have. The server's node is the real
// one, on a thread of its own, down to the packets of its sessions; the players are
// on another. Time is real. A done ctx ends it within the room.
func Room(ctx context.Context, opts RoomOptions) (*RoomResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &RoomResult{
		TickRate: roomTicks, SnapshotRate: roomSnapshots, ClaimRate: roomClaims, Radius: roomRadius,
		RoundTrip: roomTrip.Seconds() * 1e3, Seconds: opts.Duration.Seconds(), Machine: ThisMachine(),
	}
	for _, n := range opts.Players {
		row, err := measureRoom(ctx, n, opts)
		if err != nil {
			return nil, fmt.Errorf("measure room of %d players: %w", n, err)
		}
		r.Rows = append(r.Rows, *row)
	}
	return r, nil
}

// measureRoom runs one room.
func measureRoom(ctx context.Context, n int, opts RoomOptions) (*RoomRow, error) {
	schema, err := walkerSchema()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, roomWarmUp+opts.Duration)
	defer cancel()
	b := &roomBench{
		ctx: ctx, started: time.Now(), schema: schema,
		from: roomWarmUp, until: roomWarmUp + opts.Duration,
		crowd: newCrowd(n, opts.Seen, opts.Seed),
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2)))
	server, err := newRoomServer(b)
	if err != nil {
		return nil, err
	}
	clients := newRoomClients(b)
	b.started = time.Now()
	var both sync.WaitGroup
	both.Go(func() { b.onCPU(roomServerCPU, server.run) })
	both.Go(func() { b.onCPU(roomClientCPU, clients.run) })
	both.Wait()
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return b.row(server, clients)
}

// roomBench is what the threads of one room share.
type roomBench struct {
	ctx         context.Context
	started     time.Time
	from, until time.Duration // what counts
	schema      *snapshot.Schema[walker]
	crowd       *crowd

	toServer, toClients parcels
}

func (b *roomBench) now() time.Duration { return time.Since(b.started) }

func (b *roomBench) counts(at time.Duration) bool { return at >= b.from && at < b.until }

// onCPU runs f until it returns, bound to a CPU as far as there are several.
func (b *roomBench) onCPU(cpu int, f func()) {
	_ = onCPU(cpu%runtime.NumCPU(), func() error { f(); return nil })
}

func (b *roomBench) row(s *roomServer, c *roomClients) (*RoomRow, error) {
	n, seconds := float64(len(b.crowd.walkers)), (b.until - b.from).Seconds()
	if len(s.took) == 0 || c.snapshots == 0 || c.sampled == 0 {
		return nil, errors.New("no ticks, or no snapshots")
	}
	row := &RoomRow{
		Players: len(b.crowd.walkers), Seen: float64(c.seen)/float64(c.sampled) - 1,
		TickP50: milliseconds(s.took, 0.5), TickP99: milliseconds(s.took, 0.99), TickMax: milliseconds(s.took, 1),
		TickCPUP50: milliseconds(s.cpu, 0.5), TickCPUP99: milliseconds(s.cpu, 0.99),
		Ticks: len(s.took), Lost: s.count.Get(metrics.TicksLost), ServerCPU: s.busy.Seconds() / seconds,
		BytesDelta: float64(c.bytes) / n / seconds, BytesSent: float64(c.packetBytes) / n / seconds,
		Snapshots: float64(c.snapshots) / n / seconds, Refused: c.refused,
	}
	row.BytesFull = float64(c.full) / float64(c.sampled) * row.Snapshots
	row.Ratio = row.BytesFull / row.BytesDelta
	return row, nil
}

// parcels are what one thread has for the other.
type parcels struct {
	mu      sync.Mutex
	waiting bundle
}

// bundle is messages or packets of players, behind one another in bytes.
type bundle struct {
	bytes []byte
	items []parcel
}

type parcel struct {
	player     int32
	typ        uint8
	begin, end int32
	at         time.Duration // sent
}

func (b *bundle) add(player int, typ uint8, at time.Duration, payload []byte) {
	begin := len(b.bytes)
	b.bytes = append(b.bytes, payload...)
	b.items = append(b.items, parcel{int32(player), typ, int32(begin), int32(len(b.bytes)), at})
}

func (b *bundle) payload(p *parcel) []byte { return b.bytes[p.begin:p.end] }

func (b *bundle) reset() { b.bytes, b.items = b.bytes[:0], b.items[:0] }

// put adds a bundle, and empties it.
func (p *parcels) put(b *bundle) {
	if len(b.items) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting.items) == 0 {
		p.waiting, *b = *b, p.waiting
		return
	}
	for i := range b.items {
		item := &b.items[i]
		p.waiting.add(int(item.player), item.typ, item.at, b.payload(item))
	}
	b.reset()
}

// take replaces an empty bundle by what waits.
func (p *parcels) take(b *bundle) {
	b.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, *b = *b, p.waiting
}

// walker is the state of a player's entity.
type walker struct {
	At       game.Vec
	Velocity game.Vec
	Facing   [4]float32
	Health   uint8
	Action   uint8
	Armed    bool
}

func walkerSchema() (*snapshot.Schema[walker], error) {
	ground := snapshot.Range{Min: -4096, Max: 4096, Resolution: 0.01}
	height := snapshot.Range{Min: 0, Max: 256, Resolution: 0.01}
	speed := snapshot.Range{Min: -32, Max: 32, Resolution: 1.0 / 32}
	axis := func(k int, r snapshot.Range) snapshot.Field[walker] {
		return snapshot.Axis(func(w *walker) *float32 { return &w.At[k] }, r,
			func(w *walker) *float32 { return &w.Velocity[k] }, speed)
	}
	return snapshot.NewSchema(time.Second/roomTicks,
		axis(0, ground), axis(1, height), axis(2, ground),
		snapshot.Quat(func(w *walker) *[4]float32 { return &w.Facing }, 9),
		snapshot.Int(func(w *walker) *uint8 { return &w.Health }, 0, 100),
		snapshot.Int(func(w *walker) *uint8 { return &w.Action }, 0, 7),
		snapshot.Bool(func(w *walker) *bool { return &w.Armed }))
}

// crowd moves players about a square that is as large as it takes for each to see
// so many others: straight for half a second to three, then round a bend.
type crowd struct {
	rng     *rand.Rand
	half    float64
	walkers []stroller
}

type stroller struct {
	x, z, heading, speed float64
	turning              float64 // radians per second
	until                time.Duration
	moved                time.Duration
}

func newCrowd(n, seen int, seed uint64) *crowd {
	c := &crowd{
		rng:     rand.New(rand.NewPCG(seed, uint64(n))),
		half:    math.Sqrt(float64(n)/float64(seen)*math.Pi*roomRadius*roomRadius) / 2,
		walkers: make([]stroller, n),
	}
	for i := range c.walkers {
		w := &c.walkers[i]
		w.x, w.z = (2*c.rng.Float64()-1)*c.half, (2*c.rng.Float64()-1)*c.half
		w.heading, w.speed = 2*math.Pi*c.rng.Float64(), 3+3*c.rng.Float64()
	}
	return c
}

// move brings a walker to where it is now.
func (c *crowd) move(i int, now time.Duration) *stroller {
	w := &c.walkers[i]
	seconds := (now - w.moved).Seconds()
	w.moved = now
	if now >= w.until {
		if w.turning != 0 {
			w.turning, w.until = 0, now+time.Duration((0.5+2.5*c.rng.Float64())*float64(time.Second))
		} else {
			w.turning, w.until = (2*c.rng.Float64()-1)*2*math.Pi, now+time.Second/4
		}
	}
	w.heading += w.turning * seconds
	if math.Abs(w.x) > c.half && w.x*math.Cos(w.heading) > 0 || math.Abs(w.z) > c.half && w.z*math.Sin(w.heading) > 0 {
		w.heading = math.Atan2(-w.z, -w.x)
	}
	w.x += w.speed * seconds * math.Cos(w.heading)
	w.z += w.speed * seconds * math.Sin(w.heading)
	return w
}

// roomServer is a worker without a network: the node, and a session for each
// player. It is the node's host.
type roomServer struct {
	*roomBench
	node  *game.Node
	count metrics.Set
	peers []*roomPeer
	due   []*roomPeer // with something to send
	at    time.Duration
	ticks int // of the room

	in, out bundle
	packet  [wire.MaxDatagram]byte

	took []time.Duration // by ticks
	cpu  []time.Duration
	busy time.Duration
}

// roomPeer is a connection.
type roomPeer struct {
	server  *roomServer
	number  int
	session *session.Session
	value   any
	queued  bool
}

func (p *roomPeer) ID() uint64        { return uint64(p.number) + 1 }
func (p *roomPeer) Value() any        { return p.value }
func (p *roomPeer) SetValue(v any)    { p.value = v }
func (p *roomPeer) Recovered() bool   { return false }
func (p *roomPeer) Close(wire.Reason) {}

func (p *roomPeer) SendMessage(o session.Outgoing) error {
	if !p.queued {
		p.queued = true
		p.server.due = append(p.server.due, p)
	}
	return p.session.SendMessage(o)
}

// Now, Clock and Mail make the server a game.Host.
func (s *roomServer) Now() uint64            { return clock(s.at) }
func (s *roomServer) Clock() uint64          { return clock(s.now()) }
func (s *roomServer) Mail(int, []byte, bool) {}

// clock is a time of a bench as nodes and sessions want it: never 0.
func clock(at time.Duration) uint64 { return uint64(at + time.Second) }

const roomName = "room"

func newRoomServer(b *roomBench) (*roomServer, error) {
	s := &roomServer{roomBench: b}
	n := len(b.crowd.walkers)
	dir := game.NewDirectory(game.Options{
		Kinds: []game.Kind{{
			Name: roomName, New: s.open, MaxPlayers: n, TickRate: roomTicks, SnapshotRate: roomSnapshots,
		}},
		Budget: 1, // of the time: what comes late shows
	})
	s.node = game.NewNode(dir, s, 0, 1, &s.count)
	pool := new(reliability.Pool)
	for i := range n {
		p := &roomPeer{server: s, number: i}
		p.session = session.NewServer(session.Config{Pool: pool}, session.Opening{ID: p.ID(), Window: wire.ReceiveWindow, SACK: true}, clock(0))
		s.peers = append(s.peers, p)
		s.node.Open(p)
		ask, err := message.Append(nil, &message.Connect{Game: roomName, Room: 1, Name: strconv.Itoa(i)})
		if err != nil {
			return nil, err
		}
		s.node.Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: ask})
	}
	return s, nil
}

// roomLogic gives each player the entity of a walker.
type roomLogic struct {
	server *roomServer
	world  *game.World[walker]
}

func (s *roomServer) open(r *game.Room) game.Logic {
	return &roomLogic{s, game.NewWorld(r, game.WorldOptions[walker]{
		Schema:      s.schema,
		Position:    func(w *walker) *game.Vec { return &w.At },
		Velocity:    func(w *walker) *game.Vec { return &w.Velocity },
		Orientation: func(w *walker) *[4]float32 { return &w.Facing },
		Radius:      roomRadius,
	})}
}

// Join implements game.Logic.
func (l *roomLogic) Join(p *game.Player) error {
	i, err := strconv.Atoi(p.Name())
	if err != nil {
		return message.ErrName
	}
	w := &l.server.crowd.walkers[i]
	id, ok := l.world.Add(walker{At: game.Vec{float32(w.x), 0, float32(w.z)}, Facing: [4]float32{3: 1}, Health: 100})
	if !ok {
		return message.ErrRoom
	}
	l.world.Assign(p, id)
	return nil
}

// Leave implements game.Logic.
func (l *roomLogic) Leave(*game.Player, game.Why) {}

// Tick implements game.Logic.
func (l *roomLogic) Tick(game.Tick) { l.server.ticks++ }

// run takes what players send, and ticks, until the time is over.
func (s *roomServer) run() {
	for s.at = s.now(); s.ctx.Err() == nil; s.at = s.now() {
		s.toServer.take(&s.in)
		for i := range s.in.items {
			item := &s.in.items[i]
			s.node.Message(s.peers[item.player], session.Message{
				Mode: session.UnreliableSequenced, Type: item.typ, Payload: s.in.payload(item),
			})
		}
		if due := s.node.NextTick(); s.Now() < due {
			s.note(s.now() - s.at)
			time.Sleep(min(time.Duration(due-s.Now()), time.Millisecond))
			continue
		}
		before, began, used := s.ticks, s.now(), threadTime()
		s.node.Tick(s.Now())
		s.transmit()
		took, cpu := s.now()-began, threadTime()-used
		// Several where the last ones were late.
		if n := s.ticks - before; s.counts(s.at) {
			for range n {
				s.took = append(s.took, took/time.Duration(n))
				s.cpu = append(s.cpu, cpu/time.Duration(n))
			}
		}
		s.toClients.put(&s.out)
		s.note(s.now() - s.at)
	}
}

func (s *roomServer) note(busy time.Duration) {
	if s.counts(s.at) {
		s.busy += busy
	}
}

// transmit makes the packets of all sessions that have something to send.
func (s *roomServer) transmit() {
	for _, p := range s.due {
		p.queued = false
		for n := p.session.Fill(s.packet[:], s.Now()); n > 0; n = p.session.Fill(s.packet[:], s.Now()) {
			s.out.add(p.number, 0, s.at, s.packet[:n])
		}
	}
	s.due = s.due[:0]
}

// roomClients is the players' side.
type roomClients struct {
	*roomBench
	receivers []*snapshot.Receiver[walker]
	sequences []uint32
	published int // positions, in turns of all players
	acks      bundle
	acked     int // of acks, those on their way are behind
	view      []snapshot.Seen[walker]
	sizes     []int // of a full snapshot, by entities

	in, out bundle
	payload []byte

	snapshots, bytes, packetBytes uint64
	sampled, full, seen           uint64
	refused                       uint64
}

func newRoomClients(b *roomBench) *roomClients {
	c := &roomClients{roomBench: b, sequences: make([]uint32, len(b.crowd.walkers)), sizes: fullSizes(b.schema, 256)}
	for range b.crowd.walkers {
		c.receivers = append(c.receivers, snapshot.NewReceiver(b.schema, snapshot.ReceiverOptions{Delay: -1, Keep: roomKept}))
	}
	return c
}

// fullSizes returns how many bytes a full snapshot has, by the number of entities.
func fullSizes(schema *snapshot.Schema[walker], n int) (sizes []int) {
	history := snapshot.NewHistory(schema, n)
	history.Begin(1)
	var visible []snapshot.ID
	for i := range n + 1 {
		sender := snapshot.NewSender(history, snapshot.SenderOptions{MaxEntities: n + 1, MaxBytes: 1 << 20})
		sizes = append(sizes, len(sender.Append(nil, visible, nil, 1<<20)))
		if i < n {
			id := snapshot.ID{Slot: uint16(i), Generation: 1}
			history.Set(id, &walker{Facing: [4]float32{3: 1}})
			visible = append(visible, id)
		}
	}
	return sizes
}

// run plays until the time is over.
func (c *roomClients) run() {
	for now := c.now(); c.ctx.Err() == nil; now = c.now() {
		c.toClients.take(&c.in)
		for i := range c.in.items {
			c.receive(&c.in.items[i])
		}
		c.acknowledge(now)
		c.claim(now)
		c.toServer.put(&c.out)
		time.Sleep(time.Millisecond)
	}
}

// receive takes a packet, and what it says is acknowledged a round trip after it
// was sent.
func (c *roomClients) receive(p *parcel) {
	packet := c.in.payload(p)
	if c.counts(p.at) {
		c.packetBytes += uint64(len(packet))
	}
	h, body, err := wire.Standard.ParseHeader(packet)
	if err != nil {
		return
	}
	var block wire.AckBlock
	if body, err = wire.Standard.ParseBlock(&h, true, body, &block); err != nil {
		return
	}
	for len(body) > 0 {
		var m wire.Message
		if m, body, err = wire.ParseMessage(body); err != nil {
			return
		}
		if m.Type == message.TypeGameStateSync {
			c.snapshot(p, m.Payload)
		}
	}
}

func (c *roomClients) snapshot(p *parcel, payload []byte) {
	_, bits, err := message.ParseGameStateSync(payload)
	if err != nil {
		c.refused++
		return
	}
	r := c.receivers[p.player]
	if _, err := r.Receive(bits); err != nil {
		c.refused++
	}
	if a, ok := r.Ack(); ok {
		c.payload = message.AppendGameStateAck(c.payload[:0], a)
		c.acks.add(int(p.player), message.TypeGameStateAck, p.at+roomTrip, c.payload)
	}
	if !c.counts(p.at) {
		return
	}
	c.bytes += uint64(len(payload))
	if c.snapshots++; c.snapshots%roomSample == 0 {
		c.view = r.View(c.view[:0], c.now()+time.Hour)
		c.sampled++
		c.seen += uint64(len(c.view))
		c.full += uint64(len(payload) - len(bits) + c.sizes[min(len(c.view), len(c.sizes)-1)])
	}
}

// acknowledge hands over the acknowledgements whose time has come.
func (c *roomClients) acknowledge(now time.Duration) {
	for ; c.acked < len(c.acks.items) && c.acks.items[c.acked].at <= now; c.acked++ {
		item := &c.acks.items[c.acked]
		c.out.add(int(item.player), item.typ, now, c.acks.payload(item))
	}
	if c.acked == len(c.acks.items) {
		c.acks.reset()
		c.acked = 0
	} else if c.acked > 1<<16 {
		// Those that wait begin a bundle of their own.
		rest := bundle{}
		for i := range c.acks.items[c.acked:] {
			item := &c.acks.items[c.acked+i]
			rest.add(int(item.player), item.typ, item.at, c.acks.payload(item))
		}
		c.acks, c.acked = rest, 0
	}
}

// claim has players say where they are, in turns.
func (c *roomClients) claim(now time.Duration) {
	n := len(c.crowd.walkers)
	for time.Duration(c.published)*time.Second/roomClaims/time.Duration(n) <= now {
		i := c.published % n
		c.published++
		c.sequences[i]++
		w := c.crowd.move(i, now)
		sin, cos := math.Sincos(-w.heading / 2)
		c.payload = message.PositionUpdate{
			Sequence: c.sequences[i], X: float32(w.x), Z: float32(w.z),
			Full: true, Time: uint32(clock(now) / 1e6), Orientation: message.Quaternion{1: float32(sin), 3: float32(cos)},
		}.AppendTo(c.payload[:0])
		c.out.add(i, message.TypePositionUpdate, now, c.payload)
	}
}

// Write prints r for people, in Markdown.
func (r *RoomResult) Write(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", r.Machine)
	fmt.Fprintf(w, "Players walk about and see those within %g units. %d ticks, %d snapshots and %d positions per second, %g ms round trip, %g s each, the server on one CPU.\n\n",
		r.Radius, r.TickRate, r.SnapshotRate, r.ClaimRate, r.RoundTrip, r.Seconds)
	fmt.Fprintf(w, "| players | each sees | tick p50 | p99 | max | p99, CPU time | ticks lost | server CPU | full, B/s each | delta, B/s each | smaller by | UDP payload, B/s each | snapshots/s |\n")
	fmt.Fprintf(w, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(w, "| %d | %.1f | %.2f ms | %.2f ms | %.2f ms | %.2f ms | %d | %.0f%% | %.0f | %.0f | %.1f | %.0f | %.1f |\n",
			row.Players, row.Seen, row.TickP50, row.TickP99, row.TickMax, row.TickCPUP99, row.Lost, 100*row.ServerCPU,
			row.BytesFull, row.BytesDelta, row.Ratio, row.BytesSent, row.Snapshots)
	}
	if slices.ContainsFunc(r.Rows, func(row RoomRow) bool { return row.Refused > 0 }) {
		fmt.Fprintf(w, "\nNOT VALID: players could not decode snapshots\n")
	}
}
