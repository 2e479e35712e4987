package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/simnet"
)

func quickSim(t *testing.T, opts SimOptions) *SimResult {
	t.Helper()
	opts.Quick = true
	r, err := Sim(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// compared are the controllers that tests measure. Short runs are content with
// one that fills queues.
func compared() []string {
	if testing.Short() {
		return []string{"cubic"}
	}
	return simControllers()
}

// quickAll is the result that several tests look at.
var quickAll = sync.OnceValue(func() SimResult {
	r, err := Sim(context.Background(), SimOptions{Quick: true, Controllers: compared()})
	if err != nil {
		panic(err)
	}
	return *r
})

func TestSimMeasures(t *testing.T) {
	r := quickAll()
	if want := len(compared()) * len(r.plan.losses) * len(r.plan.rtts); len(r.Rows) != want {
		t.Fatalf("%d rows, want %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		oneWay := row.RTT / 2
		// The time that 20 Mbit/s take for so small a message.
		const sending = 0.06
		if row.LatencyP50 < oneWay || row.LatencyP50 > oneWay+sending {
			t.Errorf("half of the messages took over %g ms: %+v", row.LatencyP50, row)
		}
		switch {
		case row.Loss == 0:
			if row.LatencyP99 > oneWay+sending || row.GoodputShare < 0.5 {
				t.Errorf("without loss: %+v", row)
			}
		case row.LatencyP99 < 1.05*row.LatencyP50:
			t.Errorf("loss cost no time: %+v", row)
		case row.ResentShare < row.Loss/3 || row.ResentShare > 3*row.Loss:
			t.Errorf("%g%% sent again: %+v", 100*row.ResentShare, row)
		}
		if room := max(simLink*row.RTT/1e3, simLeastRoom) / simLink * 1e3; row.QueueP99 > room || row.QueueMean > row.QueueP99 {
			t.Errorf("a queue of %g ms: %+v", room, row)
		}
		if row.GoodputShare > 1 || row.Messages < 300 {
			t.Errorf("%+v", row)
		}
	}
	for _, f := range r.Fairness {
		var sum float64
		for _, s := range f.Shares {
			sum += s
		}
		if len(f.Shares) != f.Flows || f.Jain <= 1/float64(f.Flows) || f.Jain > 1 || sum > 1 || sum < 0.5 {
			t.Errorf("%+v", f)
		}
	}
	marked := false
	for i := 0; i < len(r.Marks); i += 2 {
		drops, marks := r.Marks[i], r.Marks[i+1]
		if drops.Marking || drops.MarkedShare != 0 || drops.GoodputShare < 0.5 {
			t.Errorf("%+v", drops)
		}
		if !marks.Marking || marks.DroppedShare > drops.DroppedShare || marks.QueueMean > 1.1*drops.QueueMean || marks.GoodputShare < 0.5 {
			t.Errorf("marks %+v, drops %+v", marks, drops)
		}
		marked = marked || marks.MarkedShare > 0
	}
	if !marked {
		t.Error("nothing was ever marked")
	}
	for _, o := range r.Outages {
		if o.Recovery < inMS(simWindow) || o.RecoveryWorst < o.Recovery {
			t.Errorf("%+v", o)
		}
	}
	for _, f := range r.Transfers {
		if f.Duration < simTransfer/simLink*1e3 || f.DuringP50 < f.AloneP50 || f.AloneP50 < f.RTT/2 || f.Loss == 0 && (f.RiseP99 < 0 || f.RiseP99 > 0.1) {
			t.Errorf("%+v", f)
		}
	}
	for _, f := range r.Floors {
		if f.LatencyP99 < 1.05*f.LatencyP50 || f.Again > f.Early+f.Loss {
			t.Errorf("%+v", f)
		}
	}
}

// TestSimFollowsFromItsSeed and from nothing else, such as what other
// controllers were measured before.
func TestSimFollowsFromItsSeed(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates again")
	}
	rows := func(r *SimResult) string {
		b, err := json.Marshal(r.Rows)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	all, one := quickAll(), compared()[:1]
	all.Rows = slices.DeleteFunc(slices.Clone(all.Rows), func(row SimRow) bool { return row.Controller != one[0] })
	if rows(&all) != rows(quickSim(t, SimOptions{Seed: 1, Controllers: one})) {
		t.Error("the same seed gave another result")
	}
	if rows(&all) == rows(quickSim(t, SimOptions{Seed: 2, Controllers: one})) {
		t.Error("another seed gave the same result")
	}
}

// TestSimOtherDirection also runs over a recorded path.
func TestSimOtherDirection(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates again")
	}
	controller := compared()[:1]
	trace := []simnet.Step{
		{At: time.Second, Rate: 1_000_000, Delay: 20 * time.Millisecond},
		{At: 4 * time.Second, Rate: 250_000, Delay: 20 * time.Millisecond},
		{At: 7 * time.Second},
	}
	r := quickSim(t, SimOptions{ToClient: true, Trace: trace, Controllers: controller})
	if len(r.Traced) != 1 || r.Traced[0].GoodputShare < 0.3 || r.Traced[0].GoodputShare > 1 || r.Traced[0].QueueP99 == 0 {
		t.Errorf("%+v", r.Traced)
	}
	same := 0
	for i, row := range r.Rows {
		if row.GoodputShare == quickAll().Rows[i].GoodputShare {
			same++
		}
		if row.Loss == 0 && row.GoodputShare < 0.5 {
			t.Errorf("%+v", row)
		}
	}
	if same == len(r.Rows) {
		t.Error("both directions are the same")
	}
	var b bytes.Buffer
	r.Write(&b)
	if !strings.Contains(b.String(), "## On the recorded path") || !strings.Contains(b.String(), "from the server to the client") {
		t.Errorf("report:\n%s", b.String())
	}
}

func TestSimReport(t *testing.T) {
	r := quickAll()
	dir := filepath.Join(t.TempDir(), "made")
	if err := r.WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"goodput.svg", "latency.svg", "queue.svg", "report.md"}
	for _, c := range compared() {
		want = append(want, "packets-"+c+".csv")
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("wrote %v, want %v", names, want)
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".svg") && !strings.Contains(string(report), "]("+name+")") {
			t.Errorf("the report does not show %s", name)
		}
	}
	// Every line of a table has the columns of its head.
	columns, tables := 0, 0
	for line := range strings.Lines(string(report)) {
		n := strings.Count(line, "|")
		switch {
		case n == 0:
			columns = 0
		case columns == 0:
			columns = n
			tables++
		case n != columns:
			t.Errorf("%d columns instead of %d: %s", n-1, columns-1, line)
		}
	}
	if tables != 6+2*len(compared()) {
		t.Errorf("%d tables", tables)
	}
}

func TestSimRefuses(t *testing.T) {
	for _, opts := range []SimOptions{{Controllers: []string{"wishful"}}, {Trace: make([]simnet.Step, 1)}} {
		if _, err := Sim(context.Background(), opts); err == nil {
			t.Errorf("took %+v", opts)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Sim(ctx, SimOptions{}); err == nil {
		t.Error("ran although it was cancelled")
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0.2: 1, 0.5: 3, 0.61: 4, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("quantile of nothing")
	}
}
