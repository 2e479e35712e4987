package worker

import (
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Game is an Options.Handler that runs a game, one node per worker. It is for the
// workers of one server: each server needs one of its own. Without
// Options.Panicked the workers log panics, up to ten a second. It panics if the
// options make no sense.
func Game(opts game.Options) func(*Worker) Handler {
	var log panicLog
	if opts.Panicked == nil {
		opts.Panicked = log.panicked
	}
	dir := game.NewDirectory(opts)
	return func(w *Worker) Handler {
		if log.worker == nil {
			log.worker = w
		}
		return &gameHandler{game.NewNode(dir, w, w.Index(), w.Workers(), w.Metrics())}
	}
}

// panicLog logs panics. What clients can bring about again and again must not fill
// the disk, so it is not all of them.
type panicLog struct {
	worker *Worker // any

	mu     sync.Mutex
	second uint64
	said   int    // in this second
	unsaid uint64 // since the last one that was
}

const panicsPerSecond = 10

func (l *panicLog) panicked(room uint32, value any, stack []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := l.worker.Clock() / uint64(time.Second); second != l.second {
		l.second, l.said = second, 0
	}
	if l.said == panicsPerSecond {
		l.unsaid++
		return
	}
	l.worker.opts.Logger.Error().Uint32("room", room).Interface("panic", value).Bytes("stack", stack).
		Uint64("unlogged", l.unsaid).Msg("game panicked")
	l.said++
	l.unsaid = 0
}

// A letter of the game has to fit.
const _ = uint(MaxLetter - game.MaxLetter)

type gameHandler struct{ *game.Node }

func (h *gameHandler) Open(s *Session)                       { h.Node.Open(s) }
func (h *gameHandler) Message(s *Session, m session.Message) { h.Node.Message(s, m) }
func (h *gameHandler) Close(s *Session, _ wire.Reason)       { h.Node.Close(s) }
