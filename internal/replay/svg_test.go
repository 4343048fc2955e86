package replay

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestSVGIsXML draws reports without samples, with one, and with more than are drawn, and parses the result. No number in
// it may be none: a renderer would leave out the path.
func TestSVGIsXML(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 599, 5000} {
		r := &Report{Hosts: 3, Arrivals: 1234, Latency: &Latency{}}
		for i := range n {
			r.Samples = append(r.Samples, Sample{At: Second(i) * 60, CPU: 50, HostsUsed: i % 4, Moves: i % 3, Refused: 1})
			if i%2 == 0 {
				r.Samples[i].Latency = &Latency{Decisions: 1, P50: 1, P99: float64(i % 5000)}
			}
		}
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%d samples: %v", n, err)
			}
		}
		if s := b.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || b.Len() > 400_000 {
			t.Errorf("%d samples: %d bytes, or a number that is none", n, b.Len())
		}
	}
}

// TestColumnsKeepCounts joins many samples into few: what is counted adds up, the state is the last.
func TestColumnsKeepCounts(t *testing.T) {
	t.Parallel()
	var all []Sample
	for i := range 1801 {
		all = append(all, Sample{At: Second(i), Live: i, Moves: 1, Refused: 2, Violations: i % 2, Latency: &Latency{P99: float64(i % 7)}})
	}
	moves, refused, violations := 0, 0, 0
	out := columns(all)
	for _, c := range out {
		moves, refused, violations = moves+c.Moves, refused+c.Refused, violations+c.Violations
	}
	if len(out) > svgColumns || moves != 1801 || refused != 3602 || violations != 900 || out[len(out)-1].Live != 1800 || out[0].Latency.P99 != 3 {
		t.Errorf("%d columns with %d moves, %d refused, %d violations, first %+v", len(out), moves, refused, violations, out[0])
	}
}
