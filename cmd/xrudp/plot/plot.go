// Package plot draws line charts, scatters and heat maps as SVG that reads on
// light and on dark pages.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
)

// Drawing is one picture of a document: a *Chart or a *HeatMap.
type Drawing interface {
	height() int
	draw(b *bytes.Buffer, top int)
}

// Kind says how a series is drawn.
type Kind uint8

const (
	Line  Kind = iota
	Dots       // a dot for each point
	Ticks      // a mark at the lower edge for each X; Y is not used
)

// Series is a set of points. A point whose Y is NaN interrupts a line.
type Series struct {
	Name string
	Kind Kind
	X, Y []float64
}

// Chart is a diagram with two linear axes, which begin at 0.
type Chart struct {
	Title, XLabel, YLabel string
	Series                []Series

	// XTicks are labels of X = 0, 1, 2... Without them the axis has numbers.
	XTicks []string
	// YMax is where the Y axis ends. 0 means at the largest value.
	YMax float64
}

// HeatMap is a table whose cells are shaded by their values.
type HeatMap struct {
	Title, XLabel, YLabel string
	Columns, Rows         []string
	Values                [][]float64 // by row; NaN leaves a cell empty
	Max                   float64     // shaded most
	Format                string      // of a value
}

// The layout, in pixels.
const (
	width       = 720
	left        = 80
	right       = width - 16
	titleHeight = 28
	plotHeight  = 220
	cellHeight  = 26
	legendLine  = 18
	colors      = 6
)

const style = `<style>
svg{--bg:#fff;--fg:#222;--grid:#ddd;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b58900;--c5:#6a51a3}
@media (prefers-color-scheme:dark){svg{--bg:#16181c;--fg:#ddd;--grid:#3a3d42;--c0:#56b4e9;--c1:#ff9a4d;--c2:#3fd0a0;--c3:#f0a6cf;--c4:#f0e442;--c5:#b8a4f0}}
text{font:12px system-ui,sans-serif;fill:var(--fg)}
.t{font-size:14px;font-weight:600}
.m{text-anchor:middle}
.e{text-anchor:end}
.g{stroke:var(--grid);fill:none}
.l{fill:none;stroke-width:1.5;stroke-linejoin:round}
.d{fill:none;stroke-width:2.4;stroke-linecap:round}
.p{fill:none;stroke-width:6;stroke-linecap:round}
</style>
`

// WriteSVG writes the drawings below one another as one document.
func WriteSVG(w io.Writer, drawings ...Drawing) error {
	total := 0
	for _, d := range drawings {
		total += d.height()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">`+"\n", width, total)
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="var(--bg)"/>`+"\n", width, total)
	top := 0
	for _, d := range drawings {
		d.draw(&b, top)
		top += d.height()
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func text(b *bytes.Buffer, x, y float64, class, s string) {
	fmt.Fprintf(b, `<text x="%s" y="%s" class="%s">`, number(x), number(y), class)
	_ = xml.EscapeText(b, []byte(s)) // a Buffer does not fail
	b.WriteString("</text>\n")
}

// sideways writes the label of a Y axis around the given height.
func sideways(b *bytes.Buffer, y float64, s string) {
	fmt.Fprintf(b, `<text transform="translate(14 %s) rotate(-90)" class="m">`, number(y))
	_ = xml.EscapeText(b, []byte(s))
	b.WriteString("</text>\n")
}

// number is x to a tenth of a pixel.
func number(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

func (c *Chart) named() (n int) {
	for _, s := range c.Series {
		if s.Name != "" {
			n++
		}
	}
	return n
}

// legendColumns is how many names stand on one line of the legend.
const legendColumns = 4

func (c *Chart) height() int {
	lines := (c.named() + legendColumns - 1) / legendColumns
	return titleHeight + plotHeight + 44 + lines*legendLine + 8
}

// scale maps values to pixels.
type scale struct{ from, to, at, size float64 }

func (s scale) px(v float64) float64 {
	if s.to == s.from {
		return s.at
	}
	return s.at + (v-s.from)/(s.to-s.from)*s.size
}

func (c *Chart) scales(top int) (x, y scale) {
	x = scale{at: left, size: right - left}
	most := c.YMax
	for _, s := range c.Series {
		for i, v := range s.X {
			x.to = max(x.to, v)
			if s.Kind != Ticks && c.YMax == 0 && s.Y[i] > most {
				most = s.Y[i]
			}
		}
	}
	if len(c.XTicks) > 0 {
		x.from, x.to = -0.25, float64(len(c.XTicks))-0.75
	}
	if most == 0 {
		most = 1
	}
	base := float64(top + titleHeight + plotHeight)
	return x, scale{from: 0, to: most, at: base, size: -plotHeight}
}

func (c *Chart) draw(b *bytes.Buffer, top int) {
	x, y := c.scales(top)
	base := y.at
	text(b, left, float64(top)+18, "t", c.Title)
	for _, v := range ticks(y.to) {
		py := y.px(v)
		fmt.Fprintf(b, `<path class="g" d="M%d %sH%d"/>`+"\n", left, number(py), right)
		text(b, left-6, py+4, "e", label(v))
	}
	if len(c.XTicks) > 0 {
		for i, s := range c.XTicks {
			text(b, x.px(float64(i)), base+16, "m", s)
		}
	} else {
		for _, v := range ticks(x.to) {
			text(b, x.px(v), base+16, "m", label(v))
		}
	}
	text(b, (left+right)/2, base+34, "m", c.XLabel)
	sideways(b, base-plotHeight/2, c.YLabel)
	names := 0
	for i, s := range c.Series {
		color := fmt.Sprintf("var(--c%d)", i%colors)
		switch s.Kind {
		case Line:
			fmt.Fprintf(b, `<path class="l" stroke="%s" d="%s"/>`+"\n", color, line(s, x, y))
			// Few points are marked, so that those without neighbours show.
			if len(s.X) <= 50 {
				fmt.Fprintf(b, `<path class="p" stroke="%s" d="%s"/>`+"\n", color, dots(s, x, y))
			}
		case Dots:
			fmt.Fprintf(b, `<path class="d" stroke="%s" d="%s"/>`+"\n", color, dots(s, x, y))
		case Ticks:
			fmt.Fprintf(b, `<path class="l" stroke="%s" d="%s"/>`+"\n", color, marks(s, x, base))
		}
		if s.Name == "" {
			continue
		}
		lx := float64(left + names%legendColumns*(right-left)/legendColumns)
		ly := base + 52 + float64(names/legendColumns*legendLine)
		fmt.Fprintf(b, `<rect x="%s" y="%s" width="12" height="4" fill="%s"/>`+"\n", number(lx), number(ly-6), color)
		text(b, lx+18, ly, "", s.Name)
		names++
	}
}

// line is the path through the points of s.
func line(s Series, x, y scale) []byte {
	var b []byte
	pen := byte('M')
	for i := range s.X {
		if math.IsNaN(s.Y[i]) {
			pen = 'M'
			continue
		}
		b = append(b, pen)
		b = append(b, number(x.px(s.X[i]))+" "+number(y.px(min(s.Y[i], y.to)))...)
		pen = 'L'
	}
	return b
}

// dots is a path of points. Those that would cover one another are drawn once.
func dots(s Series, x, y scale) []byte {
	var b []byte
	seen := map[[2]int32]bool{}
	for i := range s.X {
		if math.IsNaN(s.Y[i]) {
			continue
		}
		px, py := x.px(s.X[i]), y.px(min(s.Y[i], y.to))
		at := [2]int32{int32(math.Round(px)), int32(math.Round(py))}
		if !seen[at] {
			seen[at] = true
			b = append(b, "M"+number(px)+" "+number(py)+"h0"...)
		}
	}
	return b
}

// marks is a path of short lines at the lower edge.
func marks(s Series, x scale, base float64) []byte {
	var b []byte
	seen := map[string]bool{}
	for _, v := range s.X {
		if px := number(x.px(v)); !seen[px] {
			seen[px] = true
			b = append(b, "M"+px+" "+number(base)+"v-12"...)
		}
	}
	return b
}

// ticks returns round values from 0 to to.
func ticks(to float64) []float64 {
	if !(to > 0) {
		return []float64{0}
	}
	step := math.Pow(10, math.Floor(math.Log10(to/4)))
	for _, f := range [...]float64{2, 2.5, 2} { // 1, 2, 5, 10
		if to/step <= 6 {
			break
		}
		step *= f
	}
	var out []float64
	for i := 0.0; i*step <= to*(1+1e-9); i++ {
		out = append(out, i*step)
	}
	return out
}

// label is v without the noise of its last digits.
func label(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func (h *HeatMap) height() int { return titleHeight + 22 + len(h.Rows)*cellHeight + 32 }

func (h *HeatMap) draw(b *bytes.Buffer, top int) {
	text(b, left, float64(top)+18, "t", h.Title)
	first := float64(top + titleHeight + 22)
	size := float64(right-left) / float64(max(len(h.Columns), 1))
	for i, s := range h.Columns {
		text(b, left+(float64(i)+0.5)*size, first-7, "m", s)
	}
	for r, name := range h.Rows {
		y := first + float64(r*cellHeight)
		text(b, left-6, y+cellHeight*0.66, "e", name)
		for i, v := range h.Values[r] {
			if math.IsNaN(v) {
				continue
			}
			x := left + float64(i)*size
			// Text must stay readable on the darkest shade.
			shade := 0.65 * min(max(v/h.Max, 0), 1)
			fmt.Fprintf(b, `<rect x="%s" y="%s" width="%s" height="%d" fill="var(--c0)" fill-opacity="%.3f"/>`+"\n",
				number(x+1), number(y+1), number(size-2), cellHeight-2, shade)
			text(b, x+size/2, y+cellHeight*0.66, "m", fmt.Sprintf(h.Format, v))
		}
	}
	end := first + float64(len(h.Rows)*cellHeight)
	text(b, (left+right)/2, end+18, "m", h.XLabel)
	sideways(b, (first+end)/2, h.YLabel)
}
