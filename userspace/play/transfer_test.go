package play

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
)

// part is a part of whole, with its sum.
func part(id uint32, whole []byte, from, to int) *message.LargeDataTransfer {
	m := &message.LargeDataTransfer{ID: id, Name: "whole", Size: uint64(len(whole)), Offset: uint64(from), Data: whole[from:to]}
	m.Sum = m.Checksum()
	return m
}

func TestTransfer(t *testing.T) {
	l := newLine(t)
	var got []Transfer
	l.player.OnTransfer(TransferOptions{MaxSize: 1000, MaxOpen: 2}, func(x Transfer) { got = append(got, x) })
	whole := []byte("the whole of it")
	confirmed := func() (offsets []uint64) {
		var m message.LargeDataTransfer
		for _, b := range l.taken(message.TypeLargeDataTransfer) {
			if err := message.Parse(b, &m); err != nil || m.ID != 7 || m.Name != "whole" || m.Size != 15 || len(m.Data) > 0 {
				t.Fatalf("confirmed %+v, %v", m, err)
			}
			offsets = append(offsets, m.Offset)
		}
		return offsets
	}

	l.sayMessage(part(7, whole, 0, 15))
	if l.expect(); len(got) != 0 {
		t.Error("something comes from a room that the player is not in")
	}
	l.join(3)
	l.sayMessage(part(7, whole, 10, 15))
	l.sayMessage(part(7, whole, 0, 4))
	l.expect()
	if offsets := confirmed(); len(offsets) != 1 || offsets[0] != 9 {
		t.Errorf("confirmed %v", offsets)
	}
	l.sayMessage(part(7, whole, 4, 6))
	if l.expect(); len(confirmed()) != 0 {
		t.Error("confirmed again at once")
	}
	l.update(confirmEvery)
	if offsets := confirmed(); len(offsets) != 1 || offsets[0] != 11 {
		t.Errorf("confirmed %v", offsets)
	}

	// The last is confirmed when there is room for it.
	l.refuse = errors.New("full")
	l.sayMessage(part(7, whole, 6, 10))
	l.expect()
	if len(got) != 1 || got[0].ID != 7 || got[0].Name != "whole" || string(got[0].Data) != string(whole) {
		t.Fatalf("got %+v", got)
	}
	l.refuse = nil
	l.update(2 * confirmEvery)
	if offsets := confirmed(); len(offsets) != 1 || offsets[0] != 15 {
		t.Errorf("confirmed %v", offsets)
	}
	l.update(time.Second)
	if len(confirmed()) != 0 || l.player.Stats().PartsRefused != 0 {
		t.Errorf("stats %+v", l.player.Stats())
	}

	// What was on its way is of no use in another room.
	l.sayMessage(part(8, whole, 0, 4))
	l.expect()
	l.join(4)
	if n := len(l.player.transfers.open); n != 0 {
		t.Errorf("%d transfers of the room before", n)
	}
}

func TestTransferRefuses(t *testing.T) {
	whole := make([]byte, 400)
	begun := func(change func(m *message.LargeDataTransfer)) *message.LargeDataTransfer {
		m := part(1, whole, 100, 200)
		change(m)
		return m
	}
	tests := []struct {
		name string
		m    *message.LargeDataTransfer
		want error
	}{
		{"next", part(1, whole, 200, 201), nil},
		{"before", part(1, whole, 0, 100), nil},
		{"another", part(2, whole, 0, 100), nil},
		{"nothing_at_all", part(2, nil, 0, 0), nil},
		{"again", part(1, whole, 100, 200), message.ErrNumber},
		{"overlaps_begin", part(1, whole, 99, 101), message.ErrNumber},
		{"overlaps_end", part(1, whole, 199, 300), message.ErrNumber},
		{"inside", part(1, whole, 120, 130), message.ErrNumber},
		{"around", part(1, whole, 50, 250), message.ErrNumber},
		{"empty", part(1, whole, 300, 300), message.ErrLength},
		{"sum", begun(func(m *message.LargeDataTransfer) { m.Sum++ }), message.ErrField},
		{"name", begun(func(m *message.LargeDataTransfer) { m.Name = "other" }), message.ErrField},
		{"size", begun(func(m *message.LargeDataTransfer) { m.Size = 500 }), message.ErrField},
		{"too_large", part(2, make([]byte, 1001), 0, 1), message.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := transfers{maxSize: 1000, maxOpen: 2}
			if _, err := x.take(part(1, whole, 100, 200)); err != nil {
				t.Fatal(err)
			}
			if _, err := x.take(tt.m); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// The oldest makes way for what would be too many, or too much.
func TestTransferMakesWay(t *testing.T) {
	x := transfers{maxSize: 1000, maxOpen: 2}
	open := func(id uint32, size int, want ...uint32) {
		t.Helper()
		if _, err := x.take(part(id, make([]byte, size), 0, 1)); err != nil {
			t.Fatal(err)
		}
		var ids []uint32
		for _, o := range x.open {
			ids = append(ids, o.id)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("open are %v, want %v", ids, want)
		}
	}
	open(1, 10, 1)
	open(2, 900, 1, 2)
	open(3, 10, 2, 3)
	open(4, 500, 3, 4)
	open(5, 1000, 5)
}

// Parts too scattered to keep count of are refused; joined, they are fine.
func TestTransferGaps(t *testing.T) {
	whole := make([]byte, 4*maxGaps)
	x := transfers{maxSize: 1 << 20, maxOpen: 1}
	for i := range maxGaps {
		if _, err := x.take(part(1, whole, 2*i, 2*i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.take(part(1, whole, 3*maxGaps, 3*maxGaps+1)); !errors.Is(err, message.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := x.take(part(1, whole, 1, 2)); err != nil {
		t.Error(err)
	}
	if _, err := x.take(part(1, whole, 3*maxGaps, 3*maxGaps+1)); err != nil {
		t.Error(err)
	}
}

// Whatever parts come, in whatever order: what is complete is as it was, and no more
// memory is taken than allowed.
func FuzzTransfers(f *testing.F) {
	f.Add([]byte{0, 0, 5, 0, 5, 9, 1, 0, 200})
	f.Add([]byte{2, 0, 100, 2, 100, 100, 2, 50, 10, 2, 200, 57, 5, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		wholes := [6][]byte{}
		for i := range wholes {
			wholes[i] = bytes.Repeat([]byte{byte(i), 1, 2}, i*40+5)
		}
		x := transfers{maxSize: 600, maxOpen: 3}
		have := map[*assembly]map[int]bool{}
		for ; len(script) >= 3; script = script[3:] {
			id := script[0] % 6
			whole := wholes[id]
			from := int(script[1]) % (len(whole) + 1)
			m := part(uint32(id), whole, from, min(from+int(script[2]), len(whole)))
			switch script[0] / 6 {
			case 40:
				m.Sum++
			case 41:
				m.Size++
			}
			before := x.find(m.ID)
			done, err := x.take(m)
			now := x.find(m.ID)
			if done != nil {
				now = done
			}
			var size uint64
			for _, o := range x.open {
				size += uint64(len(o.data))
			}
			if size != x.size || size > x.maxSize || len(x.open) > x.maxOpen {
				t.Fatalf("%d transfers of %d bytes, counted %d", len(x.open), size, x.size)
			}
			fresh := true
			if now != nil && now == before {
				for i := range m.Data {
					fresh = fresh && !have[now][from+i]
				}
			}
			fits := m.Sum == m.Checksum() && (before == nil || m.Size == before.size) && len(m.Data) > 0 && fresh && m.Size <= x.maxSize
			if fits != (err == nil) {
				t.Fatalf("from %d of %d bytes, %d: %v", from, m.Size, len(m.Data), err)
			}
			if err != nil {
				continue
			}
			if have[now] == nil {
				have[now] = map[int]bool{}
			}
			for i := range m.Data {
				have[now][from+i] = true
			}
			if int(now.have) != len(have[now]) || (done != nil) != (len(have[now]) == len(now.data)) {
				t.Fatalf("%d bytes, counted %d, done %t", len(have[now]), now.have, done != nil)
			}
			if done != nil && !bytes.Equal(done.data, whole) {
				t.Fatal("not as it was")
			}
		}
	})
}
