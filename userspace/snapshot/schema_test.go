package snapshot

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

type everything struct {
	P, V float32
	F    float32
	A    float32
	Q    [4]float32
	I    int16
	B    bool
}

var (
	everyP = Range{-1000, 1000, 0.01}
	everyV = Range{-20, 20, 0.125}
	everyF = Range{0, 1, 1.0 / 255}
)

func everySchema(t testing.TB) *Schema[everything] {
	t.Helper()
	s, err := NewSchema(time.Second/tickRate,
		Quat(func(s *everything) *[4]float32 { return &s.Q }, 10),
		Int(func(s *everything) *int16 { return &s.I }, -500, 1000),
		Axis(func(s *everything) *float32 { return &s.P }, everyP, func(s *everything) *float32 { return &s.V }, everyV),
		Float(func(s *everything) *float32 { return &s.F }, everyF),
		Bool(func(s *everything) *bool { return &s.B }),
		Angle(func(s *everything) *float32 { return &s.A }, 9),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func randomQuat(rng *rand.Rand) (q [4]float32) {
	var v [4]float64
	n := 0.0
	for i := range v {
		v[i] = rng.NormFloat64()
		n += v[i] * v[i]
	}
	for i := range q {
		q[i] = float32(v[i] / math.Sqrt(n))
	}
	return q
}

func TestQuantisationIsOffByHalfAStep(t *testing.T) {
	s := everySchema(t)
	rng := rand.New(rand.NewPCG(1, 1))
	row := make([]int32, len(s.words))
	near := func(name string, got, want float32, step float64) {
		t.Helper()
		// A float32 has 24 bits for the number itself.
		if off := math.Abs(float64(got) - float64(want)); off > step/2+math.Abs(float64(want))/(1<<23) {
			t.Fatalf("%s: %v came back as %v, off by %v steps", name, want, got, off/step)
		}
	}
	for range 20000 {
		in := everything{
			P: rng.Float32()*2000 - 1000, V: rng.Float32()*40 - 20, F: rng.Float32(),
			A: float32(rng.Float64() * 2 * math.Pi), Q: randomQuat(rng), I: int16(rng.IntN(1501) - 500), B: rng.IntN(2) == 0,
		}
		var out everything
		s.quantise(row, &in)
		s.dequantise(&out, row, 0)
		near("position", out.P, in.P, everyP.Resolution)
		near("velocity", out.V, in.V, everyV.Resolution)
		near("float", out.F, in.F, everyF.Resolution)
		const angleStep = 2 * math.Pi / 512
		if out.A < 0 || out.A >= 2*math.Pi {
			t.Fatalf("angle %v is not within a turn", out.A)
		}
		near("angle", float32(math.Remainder(float64(out.A-in.A), 2*math.Pi)), 0, angleStep+1e-6)
		if out.I != in.I || out.B != in.B {
			t.Fatalf("%+v came back as %+v", in, out)
		}
		dot, large := 0.0, 0
		for i := range in.Q {
			dot += float64(in.Q[i] * out.Q[i])
			if math.Abs(float64(in.Q[i])) > math.Abs(float64(in.Q[large])) {
				large = i
			}
		}
		for i := range in.Q {
			if i != large {
				near("quaternion", out.Q[i], in.Q[i]*float32(math.Copysign(1, dot)), math.Sqrt2/511+1e-6)
			}
		}
	}
}

func TestWhatIsOutOfRangeIsClamped(t *testing.T) {
	s := everySchema(t)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	tests := []struct {
		name     string
		in, want everything
	}{
		{"above", everything{P: 1e9, V: 30, F: inf, A: 7 * math.Pi, I: 2000, Q: [4]float32{3: 2}},
			everything{P: 1000, V: 20, F: 1, A: math.Pi, I: 1000, Q: [4]float32{3: 1}}},
		{"below", everything{P: -inf, V: -30, F: -1, A: -math.Pi / 2, I: -2000, Q: [4]float32{0: -1}},
			everything{P: -1000, V: -20, F: 0, A: 3 * math.Pi / 2, I: -500, Q: [4]float32{0: 1}}},
		{"no_number", everything{P: nan, V: nan, F: nan, A: nan, Q: [4]float32{nan, 0, 0, 0}},
			everything{P: -1000, V: -20, F: 0, A: 0, Q: [4]float32{3: 1}}},
		{"nothing", everything{A: inf}, everything{Q: [4]float32{3: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row := make([]int32, len(s.words))
			var got everything
			s.quantise(row, &tt.in)
			s.dequantise(&got, row, 0)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestInterpolation(t *testing.T) {
	s := everySchema(t)
	half := float32(math.Sqrt2 / 2)
	tests := []struct {
		name           string
		from, to, want everything
		f              float64
	}{
		{"linear", everything{P: -10, V: 2, F: 0}, everything{P: 30, V: 6, F: 1}, everything{P: 0, V: 3, F: 0.25}, 0.25},
		{"angle_across_zero", everything{A: 2*math.Pi - 0.5}, everything{A: 0.3}, everything{A: 2*math.Pi - 0.1}, 0.5},
		{"angle_across_zero_back", everything{A: 0.5}, everything{A: 2*math.Pi - 0.3}, everything{A: 0.1}, 0.5},
		{"angle_past_zero", everything{A: 2*math.Pi - 0.1}, everything{A: 0.7}, everything{A: 0.3}, 0.5},
		{"step", everything{I: 3, B: true}, everything{I: 9}, everything{I: 3, B: true}, 0.9},
		{"rotation", everything{Q: [4]float32{0, 0, 0, 1}}, everything{Q: [4]float32{0, 0, 1, 0}}, everything{Q: [4]float32{0, 0, half, half}}, 0.5},
		{"rotation_other_sign", everything{Q: [4]float32{0, 0, -half, half}}, everything{Q: [4]float32{0, 0.01, half, -half}}, everything{Q: [4]float32{0, 0, half, -half}}, 0.5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to := make([]int32, len(s.words)), make([]int32, len(s.words))
			s.quantise(from, &tt.from)
			s.quantise(to, &tt.to)
			var got everything
			s.interpolate(&got, from, to, tt.f)
			off := func(a, b float32) bool { return math.Abs(float64(a-b)) > 0.013 }
			w := tt.want
			if off(got.P, w.P) || off(got.V, w.V) || off(got.F, w.F) || off(got.A, w.A) || got.I != w.I || got.B != w.B {
				t.Errorf("got %+v, want %+v", got, w)
			}
			if w.Q == ([4]float32{}) {
				return
			}
			dot := 0.0
			for i := range w.Q {
				dot += float64(got.Q[i] * w.Q[i])
			}
			if math.Abs(dot) < 0.9999 {
				t.Errorf("rotation %v, want %v", got.Q, w.Q)
			}
		})
	}
}

func TestSchemasThatMakeNoSense(t *testing.T) {
	at := func(s *everything) *float32 { return &s.F }
	good := Range{0, 1, 0.1}
	tests := []struct {
		name     string
		interval time.Duration
		fields   []Field[everything]
	}{
		{"no_fields", time.Second / 60, nil},
		{"no_interval", 0, []Field[everything]{Float(at, good)}},
		{"long_interval", 2 * time.Second, []Field[everything]{Float(at, good)}},
		{"no_resolution", time.Second / 60, []Field[everything]{Float(at, Range{0, 1, 0})}},
		{"no_number", time.Second / 60, []Field[everything]{Float(at, Range{math.NaN(), 1, 0.1})}},
		{"empty_range", time.Second / 60, []Field[everything]{Float(at, Range{1, 1, 0.1})}},
		{"too_fine", time.Second / 60, []Field[everything]{Float(at, Range{0, 1, 1e-9})}},
		{"far_away", time.Second / 60, []Field[everything]{Float(at, Range{1e9, 1e9 + 1, 0.1})}},
		{"wide_angle", time.Second / 60, []Field[everything]{Angle(at, 17)}},
		{"wide_quaternion", time.Second / 60, []Field[everything]{Quat(func(s *everything) *[4]float32 { return &s.Q }, 17)}},
		{"narrow_quaternion", time.Second / 60, []Field[everything]{Quat(func(s *everything) *[4]float32 { return &s.Q }, -1)}},
		{"integer_backwards", time.Second / 60, []Field[everything]{Int(func(s *everything) *int16 { return &s.I }, 3, 2)}},
		{"coarse_velocity", time.Second, []Field[everything]{Axis(at, Range{0, 0.1, 0.0001}, at, Range{0, 100, 1})}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewSchema(tt.interval, tt.fields...); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// Every kind of field goes through changes of every size.
func TestChangesOfEverything(t *testing.T) {
	s := everySchema(t)
	rng := rand.New(rand.NewPCG(4, 4))
	h := NewHistory(s, 4)
	sender, receiver := NewSender(h, SenderOptions{}), NewReceiver(s, ReceiverOptions{})
	state := everything{Q: [4]float32{3: 1}}
	id := ID{Slot: 2}
	for tick := uint32(1); tick < 20000; tick++ {
		size := float32(math.Pow(10, -float64(rng.IntN(6))))
		state.P += (rng.Float32() - 0.5) * 2000 * size
		state.V += (rng.Float32() - 0.5) * 40 * size
		state.F += (rng.Float32() - 0.5) * size
		state.A += (rng.Float32() - 0.5) * 7 * size
		q := randomQuat(rng)
		for i := range q {
			state.Q[i] += q[i] * size
		}
		state.I += int16((rng.Float32() - 0.5) * 1000 * size)
		if rng.IntN(9) == 0 {
			state = everything{P: -state.P, B: !state.B, Q: randomQuat(rng)}
		}
		h.Begin(tick)
		h.Set(id, &state)
		if _, err := receiver.Receive(sender.Append(nil, []ID{id}, nil, 1100)); err != nil {
			t.Fatal(err)
		}
		got := receiver.kept[len(receiver.kept)-1].rows[:len(s.words)]
		for i, want := range h.core.row(id, h.core.ordinal) {
			if got[i] != want {
				t.Fatalf("tick %d: word %d is %d, want %d", tick, i, got[i], want)
			}
		}
		if rng.IntN(3) > 0 {
			a, _ := receiver.Ack()
			sender.Acknowledge(a)
		}
	}
}
