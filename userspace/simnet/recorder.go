package simnet

import (
	"bufio"
	"io"
	"strconv"
	"time"
)

// Kind is what happened to a packet.
type Kind uint8

const (
	Sent       Kind = iota // into the pipe
	Dropped                // by the full queue of the bottleneck
	Lost                   // on the link
	Duplicated             // on the link: another one is on its way
	Delivered
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Sent:
		return "sent"
	case Dropped:
		return "dropped"
	case Lost:
		return "lost"
	case Duplicated:
		return "duplicated"
	case Delivered:
		return "delivered"
	}
	return "unknown"
}

// Event is one thing that happened to a packet of a pipe.
type Event struct {
	At    uint64        // ns of the network's clock
	Delay time.Duration // since the packet was sent

	// What the pipe's bottleneck held, the packet itself not included where it
	// was sent or dropped.
	QueuePackets, QueueBytes uint32

	Size   uint16 // of the payload
	Kind   Kind
	Marked bool
}

// Recorder keeps what happens in the pipes it is given to, 32 bytes for each
// event. The zero value is ready.
type Recorder struct {
	Events []Event
}

func (r *Recorder) note(kind Kind, k *packet) {
	now := k.pipe.net.now
	e := Event{At: now, Delay: time.Duration(now - k.sent), Size: uint16(len(k.data)), Kind: kind, Marked: k.marked}
	if b := k.pipe.Bottleneck; b != nil {
		e.QueuePackets, e.QueueBytes = uint32(b.count), uint32(b.bytes)
	}
	r.Events = append(r.Events, e)
}

// WriteCSV writes a line with the names of the columns and one for each event,
// times being relative to start.
func (r *Recorder) WriteCSV(w io.Writer, start uint64) error {
	out := bufio.NewWriter(w)
	_, _ = out.WriteString("time_s,event,bytes,delay_ms,queue_packets,queue_bytes,marked\n")
	var line []byte
	for _, e := range r.Events {
		line = strconv.AppendFloat(line[:0], float64(int64(e.At-start))/1e9, 'f', 9, 64)
		line = append(line, ',')
		line = append(line, e.Kind.String()...)
		line = append(line, ',')
		line = strconv.AppendUint(line, uint64(e.Size), 10)
		line = append(line, ',')
		line = strconv.AppendFloat(line, float64(e.Delay)/1e6, 'f', 6, 64)
		line = append(line, ',')
		line = strconv.AppendUint(line, uint64(e.QueuePackets), 10)
		line = append(line, ',')
		line = strconv.AppendUint(line, uint64(e.QueueBytes), 10)
		line = append(line, ',')
		line = strconv.AppendBool(line, e.Marked)
		line = append(line, '\n')
		_, _ = out.Write(line)
	}
	return out.Flush()
}
