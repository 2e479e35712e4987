package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Bounds of a recording.
const (
	MaxRecording      = 32 << 20 // bytes
	MaxRecordingTicks = 1 << 22
	MaxRound          = 8 << 20 // bytes of the recording of a single round
)

// A recording is the four bytes of its magic, the configuration, the seed, the
// beginning, the inputs that took effect, and an end. Each input begins with the ticks
// since the one before; kind 0 is the end and carries the hash of the game. Numbers
// are varints in their shortest form; positions are relative to the player's own.
//
// A game begins with nothing, a round with its members as they were when it was about
// to be drawn, and a seed of its own.
const (
	recordingMagic = "XPT2"
	kindEnd        = InputKind(0)

	beginsGame  = 0
	beginsRound = 1
)

var (
	// ErrRecording is a recording that no Recorder wrote.
	ErrRecording = errors.New("malformed recording")
	// ErrDiverged is a recording whose game comes out different now.
	ErrDiverged = errors.New("replay diverged from the recording")
	// ErrTooLong is a game that does not fit a recording.
	ErrTooLong = errors.New("game too long for a recording")
)

// Recorder keeps what is needed to play a game again, or its last round. Of a round it
// tells nothing by which the next could be foreseen.
type Recorder struct {
	game   *Game
	whole  *log // nil where only rounds are kept
	round  log
	within bool // a round, which began while it was recorded
	last   []byte
	number uint32 // of the round in last
	record []byte
}

// log is a recording in the making.
type log struct {
	b     []byte
	most  int    // bytes
	start uint32 // tick
	tick  uint32 // of the last record
	full  bool
}

// NewRecorder records g and each of its rounds. g must not have had an input or a step
// yet; from now on its inputs go through the recorder.
func NewRecorder(g *Game) *Recorder {
	r := NewRoundRecorder(g)
	r.whole = &log{b: append(appendHead(nil, &g.cfg, g.seed), beginsGame), most: MaxRecording}
	return r
}

// NewRoundRecorder is NewRecorder for the rounds alone, which takes no more than twice
// MaxRound of memory. There is nothing to Finish.
func NewRoundRecorder(g *Game) *Recorder {
	if g.tick != 0 || g.used != 0 {
		panic("policethief: recorder of a game that has begun")
	}
	r := &Recorder{game: g}
	g.recorder = r
	return r
}

func appendHead(b []byte, cfg *Config, seed uint64) []byte {
	b = append(b, recordingMagic...)
	for _, n := range configNumbers(cfg) {
		b = binary.AppendUvarint(b, uint64(n.get()))
	}
	return binary.BigEndian.AppendUint64(b, seed)
}

// Apply applies an input to the game, and keeps it if it takes effect.
func (r *Recorder) Apply(in Input) Refusal {
	r.record = appendInput(r.record[:0], r.game, &in)
	answer := r.game.Apply(in)
	if answer != Accepted && !answer.Corrected() {
		return answer
	}
	if r.whole != nil {
		r.whole.add(r.game.tick, r.record)
	}
	if r.within {
		r.round.add(r.game.tick, r.record)
	}
	return answer
}

// Round returns the recording of the last round that was played to its end, nil when
// there is none, or when it was too long. It does not change any more.
func (r *Recorder) Round() (number uint32, recording []byte) { return r.number, r.last }

// Finish returns the recording of all that has happened so far, and ends it: the
// recorder must not be used again.
func (r *Recorder) Finish() ([]byte, error) { return r.whole.end(r.game) }

// roundBegins is called by a game that is about to draw a round.
func (r *Recorder) roundBegins(seed uint64) {
	g := r.game
	b := append(appendHead(r.round.b[:0], &g.cfg, seed), beginsRound)
	r.round = log{b: g.appendStart(b), most: MaxRound, start: g.tick, tick: g.tick}
	r.within = true
}

// roundEnds is called by a game at the end of a round: played, or not.
func (r *Recorder) roundEnds(played bool) {
	if !r.within {
		return
	}
	r.within = false
	if !played {
		return
	}
	r.number, r.last = r.game.round, nil
	if b, err := r.round.end(r.game); err == nil {
		r.last = bytes.Clone(b)
		r.round.b = b
	}
}

// add adds a record of what happened at a tick.
func (l *log) add(tick uint32, record []byte) {
	// The end must fit as well.
	if l.full = l.full || len(l.b) > l.most-128 || tick-l.start > MaxRecordingTicks; l.full {
		return
	}
	l.b = append(binary.AppendUvarint(l.b, uint64(tick-l.tick)), record...)
	l.tick = tick
}

func (l *log) end(g *Game) ([]byte, error) {
	if l.full || g.tick-l.start > MaxRecordingTicks {
		return nil, ErrTooLong
	}
	b := append(binary.AppendUvarint(l.b, uint64(g.tick-l.tick)), byte(kindEnd))
	return binary.BigEndian.AppendUint64(b, g.Hash()), nil
}

// appendInput appends in as it is recorded, before it changes the game.
func appendInput(b []byte, g *Game, in *Input) []byte {
	b = binary.AppendUvarint(append(b, byte(in.Kind)), uint64(in.Player))
	switch in.Kind {
	case KindJoin, KindRole:
		b = append(b, byte(in.Role))
	case KindReady, KindRematch:
		b = append(b, byte(bit(in.On)))
	case KindMove:
		b = appendVec(b, in.Pos.Sub(g.position(in.Player)))
		b = appendVec(b, in.Vel)
		b = binary.AppendUvarint(b, uint64(in.Yaw))
	case KindAction:
		b = append(b, byte(in.Action))
		switch in.Action {
		case Capture, Net:
			b = binary.AppendUvarint(b, uint64(in.Target))
			b = appendVec(b, in.Pos.Sub(g.position(in.Player)))
		case Free:
			b = binary.AppendUvarint(b, uint64(in.Target))
		case PickUp:
			b = binary.AppendUvarint(b, uint64(in.Item))
		default:
		}
	default:
	}
	return b
}

// appendStart appends what the course of a round that is about to be drawn depends on:
// everybody has been taken out of the round before.
func (g *Game) appendStart(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, g.mapSeed)
	for _, n := range [...]uint32{g.tick, g.round, g.numbers[0], uint32(g.used)} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		b = binary.AppendUvarint(b, uint64(p.id))
		if p.id == 0 {
			continue
		}
		b = append(b, byte(p.wish)<<1|byte(bit(p.ready)))
		for _, n := range [...]uint32{uint32(p.yaw), p.movedAt, uint32(p.total), p.corrections, p.beenPolice, p.number} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

// readStart undoes appendStart, and reports whether a round can begin so.
func (g *Game) readStart(d *decoder) bool {
	if b := d.take(4); b != nil {
		g.mapSeed = binary.BigEndian.Uint32(b)
	}
	number := func(most uint64) uint32 { return uint32(d.uvarint(most)) }
	g.tick, g.round, g.numbers[0] = number(1<<31), number(1<<31), number(1<<31)
	g.used = int(number(maxMembers))
	players, spectators, ready := 0, 0, 0
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		if p.id = PlayerID(number(1<<32 - 1)); p.id == 0 {
			continue
		}
		flags := d.byte(byte(roles)<<1 - 1)
		p.wish, p.ready = Role(flags>>1), flags&1 != 0
		p.yaw, p.movedAt, p.total = uint16(number(1<<16-1)), number(1<<31), int32(number(1<<30))
		p.corrections, p.beenPolice, p.number = number(1<<32-1), number(1<<32-1), number(1<<32-1)
		if _, twice := g.index[p.id]; twice {
			return false
		}
		g.index[p.id] = i
		g.clear(p)
		switch {
		case p.wish != Spectator:
			players++
		case p.ready:
			return false
		default:
			spectators++
		}
		if p.ready {
			ready++
		}
	}
	g.world = NewWorld(g.cfg.Cells, g.mapSeed)
	return !d.bad && ready >= MinPlayers && players <= g.cfg.MaxPlayers && spectators <= g.cfg.MaxSpectators
}

// Replay plays a recorded game, or round, again.
type Replay struct {
	game  *Game
	rest  []byte
	next  Input
	start uint32 // tick
	at    uint32 // tick of next, since start
	round bool   // is all that there is
	done  bool
}

// NewReplay begins a recorded game or round. The recording must not change while it
// plays. A round has been drawn when it begins, which are its first events.
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
	g := New(cfg, binary.BigEndian.Uint64(seed))
	round := d.byte(beginsRound) == beginsRound
	if round {
		if !g.readStart(&d) {
			return nil, ErrRecording
		}
		g.play(g.seed)
	}
	if d.bad {
		return nil, ErrRecording
	}
	return &Replay{game: g, rest: d.b, start: g.tick, round: round}, nil
}

// Game returns the game as far as it has been played. Only Step and Run may change it.
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

// Run plays what is left, and counts its ticks. each, unless it is nil, is called for
// every event in its turn, those of the beginning and of the end included.
func (r *Replay) Run(each func(*Event)) (ticks uint32, err error) {
	began := r.game.tick
	for more := true; ; {
		for _, e := range r.game.Events() {
			if each != nil {
				each(&e)
			}
		}
		if !more {
			return r.game.tick - began, nil
		}
		if more, err = r.Step(); err != nil {
			return 0, err
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
	now := uint32(at) == r.game.tick-r.start
	kind := InputKind(d.byte(byte(inputKinds - 1)))
	if r.round && (r.game.phase == Lobby || (now && kind == kindEnd) != (r.game.phase == Results)) {
		// It ends with the round.
		return nil, false, ErrRecording
	}
	if !now {
		return nil, false, nil
	}
	r.at = uint32(at)

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
