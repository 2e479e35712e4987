package simnet

// event is a packet that arrives or a timer that fires.
type event struct {
	at, order uint64
	packet    *packet // nil for a timer
	timer     *Timer
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.order < o.order
}

// fanout makes the heap flat: a level costs a cache line or two, not one for
// each comparison.
const fanout = 4

// events is a heap by time; what happens at the same time happens in the
// order in which it was planned.
type events struct {
	heap  []event
	order uint64
}

func (q *events) push(e event) {
	q.order++
	e.order = q.order
	q.heap = append(q.heap, event{})
	q.up(len(q.heap)-1, e)
}

func (q *events) pop() event {
	e := q.heap[0]
	q.remove(0)
	return e
}

// remove takes out the event at position i.
func (q *events) remove(i int) {
	if t := q.heap[i].timer; t != nil {
		t.pos = -1
	}
	last := len(q.heap) - 1
	moved := q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	switch {
	case i == last:
	case i > 0 && moved.before(&q.heap[(i-1)/fanout]):
		q.up(i, moved)
	default:
		q.down(i, moved)
	}
}

// up places e at i or closer to the top.
func (q *events) up(i int, e event) {
	for i > 0 {
		parent := (i - 1) / fanout
		if !e.before(&q.heap[parent]) {
			break
		}
		q.put(i, q.heap[parent])
		i = parent
	}
	q.put(i, e)
}

// down places e at i or further from the top.
func (q *events) down(i int, e event) {
	for {
		first := fanout*i + 1
		if first >= len(q.heap) {
			break
		}
		least := first
		for c := first + 1; c < min(first+fanout, len(q.heap)); c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if !q.heap[least].before(&e) {
			break
		}
		q.put(i, q.heap[least])
		i = least
	}
	q.put(i, e)
}

func (q *events) put(i int, e event) {
	q.heap[i] = e
	if e.timer != nil {
		e.timer.pos = i
	}
}
