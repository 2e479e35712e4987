package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// What is demanded of a room: everyone hears everyone, and soon.
const (
	relayData      = 128                    // bytes that a player publishes
	relayRate      = 20                     // times per second
	relayStaleness = 100 * time.Millisecond // at the 99th percentile
	relayDelivered = 0.99                   // share of what was published that arrives

	relayFirst  = 32  // size of the first room
	relayFinest = 32  // the search ends within this fraction of the size
	relayBusy   = 0.9 // of a CPU: what counts as no time left
)

// RelayOptions adjust Relay. The zero value works.
type RelayOptions struct {
	// Duration is how long each room is measured. Default 3 s.
	Duration time.Duration
	// WarmUp is how long each room runs before. Default 1 s.
	WarmUp time.Duration
	// Max is the size of the largest room that is tried. Default 2048.
	Max int
	// Limit is after how long no other room is tried. Default 4 min.
	Limit time.Duration
}

func (o *RelayOptions) fillDefaults() {
	if o.Duration == 0 {
		o.Duration = 3 * time.Second
	}
	if o.WarmUp == 0 {
		o.WarmUp = time.Second
	}
	if o.Max == 0 {
		o.Max = 2048
	}
	if o.Limit == 0 {
		o.Limit = 4 * time.Minute
	}
}

func (o *RelayOptions) validate() error {
	switch {
	case o.Max < 2 || o.Max > 4096:
		return fmt.Errorf("rooms of up to %d players: not from 2 to 4096", o.Max)
	case o.Duration < 0 || o.WarmUp < 0 || o.Limit < 0:
		return errors.New("negative duration")
	}
	return nil
}

// RelayServers is where Relay finds its servers, and where its clients are.
type RelayServers interface {
	// Start runs a server with one worker. The error is ErrTransport where the
	// machine cannot.
	Start(ctx context.Context, t Transport) (*RelayServer, error)
	// In runs f where sockets of clients are to be opened.
	In(f func() error) error
	// Kernel is the CPU time that the kernel has spent to receive for the
	// clients, as far as it does not count as this process's.
	Kernel() time.Duration
}

// RelayServer is a running server.
type RelayServer struct {
	Address string
	// CPUTime is what it has used so far, with what the kernel spent to receive.
	CPUTime func() time.Duration
	Stop    func() error
}

// RelayResult is the largest room, by transport, in which everyone hears
// everyone in time, with the server on one CPU.
type RelayResult struct {
	Rows []*RelayRow `json:"rows"`

	// WhyNot says why a transport is missing.
	WhyNot string `json:"why_not,omitempty"`

	Data      int     `json:"bytes_published"`
	Rate      int     `json:"published_per_second"`
	Staleness float64 `json:"staleness_limit_ms"`
	Least     float64 `json:"delivered_limit"`
	Seconds   float64 `json:"seconds_per_room"`
	Machine   Machine `json:"machine"`
}

// RelayRow is what was found for one transport.
type RelayRow struct {
	Transport   Transport `json:"transport"`
	LargestRoom int       `json:"largest_room"` // 0: none was good enough

	// RelayRoom is what was measured in the largest room.
	RelayRoom

	// LimitedBy says what a larger room fails by.
	LimitedBy RelayLimit `json:"limited_by"`

	// Tried are all rooms in the order in which they were measured.
	Tried []RelayRoom `json:"tried"`
}

// RelayLimit says what the largest room is limited by.
type RelayLimit string

const (
	LimitServer    RelayLimit = "server"
	LimitGenerator RelayLimit = "generator" // the load generator had no time left
	LimitMachine   RelayLimit = "machine"   // both had: other programs, or queues in between
	LimitMax       RelayLimit = "max"       // no larger one was to be tried
	LimitTime      RelayLimit = "time"      // the search was cut short
)

// RelayRoom is what was measured in one room.
type RelayRoom struct {
	Players int  `json:"players"`
	Good    bool `json:"good"`

	// Staleness is the time from publishing to the arrival at a receiver, in
	// milliseconds.
	StalenessP50 float64 `json:"staleness_p50_ms"`
	StalenessP99 float64 `json:"staleness_p99_ms"`

	// Delivered is the share of what was published that arrived, over all
	// receivers.
	Delivered float64 `json:"delivered"`

	// ServerCPU and GeneratorCPU are the shares of a CPU that the server and
	// the load generator used, with the kernel's part.
	ServerCPU    float64 `json:"server_cpu"`
	GeneratorCPU float64 `json:"generator_cpu"`

	MessagesPerSecond float64 `json:"messages_per_second"` // delivered
	PacketsPerSecond  float64 `json:"packets_per_second"`  // to the clients
	BytesPerSecond    float64 `json:"bytes_per_second"`    // of UDP payload to the clients

	// Failed says why there was nothing to measure.
	Failed string `json:"failed,omitempty"`
}

func (r *RelayRoom) judge() {
	r.Good = r.Failed == "" && r.Delivered >= relayDelivered &&
		r.StalenessP99 < relayStaleness.Seconds()*1e3
}

// search looks for the largest good room: by doubling, then by halves.
type search struct {
	largest int // to try
	good    int // largest that was
	bad     int // smallest that was not, 0 for none
	doubted int // to be tried again, since nothing explains why it was not
}

// next is the size to try now, 0 at the end.
func (s *search) next() int {
	switch {
	case s.doubted != 0:
		return s.doubted
	case s.good >= s.largest:
		return 0
	case s.bad == 0 && s.good == 0:
		return min(relayFirst, s.largest)
	case s.bad == 0:
		return min(2*s.good, s.largest)
	case s.bad-s.good <= max(s.good/relayFinest, 1):
		return 0
	}
	return (s.good + s.bad) / 2
}

// tried takes a result. explained says whether a CPU had no time left; otherwise a
// room that was not good has another chance, since other programs may have run.
func (s *search) tried(players int, good, explained bool) {
	again := s.doubted == players
	s.doubted = 0
	switch {
	case good:
		s.good = players
	case explained || again:
		s.bad = players
	default:
		s.doubted = players
	}
}

// Relay finds the largest room in which everyone publishes to everyone, over XDP
// and over ordinary sockets, whose rooms take turns. Each room has a server of
// its own. A done ctx ends it within the room.
func Relay(ctx context.Context, servers RelayServers, opts RelayOptions) (*RelayResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &RelayResult{
		Data: relayData, Rate: relayRate, Staleness: relayStaleness.Seconds() * 1e3, Least: relayDelivered,
		Seconds: opts.Duration.Seconds(), Machine: ThisMachine(),
	}
	end := time.Now().Add(opts.Limit)
	searches := map[Transport]*search{}
	for _, t := range []Transport{TransportXDP, TransportUDP} {
		searches[t] = &search{largest: opts.Max}
		r.Rows = append(r.Rows, &RelayRow{Transport: t})
	}
	for busy := true; busy && time.Now().Before(end); {
		busy = false
		for _, row := range slices.Clone(r.Rows) {
			s := searches[row.Transport]
			players := s.next()
			if players == 0 {
				continue
			}
			room, err := relayTurn(ctx, servers, row.Transport, players, opts)
			if errors.Is(err, ErrTransport) {
				r.WhyNot = err.Error()
				r.Rows = slices.DeleteFunc(r.Rows, func(o *RelayRow) bool { return o == row })
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("relay to %d players over %s: %w", players, row.Transport, err)
			}
			busy = true
			s.tried(players, room.Good, max(room.ServerCPU, room.GeneratorCPU) >= relayBusy)
			row.Tried = append(row.Tried, *room)
		}
	}
	for _, row := range r.Rows {
		row.conclude(searches[row.Transport])
	}
	return r, nil
}

// relayTurn measures one room at a server of its own.
func relayTurn(ctx context.Context, servers RelayServers, t Transport, players int, opts RelayOptions) (room *RelayRoom, err error) {
	server, err := servers.Start(ctx, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	room, err = relayLoad(ctx, servers, server, players, opts)
	if err != nil {
		return nil, err
	}
	room.judge()
	return room, nil
}

func (r *RelayRow) conclude(s *search) {
	r.LargestRoom = s.good
	var failed *RelayRoom
	for i := range r.Tried {
		switch room := &r.Tried[i]; {
		case room.Players == s.good && room.Good:
			r.RelayRoom = *room
		case room.Players == s.bad:
			failed = room
		}
	}
	switch {
	case s.next() != 0:
		r.LimitedBy = LimitTime
	case failed == nil:
		r.LimitedBy = LimitMax
	case failed.GeneratorCPU >= relayBusy && failed.GeneratorCPU > failed.ServerCPU:
		r.LimitedBy = LimitGenerator
	case failed.ServerCPU >= relayBusy:
		r.LimitedBy = LimitServer
	default:
		r.LimitedBy = LimitMachine
	}
}

// Write prints r for people, in Markdown.
func (r *RelayResult) Write(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", r.Machine)
	fmt.Fprintf(w, "Everyone publishes %d bytes %d times per second, and everyone receives everything.\n", r.Data, r.Rate)
	fmt.Fprintf(w, "The largest room with at least %g%% delivered, of which 99%% within %g ms, on one CPU:\n\n", 100*r.Least, r.Staleness)
	fmt.Fprintf(w, "| transport | players | staleness p50 | p99 | delivered | messages/s | packets/s | Mbit/s | server CPU | generator CPU | limited by |\n")
	fmt.Fprintf(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, row := range r.Rows {
		row.write(w, string(row.LimitedBy))
	}
	fmt.Fprintf(w, "\nAll rooms, %g s each:\n\n", r.Seconds)
	fmt.Fprintf(w, "| transport | players | staleness p50 | p99 | delivered | messages/s | packets/s | Mbit/s | server CPU | generator CPU | verdict |\n")
	fmt.Fprintf(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, row := range r.Rows {
		for i := range row.Tried {
			room := RelayRow{Transport: row.Transport, LargestRoom: row.Tried[i].Players, RelayRoom: row.Tried[i]}
			verdict := "good"
			if !room.Good {
				verdict = "too large"
			}
			if room.Failed != "" {
				verdict = room.Failed
			}
			room.write(w, verdict)
		}
	}
	for _, row := range r.Rows {
		if row.LimitedBy == LimitGenerator {
			fmt.Fprintf(w, "\nOver %s the load generator had no time left before the server had: larger rooms may do.\n", row.Transport)
		}
	}
	if r.WhyNot != "" {
		fmt.Fprintf(w, "\n%s\n", r.WhyNot)
	}
}

func (r *RelayRow) write(w io.Writer, verdict string) {
	fmt.Fprintf(w, "| %s | %d | %.1f ms | %.1f ms | %.2f%% | %.0f | %.0f | %.0f | %.0f%% | %.0f%% | %s |\n",
		r.Transport, r.LargestRoom, r.StalenessP50, r.StalenessP99, 100*r.Delivered, r.MessagesPerSecond,
		r.PacketsPerSecond, r.BytesPerSecond*8/1e6, 100*r.ServerCPU, 100*r.GeneratorCPU, verdict)
}
