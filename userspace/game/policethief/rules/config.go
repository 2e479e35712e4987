package rules

import (
	"fmt"
	"time"
)

// Most players and spectators that a game can have.
const (
	MaxPlayers    = 64
	MaxSpectators = 64
)

// MinPlayers is how many a round needs.
const MinPlayers = 2

// Config sets up a game. The zero value of each field stands for its default,
// which is in brackets.
type Config struct {
	TickRate      int // steps per second [60]
	MaxPlayers    int // 2 to 64 [64]
	MaxSpectators int // 1 to 64 [64]
	Cells         int // side of the world, in cells of 10 units, 4 to 64 [12]
	PerPolice     int // players for each police officer [4]

	Lobby     time.Duration // from when enough are ready until a round begins without the rest [20 s]
	Countdown time.Duration // from the drawing of roles until thieves may move [3 s]
	Hide      time.Duration // head start of the thieves [8 s]
	Chase     time.Duration // what thieves must survive [2 min]
	Results   time.Duration // for votes on a rematch [15 s]

	PoliceSpeed Coord         // per second [8 units]
	ThiefSpeed  Coord         // per second [7 units]
	Reach       Coord         // of a capture [2 units]
	Rewind      time.Duration // how old the position of a captured thief may be, at most [500 ms]
	LootGoal    int           // percentage of the coins with which thieves win [90]
}

// Fast is a preset for demonstrations: rounds of some 25 seconds in a small world.
func Fast() Config {
	return Config{
		Cells: 6, Lobby: 3 * time.Second, Countdown: time.Second, Hide: 3 * time.Second,
		Chase: 20 * time.Second, Results: 2 * time.Second, PoliceSpeed: 9 * Unit, PerPolice: 3,
	}
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	defaultTo(&c.TickRate, 60)
	defaultTo(&c.MaxPlayers, MaxPlayers)
	defaultTo(&c.MaxSpectators, MaxSpectators)
	defaultTo(&c.Cells, 12)
	defaultTo(&c.PerPolice, 4)
	defaultTo(&c.Lobby, 20*time.Second)
	defaultTo(&c.Countdown, 3*time.Second)
	defaultTo(&c.Hide, 8*time.Second)
	defaultTo(&c.Chase, 2*time.Minute)
	defaultTo(&c.Results, 15*time.Second)
	defaultTo(&c.PoliceSpeed, 8*Unit)
	defaultTo(&c.ThiefSpeed, 7*Unit)
	defaultTo(&c.Reach, 2*Unit)
	defaultTo(&c.Rewind, 500*time.Millisecond)
	defaultTo(&c.LootGoal, 90)
	return c
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	c = c.withDefaults()
	for _, f := range []struct {
		name           string
		value, low, up int64
	}{
		{"tick rate", int64(c.TickRate), 10, 240},
		{"max players", int64(c.MaxPlayers), MinPlayers, MaxPlayers},
		{"max spectators", int64(c.MaxSpectators), 1, MaxSpectators},
		{"cells", int64(c.Cells), 4, 64},
		{"players per police", int64(c.PerPolice), 2, MaxPlayers},
		{"lobby", int64(c.Lobby), int64(time.Second / 10), int64(time.Hour)},
		{"countdown", int64(c.Countdown), int64(time.Second / 10), int64(time.Minute)},
		{"hide", int64(c.Hide), int64(time.Second / 10), int64(time.Hour)},
		{"chase", int64(c.Chase), int64(time.Second / 10), int64(time.Hour)},
		{"results", int64(c.Results), int64(time.Second / 10), int64(time.Hour)},
		{"police speed", int64(c.PoliceSpeed), int64(Unit), int64(40 * Unit)},
		{"thief speed", int64(c.ThiefSpeed), int64(Unit), int64(40 * Unit)},
		{"reach", int64(c.Reach), int64(Unit), int64(10 * Unit)},
		{"rewind", int64(c.Rewind), int64(time.Millisecond), int64(time.Second)},
		{"loot goal", int64(c.LootGoal), 1, 100},
	} {
		if f.value < f.low || f.value > f.up {
			return fmt.Errorf("%s: %d is not in %d to %d", f.name, f.value, f.low, f.up)
		}
	}
	return nil
}

// Ticks is how many steps d takes, at least one.
func (c *Config) Ticks(d time.Duration) uint32 {
	return uint32(max(1, int64(d)*int64(c.TickRate)/int64(time.Second)))
}

// phase is how long a phase lasts, in ticks.
func (c *Config) phase(p Phase) uint32 {
	switch p {
	case Lobby:
		return c.Ticks(c.Lobby)
	case Countdown:
		return c.Ticks(c.Countdown)
	case Hide:
		return c.Ticks(c.Hide)
	case Chase:
		return c.Ticks(c.Chase)
	default:
		return c.Ticks(c.Results)
	}
}

// Speed is how far one of this role may go in a second.
func (c *Config) Speed(role Role, status Status) Coord {
	var speed Coord
	switch role {
	case Police:
		speed = c.PoliceSpeed
	case Thief:
		speed = c.ThiefSpeed
	default:
		return 0
	}
	if status&Boosted != 0 {
		speed = speed * 3 / 2
	}
	if status&Booted != 0 {
		speed = speed * 6 / 5
	}
	if status&Netted != 0 {
		speed /= 2
	}
	return speed
}

// burst is the movement that may be saved up, as allowances count it: a quarter
// of a second, for positions that arrive late and together.
func (c *Config) burst(speed Coord) int64 { return int64(speed) * int64(c.TickRate) / 4 }

// coins is how many lie in the world of a round.
func coins(thieves int) int { return min(6*thieves, 128) }

// lootGoal is with how many coins the thieves win.
func (c *Config) lootGoal(thieves int) int32 {
	return int32((coins(thieves)*c.LootGoal + 99) / 100)
}
