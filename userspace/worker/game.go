package worker

import (
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Game is an Options.Handler that runs the room game, one node per worker.
func Game(w *Worker) Handler {
	return &gameHandler{game.NewNode(w, w.Index(), w.Workers(), w.Metrics())}
}

type gameHandler struct{ *game.Node }

func (h *gameHandler) Open(s *Session)                       { h.Node.Open(s) }
func (h *gameHandler) Message(s *Session, m session.Message) { h.Node.Message(s, m) }
func (h *gameHandler) Close(s *Session, _ wire.Reason)       { h.Node.Close(s) }
