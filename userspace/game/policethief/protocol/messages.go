package protocol

//go:generate go tool msgp -io=false -tests=false -o messages_gen.go

import (
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
)

// Name is what clients ask for in Connect, Fast the same game with rounds of some 25
// seconds, and Version that of the messages here.
const (
	Name    = "policethief"
	Fast    = "policethief-fast"
	Version = 1
)

// Channel is where the game tells, and is told, what is reliable. On the others are
// recordings, and voice and cameras.
const (
	Channel      = 1
	ChannelData  = 2
	ChannelMedia = 3
)

// MaxFrame is how many bytes a frame of voice or of a camera may have.
const MaxFrame = 1000

// RecordingName is what the recording of a round is called.
func RecordingName(round uint32) string { return fmt.Sprintf("round %d", round) }

// Types of messages, from the range that is the games' own.
const (
	TypeAskTruth = 0x30 // to the server
	TypeAskSums  = 0x31

	TypeWelcome = 0xb0 // from the server
	TypeNamed   = 0xb1
	TypeState   = 0xb2
	TypeEvents  = 0xb3
	TypeOwn     = 0xb4
	TypeTruth   = 0xb5
	TypeSums    = 0xb6

	TypeWatching = 0xb7
)

// Commands of ReliableCommand, and what they take.
const (
	CommandReady   = "ready"   // in the lobby: a boolean
	CommandRematch = "rematch" // after a round: a boolean
	CommandRole    = "role"    // wished for: a rules.Role

	// CommandRecording asks for the recording of the last round that ended. It
	// takes nothing, and is answered on ChannelData, under the name RecordingName.
	CommandRecording = "recording"

	// CommandWatch asks for the camera of a player, by its number, and no more of
	// the one before; 0 for none. Watching is the answer.
	CommandWatch = "watch"
)

// RefusalCode is the code of message.Refused for a rules.Refusal: this plus its number.
const RefusalCode = 64

// MaxEvents is how many an Events may hold.
const MaxEvents = 512

// MaxTicks is how many one Truth may tell of.
const MaxTicks = 64

// Structs are maps with string keys, but for those that come by the hundred, which are
// arrays of their fields.
//
//msgp:noduplicates
//msgp:tuple Config Member Event

// Welcome is what the server says first to who joins.
type Welcome struct {
	Player uint32 `msg:"player"` // the receiver's own number
	// Base is the tick of snapshots at which the game's tick 0 would have been,
	// modulo 2^32.
	Base    uint32   `msg:"base"`
	Truth   bool     `msg:"truth"` // AskTruth and AskSums are answered
	Config  Config   `msg:"config"`
	Members []Member `msg:"members"` // the receiver included
}

// Config is rules.Config, with durations in nanoseconds and lengths in 1/256 units.
type Config struct {
	TickRate, MaxPlayers, MaxSpectators, Cells, PerPolice int64
	Lobby, Countdown, Hide, Chase, Results                int64
	PoliceSpeed, ThiefSpeed, Reach, Rewind, LootGoal      int64
}

// Member is somebody in the game.
type Member struct {
	Player uint32
	Name   string
	Total  int32
}

// Named says what a new player is called.
type Named struct {
	Player uint32 `msg:"player"`
	Name   string `msg:"name"`
}

// State is what all know of the game: rules.State. It is sent when anything but the
// tick changes, and each second.
type State struct {
	Base      uint32 `msg:"base"` // as in Welcome
	Tick      uint32 `msg:"tick"`
	Round     uint32 `msg:"round"`
	Phase     uint8  `msg:"phase"`
	Until     uint32 `msg:"until"`
	Winner    uint8  `msg:"winner"`
	Reason    uint8  `msg:"reason"`
	Coins     int32  `msg:"coins"`
	CoinsGoal int32  `msg:"coins_goal"`
	DoorUntil uint32 `msg:"door_until"`
	MapSeed   uint32 `msg:"map_seed"`
}

// Events is what has happened, in order.
type Events struct {
	Events []Event `msg:"events"`
}

// Event is rules.Event.
type Event struct {
	Number, Tick           uint32
	Audience, Team         uint8
	To                     uint32
	Kind                   uint8
	Player, Target         uint32
	X, Y, TargetX, TargetY int32
	Role, Phase, Reason    uint8
	Action                 uint8
	Item                   uint16
	ItemKind               uint8
	Points, Total          int32
	Round, Until           uint32
}

// Own is what a player alone is told, when any of it but Shelter changes.
type Own struct {
	Role     uint8    `msg:"role"`
	Wish     uint8    `msg:"wish"`
	Status   uint16   `msg:"status"`
	Carrying uint8    `msg:"carrying"`
	Score    int32    `msg:"score"`
	Total    int32    `msg:"total"`
	Shelter  uint32   `msg:"shelter"`
	ReadyAt  []uint32 `msg:"ready_at"` // by rules.ActionKind
}

// Watching says whose camera the receiver gets from now on, beginning with its next key
// frame.
type Watching struct {
	Player uint32 `msg:"player"` // 0: nobody's
	// Began says that the player has sent frames, of which Frame is the newest: neither
	// that nor one before comes.
	Began bool   `msg:"began"`
	Frame uint32 `msg:"frame"`
}

// AskTruth asks what was at some ticks of snapshots, both included. It is answered
// where the server was started to be checked.
type AskTruth struct {
	From uint32 `msg:"from"`
	To   uint32 `msg:"to"`
}

// Truth is what was at the ticks that were asked for and that the server remembers.
type Truth struct {
	// Data holds ticks one after the other, see Moment. It aliases the payload.
	Data []byte `msg:"data,zerocopy,limit=1048576"`
}

// AskSums asks for Sums. It is answered where the server was started to be checked.
type AskSums struct{}

// Sums says of which events the receiver was to be told since it joined.
type Sums struct {
	All  Tally `msg:"all"`
	Team Tally `msg:"team"`
	One  Tally `msg:"one"`
}

// Tally counts the events of one audience, and adds up what was in them.
type Tally struct {
	Count uint64 `msg:"count"`
	Sum   uint64 `msg:"sum"`
}

// Kind is the type of the message.
func (*Welcome) Kind() uint8 { return TypeWelcome }

// Kind is the type of the message.
func (*Named) Kind() uint8 { return TypeNamed }

// Kind is the type of the message.
func (*State) Kind() uint8 { return TypeState }

// Kind is the type of the message.
func (*Events) Kind() uint8 { return TypeEvents }

// Kind is the type of the message.
func (*Own) Kind() uint8 { return TypeOwn }

// Kind is the type of the message.
func (*Watching) Kind() uint8 { return TypeWatching }

// Kind is the type of the message.
func (*AskTruth) Kind() uint8 { return TypeAskTruth }

// Kind is the type of the message.
func (*Truth) Kind() uint8 { return TypeTruth }

// Kind is the type of the message.
func (*AskSums) Kind() uint8 { return TypeAskSums }

// Kind is the type of the message.
func (*Sums) Kind() uint8 { return TypeSums }

// Check implements message.Checker.
func (m *Welcome) Check() error {
	if len(m.Members) > 2*(rules.MaxPlayers+rules.MaxSpectators) {
		return message.ErrTooLarge
	}
	for i := range m.Members {
		if err := message.CheckName(m.Members[i].Name); err != nil {
			return err
		}
	}
	if err := m.Config.Rules().Validate(); err != nil {
		return message.ErrField
	}
	return nil
}

// Check implements message.Checker.
func (m *Named) Check() error { return message.CheckName(m.Name) }

// Check implements message.Checker.
func (m *Events) Check() error {
	if len(m.Events) > MaxEvents {
		return message.ErrTooLarge
	}
	return nil
}

// Check implements message.Checker.
func (m *Own) Check() error {
	if len(m.ReadyAt) != len(rules.Own{}.ReadyAt) {
		return message.ErrField
	}
	return nil
}

// Check implements message.Checker.
func (m *AskTruth) Check() error {
	if m.To-m.From >= MaxTicks {
		return message.ErrTooLarge
	}
	return nil
}

// ConfigOf returns what travels of a configuration.
func ConfigOf(c rules.Config) Config {
	return Config{
		int64(c.TickRate), int64(c.MaxPlayers), int64(c.MaxSpectators), int64(c.Cells), int64(c.PerPolice),
		int64(c.Lobby), int64(c.Countdown), int64(c.Hide), int64(c.Chase), int64(c.Results),
		int64(c.PoliceSpeed), int64(c.ThiefSpeed), int64(c.Reach), int64(c.Rewind), int64(c.LootGoal),
	}
}

// Rules returns the configuration. What comes from a server is valid only as far as
// Validate says.
func (c *Config) Rules() rules.Config {
	return rules.Config{
		TickRate: int(c.TickRate), MaxPlayers: int(c.MaxPlayers), MaxSpectators: int(c.MaxSpectators),
		Cells: int(c.Cells), PerPolice: int(c.PerPolice),
		Lobby: time.Duration(c.Lobby), Countdown: time.Duration(c.Countdown), Hide: time.Duration(c.Hide),
		Chase: time.Duration(c.Chase), Results: time.Duration(c.Results),
		PoliceSpeed: coord(c.PoliceSpeed), ThiefSpeed: coord(c.ThiefSpeed), Reach: coord(c.Reach),
		Rewind: time.Duration(c.Rewind), LootGoal: int(c.LootGoal),
	}
}

// coord makes of what does not fit something out of range.
func coord(n int64) rules.Coord {
	if n > int64(rules.MaxCoord) || n < 0 {
		return -1
	}
	return rules.Coord(n)
}

// StateOf returns what travels of a state.
func StateOf(s rules.State, base uint32) State {
	return State{
		Base: base, Tick: s.Tick, Round: s.Round, Phase: uint8(s.Phase), Until: s.Until,
		Winner: uint8(s.Winner), Reason: uint8(s.Reason), Coins: s.Coins, CoinsGoal: s.CoinsGoal,
		DoorUntil: s.DoorUntil, MapSeed: s.MapSeed,
	}
}

// Rules returns the state.
func (m *State) Rules() rules.State {
	return rules.State{
		Tick: m.Tick, Round: m.Round, Phase: rules.Phase(m.Phase), Until: m.Until,
		Winner: rules.Role(m.Winner), Reason: rules.Reason(m.Reason), Coins: m.Coins, CoinsGoal: m.CoinsGoal,
		DoorUntil: m.DoorUntil, MapSeed: m.MapSeed,
	}
}

// EventOf returns what travels of an event, which is all of it.
func EventOf(e *rules.Event) Event {
	return Event{
		Number: e.Number, Tick: e.Tick, Audience: uint8(e.Audience), Team: uint8(e.Team), To: uint32(e.To),
		Kind: uint8(e.Kind), Player: uint32(e.Player), Target: uint32(e.Target),
		X: int32(e.Pos.X), Y: int32(e.Pos.Y), TargetX: int32(e.TargetPos.X), TargetY: int32(e.TargetPos.Y),
		Role: uint8(e.Role), Phase: uint8(e.Phase), Reason: uint8(e.Reason), Action: uint8(e.Action),
		Item: uint16(e.Item), ItemKind: uint8(e.ItemKind), Points: e.Points, Total: e.Total,
		Round: e.Round, Until: e.Until,
	}
}

// Rules returns the event.
func (m *Event) Rules() rules.Event {
	return rules.Event{
		Number: m.Number, Tick: m.Tick, Audience: rules.Audience(m.Audience), Team: rules.Role(m.Team),
		To: rules.PlayerID(m.To), Kind: rules.EventKind(m.Kind), Player: rules.PlayerID(m.Player),
		Target:    rules.PlayerID(m.Target),
		Pos:       rules.Vec{X: rules.Coord(m.X), Y: rules.Coord(m.Y)},
		TargetPos: rules.Vec{X: rules.Coord(m.TargetX), Y: rules.Coord(m.TargetY)},
		Role:      rules.Role(m.Role), Phase: rules.Phase(m.Phase), Reason: rules.Reason(m.Reason),
		Action: rules.ActionKind(m.Action), Item: rules.ItemID(m.Item), ItemKind: rules.ItemKind(m.ItemKind),
		Points: m.Points, Total: m.Total, Round: m.Round, Until: m.Until,
	}
}

// Add counts an event. The sum depends on everything in it, and on what came before.
func (t *Tally) Add(m *Event) {
	t.Count++
	h := t.Sum ^ 14695981039346656037
	for _, w := range [...]uint64{
		uint64(m.Number)<<32 | uint64(m.Tick), uint64(m.To)<<32 | uint64(m.Item)<<16 | uint64(m.Audience)<<8 | uint64(m.Team),
		uint64(m.Player)<<32 | uint64(m.Target), uint64(uint32(m.X))<<32 | uint64(uint32(m.Y)),
		uint64(uint32(m.TargetX))<<32 | uint64(uint32(m.TargetY)), uint64(uint32(m.Points))<<32 | uint64(uint32(m.Total)),
		uint64(m.Round)<<32 | uint64(m.Until),
		uint64(m.Kind) | uint64(m.Role)<<8 | uint64(m.Phase)<<16 | uint64(m.Reason)<<24 | uint64(m.Action)<<32 | uint64(m.ItemKind)<<40,
	} {
		h = (h ^ w) * 1099511628211
		h ^= h >> 29
	}
	t.Sum = h
}
