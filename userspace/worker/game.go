package worker

import (
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Game is an Options.Handler that runs a game, one node per worker. It is for the
// workers of one server: each server needs one of its own. Without
// Options.Panicked the workers log panics. It panics if the options make no sense.
func Game(opts game.Options) func(*Worker) Handler {
	var log func(room uint32, value any, stack []byte)
	if opts.Panicked == nil {
		opts.Panicked = func(room uint32, value any, stack []byte) { log(room, value, stack) }
	}
	dir := game.NewDirectory(opts)
	return func(w *Worker) Handler {
		if log == nil {
			log = w.logPanic
		}
		return &gameHandler{game.NewNode(dir, w, w.Index(), w.Workers(), w.Metrics())}
	}
}

func (w *Worker) logPanic(room uint32, value any, stack []byte) {
	w.opts.Logger.Error().Uint32("room", room).Interface("panic", value).Bytes("stack", stack).Msg("game panicked")
}

// A letter of the game has to fit.
const _ = uint(MaxLetter - game.MaxLetter)

type gameHandler struct{ *game.Node }

func (h *gameHandler) Open(s *Session)                       { h.Node.Open(s) }
func (h *gameHandler) Message(s *Session, m session.Message) { h.Node.Message(s, m) }
func (h *gameHandler) Close(s *Session, _ wire.Reason)       { h.Node.Close(s) }
