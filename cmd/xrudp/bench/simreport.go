package bench

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xrudp/xrudp/cmd/xrudp/plot"
	"github.com/xrudp/xrudp/userspace/simnet"
)

// Write prints r as Markdown.
func (r *SimResult) Write(w io.Writer) { r.write(w, nil) }

// WriteFiles writes report.md into dir, which is made where it is missing,
// with plots as SVG and what happened to each packet of the plotted runs as
// CSV beside it.
func (r *SimResult) WriteFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of the report: %w", err)
	}
	pictures := r.pictures()
	files := map[string]func(w io.Writer) error{
		"report.md": func(w io.Writer) error { r.write(w, pictures); return nil },
	}
	for _, p := range pictures {
		files[p.file] = func(w io.Writer) error { return plot.WriteSVG(w, p.drawings...) }
	}
	for _, s := range r.shown {
		files["packets-"+s.controller+".csv"] = func(w io.Writer) error { return s.recorder.WriteCSV(w, s.start) }
	}
	for name, write := range files {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

// picture is one file of drawings, shown in the section of its name.
type picture struct {
	section, file, title string
	drawings             []plot.Drawing
}

// section is a heading of the report.
type section struct {
	name, title, text string
	tables            func(w io.Writer)
}

func (r *SimResult) write(w io.Writer, pictures []picture) {
	fmt.Fprintf(w, "# Sessions on simulated paths\n\n"+
		"Seed %d. Client, gate and server in virtual time over a link of %d Mbit/s each way, whose queue holds one\n"+
		"bandwidth-delay product and at least 20 packets. Losses strike both directions, each packet by itself.\n"+
		"Bulk data flows %s.\n",
		r.Seed, r.LinkBitsPerSec/1_000_000, map[string]string{"to_server": "from the client to the server", "to_client": "from the server to the client"}[r.Direction])
	for _, s := range r.sections() {
		fmt.Fprintf(w, "\n## %s\n\n%s\n", s.title, s.text)
		s.tables(w)
		for _, p := range pictures {
			if p.section == s.name {
				fmt.Fprintf(w, "\n![%s](%s)\n", p.title, p.file)
			}
		}
	}
}

func (r *SimResult) sections() []section {
	all := []section{
		{"goodput", "Goodput of bulk data", "Payload delivered, in percent of the link's rate.",
			r.grid(func(row *SimRow) string { return fmt.Sprintf("%.1f", 100*row.GoodputShare) })},
		{"latency", "Latency of small messages", "Reliable ordered messages of 64 bytes, 20 per second each way, from Send to the handler:\n" +
			"50th and 99th percentile as multiples of the one-way delay.",
			r.grid(func(row *SimRow) string {
				return fmt.Sprintf("%.2f / %.2f", 2*row.LatencyP50/row.RTT, 2*row.LatencyP99/row.RTT)
			})},
		{"fairness", "Fairness", "Flows of bulk data that share the link: Jain's index, and the goodput of all together\n" +
			"in percent of the link's rate.", r.fairness},
		{"queue", "Queue at the bottleneck", "Without loss on the path.", r.queues},
		{"marks", "Marks instead of drops", "Four flows of bulk data; the bottleneck marks packets (ECN) once its queue is a quarter full,\n" +
			"or drops them once it is full. In percent.", r.marks},
		{"outage", "Recovery from an outage", "Nothing passes for a while. From its end until the first quarter of a second with 90% of the\n" +
			"goodput before: at least 250 ms.", r.outages},
		{"transfer", "A transfer beside small messages", fmt.Sprintf("One message of %d bytes and low priority. Latency in ms of critical messages of 64 bytes beside it,\n"+
			"reliable and ordered, 20 per second, on another channel.", simTransfer), r.transfers},
		{"floor", "Floor of the retransmission timeout", "Latency in ms of small messages. In percent of their packets: those sent twice before a loss could show,\n" +
			"and those that arrived although they had arrived before, which includes nearly all of the former.\n" +
			"The delay varies with a standard deviation of a tenth of itself.", r.floors},
	}
	if len(r.Traced) > 0 {
		all = append(all, section{"trace", "On the recorded path", "Goodput in percent of what the path let pass.", r.traced})
	}
	return all
}

// table writes rows, the first of which is the head.
func table(w io.Writer, rows ...[]string) {
	fmt.Fprintln(w)
	for i, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat(" ---: |", len(row)))
		}
	}
}

// controllers returns the names that occur.
func (r *SimResult) controllers() (names []string) {
	for i := range r.Rows {
		if !slices.Contains(names, r.Rows[i].Controller) {
			names = append(names, r.Rows[i].Controller)
		}
	}
	return names
}

// of returns a controller's rows by round trip, then loss.
func (r *SimResult) of(controller string) (grid [][]*SimRow) {
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Controller != controller {
			continue
		}
		if last := len(grid) - 1; last < 0 || grid[last][0].RTT != row.RTT {
			grid = append(grid, nil)
		}
		grid[len(grid)-1] = append(grid[len(grid)-1], row)
	}
	return grid
}

func (r *SimResult) lossLabels() (labels []string) {
	for _, loss := range r.plan.losses {
		labels = append(labels, fmt.Sprintf("%g%%", percent(loss)))
	}
	return labels
}

// grid is a table for each controller, with a line for each round trip and a
// column for each loss.
func (r *SimResult) grid(cell func(row *SimRow) string) func(w io.Writer) {
	return func(w io.Writer) {
		for _, name := range r.controllers() {
			rows := [][]string{append([]string{name + ": round trip"}, r.lossLabels()...)}
			for _, line := range r.of(name) {
				cells := []string{fmt.Sprintf("%g ms", line[0].RTT)}
				for _, row := range line {
					cells = append(cells, cell(row))
				}
				rows = append(rows, cells)
			}
			table(w, rows...)
		}
	}
}

func (r *SimResult) fairness(w io.Writer) {
	rows := [][]string{{"controller", "flows", "Jain", "goodput", "least", "most"}}
	for _, f := range r.Fairness {
		rows = append(rows, []string{
			f.Controller, fmt.Sprint(f.Flows), fmt.Sprintf("%.3f", f.Jain), fmt.Sprintf("%.1f", 100*f.GoodputShare),
			fmt.Sprintf("%.1f", 100*slices.Min(f.Shares)), fmt.Sprintf("%.1f", 100*slices.Max(f.Shares)),
		})
	}
	table(w, rows...)
}

func (q *SimQueue) cells() []string {
	return []string{
		fmt.Sprintf("%.1f", q.QueueMean), fmt.Sprintf("%.1f", q.QueueP99),
		fmt.Sprintf("%.1f", q.QueueMeanPackets), fmt.Sprintf("%.0f", q.QueueP99Packets),
	}
}

func (r *SimResult) queues(w io.Writer) {
	rows := [][]string{{"controller", "round trip", "mean, ms", "p99, ms", "mean, packets", "p99, packets"}}
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Loss == 0 {
			rows = append(rows, append([]string{row.Controller, fmt.Sprintf("%g ms", row.RTT)}, row.cells()...))
		}
	}
	table(w, rows...)
}

func (r *SimResult) marks(w io.Writer) {
	rows := [][]string{{"controller", "queue", "goodput", "dropped", "marked", "mean, ms", "p99, ms", "mean, packets", "p99, packets"}}
	for i := range r.Marks {
		m := &r.Marks[i]
		kind := "drops"
		if m.Marking {
			kind = "marks"
		}
		rows = append(rows, append([]string{
			m.Controller, kind, fmt.Sprintf("%.1f", 100*m.GoodputShare),
			fmt.Sprintf("%.2f", 100*m.DroppedShare), fmt.Sprintf("%.2f", 100*m.MarkedShare),
		}, m.cells()...))
	}
	table(w, rows...)
}

func (r *SimResult) outages(w io.Writer) {
	long := func(ms float64) string {
		if ms < 0 {
			return fmt.Sprintf("over %v", simForever)
		}
		return fmt.Sprintf("%.0f ms", ms)
	}
	rows := [][]string{{"controller", "outage", "median", "worst"}}
	for _, o := range r.Outages {
		rows = append(rows, []string{o.Controller, fmt.Sprintf("%g ms", o.Outage), long(o.Recovery), long(o.RecoveryWorst)})
	}
	table(w, rows...)
}

func (r *SimResult) transfers(w io.Writer) {
	rows := [][]string{{"controller", "loss", "transfer takes", "alone p50", "alone p99", "during p50", "during p99", "rise of p99"}}
	for _, t := range r.Transfers {
		cells := []string{t.Controller, fmt.Sprintf("%g%%", percent(t.Loss)), fmt.Sprintf("%.0f ms", t.Duration)}
		for _, v := range []float64{t.AloneP50, t.AloneP99, t.DuringP50, t.DuringP99} {
			cells = append(cells, fmt.Sprintf("%.1f", v))
		}
		rows = append(rows, append(cells, fmt.Sprintf("%+.1f%%", 100*t.RiseP99)))
	}
	table(w, rows...)
}

func (r *SimResult) floors(w io.Writer) {
	rows := [][]string{{"round trip", "loss", "floor", "p50", "p99", "early", "again"}}
	for _, rtt := range r.plan.floorRTTs {
		for _, loss := range r.plan.floorLosses {
			for _, f := range r.Floors {
				if f.RTT == inMS(rtt) && f.Loss == loss {
					rows = append(rows, []string{
						fmt.Sprintf("%g ms", f.RTT), fmt.Sprintf("%g%%", percent(f.Loss)), fmt.Sprintf("%g ms", f.Floor),
						fmt.Sprintf("%.1f", f.LatencyP50), fmt.Sprintf("%.1f", f.LatencyP99),
						fmt.Sprintf("%.2f", 100*f.Early), fmt.Sprintf("%.2f", 100*f.Again),
					})
				}
			}
		}
	}
	table(w, rows...)
}

func (r *SimResult) traced(w io.Writer) {
	rows := [][]string{{"controller", "goodput", "mean, ms", "p99, ms", "mean, packets", "p99, packets"}}
	for i := range r.Traced {
		t := &r.Traced[i]
		rows = append(rows, append([]string{t.Controller, fmt.Sprintf("%.1f", 100*t.GoodputShare)}, t.cells()...))
	}
	table(w, rows...)
}

// pictures draws the report's plots.
func (r *SimResult) pictures() []picture {
	goodput := picture{section: "goodput", file: "goodput.svg", title: "Goodput over loss and round trip"}
	for i, rtt := range r.plan.rtts {
		c := &plot.Chart{
			Title:  fmt.Sprintf("Goodput at a round trip of %v", rtt),
			XLabel: "loss", YLabel: "% of the link", XTicks: r.lossLabels(), YMax: 100,
		}
		for _, name := range r.controllers() {
			c.Series = append(c.Series, curve(name, r.of(name)[i], func(row *SimRow) float64 { return 100 * row.GoodputShare }))
		}
		goodput.drawings = append(goodput.drawings, c)
	}
	latency := picture{section: "latency", file: "latency.svg", title: "Latency over loss and round trip"}
	for _, name := range r.controllers() {
		goodput.drawings = append(goodput.drawings, r.heat(name+": goodput, % of the link", name, 100, "%.1f",
			func(row *SimRow) float64 { return 100 * row.GoodputShare }))
		latency.drawings = append(latency.drawings, r.heat(name+": 99th percentile of latency, one-way delays", name, 10, "%.2f",
			func(row *SimRow) float64 { return 2 * row.LatencyP99 / row.RTT }))
	}
	queue := picture{section: "queue", file: "queue.svg", title: "Delay and queue of the first seconds of bulk data"}
	for _, s := range r.shown {
		queue.drawings = append(queue.drawings, s.charts()...)
	}
	return []picture{goodput, latency, queue}
}

func curve(name string, rows []*SimRow, value func(*SimRow) float64) plot.Series {
	s := plot.Series{Name: name}
	for i, row := range rows {
		s.X, s.Y = append(s.X, float64(i)), append(s.Y, value(row))
	}
	return s
}

func (r *SimResult) heat(title, controller string, most float64, format string, value func(*SimRow) float64) *plot.HeatMap {
	h := &plot.HeatMap{Title: title, XLabel: "loss", YLabel: "round trip", Columns: r.lossLabels(), Max: most, Format: format}
	for _, line := range r.of(controller) {
		h.Rows = append(h.Rows, fmt.Sprintf("%g ms", line[0].RTT))
		var values []float64
		for _, row := range line {
			values = append(values, value(row))
		}
		h.Values = append(h.Values, values)
	}
	return h
}

// charts shows one run: how long packets took, what was lost, and the queue.
func (s *simShown) charts() []plot.Drawing {
	delay := plot.Series{Name: "one-way delay", Kind: plot.Dots}
	marked := plot.Series{Name: "marked", Kind: plot.Dots}
	lost := plot.Series{Name: "dropped or lost", Kind: plot.Ticks}
	queue := plot.Series{}
	longest, at := 0.0, math.Inf(-1)
	for _, e := range s.recorder.Events {
		x := float64(e.At-s.start) / 1e9
		switch e.Kind {
		case simnet.Delivered:
			to := &delay
			if e.Marked {
				to = &marked
			}
			to.X, to.Y = append(to.X, x), append(to.Y, inMS(e.Delay))
		case simnet.Dropped, simnet.Lost:
			lost.X = append(lost.X, x)
		case simnet.Sent:
			// The longest of each 10 ms, which is what a pixel shows.
			longest = max(longest, float64(e.QueuePackets))
			if x-at >= 0.01 {
				queue.X, queue.Y = append(queue.X, x), append(queue.Y, longest)
				longest, at = 0, x
			}
		case simnet.Duplicated:
		}
	}
	packets := &plot.Chart{
		Title:  fmt.Sprintf("%s: bulk data over a round trip of %v", s.controller, simRTT),
		XLabel: "seconds", YLabel: "ms", Series: []plot.Series{delay, lost},
	}
	if len(marked.X) > 0 {
		packets.Series = append(packets.Series, marked)
	}
	return []plot.Drawing{packets, &plot.Chart{
		Title: s.controller + ": queue at the bottleneck", XLabel: "seconds", YLabel: "packets", Series: []plot.Series{queue},
	}}
}
