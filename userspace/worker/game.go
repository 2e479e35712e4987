package worker

import (
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Game is an Options.Handler that runs a game, one node per worker. It is for the
// workers of one server: each server needs one of its own. Without
// Options.Panicked the workers log panics, up to ten a second: each is a stack of some
// kilobytes, and a client may bring them about again and again. It panics if the
// options make no sense.
func Game(opts game.Options) func(*Worker) Handler {
	var log *zerolog.Logger
	if opts.Panicked == nil {
		opts.Panicked = func(room uint32, value any, stack []byte) {
			log.Error().Uint32("room", room).Interface("panic", value).Bytes("stack", stack).Msg("game panicked")
		}
	}
	dir := game.NewDirectory(opts)
	return func(w *Worker) Handler {
		if log == nil {
			l := w.opts.Logger.Sample(&zerolog.BurstSampler{Burst: panicsPerSecond, Period: time.Second})
			log = &l
		}
		return &gameHandler{game.NewNode(dir, w, w.Index(), w.Workers(), w.Metrics())}
	}
}

const panicsPerSecond = 10

// A letter of the game has to fit.
const _ = uint(MaxLetter - game.MaxLetter)

type gameHandler struct{ *game.Node }

func (h *gameHandler) Open(s *Session)                       { h.Node.Open(s) }
func (h *gameHandler) Message(s *Session, m session.Message) { h.Node.Message(s, m) }
func (h *gameHandler) Close(s *Session, _ wire.Reason)       { h.Node.Close(s) }
