package convert

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
)

// TestMeter: progress is told in bytes, rising, whatever else is written; an endless line does not stop the tool.
func TestMeter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]label.Bytes{
		"    (0.00/100%)\r    (12.50/100%)\r    (12.50/100%)\r    (100.00/100%)\r\n": {0, 125, 1000},
		"(5.00/100%)\r(3.00/100%)\r(nonsense)\r(101.00/100%)\r(NaN/100%)\r":          {50},
		"":                         {},
		strings.Repeat("x", 1<<20): {},
	} {
		var got []label.Bytes
		m := newMeter(1000, func(done, total label.Bytes) {
			if total != 1000 {
				t.Errorf("total %d", total)
			}
			got = append(got, done)
		})
		for chunk := range strings.SplitSeq(text, "%") { // writes that end in the middle of a line
			if _, err := m.Write([]byte(chunk)); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, "%") {
				_, _ = m.Write([]byte("%"))
			}
		}
		m.end()
		if len(got) != len(want) {
			t.Errorf("%.40q: told %v, expected %v", text, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%.40q: told %v, expected %v", text, got, want)
			}
		}
	}
}
