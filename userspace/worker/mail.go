package worker

import (
	"fmt"

	"github.com/xrudp/xrudp/userspace/internal/spsc"
)

const (
	// MaxLetter is the largest letter in bytes.
	MaxLetter = 1200

	// mailboxSize is how many letters lie between two workers.
	mailboxSize = 1024

	// mailBatch is how many letters a pass takes from each of the others.
	mailBatch = 512
)

// parcel is the memory of one letter.
type parcel struct {
	size int
	data [MaxLetter]byte
}

// mailbox carries letters from one worker to another, and their memory back.
//
//	sender    waiting ---> full ------> receiver
//	sender    <----------- empty <----- receiver
type mailbox struct {
	full  *spsc.Queue[*parcel]
	empty *spsc.Queue[*parcel]

	// Of the sender: letters that found no room, in order, and whether any
	// were pushed since the receiver was woken.
	waiting []*parcel
	pushed  bool
}

func newMailbox() *mailbox {
	return &mailbox{
		full:  spsc.New[*parcel](mailboxSize),
		empty: spsc.New[*parcel](mailboxSize),
	}
}

// Mail sends a copy of letter to the handler of another worker. Letters to one
// worker arrive in order. One that finds no room is dropped, unless it must
// arrive: then it waits, and the worker takes no packets from its commit rings
// until it left.
func (w *Worker) Mail(to int, letter []byte, must bool) {
	if to == w.opts.Index || len(letter) > MaxLetter {
		panic(fmt.Sprintf("worker %d: letter of %d bytes to worker %d", w.opts.Index, len(letter), to))
	}
	box := w.post[to]
	room := len(box.waiting) == 0 && box.full.Len() < box.full.Cap()
	if !room && !must {
		w.mailDropped++
		return
	}
	p, ok := box.empty.Pop()
	if !ok {
		p = new(parcel)
	}
	p.size = copy(p.data[:], letter)
	// Only this worker pushes, so room does not go away.
	if room && box.full.Push(p) {
		box.pushed = true
		w.mailSent++
		return
	}
	w.mailWaited++
	box.waiting = append(box.waiting, p)
}

// sendMail pushes what waits, and wakes whom it is for: once per pass.
func (w *Worker) sendMail() {
	w.pressed = false
	for to, box := range w.post {
		if box == nil {
			continue
		}
		n := 0
		for n < len(box.waiting) && box.full.Push(box.waiting[n]) {
			box.waiting[n] = nil
			box.pushed = true
			w.mailSent++
			n++
		}
		box.waiting = append(box.waiting[:0], box.waiting[n:]...)
		w.pressed = w.pressed || len(box.waiting) > 0
		if box.pushed {
			box.pushed = false
			w.group.workers[to].wake()
		}
	}
}

// readMail hands over letters from the other workers.
func (w *Worker) readMail() (total int) {
	for from, box := range w.inbox {
		if box == nil {
			continue
		}
		for range mailBatch {
			p, ok := box.full.Pop()
			if !ok {
				break
			}
			if w.mailer != nil {
				w.mailer.Mail(from, p.data[:p.size])
			}
			// With the way back full the memory goes to the collector.
			box.empty.Push(p)
			total++
		}
	}
	w.mailReceived += uint64(total)
	return total
}

// hasMail reports whether a letter waits for this worker.
func (w *Worker) hasMail() bool {
	for _, box := range w.inbox {
		if box != nil && box.full.Len() > 0 {
			return true
		}
	}
	return false
}
