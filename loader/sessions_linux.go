package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Sessions is the gate's table of sessions.
type Sessions struct{ m *ebpf.Map }

// Sessions returns the table. It works until Close or Keep.
func (g *Gate) Sessions() Sessions { return Sessions{g.maps[mapSessions]} }

func sessionKey(key wire.Key) (b [wire.KeySize]byte) {
	key.Put(&b)
	return b
}

// Create makes a session known to the gate. Its flow was opened before.
func (s Sessions) Create(key wire.Key, init gate.SessionInit) error {
	k := sessionKey(key)
	v := packSession(gate.NewSessionState(init))
	err := s.m.Update(&k, &v, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		err = gate.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create session %d: %w", init.ID, err)
	}
	return nil
}

// Delete makes the gate forget a session. Nothing happens when there is none.
func (s Sessions) Delete(key wire.Key) error {
	k := sessionKey(key)
	if err := s.m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete session of %s: %w", key.ClientAddrPort(), err)
	}
	return nil
}

// Session returns a copy of a session's state, taken under its lock.
func (s Sessions) Session(key wire.Key) (gate.SessionState, bool, error) {
	k := sessionKey(key)
	var v gateSession
	err := s.m.LookupWithFlags(&k, &v, ebpf.LookupLock)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return gate.SessionState{}, false, nil
	}
	if err != nil {
		return gate.SessionState{}, false, fmt.Errorf("read session of %s: %w", key.ClientAddrPort(), err)
	}
	return unpackSession(&v), true, nil
}

// All calls f for every session until it returns false. Sessions that come or
// go meanwhile may be missed; f may delete the one it is given.
func (s Sessions) All(f func(wire.Key, gate.SessionState) bool) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		state, ok, err := s.Session(key)
		if err != nil {
			return err
		}
		if ok && !f(key, state) {
			return nil
		}
	}
	return nil
}

func (s Sessions) keys() (keys []wire.Key, err error) {
	var k [wire.KeySize]byte
	var next any // nil starts from the beginning
	seen := make(map[wire.Key]bool)
	// A table that changes under the walk may start it over.
	for limit := 2 * s.m.MaxEntries(); limit > 0; limit-- {
		err := s.m.NextKey(next, &k)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		next = &k
		if key := wire.ParseKey(&k); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func packSession(s gate.SessionState) gateSession {
	v := gateSession{
		Slot: s.Slot, Id: s.ID, Worker: s.Worker, Features: s.Features,
		ClientIsn: s.ClientISN, Token: s.Token,
		RcvNxt: s.Window.Next, RcvHigh: s.Window.High, RcvBits: s.Window.Bits,
		ReplayHigh: s.ReplayHigh, ReplayBits: s.ReplayBits,
		Packets: s.Packets, Bytes: s.Bytes, Committed: s.Committed,
		Duplicates: s.Duplicates, Rejected: s.Rejected,
	}
	if s.Marked {
		v.Marked = 1
	}
	return v
}

func unpackSession(v *gateSession) gate.SessionState {
	return gate.SessionState{
		Slot: v.Slot, ID: v.Id, Worker: v.Worker, Features: v.Features,
		ClientISN:  v.ClientIsn,
		Token:      v.Token,
		Window:     reliability.ReceiveWindow{Next: v.RcvNxt, High: v.RcvHigh, Bits: v.RcvBits},
		ReplayHigh: v.ReplayHigh, ReplayBits: v.ReplayBits,
		Packets: v.Packets, Bytes: v.Bytes, Committed: v.Committed,
		Duplicates: v.Duplicates, Rejected: v.Rejected,
		Marked: v.Marked != 0,
	}
}

// Stats returns the counters by outcome, summed over the CPUs.
func (g *Gate) Stats() (sum [gate.OutcomeMax]uint64, err error) {
	var perCPU [][gate.OutcomeMax]uint64
	if err := g.maps[mapStats].Lookup(uint32(0), &perCPU); err != nil {
		return sum, fmt.Errorf("read stats: %w", err)
	}
	for _, counters := range perCPU {
		for i, n := range counters {
			sum[i] += n
		}
	}
	return sum, nil
}
