package xsk

import "fmt"

// Account says where the frames of a device are. Every frame is in one place.
type Account struct {
	Frames int // there are

	Fill      int // fill rings
	RX        int // RX rings
	Held      int // received and not released
	Returning int // released, on the way to the owner of the fill ring

	Free       int // to send with
	TX         int // TX rings
	Completion int // completion rings
	Completing int // completed, on the way to the worker that sent them

	// Kernel counts frames that are in none of these places, and that the
	// kernel was given and has not returned.
	Kernel int

	// Leaked counts frames that are nowhere, Doubled frames that are in two
	// places. Either is a defect.
	Leaked, Doubled int
}

// Check returns an error unless every frame is in exactly one place.
func (a Account) Check() error {
	if a.Leaked != 0 || a.Doubled != 0 {
		return fmt.Errorf("of %d frames %d are nowhere and %d in two places: %+v", a.Frames, a.Leaked, a.Doubled, a)
	}
	return nil
}

// Account looks for every frame. No port may be in use and the kernel should
// be idle, or a frame may be seen in two places or none.
func (d *Device) Account() Account {
	a := Account{Frames: d.opts.frames()}
	seen := make([]bool, a.Frames)
	mark := func(counter *int) func(uint64) {
		return func(addr uint64) {
			i := addr / uint64(d.opts.FrameSize)
			if seen[i] {
				a.Doubled++
				return
			}
			seen[i] = true
			*counter++
		}
	}

	outstanding := 0 // RX frames put into fill rings and not received
	for _, q := range d.queues {
		q.fill.each(q.fill.consumer.Load(), q.fill.head, mark(&a.Fill))
		outstanding += int(q.posted)
	}
	for _, p := range d.ports {
		for i := range p.lanes {
			l := &p.lanes[i]
			l.rx.each(l.rx.tail, l.rx.producer.Load(), func(e descriptor) { mark(&a.RX)(e.addr) })
			l.tx.each(l.tx.consumer.Load(), l.tx.head, func(e descriptor) { mark(&a.TX)(e.addr) })
			outstanding -= int(l.received)
		}
		for _, addr := range p.held {
			mark(&a.Held)(addr)
		}
		for _, back := range p.takeBack {
			back.Each(mark(&a.Returning))
		}
		for _, i := range p.free {
			mark(&a.Free)(p.address(i))
		}
	}
	d.accountCompletions(&a, seen, mark)

	// What was not seen must be what the kernel has.
	inKernel := outstanding - a.Fill - a.RX
	a.Kernel = inKernel
	a.Leaked = -inKernel
	for i, ok := range seen {
		if ok {
			continue
		}
		if p, frame, ok := d.txFrameAt(i); ok && p.frames[frame].busy {
			a.Kernel++
		} else {
			a.Leaked++
		}
	}
	return a
}

// accountCompletions marks completed frames. The late completion of a frame
// that was given up as lost is no place of the frame.
func (d *Device) accountCompletions(a *Account, seen []bool, mark func(*int) func(uint64)) {
	visit := func(counter *int) func(uint64) {
		return func(addr uint64) {
			i := int(addr / uint64(d.opts.FrameSize))
			p, frame, _ := d.txFrameAt(i)
			f := &p.frames[frame]
			if p.overdue && (seen[i] || !f.busy || !p.taken(f)) {
				return
			}
			mark(counter)(addr)
		}
	}
	for _, q := range d.queues {
		q.completion.each(q.completion.tail, q.completion.producer.Load(), visit(&a.Completion))
	}
	for _, p := range d.ports {
		for _, done := range p.takeOver {
			done.Each(visit(&a.Completing))
		}
	}
}

// txFrameAt returns the port that frame i of the device belongs to, and its
// number there, unless i is a receive frame.
func (d *Device) txFrameAt(i int) (p *Port, frame int, ok bool) {
	i -= d.opts.Queues * d.opts.RXFrames
	if i < 0 {
		return nil, 0, false
	}
	return d.ports[i/d.opts.TXFrames], i % d.opts.TXFrames, true
}
