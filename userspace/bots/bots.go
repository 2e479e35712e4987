package bots

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
)

// Options of Run. The zero value works, given Server.
type Options struct {
	// Server is the address to play on.
	Server string

	// Bots is how many play. Default 64.
	Bots int

	// Rooms is how many rooms they spread over. Default: one for every 64.
	Rooms int

	// Duration is how long they play. Default: until the context is done.
	Duration time.Duration

	// Rate is how many reliable messages each sends per second, PositionRate
	// how many positions. Defaults 4 and 20; none if negative.
	Rate, PositionRate float64

	// JoinTimeout bounds how long it takes until all play, DrainTimeout how
	// long the last messages may take. Default 20 s and 10 s.
	JoinTimeout, DrainTimeout time.Duration

	// Client adjusts the connections. Handler and Reconnect are the bots' own.
	Client client.Options
}

func (o *Options) fillDefaults() {
	o.Bots = cmp.Or(o.Bots, 64)
	o.Rooms = cmp.Or(o.Rooms, (o.Bots+63)/64)
	o.Rate = cmp.Or(o.Rate, 4)
	o.PositionRate = cmp.Or(o.PositionRate, 20)
	o.JoinTimeout = cmp.Or(o.JoinTimeout, 20*time.Second)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
}

func (o *Options) validate() error {
	switch {
	case o.Server == "":
		return errors.New("no server given")
	case o.Bots < 1 || o.Bots > 65536:
		return fmt.Errorf("%d bots: not from 1 to 65536", o.Bots)
	case o.Rooms < 1 || o.Rooms > o.Bots:
		return fmt.Errorf("%d rooms: not from 1 to the number of bots", o.Rooms)
	case o.Rate > 1000 || o.PositionRate > 1000:
		return errors.New("rate: more than 1000 per second")
	}
	return nil
}

// Result is what the bots found.
type Result struct {
	Server   string  `json:"server"`
	Bots     int     `json:"bots"`
	Rooms    int     `json:"rooms"`
	Seconds  float64 `json:"seconds"` // of play
	Clean    bool    `json:"clean"`
	Sent     uint64  `json:"messages_sent"` // reliable
	Expected uint64  `json:"deliveries_expected"`
	Received uint64  `json:"deliveries"`
	Plans    uint64  `json:"plans_sent"` // larger than a packet, reliable
	Returned uint64  `json:"plans_returned"`
	Faults   Faults  `json:"faults"`

	// Disconnected counts bots whose connection ended before they left, and
	// Reasons why.
	Disconnected int            `json:"disconnected"`
	Reasons      map[string]int `json:"disconnect_reasons,omitempty"`

	Malformed   uint64 `json:"malformed"`
	WouldBlock  uint64 `json:"would_block"` // messages put off: the send queue was full
	Positions   uint64 `json:"positions_seen"`
	Implausible uint64 `json:"positions_implausible"`
	Unflushed   int    `json:"unflushed"` // bots that could not leave in order

	PacketsOut    uint64  `json:"packets_out"`
	Retransmitted uint64  `json:"packets_retransmitted"`
	RTTMicros     float64 `json:"rtt_us"` // smoothed, mean of all bots
}

// judge sets Clean.
func (r *Result) judge() {
	r.Clean = r.Faults.Clean() && r.Disconnected == 0 && r.Malformed == 0 &&
		r.Implausible == 0 && r.Unflushed == 0 && r.Received == r.Expected && r.Returned == r.Plans
}

// Progress is a look at a running check.
type Progress struct {
	Playing   int // bots in their rooms
	Sent      uint64
	Delivered uint64
}

// Check is a run in progress.
type Check struct {
	opts  Options
	rooms []*room
	bots  []*bot
}

// bot is one player with its connection.
type bot struct {
	player
	opts *Options
	conn *client.Conn
	rng  *rand.Rand

	joined     atomic.Bool
	left       atomic.Bool
	lost       atomic.Uint32 // reason for which the connection ended early
	wouldBlock uint64
	unflushed  bool
	out, text  []byte
}

// New prepares a check.
func New(opts Options) (*Check, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("prepare bots: %w", err)
	}
	c := &Check{opts: opts}
	// Far from the rooms that people and other bots use.
	first := 1<<31 | rand.Uint32()>>1
	sizes := make([]int, opts.Rooms)
	for i := range opts.Bots {
		sizes[i%opts.Rooms]++
	}
	for i, size := range sizes {
		c.rooms = append(c.rooms, &room{id: first + uint32(i), ledger: NewLedger(size)})
	}
	for i := range opts.Bots {
		c.bots = append(c.bots, &bot{
			player: player{room: c.rooms[i%opts.Rooms], bot: i / opts.Rooms, plans: NewLedger(1)},
			opts:   &c.opts,
			rng:    rand.New(rand.NewPCG(uint64(i), 1)),
		})
	}
	return c, nil
}

// Progress may be called from anywhere while Run runs.
func (c *Check) Progress() Progress {
	var p Progress
	for _, b := range c.bots {
		if b.joined.Load() && b.lost.Load() == 0 {
			p.Playing++
		}
	}
	for _, r := range c.rooms {
		p.Sent += r.ledger.Sent()
		p.Delivered += r.ledger.Delivered()
	}
	return p
}

// Run plays until the duration is over or ctx is done, then waits for the last
// deliveries and leaves. An error means that it came to no verdict.
func (c *Check) Run(ctx context.Context) (Result, error) {
	if err := c.join(ctx); err != nil {
		c.leave()
		return Result{}, fmt.Errorf("join game: %w", err)
	}
	started := time.Now()
	playing := ctx
	if c.opts.Duration > 0 {
		var cancel context.CancelFunc
		playing, cancel = context.WithTimeout(ctx, c.opts.Duration)
		defer cancel()
	}
	c.each(func(b *bot) { b.play(playing, started) })
	seconds := time.Since(started).Seconds()
	c.drain()
	c.leave()
	result := c.collect()
	result.Seconds = seconds
	result.judge()
	return result, nil
}

// each runs f for every bot at the same time and waits.
func (c *Check) each(f func(*bot)) {
	var all sync.WaitGroup
	for _, b := range c.bots {
		all.Go(func() { f(b) })
	}
	all.Wait()
}

// join connects all bots and returns when every one is in its room.
func (c *Check) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.JoinTimeout)
	defer cancel()
	errs := make([]error, len(c.bots))
	var all sync.WaitGroup
	// A few at a time: a thousand at once would only fill queues.
	turns := make(chan struct{}, 64)
	for i, b := range c.bots {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			errs[i] = b.join(ctx)
		})
	}
	all.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	for _, r := range c.rooms {
		ids := make(map[uint32]int)
		for _, b := range c.bots {
			if b.room == r {
				ids[b.id.Load()] = b.bot
			}
		}
		r.ready.Store(&ids)
	}
	return nil
}

func (b *bot) join(ctx context.Context) error {
	opts := b.opts.Client
	opts.Reconnect = false
	opts.Handler = func(_ *client.Conn, m client.Message) { b.receive(m.Type, m.Payload) }
	conn, err := client.Dial(ctx, b.opts.Server, opts)
	if err != nil {
		return err
	}
	b.conn = conn
	go b.watch()
	hello, err := message.Append(nil, &message.Connect{Game: plaza.Name, Name: "bot", Room: b.room.id})
	if err != nil {
		return err
	}
	if err := conn.Send(client.ReliableOrdered, plaza.ChannelRoom, message.TypeConnect, hello); err != nil {
		return err
	}
	for b.id.Load() == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the answer to Connect: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
		if why := b.lost.Load(); why != 0 {
			return fmt.Errorf("wait for the answer to Connect: %w", &client.ClosedError{Reason: client.Reason(why)})
		}
	}
	b.joined.Store(true)
	return nil
}

// watch notices when the connection ends before the bot left.
func (b *bot) watch() {
	for e := range b.conn.Events() {
		if e.Kind == client.EventClosed && !b.left.Load() {
			b.lost.Store(uint32(e.Reason))
			b.room.ledger.Inbox(b.bot).Close()
			b.plans.Inbox(0).Close()
		}
	}
}

// play moves, chats, acts and builds until ctx is done or the connection ends.
func (b *bot) play(ctx context.Context, started time.Time) {
	walk := newPace(b.opts.PositionRate, b.rng)
	speak := newPace(b.opts.Rate, b.rng)
	// The first plans come soon where there are few bots, and never all at once.
	build := pace{interval: buildInterval}
	build.next = time.Duration(b.rng.Int64N(int64(min(buildInterval, time.Duration(b.opts.Bots)*10*time.Millisecond))))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := min(walk.next, speak.next, build.next)
		timer.Reset(next - time.Since(started))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if b.lost.Load() != 0 {
			return
		}
		at := time.Since(started)
		if walk.due(at) {
			b.out = b.goal(at).AppendTo(b.out[:0])
			_ = b.conn.Send(client.UnreliableSequenced, plaza.ChannelPosition, plaza.TypePosition, b.out)
		}
		if speak.due(at) {
			b.speak()
		}
		if build.due(at) {
			b.build()
		}
	}
}

// buildInterval is how long a bot waits from one plan to the next.
const buildInterval = 10 * time.Second

// build sends a plan, as large as the server takes it and can return it.
func (b *bot) build() {
	const header = 8 // of the answer
	number := b.plans.Send(0, Plan)
	b.text = appendPlan(b.text[:0], b.bot, number, min(planSize, b.conn.MaxMessage()-header))
	b.out = plaza.Build{Number: number, Plan: b.text}.AppendTo(b.out[:0])
	err := b.conn.SendMessage(client.Outgoing{
		Mode: client.ReliableOrdered, Channel: plaza.ChannelBuild, Type: plaza.TypeBuild,
		Priority: client.Low, Payload: b.out,
	})
	if err != nil {
		b.plans.Cancel(0, Plan)
		b.wouldBlock++
	}
}

// speak sends one reliable message: one in four is chat, the rest are actions.
func (b *bot) speak() {
	l := b.room.ledger
	stream := Action
	if b.rng.IntN(4) == 0 {
		stream = Chat
	}
	number := l.Send(b.bot, stream)
	var err error
	if stream == Chat {
		b.text = appendChat(b.text[:0], b.bot, number)
		b.out = plaza.Chat{Number: number, Text: b.text}.AppendTo(b.out[:0])
		err = b.conn.Send(client.ReliableOrdered, plaza.ChannelChat, plaza.TypeChat, b.out)
	} else {
		b.text = appendAction(b.text[:0], b.bot, number)
		m := plaza.Action{Number: number, Kind: actionKind(b.bot, number), Data: b.text}
		b.out = m.AppendTo(b.out[:0])
		err = b.conn.Send(client.ReliableOrdered, plaza.ChannelAction, plaza.TypeAction, b.out)
	}
	if err != nil {
		l.Cancel(b.bot, stream)
		b.wouldBlock++
	}
}

// drain waits until everything that was sent arrived, as long as there is
// hope.
func (c *Check) drain() {
	deadline := time.Now().Add(c.opts.DrainTimeout)
	for time.Now().Before(deadline) {
		var waiting uint64
		for _, r := range c.rooms {
			waiting += r.ledger.Outstanding()
		}
		for _, b := range c.bots {
			waiting += b.plans.Outstanding()
		}
		if waiting == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// leave takes every bot out of the game. Afterwards no handler runs any more.
func (c *Check) leave() {
	c.each(func(b *bot) {
		if b.conn == nil {
			return
		}
		b.left.Store(true)
		if bye, err := message.Append(nil, &message.Disconnect{}); err == nil {
			_ = b.conn.Send(client.ReliableOrdered, plaza.ChannelRoom, message.TypeDisconnect, bye)
		}
		b.unflushed = b.conn.Close() != nil
	})
}

// collect adds up what the bots found, after they left.
func (c *Check) collect() Result {
	r := Result{Server: c.opts.Server, Bots: c.opts.Bots, Rooms: c.opts.Rooms}
	for _, room := range c.rooms {
		r.Sent += room.ledger.Sent()
		r.Expected += room.ledger.Sent() * uint64(len(room.ledger.inboxes))
		r.Received += room.ledger.Delivered()
		r.Faults.Add(room.ledger.Faults())
	}
	for _, b := range c.bots {
		if why := b.lost.Load(); why != 0 {
			r.Disconnected++
			if r.Reasons == nil {
				r.Reasons = make(map[string]int)
			}
			r.Reasons[client.Reason(why).String()]++
		}
		if b.unflushed {
			r.Unflushed++
		}
		r.Plans += b.plans.Sent()
		r.Returned += b.plans.Delivered()
		r.Faults.Add(b.plans.Faults())
		r.Malformed += b.malformed
		r.WouldBlock += b.wouldBlock
		r.Positions += b.positions
		r.Implausible += b.implausible
		st := b.conn.Stats()
		r.PacketsOut += st.PacketsOut
		r.Retransmitted += st.Retransmitted
		r.RTTMicros += float64(st.SRTT.Nanoseconds()) / 1e3 / float64(len(c.bots))
	}
	return r
}

// pace says when something that happens at a steady rate is due.
type pace struct {
	interval, next time.Duration
}

// newPace returns a pace with a first time of its own, so that bots do not
// move in step.
func newPace(rate float64, rng *rand.Rand) pace {
	if rate <= 0 {
		return pace{next: math.MaxInt64}
	}
	interval := time.Duration(float64(time.Second) / rate)
	return pace{interval: interval, next: time.Duration(rng.Int64N(int64(interval)))}
}

// due reports whether it is time. Who lags behind by more than a second skips
// what was missed.
func (p *pace) due(at time.Duration) bool {
	if at < p.next {
		return false
	}
	p.next += p.interval
	if at-p.next > time.Second {
		p.next = at
	}
	return true
}
