package congestion

import "testing"

func TestReno(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *Reno)
		want int
	}{
		{"initial", func(*Reno) {}, InitialWindow},
		{"slow_start", func(r *Reno) { r.OnAck(10, 10, true) }, InitialWindow + 10},
		{"application_limited", func(r *Reno) { r.OnAck(10, 10, false) }, InitialWindow},
		{"loss_halves", func(r *Reno) { r.OnLoss(5, 64) }, InitialWindow / 2},
		{"one_flight_halves_once", func(r *Reno) { r.OnLoss(5, 64); r.OnLoss(63, 70) }, InitialWindow / 2},
		{"next_flight_halves_again", func(r *Reno) { r.OnLoss(5, 64); r.OnLoss(64, 90) }, InitialWindow / 4},
		{"no_growth_in_recovery", func(r *Reno) { r.OnLoss(5, 64); r.OnAck(32, 63, true) }, InitialWindow / 2},
		{"one_packet_per_round_trip", func(r *Reno) { r.OnLoss(5, 64); r.OnAck(32, 64, true) }, InitialWindow/2 + 1},
		{"timeout", func(r *Reno) { r.OnTimeout(64) }, MinWindow},
		{"second_timeout_keeps_threshold", func(r *Reno) {
			r.OnTimeout(64)
			r.OnTimeout(64)
			r.OnAck(24, 64, true)
			r.OnAck(8, 70, true) // avoidance: half of a window of 32 is not a round trip
		}, InitialWindow / 2},
		{"never_below_minimum", func(r *Reno) {
			for i := range uint32(20) {
				r.OnLoss(i*100, i*100)
			}
		}, MinWindow},
		{"never_above_maximum", func(r *Reno) { r.OnAck(5000, 5000, true) }, MaxWindow},
		{"wrap", func(r *Reno) { r.OnLoss(^uint32(0)-5, 10); r.OnLoss(9, 20) }, InitialWindow / 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReno()
			tt.do(r)
			if got := r.Window(); got != tt.want {
				t.Errorf("window %d, want %d", got, tt.want)
			}
		})
	}
}
