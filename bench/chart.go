package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart is a picture of some lines.
type chart struct {
	title  string
	lines  []line
	log    bool     // the vertical axis grows by factors
	labels []string // of the places 0, 1, 2 … of the horizontal axis; nil: numbers
}

type line struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

const (
	chartWidth, chartHeight = 480, 260
	left, right, top, under = 50, 10, 40, 24 // margins
)

var colours = []string{"#1f6feb", "#d1242f", "#2da44e", "#8250df"}

// svg draws the chart.
func (c *chart) svg() string {
	low, high, wide := c.extent()
	x := func(v float64) float64 { return left + v/wide*(chartWidth-left-right) }
	y := func(v float64) float64 { return top + (1-(c.scale(v)-low)/(high-low))*(chartHeight-top-under) }
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"14\" font-size=\"12\">%s</text>\n", left, html.EscapeString(c.title))
	for _, v := range c.marks(low, high) {
		fmt.Fprintf(&b, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", left, y(v), chartWidth-right, left-4, y(v)+4, v)
	}
	for i := range 6 {
		at, label := wide*float64(i)/5, ""
		if c.labels != nil {
			at, label = float64(i), c.labels[i]
		} else {
			label = fmt.Sprintf("%.3g", at)
		}
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", min(x(at), chartWidth-right-12), chartHeight-8, label)
	}
	for i, l := range c.lines {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"30\" fill=\"%s\">%s</text>\n<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", left+i*110, colour, html.EscapeString(l.name), colour)
		for _, p := range l.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.x), y(p.y))
		}
		b.WriteString("\"/>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *chart) scale(v float64) float64 {
	if c.log {
		return math.Log10(max(v, 1e-3))
	}
	return v
}

// extent is that of the vertical axis, scaled, and the end of the horizontal one.
func (c *chart) extent() (low, high, wide float64) {
	low, high, wide = math.Inf(1), math.Inf(-1), 1
	for _, l := range c.lines {
		for _, p := range l.points {
			low, high, wide = min(low, c.scale(p.y)), max(high, c.scale(p.y)), max(wide, p.x)
		}
	}
	if !c.log {
		return 0, max(high, 1) * 1.05, wide
	}
	return math.Floor(low), max(math.Ceil(high), math.Floor(low)+1), wide
}

// marks are the values that have a line across the picture.
func (c *chart) marks(low, high float64) (marks []float64) {
	if c.log {
		for e := low; e <= high; e++ {
			marks = append(marks, math.Pow(10, e))
		}
		return marks
	}
	step := math.Pow(10, math.Floor(math.Log10(high)))
	for high/step < 4 {
		step /= 2
	}
	for v := 0.0; v <= high; v += step {
		marks = append(marks, v)
	}
	return marks
}
