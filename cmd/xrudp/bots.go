package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/bots"
	"github.com/xrudp/xrudp/userspace/bots/heist"
	"github.com/xrudp/xrudp/userspace/client"
)

// Games that bots play.
const (
	plazaGame = "plaza"
	heistGame = "policethief"
)

// played is what the bots found.
type played struct {
	bots.Result
	Heist *heist.Findings `json:"policethief,omitempty"`
}

// botsResult is what the bots found, and what their path did.
type botsResult struct {
	played
	Path *pathResult `json:"path,omitempty"`
}

// check is bots of some game.
type check interface {
	run(ctx context.Context) (played, error)
	progress() string // for a line each second
}

// newCheck prepares bots for the game of that name. What its bots do not do is left
// out of the options.
func newCheck(game string, o bots.Options) (check, error) {
	switch game {
	case plazaGame:
		c, err := bots.New(o)
		return plazaCheck{c, o.Bots}, err
	case heistGame:
		c, err := heist.New(heist.Options{
			Server: o.Server, Bots: o.Bots, Rooms: o.Rooms, Duration: o.Duration, Client: o.Client,
		})
		return heistCheck{c, o.Bots}, err
	default:
		return nil, fmt.Errorf("--game %s: not %s or %s", game, heistGame, plazaGame)
	}
}

type plazaCheck struct {
	*bots.Check
	bots int
}

func (c plazaCheck) run(ctx context.Context) (played, error) {
	r, err := c.Run(ctx)
	return played{Result: r}, err
}

func (c plazaCheck) progress() string {
	p := c.Progress()
	return fmt.Sprintf("%d/%d playing  %d sent  %d delivered", p.Playing, c.bots, p.Sent, p.Delivered)
}

type heistCheck struct {
	*heist.Check
	bots int
}

func (c heistCheck) run(ctx context.Context) (played, error) {
	r, err := c.Run(ctx)
	return played{r.Result, &r.Game}, err
}

func (c heistCheck) progress() string {
	p := c.Progress()
	phase := p.Phase
	if p.Left > 0 {
		phase += fmt.Sprintf(", %2.0f s left", p.Left.Seconds())
	}
	return fmt.Sprintf("%d/%d playing  round %d  %-20s  %d captured  %d freed  %d events seen",
		p.Playing, c.bots, p.Round, phase, p.Captures, p.Freed, p.Events)
}

func botsCommand(ctx context.Context, args []string, out io.Writer) error {
	var opts bots.Options
	fs := flag.NewFlagSet("bots", flag.ContinueOnError)
	game := addGameFlag(fs)
	fs.StringVar(&opts.Server, "server", "127.0.0.1:7777", "address of the server")
	fs.IntVar(&opts.Bots, "bots", 64, "how many play")
	fs.IntVar(&opts.Rooms, "rooms", 0, "rooms they spread over; 0: one for every 64")
	fs.DurationVar(&opts.Duration, "duration", 20*time.Second, "how long they play; 0: until interrupted")
	addRateFlag(fs, &opts.Rate)
	fs.Float64Var(&opts.PositionRate, "positions", 20, "positions of each per second, on the plaza")
	asJSON := fs.Bool("json", false, "print the verdict as one JSON object")
	quiet := fs.Bool("quiet", false, "no line per second")
	var profile client.Profile
	addProfileFlag(fs, &profile)
	path := addPathFlags(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	spoiled, err := path.conditions()
	if err != nil {
		return err
	}
	// 0 would stand for the default.
	for _, rate := range []*float64{&opts.Rate, &opts.PositionRate} {
		if *rate == 0 {
			*rate = -1
		}
	}
	// On a path that loses much, beginning and end take their time.
	opts.Client = client.Options{Profile: profile, HandshakeTimeout: 15 * time.Second, CloseTimeout: 15 * time.Second}
	server := opts.Server
	var relay *impair.UDP
	if path.given() {
		relay, err = impair.ListenUDP(server, impair.Options{ToServer: spoiled, ToClient: spoiled})
		if err != nil {
			return err
		}
		defer relay.Close()
		opts.Server = relay.Addr().String()
		fmt.Fprintf(os.Stderr, "path: %v, by a relay on %s\n", path, opts.Server)
	}
	bots, err := newCheck(*game, opts)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	if !*quiet {
		go reportProgress(bots, done)
	}
	result := botsResult{}
	result.played, err = bots.run(ctx)
	close(done)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return errors.New("interrupted before every bot had joined")
		}
		return err
	}
	result.Server = server
	if relay != nil {
		result.Path = &pathResult{
			Conditions: path.String(),
			ToServer:   impair.Stats{PathStats: relay.Stats(impair.ToServer)},
			ToClients:  impair.Stats{PathStats: relay.Stats(impair.ToClient)},
		}
	}
	if *asJSON {
		if err := printJSON(out, result); err != nil {
			return err
		}
	} else {
		writePlayed(out, result.played)
		result.Path.write(out)
	}
	if !result.Clean {
		return errNotClean
	}
	return nil
}

// reportProgress prints a line per second to standard error, so that the
// verdict stands alone on standard output.
func reportProgress(c check, done <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 1; ; second++ {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		fmt.Fprintf(os.Stderr, "bots   %3ds  %s\n", second, c.progress())
	}
}

// addGameFlag adds the choice of what bots play.
func addGameFlag(fs *flag.FlagSet) *string {
	return fs.String("game", heistGame, "what they play: "+heistGame+", or "+plazaGame+", where they talk and walk")
}

// writePlayed prints a result for people.
func writePlayed(out io.Writer, r played) {
	if r.Heist != nil {
		writeHeist(out, r.Result, r.Heist)
		return
	}
	writeVerdict(out, r.Result)
}

// writeHeist prints what the bots found in Police and Thief.
func writeHeist(out io.Writer, r bots.Result, f *heist.Findings) {
	fmt.Fprintf(out, "%d bots in %d rooms on %s, %.1f s of Police and Thief\n", r.Bots, r.Rooms, r.Server, r.Seconds)
	fmt.Fprintf(out, "  rounds played                %d: %d won by police, %d by thieves\n", f.Rounds, f.PoliceWon, f.ThievesWon)
	fmt.Fprintf(out, "  captured, freed              %d, %d\n", f.Captures, f.Freed)
	if f.Truth {
		fmt.Fprintf(out, "  events                       %d sent, %d of %d seen\n", r.Sent, r.Received, r.Expected)
		fmt.Fprintf(out, "  faults                       %v\n", r.Faults)
	}
	fmt.Fprintf(out, "  snapshots                    %d with %d entities\n", f.Snapshots, f.Entities)
	if f.Truth {
		fmt.Fprintf(out, "  compared with the truth      %d entities at ticks, %d between, %d times\n", f.Compared, f.Viewed, f.Samples)
		fmt.Fprintf(out, "  worst position               off by %.4f units, at most %.4f allowed\n", f.WorstSnapshot, f.SnapshotBound)
		fmt.Fprintf(out, "  worst interpolated position  off by %.3f units; %.3f where %.3f allowed, closest to it\n",
			f.WorstView, f.ClosestView, f.ViewBound)
		fmt.Fprintf(out, "  misplaced, wrong, made up    %d, %d, %d\n", f.Misplaced, f.Wrong, f.Phantoms)
		fmt.Fprintf(out, "  to be seen but not told      %d\n", f.Missing)
	} else {
		fmt.Fprintf(out, "  not compared with the truth  the server does not tell it: start it with --truth\n")
	}
	fmt.Fprintf(out, "  outside interest             %d\n", f.Outside)
	fmt.Fprintf(out, "  rule violations              %d\n", f.Violations)
	for _, kind := range slices.Sorted(maps.Keys(f.ViolationKinds)) {
		fmt.Fprintf(out, "    %-27s%d\n", kind, f.ViolationKinds[kind])
	}
	fmt.Fprintf(out, "  recordings of rounds         %d verified, %d failed\n", f.Recordings, f.RecordingsFailed)
	fmt.Fprintf(out, "  voice and cameras            %d frames sent, %d heard, %d watched; %d wrong, %d for others, %d without key frame\n",
		f.FramesSent, f.FramesHeard, f.FramesWatched, f.FramesWrong, f.FramesOverheard, f.FramesUnkeyed)
	fmt.Fprintf(out, "  actions sent                 %d, %d refused, %d positions corrected\n", f.Said, f.Refused, f.Corrections)
	for _, why := range slices.Sorted(maps.Keys(f.Refusals)) {
		fmt.Fprintf(out, "    %-27s%d\n", why, f.Refusals[why])
	}
	if f.Unsaid > 0 {
		fmt.Fprintf(out, "  not told at the end          %d bots\n", f.Unsaid)
	}
	writeConnections(out, r)
	verdict := "CLEAN: every event once and in order, everything seen as it was, nothing hidden seen"
	switch {
	case !r.Clean:
		verdict = "NOT CLEAN"
	case !f.Truth:
		verdict = "CLEAN, as far as can be told without the truth"
	}
	fmt.Fprintf(out, "  verdict                      %s\n", verdict)
}

// writeVerdict prints a result of the plaza for people.
func writeVerdict(out io.Writer, r bots.Result) {
	fmt.Fprintf(out, "%d bots in %d rooms on %s, %.1f s\n", r.Bots, r.Rooms, r.Server, r.Seconds)
	fmt.Fprintf(out, "  reliable messages sent       %d\n", r.Sent)
	fmt.Fprintf(out, "  deliveries                   %d of %d\n", r.Received, r.Expected)
	fmt.Fprintf(out, "  plans of 32 KiB returned     %d of %d\n", r.Returned, r.Plans)
	fmt.Fprintf(out, "  faults                       %v\n", r.Faults)
	fmt.Fprintf(out, "  positions seen               %d, %d implausible\n", r.Positions, r.Implausible)
	writeConnections(out, r)
	verdict := "CLEAN: every reliable message arrived once and in order at every bot"
	if !r.Clean {
		verdict = "NOT CLEAN"
	}
	fmt.Fprintf(out, "  verdict                      %s\n", verdict)
}

// writeConnections prints what became of the bots' connections.
func writeConnections(out io.Writer, r bots.Result) {
	fmt.Fprintf(out, "  packets sent                 %d, %d of them again\n", r.PacketsOut, r.Retransmitted)
	fmt.Fprintf(out, "  round trip, smoothed         %.0f us\n", r.RTTMicros)
	for reason, n := range r.Reasons {
		fmt.Fprintf(out, "  disconnected                 %d: %s\n", n, reason)
	}
	if r.Malformed > 0 {
		fmt.Fprintf(out, "  malformed messages           %d\n", r.Malformed)
	}
	if r.WouldBlock > 0 {
		fmt.Fprintf(out, "  messages put off             %d: the send queue was full\n", r.WouldBlock)
	}
	if r.Unflushed > 0 {
		fmt.Fprintf(out, "  bots that could not leave    %d\n", r.Unflushed)
	}
}
