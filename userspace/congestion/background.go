package congestion

import (
	"math"
	"time"
)

const (
	// backgroundFor is how long after a latency-critical packet bulk data makes
	// way for further ones.
	backgroundFor = uint64(2 * time.Second)
	// backgroundAge is after how long without bulk data its rate is forgotten,
	// and for how long its shortest round trip is believed.
	backgroundAge = uint64(10 * time.Second)

	// backgroundStart is how many bytes leave in the first round trip, and
	// backgroundFirst how many per second at most.
	backgroundStart = 20e3
	backgroundFirst = 500e3
	backgroundLeast = 25e3
	backgroundMost  = 1e9
	// backgroundUse is how much is used of what the pulses find.
	backgroundUse = 0.9
	// backgroundGrowth is by how much the rate grows where nothing speaks
	// against it, and backgroundStep by how much it moves at once when the
	// bottleneck's rate was found.
	backgroundGrowth = 1.25
	backgroundStep   = 1.125
	// backgroundFutile is after how many cuts in a row a queue that does not get
	// shorter is not this session's.
	backgroundFutile = 5

	// pulseGain is how much faster than the rate a pulse is, and pulseFirst the
	// same until the bottleneck's rate was found.
	pulseGain  = 2.0
	pulseFirst = 4.0
	// A pulse has as many bytes as leave at pulseGain in a share of the
	// shortest round trip, or in pulseLong where that is less. Where round trips
	// vary by more than that, longer ones do no harm, and tell more.
	pulseShare = 32
	pulseLong  = uint64(2 * time.Millisecond)
	pulseNoisy = uint64(8 * time.Millisecond)
	pulseLeast = 2    // packets
	pulseMost  = 80e3 // bytes
	// pulsesLeast is how many of them are looked at together.
	pulsesLeast = 3

	// What stands in the queue between pulses for longer than a share of the
	// shortest round trip, within bounds, has to go.
	standingShare = 32
	standingLeast = uint64(time.Millisecond)
	standingMost  = uint64(4 * time.Millisecond)
)

// Background is the rate that bulk data keeps to beside latency-critical
// packets of its session, below what the Controller allows. The zero value is
// ready. Times are nanoseconds and rates bytes per second. One goroutine owns
// it; no method allocates.
//
// Growth that is answered after a round trip overfills the bottleneck by what it
// grew meanwhile. So the rate does not grow until it is too much: packets leave
// in short pulses that are faster than the rate, with pauses between them, in
// which goes what a pulse left in the queue. By how much the last packet of a
// pulse takes longer than the first says how fast the bottleneck is, and the
// rate stays below that (as with paced chirps, Misund and Briscoe 2019). A queue
// that stands between pulses lowers it (as with LEDBAT, RFC 6817).
type Background struct {
	rate  float64
	found bool   // the bottleneck's was
	until uint64 // latency-critical packets are about

	// The pulse that is being sent.
	pulse   Pulse
	size    float64 // bytes, 0 where it is over
	packets int     // so far
	due     uint64  // of the next packet
	debt    float64 // bytes that left without waiting for that

	// What is known of pulses since the rate changed. Those before it tell of
	// the bottleneck's rate as well, once it was found.
	changed     uint32 // the first pulse
	since       uint64 // when its answer came, 0 before
	standing    uint64 // least round trip
	first, last answer // of the newest pulse
	sums        pulseSums

	shortest, recent uint64 // round trip of bulk data, and the same since recentAt
	recentAt         uint64

	cuts  int    // in a row
	queue uint64 // before the newest of them
}

// Pulse is the place of a packet in a pulse. The zero value means none.
type Pulse struct {
	number uint32
	bytes  uint32 // up to the end of the packet
}

// answer is what is known of a packet of a pulse.
type answer struct {
	at        Pulse
	sent, rtt uint64
}

// Critical notes that a latency-critical packet leaves now.
func (b *Background) Critical(now uint64) { b.until = now + backgroundFor }

// Active reports whether bulk data keeps to the rate now.
func (b *Background) Active(now uint64) bool { return now < b.until }

// Next returns when the next packet of bulk data may leave: not later than now
// means at once.
func (b *Background) Next(now uint64) uint64 {
	if !b.Active(now) {
		return now
	}
	return b.due
}

// OnOther reports so many bytes of bulk data that do not wait for Next, but take
// their share of the rate.
func (b *Background) OnOther(size int) { b.debt = min(b.debt+float64(size), pulseMost) }

// OnSend reports that a packet of bulk data leaves now, and returns its place.
// The round trips are 0 where none is known.
func (b *Background) OnSend(now uint64, size int, smoothedRTT, minRTT uint64) Pulse {
	if !b.Active(now) {
		return Pulse{}
	}
	idle := now - min(now, b.due)
	if b.rate == 0 || idle > backgroundAge {
		rate := backgroundFirst
		if smoothedRTT > 0 {
			rate = min(rate, backgroundStart*1e9/float64(smoothedRTT))
		}
		b.found = false
		b.change(rate)
	}
	if idle > pulseLong {
		b.due = now // what the bottleneck had no use for is not made up for
	}
	if b.size == 0 || idle > pulseLong {
		length := max(min(minRTT/pulseShare, pulseLong), min(uint64(b.sums.deviation()*1e9/2), pulseNoisy))
		b.pulse, b.packets = Pulse{number: b.pulse.number + 1}, 0
		b.size = min(max(pulseGain*b.rate*float64(length)/1e9, 1), pulseMost)
	}
	b.pulse.bytes += uint32(size)
	b.packets++
	gain := pulseGain
	if !b.found {
		gain = pulseFirst
	}
	wait := float64(size) / gain
	if all := float64(b.pulse.bytes); b.packets >= pulseLeast && all+float64(size)/2 > b.size {
		// Until the whole of it has left at the rate, and as much again at most.
		debt := min(b.debt, all)
		wait += all*(1-1/gain) + debt
		b.debt, b.size = b.debt-debt, 0
	}
	b.due += uint64(wait * 1e9 / b.rate)
	return b.pulse
}

// change sets the rate, and begins to look at what comes of it.
func (b *Background) change(rate float64) {
	b.rate = min(max(rate, backgroundLeast), backgroundMost)
	b.changed, b.size = b.pulse.number+1, 0
	b.since, b.first, b.last = 0, answer{}, answer{}
	if b.found {
		b.sums.fade()
	} else {
		b.sums = pulseSums{}
	}
}

// OnAck reports the round trip of a packet at its place, which was sent once.
func (b *Background) OnAck(now uint64, at Pulse, sent, rtt uint64) {
	if at.number == 0 || int32(at.number-b.changed) < 0 {
		return
	}
	b.measure(now, rtt)
	a := answer{at: at, sent: sent, rtt: rtt}
	switch {
	case at.number == b.first.at.number:
		if at.bytes > b.last.at.bytes {
			b.last = a
		}
	case int32(at.number-b.first.at.number) > 0:
		if b.last.at.bytes > b.first.at.bytes {
			b.sums.add(&b.first, &b.last)
		}
		b.first, b.last = a, a
		b.judge(now)
	}
}

func (b *Background) measure(now, rtt uint64) {
	if b.since == 0 {
		b.since, b.standing = now, rtt
	}
	b.standing = min(b.standing, rtt)
	if b.recentAt == 0 {
		b.shortest, b.recent, b.recentAt = rtt, rtt, now
	}
	b.shortest, b.recent = min(b.shortest, rtt), min(b.recent, rtt)
	if now-b.recentAt >= backgroundAge/2 {
		b.shortest, b.recent, b.recentAt = b.recent, rtt, now
	}
}

// judge changes the rate once enough is known of it: before the bottleneck's
// was found after a part of a round trip, so that it is found soon, and then
// after a whole one.
func (b *Background) judge(now uint64) {
	s, took := &b.sums, now-b.since
	if s.pulses < pulsesLeast || took < b.shortest/8 || b.found && took < b.shortest {
		return
	}
	one := s.deviation()
	all := one * math.Sqrt(s.pulses)
	queue := b.standing - b.shortest
	allowed := min(max(b.shortest/standingShare, standingLeast), standingMost) + uint64(3e9*one)
	switch {
	case queue > allowed:
		b.cut(now, queue, allowed)
	case b.found:
		// Less only where that is certain.
		rate := backgroundUse * s.offers(0)
		if rate < b.rate {
			rate = min(backgroundUse*s.offers(-all), b.rate)
		}
		most := b.rate * backgroundStep
		if s.longer < s.took/8 {
			most = b.rate * backgroundGrowth
		}
		b.cuts = 0
		b.change(min(max(rate, b.rate/backgroundStep), most))
	case 2*all > s.took/4 && took < b.shortest:
	case s.longer > s.took/8+2*all:
		b.found = true
		b.change(backgroundUse * s.offers(0))
	default:
		// More only as far as pulses went.
		rate := min(b.rate*backgroundGrowth, backgroundUse*s.sent())
		b.change(max(b.rate, rate, backgroundUse*s.offers(2*all)))
	}
}

// cut has a queue that stands be gone after a round trip.
func (b *Background) cut(now, queue, allowed uint64) {
	offers := b.sums.offers(0)
	if b.cuts++; float64(queue) < 0.9*float64(b.queue) {
		b.cuts = 1
	}
	b.found, b.queue, b.sums = true, queue, pulseSums{}
	if b.cuts < backgroundFutile {
		drained := 1 - float64(queue-allowed/2)/float64(max(b.shortest, 1))
		b.change(min(b.rate, backgroundUse*offers) * max(drained, 0.5))
		return
	}
	// It is the path's own, or that of others.
	b.cuts, b.shortest, b.recent, b.recentAt = 0, b.standing, b.standing, now
	b.change(backgroundUse * offers)
}

// pulseSums is what pulses found, in seconds.
type pulseSums struct {
	pulses  float64
	bytes   float64 // behind the first packet
	took    float64 // to send
	longer  float64 // to arrive
	squares float64 // of longer
}

func (s *pulseSums) add(first, last *answer) {
	longer := (float64(last.rtt) - float64(first.rtt)) / 1e9
	s.pulses++
	s.bytes += float64(last.at.bytes - first.at.bytes)
	s.took += float64(last.sent-first.sent) / 1e9
	s.longer += longer
	s.squares += longer * longer
}

// fade has what was found count less than what is to come.
func (s *pulseSums) fade() {
	const keep = 0.75
	s.pulses *= keep
	s.bytes *= keep
	s.took *= keep
	s.longer *= keep
	s.squares *= keep
}

// sent returns how many bytes per second left in pulses.
func (s *pulseSums) sent() float64 { return s.bytes / max(s.took, s.bytes/backgroundMost) }

// offers returns how many arrived, had all pulses taken so much longer.
func (s *pulseSums) offers(more float64) float64 {
	return s.bytes / max(s.took+max(s.longer+more, 0), s.bytes/backgroundMost)
}

// deviation returns the standard deviation of how much longer a pulse takes to
// arrive.
func (s *pulseSums) deviation() float64 {
	if s.pulses < 2 {
		return 0
	}
	return math.Sqrt(max(s.squares-s.longer*s.longer/s.pulses, 0) / (s.pulses - 1))
}
