package snapshot

import "testing"

// Contents tells what of a snapshot is new, and whether anything is missing.
func TestContents(t *testing.T) {
	schema, err := NewSchema(1e7, Int(func(s *int32) *int32 { return s }, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	history := NewHistory(schema, 8)
	sender := NewSender(history, SenderOptions{})
	receiver := NewReceiver(schema, ReceiverOptions{})
	if _, _, _, ok := receiver.Contents(nil); ok {
		t.Error("contents of nothing")
	}
	near, far := ID{Slot: 1}, ID{Slot: 2}
	tell := func(tick uint32, value int32, budget int) (entries []Entry[int32], whole bool) {
		history.Begin(tick)
		for _, id := range []ID{near, far} {
			history.Set(id, &value)
		}
		b := sender.Append(nil, []ID{near, far}, func(id ID) float32 {
			if id == near {
				return 100
			}
			return 1
		}, budget)
		if _, err := receiver.Receive(b); err != nil {
			t.Fatal(err)
		}
		if a, ok := receiver.Ack(); ok {
			sender.Acknowledge(a)
		}
		entries, got, whole, ok := receiver.Contents(nil)
		if !ok || got != tick {
			t.Fatalf("contents of tick %d, want %d", got, tick)
		}
		return entries, whole
	}
	entries, whole := tell(1, 77, 1000)
	if !whole || len(entries) != 2 || entries[0].Tick != 1 || entries[0].State != 77 || entries[1].State != 77 {
		t.Errorf("contents %v, whole %v", entries, whole)
	}
	entries, whole = tell(2, 123456, 9)
	if whole || len(entries) != 2 {
		t.Fatalf("contents %v, whole %v", entries, whole)
	}
	for _, e := range entries {
		if want := int32(77 + 123379*(e.Tick-1)); e.State != want || e.ID == far && e.Tick != 1 {
			t.Errorf("entity %v of tick %d is %d", e.ID, e.Tick, e.State)
		}
	}
}
