// Package heist plays Police and Thief from the outside and checks what the server
// promises: that every player is told of every event that it is to be told of, once
// and in order; that what it sees is so; that it sees nothing that is hidden from it;
// that nobody breaks the rules; that whom it hears and watches it may hear and watch; and
// that the recordings of rounds which are handed out come to what was told.
//
// What was to be seen the bots learn from a server that was started to be checked.
// Any other they check by the rules, and by what is told agreeing with itself.
package heist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/play"
)

// Options of New. The zero value works, given Server.
type Options struct {
	// Server is the address to play on.
	Server string

	// Game is the name of the game. Default protocol.Fast.
	Game string

	// Bots is how many play. Default 64.
	Bots int

	// Rooms is how many rooms they spread over, of at most 64 each. Default: as
	// few as that.
	Rooms int

	// Duration is how long they play. Default: until the context is done. They
	// sum up at once then, also in the middle of a round.
	Duration time.Duration

	// Samples is how long each waits from one comparison with the truth to the
	// next. Default 5 s.
	Samples time.Duration

	// JoinTimeout bounds how long it takes until all play, DrainTimeout how
	// long summing up may take. Default 20 s and 10 s.
	JoinTimeout, DrainTimeout time.Duration

	// Client adjusts the connections. Handler and Reconnect are the bots' own.
	Client client.Options
}

func (o *Options) fillDefaults() {
	o.Game = cmp.Or(o.Game, protocol.Fast)
	o.Bots = cmp.Or(o.Bots, 64)
	o.Rooms = cmp.Or(o.Rooms, (o.Bots+rules.MaxPlayers-1)/rules.MaxPlayers)
	o.Samples = cmp.Or(o.Samples, 5*time.Second)
	o.JoinTimeout = cmp.Or(o.JoinTimeout, 20*time.Second)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
}

func (o *Options) validate() error {
	switch {
	case o.Server == "":
		return errors.New("no server given")
	case o.Bots < rules.MinPlayers || o.Bots > 65536:
		return fmt.Errorf("%d bots: not from %d to 65536", o.Bots, rules.MinPlayers)
	case o.Rooms < 1 || o.Rooms*rules.MinPlayers > o.Bots || o.Rooms*rules.MaxPlayers < o.Bots:
		return fmt.Errorf("%d rooms: not for %d to %d of the bots each", o.Rooms, rules.MinPlayers, rules.MaxPlayers)
	}
	return nil
}

// Check is a run in progress.
type Check struct {
	opts  Options
	first uint32 // room
	bots  []*bot
	lines []line // of the bots
}

// line is a connection that its player knows before it is there.
type line struct{ *client.Conn }

// New prepares a check.
func New(opts Options) (*Check, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("prepare bots: %w", err)
	}
	c := &Check{
		opts: opts,
		// Far from the rooms that people and other bots use.
		first: 1<<31 | rand.Uint32()>>1,
		lines: make([]line, opts.Bots),
	}
	shared := new(replays)
	for i := range c.lines {
		c.bots = append(c.bots, newBot(play.New(&c.lines[i], options()), rand.Uint64(), opts.Samples, shared))
	}
	return c, nil
}

// Progress is a look at a running check: at the first room, but for Playing, which
// counts all bots, and Events.
type Progress struct {
	Playing  int
	Round    uint32
	Phase    string
	Left     time.Duration // of the phase, when it was announced last; negative: open
	Captures uint64        // since the bots came
	Freed    uint64
	Events   uint64 // that all bots have seen
}

// Progress may be called from anywhere while Run runs.
func (c *Check) Progress() (p Progress) {
	for i, b := range c.bots {
		if b.inside.Load() && !b.gone.Load() {
			p.Playing++
		}
		p.Events += b.events.Load()
		if i == 0 {
			p.Round, p.Phase = b.round.Load(), rules.Phase(b.phase.Load()).String()
			p.Left = time.Duration(b.left.Load()) * interval
			p.Captures, p.Freed = b.captures.Load(), b.freed.Load()
		}
	}
	return p
}

// Run plays until the duration is over or ctx is done, then sums up and leaves. An
// error means that it came to no verdict.
func (c *Check) Run(ctx context.Context) (Result, error) {
	if err := c.join(ctx); err != nil {
		c.each(func(i int) { c.leave(i) })
		return Result{}, fmt.Errorf("join game: %w", err)
	}
	started := time.Now()
	playing := ctx
	if c.opts.Duration > 0 {
		var cancel context.CancelFunc
		playing, cancel = context.WithTimeout(ctx, c.opts.Duration)
		defer cancel()
	}
	c.each(func(i int) { c.bots[i].run(playing, c.opts.DrainTimeout) })
	seconds := time.Since(started).Seconds()
	unflushed := make([]bool, len(c.bots))
	c.each(func(i int) { unflushed[i] = c.leave(i) != nil })
	r := c.collect(unflushed)
	r.Seconds = seconds
	r.judge()
	return r, nil
}

// each runs f for every bot at the same time and waits.
func (c *Check) each(f func(i int)) {
	var all sync.WaitGroup
	for i := range c.bots {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// join connects all bots and returns when every one is in its room.
func (c *Check) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.JoinTimeout)
	defer cancel()
	errs := make([]error, len(c.bots))
	// A few at a time: a thousand at once would only fill queues.
	turns := make(chan struct{}, 64)
	c.each(func(i int) {
		turns <- struct{}{}
		defer func() { <-turns }()
		errs[i] = c.joinOne(ctx, i)
	})
	return cmp.Or(errs...) // the others are like it
}

func (c *Check) joinOne(ctx context.Context, i int) (err error) {
	b := c.bots[i]
	opts := c.opts.Client
	opts.Reconnect = false
	opts.Handler = func(_ *client.Conn, m client.Message) { b.play.Deliver(b.play.Now(), m) }
	if c.lines[i].Conn, err = client.Dial(ctx, c.opts.Server, opts); err != nil {
		return err
	}
	err = b.play.Join(play.Join{
		Game: c.opts.Game, Version: protocol.Version, Name: fmt.Sprintf("bot %d", i+1),
		Room: c.first + uint32(i%c.opts.Rooms),
	})
	if err != nil {
		return err
	}
	for !b.inside.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the answer to Connect: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
		if b.step(b.play.Now()); b.gone.Load() {
			return fmt.Errorf("wait for the answer to Connect: %s", b.found.lost)
		}
	}
	return nil
}

// run plays until ctx is done, and then sums up, which takes no longer than drain.
func (b *bot) run(ctx context.Context, drain time.Duration) {
	ticker := time.NewTicker(time.Second / 30)
	defer ticker.Stop()
	for {
		now := b.play.Now()
		b.step(now)
		if ctx.Err() != nil {
			b.finish(now)
		}
		if b.gone.Load() || b.done || b.ending != 0 && now-b.ending > drain {
			return
		}
		<-ticker.C
	}
}

// leave takes a bot out of the game.
func (c *Check) leave(i int) error {
	if c.lines[i].Conn == nil {
		return nil
	}
	c.bots[i].done = true
	return c.bots[i].play.Close()
}
