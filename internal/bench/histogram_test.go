package bench

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramIsWithinOnePerCent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h Histogram
		all := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64), 1, 200).Draw(t, "nanoseconds")
		for _, d := range all {
			h.Add(time.Duration(d))
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			want := all[min(int(q*float64(len(all))), len(all)-1)]
			got := int64(h.Quantile(q))
			if got < want || float64(got) > float64(want)*1.01 {
				t.Fatalf("quantile %v is %d, expected %d to 1 %% above", q, got, want)
			}
		}
		if h.Max() != time.Duration(all[len(all)-1]) || h.Count() != int64(len(all)) {
			t.Fatalf("%d durations, at most %v", h.Count(), h.Max())
		}
	})
	if q := new(Histogram).Quantile(0.5); q != 0 {
		t.Errorf("the median of nothing is %v", q)
	}
}
