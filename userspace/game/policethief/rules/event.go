package rules

// Audience is who is told of an event.
type Audience uint8

const (
	ToAll  Audience = iota
	ToTeam          // those of role Team in this round
	ToOne           // the player To
)

// EventKind says what has happened.
type EventKind uint8

const (
	PlayerJoined   EventKind = iota + 1 // Player, Role wished for
	PlayerReturned                      // Player, Role wished for: in mid-round, to what was left
	PlayerLeft                          // Player
	PhaseBegan                          // Phase, Round, Until; all RoleDrawn follow a Countdown
	TimerSet                            // Phase, Until: the lobby's timer began or stopped
	RoleDrawn                           // Player, Role
	Captured                            // Player at Pos took Target at TargetPos; Points
	Freed                               // Player at Pos let Target out; Points
	Collected                           // Player took the coin Item; Points
	PickedUp                            // Player took Item, an ItemKind; to the player alone
	ItemUsed                            // Player used an ItemKind; to the team
	SkillUsed                           // Player used Action, on Target if any
	Survived                            // Player was free at the end; Points
	Won                                 // Player is of the winning side; Points
	RoundOver                           // Role won, for Reason
	Scored                              // Player's Points of the round, and Total
	eventKinds
)

// Event is something that has happened.
//
// Events of each audience are numbered from 1: those to all; those to each team,
// anew in every round; those to each player, anew when the player joins.
type Event struct {
	Number   uint32
	Tick     uint32
	Audience Audience
	Team     Role
	To       PlayerID

	Kind   EventKind
	Player PlayerID
	Target PlayerID

	Pos       Vec
	TargetPos Vec

	Role     Role
	Phase    Phase
	Reason   Reason
	Action   ActionKind
	Item     ItemID
	ItemKind ItemKind

	Points int32
	Total  int32
	Round  uint32
	Until  uint32 // tick at which the phase ends; 0 for never
}

// For reports whether one of this role is told of the event.
func (e *Event) For(id PlayerID, role Role) bool {
	switch e.Audience {
	case ToTeam:
		return role == e.Team
	case ToOne:
		return id == e.To
	default:
		return true
	}
}

var eventNames = [eventKinds]string{
	"none", "joined", "returned", "left", "phase began", "timer set", "role drawn", "captured", "freed",
	"collected", "picked up", "item used", "skill used", "survived", "won", "round over", "scored",
}

func (k EventKind) String() string { return name(eventNames[:], k) }
