package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets of less than 1 % of their value, so that millions of them take no room. The zero
// value is empty.
type Histogram struct {
	buckets [histogramSize]int64
	count   int64
	sum     time.Duration
	most    time.Duration
}

const (
	subBits       = 7 // buckets of one power of two: 128
	histogramSize = (64 - subBits) << subBits
)

// Add counts d; a negative one (the clock was set) counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d))]++
	h.count++
	h.sum += d
	h.most = max(h.most, d)
}

// bucket is the number of v's bucket: values below 128 have their own, others share 128 for each power of two.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.count }

// Sum is the sum of all.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Max is the longest.
func (h *Histogram) Max() time.Duration { return h.most }

// Quantile is the duration that a part of q (0 to 1) of all do not exceed, 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := min(max(int64(q*float64(h.count)), 0), h.count-1)
	for i, n := range h.buckets {
		if rank -= n; rank < 0 {
			return min(upper(i), h.most)
		}
	}
	return h.most
}

// upper is the greatest value of bucket i.
func upper(i int) time.Duration {
	shift := max(i>>subBits-1, 0)
	return time.Duration(uint64(i-shift<<subBits+1)<<shift - 1)
}
