package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"
)

func TestRoom(t *testing.T) {
	sizes := []int{20, 60}
	r, err := Room(context.Background(), RoomOptions{Players: sizes, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != len(sizes) {
		t.Fatalf("%d rows, want %d", len(r.Rows), len(sizes))
	}
	for i, row := range r.Rows {
		if row.Players != sizes[i] || row.Refused != 0 {
			t.Errorf("%d players, %d snapshots refused", row.Players, row.Refused)
		}
		if row.Ticks == 0 || row.TickP50 <= 0 || row.TickP99 < row.TickP50 || row.TickMax < row.TickP99 {
			t.Errorf("%d ticks of %g, %g and %g ms", row.Ticks, row.TickP50, row.TickP99, row.TickMax)
		}
		if row.Seen <= 0 || row.Seen > float64(row.Players-1) || row.Snapshots <= 0 || row.Snapshots > 2*roomSnapshots {
			t.Errorf("each sees %g of %d others in %g snapshots per second", row.Seen, row.Players-1, row.Snapshots)
		}
		// Even on a machine where much comes late.
		if row.BytesDelta <= 0 || row.BytesFull <= row.BytesDelta || row.BytesSent <= row.BytesDelta {
			t.Errorf("%g bytes in full, %g in deltas, %g in packets", row.BytesFull, row.BytesDelta, row.BytesSent)
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	r.Write(&text)
	for _, want := range []string{`"players":20`, `"tick_p50_ms"`, `"tick_p99_ms"`, `"bytes_full"`, `"bytes_delta"`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the object lacks %s: %s", want, b)
		}
	}
	if !bytes.Contains(text.Bytes(), []byte("| 60 |")) {
		t.Errorf("the text lacks a row:\n%s", &text)
	}
}

func TestRoomEndsEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Room(ctx, RoomOptions{Players: []int{10}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Room = %v with a context that is done", err)
	}
	if _, err := Room(context.Background(), RoomOptions{Players: []int{0}}); err == nil {
		t.Error("a room for nobody is measured")
	}
	if _, err := Room(context.Background(), RoomOptions{Seen: -1}); err == nil {
		t.Error("a room in which less than nobody is seen is measured")
	}
}

// TestFullSizes holds the sizes against what entities take in bits.
func TestFullSizes(t *testing.T) {
	schema, err := walkerSchema()
	if err != nil {
		t.Fatal(err)
	}
	sizes := fullSizes(schema, 40)
	if len(sizes) != 41 {
		t.Fatalf("%d sizes, want 41", len(sizes))
	}
	perEntity := float64(sizes[40]-sizes[0]) / 40
	for n, size := range sizes {
		if want := float64(sizes[0]) + perEntity*float64(n); math.Abs(float64(size)-want) > 1 {
			t.Errorf("%d bytes for %d entities, want %g", size, n, want)
		}
	}
	if perEntity < 15 || perEntity > 40 {
		t.Errorf("%g bytes for each entity", perEntity)
	}
}

func TestCrowdIsAsDenseAsPromised(t *testing.T) {
	c := newCrowd(2000, 30, 1)
	for now := time.Duration(0); now < 10*time.Second; now += time.Second / roomClaims {
		for i := range c.walkers {
			c.move(i, now)
		}
	}
	near := 0
	for i := range c.walkers {
		a := &c.walkers[i]
		if math.Abs(a.x) > c.half+roomRadius || math.Abs(a.z) > c.half+roomRadius {
			t.Fatalf("walker %d is at %g, %g in a square of %g", i, a.x, a.z, 2*c.half)
		}
		for j := range c.walkers {
			b := &c.walkers[j]
			if i != j && math.Hypot(a.x-b.x, a.z-b.z) <= roomRadius {
				near++
			}
		}
	}
	// Less at the edges.
	if seen := float64(near) / 2000; seen < 24 || seen > 32 {
		t.Errorf("each sees %g others, want about 30", seen)
	}
}
