package game

import "reflect"

// maxNesting bounds events that are published by subscribers to events.
const maxNesting = 32

// topic is those who want to hear of events of one type.
type topic[E any] struct{ subscribers []func(E) }

// Subscribe has f called for every event of type E that is published in the room.
// It belongs into Kind.New; subscriptions last as long as the room.
func Subscribe[E any](r *Room, f func(E)) {
	key := reflect.TypeFor[E]()
	t, _ := r.topics[key].(*topic[E])
	if t == nil {
		t = new(topic[E])
		r.topics[key] = t
	}
	t.subscribers = append(t.subscribers, f)
}

// Publish calls the subscribers of the room to events of type E, in the order in
// which they subscribed, before it returns.
func Publish[E any](r *Room, event E) {
	t, _ := r.topics[reflect.TypeFor[E]()].(*topic[E])
	if t == nil {
		return
	}
	if r.nesting == maxNesting {
		panic("game: events publish one another without an end")
	}
	r.nesting++
	defer func() { r.nesting-- }()
	for _, f := range t.subscribers {
		f(event)
	}
}
