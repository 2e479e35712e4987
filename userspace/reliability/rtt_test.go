package reliability

import "testing"

const ms = uint64(1e6)

func TestRTT(t *testing.T) {
	tests := []struct {
		name    string
		samples []uint64 // ms
		backoff int
		want    uint64 // RTO in ms
	}{
		{"no_sample", nil, 0, 300},
		{"no_sample_backed_off", nil, 1, 600},
		{"first", []uint64{100}, 0, 100 + 4*50},
		{"shrinks_a_round_trip_later", []uint64{100, 100}, 0, 100 + 4*50},
		{"and_by_half_the_way", []uint64{100, 100, 100}, 0, 275},
		{"grows_at_once", []uint64{100, 100, 100, 100, 100, 100, 100, 100, 180}, 0, 210},
		{"floor", []uint64{2}, 0, 30},
		{"backoff", []uint64{2}, 3, 240},
		{"ceiling", []uint64{100}, 9, 2000},
		{"backoff_does_not_overflow", []uint64{100}, 70, 2000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r RTT
			r.Init(30*ms, 2000*ms)
			for i, s := range tt.samples {
				r.Sample(s*ms, uint64(i)*100*ms)
			}
			for range tt.backoff {
				r.Backoff()
			}
			if got := r.RTO(); got/ms != tt.want {
				t.Errorf("RTO %d us, want %d ms", got/1000, tt.want)
			}
			r.ResetBackoff()
			if got := r.RTO(); tt.backoff > 0 && got >= tt.want*ms {
				t.Errorf("RTO %d us after the back-off ended", got/1000)
			}
		})
	}
}

func TestRTTConverges(t *testing.T) {
	var r RTT
	r.Init(ms, 2000*ms)
	r.Sample(500*ms, 0)
	for now := range uint64(200) {
		r.Sample(40*ms, 40*ms*now)
	}
	if r.Smoothed < 39*ms || r.Smoothed > 41*ms || r.Variance > ms || r.Min != 40*ms {
		t.Errorf("%+v", r)
	}
}

// TestRTTForgetsTheLeast: after a change of route the least round trip of the
// old one counts for ten seconds at most, and for five at least.
func TestRTTForgetsTheLeast(t *testing.T) {
	var r RTT
	r.Init(ms, 2000*ms)
	r.Sample(20*ms, 0)
	for now := uint64(0); now <= 10000*ms; now += 50 * ms {
		r.Sample(90*ms, now)
		if now < 5000*ms && r.Min != 20*ms {
			t.Fatalf("least %d ms after %d ms", r.Min/ms, now/ms)
		}
	}
	if r.Min != 90*ms {
		t.Errorf("least %d ms in the end", r.Min/ms)
	}
}

func TestReplayWindow(t *testing.T) {
	tests := []struct {
		name string
		isn  uint32
		seqs []uint32 // relative to isn
		want []bool
	}{
		{"in_order", 5, []uint32{1, 2, 3}, []bool{true, true, true}},
		{"again", 5, []uint32{1, 1, 2, 1}, []bool{true, false, true, false}},
		{"isn_itself", 5, []uint32{0}, []bool{false}},
		{"overtaken", 5, []uint32{9, 3, 3}, []bool{true, true, false}},
		{"oldest", 5, []uint32{100, 37, 36}, []bool{true, true, false}},
		{"jump_past_the_window", 5, []uint32{1, 1000, 1}, []bool{true, true, false}},
		{"too_far_ahead", 5, []uint32{replayJump, 2*replayJump + 1}, []bool{true, false}},
		{"wrap", ^uint32(0), []uint32{2, 1, 2}, []bool{true, true, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w ReplayWindow
			w.Reset(tt.isn)
			for i, seq := range tt.seqs {
				if got := w.Accept(tt.isn + seq); got != tt.want[i] {
					t.Errorf("Accept(%d), step %d: %v", seq, i, got)
				}
			}
		})
	}
}
