package snapshot

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestClockFollowsTheServer(t *testing.T) {
	const off = 42 * time.Second
	tests := []struct {
		name   string
		drift  float64 // of the client's clock
		jitter time.Duration
		within time.Duration
	}{
		{"quiet", 0, 0, time.Microsecond},
		{"drifting", 100e-6, 0, 2 * time.Millisecond},
		{"jittery", 0, 80 * time.Millisecond, 30 * time.Millisecond},
		{"both", -100e-6, 80 * time.Millisecond, 30 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Clock
			rng := rand.New(rand.NewPCG(1, 1))
			wait := func() time.Duration {
				return 20*time.Millisecond + time.Duration(rng.Float64()*rng.Float64()*float64(tt.jitter))
			}
			local := func(server time.Duration) time.Duration {
				return time.Duration(float64(server)*(1+tt.drift)) - off
			}
			var last time.Duration
			for server := time.Duration(0); server < 5*time.Minute; server += 16 * time.Millisecond {
				if server%(800*time.Millisecond) == 0 {
					there := server + wait()
					c.Sample(local(server), local(there+wait()), there)
				}
				now, ok := c.Now(local(server + 200*time.Millisecond))
				if !ok || now < last {
					t.Fatalf("at %v it is %v, after %v", server, now, last)
				}
				last = now
				if server < 10*time.Second {
					continue
				}
				if wrong := now - server - 200*time.Millisecond; wrong.Abs() > tt.within {
					t.Fatalf("at %v the clock is off by %v", server, wrong)
				}
			}
		})
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	tests := []struct {
		name  string
		jump  time.Duration // of the server's time
		soon  time.Duration // what it is off by at most, a second later
		later time.Duration // and ten
	}{
		{"ahead", 10 * time.Second, 0, 0},
		{"ahead_a_little", 200 * time.Millisecond, 151 * time.Millisecond, 0},
		{"back_a_little", -200 * time.Millisecond, 151 * time.Millisecond, 0},
		{"back", -5 * time.Second, 4100 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Clock
			c.Sample(0, 0, time.Minute)
			for i := range time.Duration(clockSamples) {
				c.Sample(i, i, time.Minute+tt.jump+i)
			}
			last, _ := c.Now(clockSamples)
			for ms := time.Duration(1); ms <= 10000; ms++ {
				local := ms * time.Millisecond
				now, _ := c.Now(local)
				if now < last {
					t.Fatalf("%v after %v", now, last)
				}
				last = now
				wrong := (now - local - time.Minute - tt.jump).Abs()
				if ms == 1000 && wrong > tt.soon || ms == 10000 && wrong > tt.later {
					t.Errorf("after %v it is off by %v", local, wrong)
				}
			}
			if again, _ := c.Now(0); again < last {
				t.Errorf("%v after %v, when the client's own clock went back", again, last)
			}
		})
	}
}

func TestClockRefusesAnswersBeforeTheirRequest(t *testing.T) {
	var c Clock
	if _, ok := c.Now(5); ok || c.Sample(10, 9, 3) || c.RoundTrip() != 0 {
		t.Error("time is known without a sample")
	}
	c.Sample(10, 40, 3)
	c.Sample(50, 60, 3)
	if c.RoundTrip() != 10 {
		t.Errorf("round trip %v, want 10ns", c.RoundTrip())
	}
}

func TestDelayCoversTransitAndGaps(t *testing.T) {
	const interval, transit = 50 * time.Millisecond, 30 * time.Millisecond
	tests := []struct {
		name   string
		lost   int // every so many, 0 none
		jitter time.Duration
		want   time.Duration
	}{
		{"steady", 0, 0, interval + transit},
		{"lossy", 10, 0, 2*interval + transit},
		{"rarely_lossy", 50, 0, interval + transit},
		{"jittery", 0, 20 * time.Millisecond, interval + transit + 20*time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Delay
			for i := range time.Duration(200) {
				if tt.lost > 0 && int(i)%tt.lost == 0 {
					continue
				}
				d.Arrived(i*interval, i*interval+transit+i%3/2*tt.jitter)
				d.Arrived((i-1)*interval, i*interval+time.Second) // overtaken
			}
			if got, ok := d.Suggest(); !ok || got != tt.want {
				t.Errorf("delay %v, want %v", got, tt.want)
			}
		})
	}
	var d Delay
	d.Arrived(0, 0)
	if _, ok := d.Suggest(); ok {
		t.Error("a delay is suggested on the ground of one snapshot")
	}
}
