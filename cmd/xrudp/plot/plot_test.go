package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// svg draws and fails where the result is not well-formed.
func svg(t *testing.T, drawings ...Drawing) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSVG(&b, drawings...); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
	}
}

func wants(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Count(got, p) != 1 {
			t.Errorf("%d times %q in\n%s", strings.Count(got, p), p, got)
		}
	}
}

func TestChart(t *testing.T) {
	got := svg(t, &Chart{
		Title: `delay & "loss" <1>`, XLabel: "seconds", YLabel: "ms",
		Series: []Series{
			{Name: "a", X: []float64{0, 5, 10, 15}, Y: []float64{0, 100, math.NaN(), 50}},
			{Name: "b", Kind: Dots, X: []float64{0, 0.01, 15}, Y: []float64{100, 100, 25}},
			{Name: "lost", Kind: Ticks, X: []float64{7.5, 7.5001}},
		},
	})
	wants(t, got,
		"delay &amp; &#34;loss&#34; &lt;1&gt;", ">seconds<", ">ms<", ">a<", ">b<", ">lost<", ">100<",
		`d="M80 248L288 28M704 138"`, // over a plot from (80, 28) to (704, 248)
		`d="M80 28h0M704 193h0"`,     // two dots would cover one another
		`d="M392 248v-12"`,
	)
}

func TestChartWithNames(t *testing.T) {
	got := svg(t, &Chart{XTicks: []string{"0 %", "1 %"}, YMax: 1, Series: []Series{{X: []float64{0, 1}, Y: []float64{0.5, 2}}}})
	// What lies beyond the axis is drawn at its end.
	wants(t, got, ">0 %<", ">1 %<", `d="M184 138L600 28"`)
}

func TestEmptyChart(t *testing.T) {
	svg(t, &Chart{}, &Chart{Series: []Series{{}, {Kind: Dots}, {Kind: Ticks}}}, &HeatMap{})
}

func TestHeatMap(t *testing.T) {
	got := svg(t, &HeatMap{
		Title: "share", XLabel: "loss", YLabel: "ms", Columns: []string{"c0", "c1"}, Rows: []string{"r0", "r1"},
		Values: [][]float64{{0, 50}, {math.NaN(), 200}}, Max: 100, Format: "%.0f!",
	})
	wants(t, got, ">c0<", ">c1<", ">r0<", ">r1<", ">0!<", ">50!<", ">200!<", ">share<", ">loss<", ">ms<",
		`fill-opacity="0.000"`, `fill-opacity="0.325"`, `fill-opacity="0.650"`,
		`<rect x="393" y="51" width="310" height="24"`)
}

func TestTicks(t *testing.T) {
	tests := []struct {
		to   float64
		want []float64
	}{
		{1, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{100, []float64{0, 20, 40, 60, 80, 100}},
		{4, []float64{0, 1, 2, 3, 4}},
		{9, []float64{0, 2, 4, 6, 8}},
		{39, []float64{0, 10, 20, 30}},
		{0, []float64{0}},
	}
	for _, tt := range tests {
		got := ticks(tt.to)
		for i := range got {
			got[i] = math.Round(got[i]*1e6) / 1e6
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("ticks up to %g: %v, want %v", tt.to, got, tt.want)
		}
	}
}
