package rules

// PlayerID names a member of a game, from joining until long after leaving: who
// joins with it again is the same player. Zero is nobody.
type PlayerID uint32

// ItemID numbers the items of a round.
type ItemID uint16

// InputKind says what an Input asks for. Numbers are part of recordings.
type InputKind uint8

const (
	KindJoin InputKind = iota + 1
	KindLeave
	KindReady
	KindRole
	KindMove
	KindAction
	KindRematch
	inputKinds
)

// ActionKind is what a player does beyond moving. Numbers are part of recordings.
type ActionKind uint8

const (
	Capture ActionKind = iota + 1 // police: seize the thief Target at Pos
	Free                          // thief: let Target, or any thief, out of jail
	PickUp                        // take Item, which does not come by touch
	UseItem                       // use what one carries
	Dash                          // police: run faster
	Net                           // police: slow the thief Target
	Sprint                        // thief: run faster
	Vanish                        // thief: become invisible
	actionKinds
)

// Input is something that a player, or the server on behalf of one, asks of a
// game. Functions of the kinds' names make them; fields of other kinds are unused.
type Input struct {
	Kind   InputKind
	Player PlayerID

	On   bool // Ready, Rematch
	Role Role // Join, ChooseRole

	Pos Vec    // Move: claimed; Action: where the server judges Target to have been
	Vel Vec    // Move: per second
	Yaw uint16 // Move: in 1/65536 of a turn

	Action ActionKind
	Target PlayerID
	Item   ItemID
}

// Join is a player who comes, or comes back. Spectator as the role stays one;
// others wish to be what role says, and NoRole has no wish.
func Join(id PlayerID, role Role) Input { return Input{Kind: KindJoin, Player: id, Role: role} }

// Leave is a player who goes, or whose connection is lost.
func Leave(id PlayerID) Input { return Input{Kind: KindLeave, Player: id} }

// Ready says in the lobby whether a player is ready.
func Ready(id PlayerID, on bool) Input { return Input{Kind: KindReady, Player: id, On: on} }

// ChooseRole changes what a player wishes to be from the next round on.
func ChooseRole(id PlayerID, role Role) Input {
	return Input{Kind: KindRole, Player: id, Role: role}
}

// Move claims a position. What is too far or in a wall is corrected: the player
// gets as far as the rules allow.
func Move(id PlayerID, pos, vel Vec, yaw uint16) Input {
	return Input{Kind: KindMove, Player: id, Pos: pos, Vel: vel, Yaw: yaw}
}

// Act is a use of a skill or an item that concerns no other player.
func Act(id PlayerID, action ActionKind) Input {
	return Input{Kind: KindAction, Player: id, Action: action}
}

// ActOn is an action on another player, who was at pos when it happened, as the
// server judges it. A Free leaves pos unused.
func ActOn(id PlayerID, action ActionKind, target PlayerID, pos Vec) Input {
	return Input{Kind: KindAction, Player: id, Action: action, Target: target, Pos: pos}
}

// Take picks up an item that does not come by touch.
func Take(id PlayerID, item ItemID) Input {
	return Input{Kind: KindAction, Player: id, Action: PickUp, Item: item}
}

// Rematch says after a round whether a player wants another.
func Rematch(id PlayerID, on bool) Input { return Input{Kind: KindRematch, Player: id, On: on} }

// Refusal is why an input has had no effect. Numbers may travel on the wire, and
// are only ever added to.
type Refusal uint8

const (
	Accepted      Refusal = iota
	Malformed             // no such kind, role or action, or far outside the world
	NotJoined             // the player is not in the game
	AlreadyJoined         // and present
	GameFull
	WrongPhase  // not now
	Spectating  // spectators, and those who wait for the next round, do not act
	NotYourRole // the other side's action or item
	InJail
	OnCooldown
	NoSuchPlayer // no target of that kind
	TargetJailed
	TargetImmune // just freed
	TargetSheltered
	TooFar
	WallBetween
	NoSuchItem
	HandsFull
	HandsEmpty
	NobodyJailed
	DoorShut // somebody has just been freed
	TooFast  // of a Move, which took the player as far as speed allows
	Blocked  // of a Move, which took the player as far as walls allow
	refusals
)

var refusalNames = [refusals]string{
	"accepted", "malformed", "not joined", "already joined", "game full", "wrong phase",
	"spectating", "not your role", "in jail", "on cool-down", "no such player",
	"target jailed", "target immune", "target sheltered", "too far", "wall between",
	"no such item", "hands full", "hands empty", "nobody jailed", "door shut", "too fast", "blocked",
}

func (r Refusal) String() string { return name(refusalNames[:], r) }

// Corrected reports whether a Move has taken effect, though not as claimed.
func (r Refusal) Corrected() bool { return r == TooFast || r == Blocked }

var actionNames = [actionKinds]string{
	"none", "capture", "free", "pick up", "use item", "dash", "net", "sprint", "vanish",
}

func (a ActionKind) String() string { return name(actionNames[:], a) }

func name[T ~uint8](names []string, n T) string {
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}
