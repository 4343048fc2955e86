package replay

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The geometry of the picture, in pixels, and its colours: four that people who see colours otherwise can tell apart.
const (
	svgWidth     = 1200
	svgLeft      = 80
	svgRight     = 30
	svgTop       = 92
	svgPanel     = 150 // height of a panel's plot
	svgGap       = 72  // between plots: a title and the numbers of the axis
	svgColumns   = 600 // at most so many points of time are drawn
	blue         = "#0072b2"
	orange       = "#d55e00"
	green        = "#009e73"
	purple       = "#9a4f96"
	svgPlotWidth = svgWidth - svgLeft - svgRight
)

// series is one line, or one row of bars, over the columns.
type series struct {
	name   string
	colour string
	bars   bool
	values []float64
}

// panel is one plot.
type panel struct {
	title string
	unit  string
	note  string // in the middle of a plot without series
	least float64
	log   bool // the axis counts powers of ten
	all   []series
}

// SVG draws the report: use of the hosts, violations and refusals, moves, and the latency of decisions, over time. The
// same report gives the same bytes.
func (r *Report) SVG(w io.Writer) error {
	c := columns(r.Samples)
	panels := r.panels(c)
	height := svgTop + len(panels)*(svgPanel+svgGap)
	d := &drawing{w: bufio.NewWriter(w), end: 1, hours: true}
	if n := len(c); n > 0 {
		d.start, d.end = float64(c[0].At), math.Max(float64(c[n-1].At), float64(c[0].At)+1)
	}
	d.hours = d.end <= 3*86_400
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="Helvetica,Arial,sans-serif" font-size="13" fill="#222">`+"\n",
		svgWidth, height, svgWidth, height)
	d.put(`<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	d.text(svgLeft, 30, "start", `font-size="19" font-weight="bold"`, "Replay of "+count(r.Arrivals, "arrival")+" on "+count(r.Hosts, "host"))
	d.text(svgLeft, 52, "start", `fill="#555"`, r.headline())
	for i, p := range panels {
		d.panel(p, c, svgTop+i*(svgPanel+svgGap), i == len(panels)-1)
	}
	d.put("</svg>\n")
	if err := d.w.Flush(); err != nil {
		return fmt.Errorf("write SVG: %w", err)
	}
	return nil
}

func count(n int, what string) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n != 1 {
		what += "s"
	}
	return s + " " + what
}

func (r *Report) headline() string {
	return fmt.Sprintf("%.1f days, %s placed, %d refused on arrival, %d preempted, %s, %.0f host-hours, %s in %s, %s",
		r.Hours/24, count(r.Placed, "VM"), r.Refused, r.Preempted, count(r.Moves, "move"), r.HostHours,
		count(r.Violations, "violation"), count(r.Checks, "check"), count(r.FlipFlops, "flip-flop"))
}

// columns joins samples until there are few enough to draw: counts add up, the state is that at the end, latencies are the
// highest.
func columns(samples []Sample) []Sample {
	k := (len(samples) + svgColumns - 1) / svgColumns
	if k <= 1 {
		return samples
	}
	var out []Sample
	for i := 0; i < len(samples); i += k {
		group := samples[i:min(i+k, len(samples))]
		c := group[len(group)-1]
		c.Refused, c.Moves, c.Violations, c.Latency = 0, 0, 0, nil
		for _, s := range group {
			c.Refused, c.Moves, c.Violations = c.Refused+s.Refused, c.Moves+s.Moves, c.Violations+s.Violations
			if s.Latency != nil && (c.Latency == nil || s.Latency.P99 > c.Latency.P99) {
				c.Latency = s.Latency
			}
		}
		out = append(out, c)
	}
	return out
}

func (r *Report) panels(c []Sample) []panel {
	of := func(name, colour string, bars bool, value func(s *Sample) float64) series {
		v := make([]float64, len(c))
		for i := range c {
			v[i] = value(&c[i])
		}
		return series{name: name, colour: colour, bars: bars, values: v}
	}
	latency := panel{title: "Latency of a placement decision", unit: "ms", note: "not measured", least: 1, log: true}
	if r.Latency != nil {
		pick := func(value func(l *Latency) float64) func(*Sample) float64 {
			return func(s *Sample) float64 {
				if s.Latency == nil || s.Latency.Decisions == 0 {
					return math.NaN()
				}
				return value(s.Latency) / 1000
			}
		}
		latency.all = []series{
			of("p99", orange, false, pick(func(l *Latency) float64 { return l.P99 })),
			of("p50", blue, false, pick(func(l *Latency) float64 { return l.P50 })),
		}
	}
	return []panel{
		{title: "Utilisation", unit: "% of the fleet", least: 100, all: []series{
			of("CPU promised", blue, false, func(s *Sample) float64 { return s.CPU }),
			of("memory promised", orange, false, func(s *Sample) float64 { return s.Memory }),
			of("hosts in use", green, false, func(s *Sample) float64 { return part(float64(s.HostsUsed), float64(r.Hosts)) }),
		}},
		{title: "Broken constraints, and VMs without a place", unit: "VMs", least: 5, all: []series{
			of("refused on arrival, each interval", blue, true, func(s *Sample) float64 { return float64(s.Refused) }),
			of("waiting", green, false, func(s *Sample) float64 { return float64(s.Waiting) }),
			of("violations", orange, false, func(s *Sample) float64 { return float64(s.Violations) }),
		}},
		{title: "Moves, each interval", unit: "VMs", least: 5, all: []series{
			of("moves", purple, true, func(s *Sample) float64 { return float64(s.Moves) }),
		}},
		latency,
	}
}

// drawing writes the parts of a picture. Errors are kept by the buffer until it is flushed.
type drawing struct {
	w          *bufio.Writer
	start, end float64 // of the time axis, in seconds
	hours      bool    // the axis counts hours, else days
}

func (d *drawing) put(format string, args ...any) { _, _ = fmt.Fprintf(d.w, format, args...) }

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (d *drawing) text(x, y float64, anchor, more, s string) {
	d.put(`<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, more, escaper.Replace(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	d.put(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (d *drawing) x(at Second) float64 {
	return svgLeft + (float64(at)-d.start)/(d.end-d.start)*svgPlotWidth
}

// panel draws p with its upper edge at top.
func (d *drawing) panel(p panel, c []Sample, top int, last bool) {
	upper, lower := float64(top), float64(top+svgPanel)
	y, ticks := p.axis(upper, lower)
	d.text(svgLeft, upper-12, "start", `font-size="15" font-weight="bold"`, p.title)
	d.legend(p.all, upper-12)
	for _, v := range ticks {
		d.line(svgLeft, y(v), svgWidth-svgRight, y(v), "#e4e4e4")
		d.text(svgLeft-8, y(v)+4, "end", "", strconv.FormatFloat(v, 'g', 6, 64))
	}
	d.put(`<text transform="translate(22 %.1f) rotate(-90)" text-anchor="middle" fill="#555">%s</text>`+"\n", (upper+lower)/2, escaper.Replace(p.unit))
	d.timeAxis(upper, lower, last)
	if len(p.all) == 0 {
		d.text(svgLeft+svgPlotWidth/2, (upper+lower)/2, "middle", `fill="#888"`, p.note)
	}
	for _, s := range p.all {
		if s.bars {
			d.bars(s, c, y, lower)
		} else {
			d.curve(s, c, y)
		}
	}
	d.line(svgLeft, lower, svgWidth-svgRight, lower, "#222")
	d.line(svgLeft, upper, svgLeft, lower, "#222")
}

// axis is where values of p stand between its edges, and the values to be written beside it.
func (p *panel) axis(upper, lower float64) (y func(float64) float64, ticks []float64) {
	low, high := math.Inf(1), p.least
	for _, s := range p.all {
		for _, v := range s.values {
			if v > high { // never so for NaN
				high = v
			}
			if v > 0 && v < low {
				low = v
			}
		}
	}
	if !p.log {
		step := niceStep(high / 5)
		high = math.Ceil(high/step-1e-9) * step
		for i := 0; float64(i)*step <= high+step/2; i++ {
			ticks = append(ticks, float64(i)*step)
		}
		return func(v float64) float64 { return lower - v/high*(lower-upper) }, ticks
	}
	first := math.Floor(math.Log10(math.Min(low, high/10)))
	last := math.Max(math.Ceil(math.Log10(high)), first+1)
	for e := first; e <= last; e++ {
		ticks = append(ticks, math.Pow(10, e))
	}
	return func(v float64) float64 {
		return lower - (math.Log10(math.Max(v, ticks[0]))-first)/(last-first)*(lower-upper)
	}, ticks
}

// legend stands at the right end of a panel's title.
func (d *drawing) legend(all []series, y float64) {
	x := float64(svgWidth - svgRight)
	for i := len(all) - 1; i >= 0; i-- {
		x -= 7.8 * float64(len(all[i].name)) // about what the widest usual font takes
		d.text(x, y, "start", "", all[i].name)
		d.put(`<rect x="%.1f" y="%.1f" width="16" height="%d" fill="%s"/>`+"\n", x-22, y-6, map[bool]int{true: 8, false: 3}[all[i].bars], all[i].colour)
		x -= 34
	}
}

func (d *drawing) timeAxis(upper, lower float64, last bool) {
	unit, name := 86_400.0, "days"
	if d.hours {
		unit, name = 3600, "hours"
	}
	step := niceStep((d.end - d.start) / unit / 12)
	if d.hours && step < 12 && step > 5 {
		step = 6
	}
	for i := 0; float64(i)*step*unit <= d.end-d.start; i++ {
		x := svgLeft + float64(i)*step*unit/(d.end-d.start)*svgPlotWidth
		d.line(x, upper, x, lower, "#efefef")
		d.line(x, lower, x, lower+5, "#222")
		d.text(x, lower+19, "middle", "", strconv.FormatFloat(float64(i)*step, 'g', 6, 64))
	}
	if last {
		d.text(svgLeft+svgPlotWidth/2, lower+40, "middle", `fill="#555"`, "time since the start of the trace, "+name)
	}
}

func (d *drawing) bars(s series, c []Sample, y func(float64) float64, lower float64) {
	width := math.Max(svgPlotWidth/math.Max(float64(len(c)), 1)*0.8, 1)
	for i, v := range s.values {
		if v > 0 {
			x := math.Max(d.x(c[i].At)-width, svgLeft) // what came about in the time before
			d.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y(v), width, lower-y(v), s.colour)
		}
	}
}

// curve draws a line through the values, with a break where there is none.
func (d *drawing) curve(s series, c []Sample, y func(float64) float64) {
	pen := "M"
	d.put(`<path fill="none" stroke="%s" stroke-width="1.8" stroke-linejoin="round" d="`, s.colour)
	for i, v := range s.values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		d.put("%s%.1f %.1f", pen, d.x(c[i].At), y(v))
		pen = "L"
	}
	d.put(`"/>` + "\n")
}

// niceStep is the least of 1, 2 and 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}
