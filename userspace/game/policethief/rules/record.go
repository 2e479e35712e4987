package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Bounds of a recording.
const (
	MaxRecording      = 32 << 20 // bytes
	MaxRecordingTicks = 1 << 22
)

// A recording is the four bytes of its magic, the configuration, the seed, the
// inputs that took effect, and an end. Each input begins with the ticks since
// the one before; kind 0 is the end and carries the hash of the game. Numbers are
// varints in their shortest form; positions are relative to the player's own.
const (
	recordingMagic = "XPT1"
	kindEnd        = InputKind(0)
)

var (
	// ErrRecording is a recording that no Recorder wrote.
	ErrRecording = errors.New("malformed recording")
	// ErrDiverged is a recording whose game comes out different now.
	ErrDiverged = errors.New("replay diverged from the recording")
	// ErrTooLong is a game that does not fit a recording.
	ErrTooLong = errors.New("game too long for a recording")
)

// Recorder keeps what is needed to play a game again.
type Recorder struct {
	game *Game
	b    []byte
	tick uint32 // of the last record
	full bool
}

// NewRecorder records g, which must not have had an input or a step yet. From now
// on its inputs go through the recorder.
func NewRecorder(g *Game) *Recorder {
	if g.tick != 0 || g.used != 0 {
		panic("policethief: recorder of a game that has begun")
	}
	b := []byte(recordingMagic)
	for _, n := range configNumbers(&g.cfg) {
		b = binary.AppendUvarint(b, uint64(n.get()))
	}
	return &Recorder{game: g, b: binary.BigEndian.AppendUint64(b, g.seed)}
}

// Apply applies an input to the game, and keeps it if it takes effect.
func (r *Recorder) Apply(in Input) Refusal {
	before := len(r.b)
	tick := r.tick
	r.append(in)
	answer := r.game.Apply(in)
	if answer != Accepted && !answer.Corrected() {
		r.b, r.tick = r.b[:before], tick
	}
	return answer
}

// append adds in to the recording. It is called before the input changes the game.
func (r *Recorder) append(in Input) {
	// The end must fit as well.
	if r.full = r.full || len(r.b) > MaxRecording-128 || r.game.tick > MaxRecordingTicks; r.full {
		return
	}
	r.begin(in.Kind)
	b := binary.AppendUvarint(r.b, uint64(in.Player))
	switch in.Kind {
	case KindJoin, KindRole:
		b = append(b, byte(in.Role))
	case KindReady, KindRematch:
		on := byte(0)
		if in.On {
			on = 1
		}
		b = append(b, on)
	case KindMove:
		b = appendVec(b, in.Pos.Sub(r.game.position(in.Player)))
		b = appendVec(b, in.Vel)
		b = binary.AppendUvarint(b, uint64(in.Yaw))
	case KindAction:
		b = append(b, byte(in.Action))
		switch in.Action {
		case Capture, Net:
			b = binary.AppendUvarint(b, uint64(in.Target))
			b = appendVec(b, in.Pos.Sub(r.game.position(in.Player)))
		case Free:
			b = binary.AppendUvarint(b, uint64(in.Target))
		case PickUp:
			b = binary.AppendUvarint(b, uint64(in.Item))
		default:
		}
	default:
	}
	r.b = b
}

func (r *Recorder) begin(kind InputKind) {
	r.b = binary.AppendUvarint(r.b, uint64(r.game.tick-r.tick))
	r.b = append(r.b, byte(kind))
	r.tick = r.game.tick
}

// Finish returns the recording of all that has happened so far, and ends it: the
// recorder must not be used again.
func (r *Recorder) Finish() ([]byte, error) {
	if r.full || r.game.tick > MaxRecordingTicks {
		return nil, ErrTooLong
	}
	r.begin(kindEnd)
	return binary.BigEndian.AppendUint64(r.b, r.game.Hash()), nil
}

// Replay plays a recorded game again.
type Replay struct {
	game *Game
	rest []byte
	next Input
	at   uint32 // tick of next
	done bool
}

// NewReplay begins a recorded game. The recording must not change while it plays.
// What is wrong with it comes with the Step that meets it.
func NewReplay(recording []byte) (*Replay, error) {
	if len(recording) > MaxRecording {
		return nil, fmt.Errorf("%d bytes: %w", len(recording), ErrTooLong)
	}
	d := decoder{b: recording}
	if string(d.take(len(recordingMagic))) != recordingMagic {
		return nil, ErrRecording
	}
	var cfg Config
	for _, n := range configNumbers(&cfg) {
		v := d.uvarint(1 << 62)
		if v == 0 {
			return nil, ErrRecording
		}
		n.set(int64(v))
	}
	seed := d.take(8)
	if d.bad {
		return nil, ErrRecording
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w: %w", err, ErrRecording)
	}
	return &Replay{game: New(cfg, binary.BigEndian.Uint64(seed)), rest: d.b}, nil
}

// Game returns the game as far as it has been played. Only Step may change it.
func (r *Replay) Game() *Game { return r.game }

// Step plays one tick: the inputs that came before it, and the step itself. It
// reports false once the recording is at its end. Events of the game that nobody
// has taken until the next Step are lost.
func (r *Replay) Step() (more bool, err error) {
	if r.done {
		return false, nil
	}
	r.game.Events()
	for {
		in, ended, err := r.input()
		switch {
		case err != nil:
			r.done = true
			return false, err
		case ended:
			r.done = true
			return false, nil
		case in == nil:
			r.game.Step()
			return true, nil
		}
		if answer := r.game.Apply(*in); answer != Accepted && !answer.Corrected() {
			r.done = true
			return false, fmt.Errorf("tick %d: %s: %w", r.game.tick, answer, ErrDiverged)
		}
	}
}

// input returns the next input that belongs to this tick, nil if it has no more.
func (r *Replay) input() (in *Input, ended bool, err error) {
	d := decoder{b: r.rest}
	at := uint64(r.at) + d.uvarint(MaxRecordingTicks)
	if d.bad || at > MaxRecordingTicks {
		return nil, false, ErrRecording
	}
	if uint32(at) != r.game.tick {
		return nil, false, nil
	}
	r.at = uint32(at)

	kind := InputKind(d.byte(byte(inputKinds - 1)))
	if kind == kindEnd {
		hash := d.take(8)
		if d.bad || len(d.b) > 0 {
			return nil, false, ErrRecording
		}
		if binary.BigEndian.Uint64(hash) != r.game.Hash() {
			return nil, false, ErrDiverged
		}
		return nil, true, nil
	}
	r.next = Input{Kind: kind, Player: PlayerID(d.uvarint(1<<32 - 1))}
	switch in = &r.next; kind {
	case KindJoin, KindRole:
		in.Role = Role(d.byte(byte(roles - 1)))
	case KindReady, KindRematch:
		in.On = d.byte(1) == 1
	case KindMove:
		in.Pos = d.vec().Add(r.game.position(in.Player))
		in.Vel = d.vec()
		in.Yaw = uint16(d.uvarint(1<<16 - 1))
	case KindAction:
		in.Action = ActionKind(d.byte(byte(actionKinds - 1)))
		switch in.Action {
		case Capture, Net:
			in.Target = PlayerID(d.uvarint(1<<32 - 1))
			in.Pos = d.vec().Add(r.game.position(in.Player))
		case Free:
			in.Target = PlayerID(d.uvarint(1<<32 - 1))
		case PickUp:
			in.Item = ItemID(d.uvarint(1<<16 - 1))
		default:
		}
	default:
	}
	if d.bad {
		return nil, false, ErrRecording
	}
	r.rest = d.b
	return in, false, nil
}

func (g *Game) position(id PlayerID) Vec {
	if p := g.find(id); p != nil {
		return p.pos
	}
	return Vec{}
}

// number is a field of a configuration.
type number struct {
	get func() int64
	set func(int64)
}

func numberOf[T int | Coord | time.Duration](field *T) number {
	return number{func() int64 { return int64(*field) }, func(n int64) {
		// What does not fit comes out as another number, and out of range.
		if *field = T(n); int64(*field) != n {
			*field = -1
		}
	}}
}

func configNumbers(c *Config) []number {
	return []number{
		numberOf(&c.TickRate), numberOf(&c.MaxPlayers), numberOf(&c.MaxSpectators),
		numberOf(&c.Cells), numberOf(&c.PerPolice),
		numberOf(&c.Lobby), numberOf(&c.Countdown), numberOf(&c.Hide), numberOf(&c.Chase), numberOf(&c.Results),
		numberOf(&c.PoliceSpeed), numberOf(&c.ThiefSpeed), numberOf(&c.Reach), numberOf(&c.Rewind),
		numberOf(&c.LootGoal),
	}
}

func appendVec(b []byte, v Vec) []byte {
	b = binary.AppendVarint(b, int64(v.X))
	return binary.AppendVarint(b, int64(v.Y))
}

// decoder reads what may be hostile. Once bad it returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad = true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte(most byte) byte {
	if b := d.take(1); b != nil && b[0] <= most {
		return b[0]
	}
	d.bad = true
	return 0
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	// The last byte of a longer form than needed is zero.
	if d.bad || n <= 0 || v > most || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// vec reads the difference of two positions, or a velocity.
func (d *decoder) vec() Vec {
	read := func() Coord {
		v := d.uvarint(4*uint64(MaxCoord) + 1)
		return Coord(int64(v>>1) ^ -int64(v&1))
	}
	x := read()
	return Vec{x, read()}
}
