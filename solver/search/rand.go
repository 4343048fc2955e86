package search

import "math/bits"

// random is wyrand: one multiplication a number, which matters where a step costs fifty nanoseconds.
type random uint64

func (r *random) next() uint64 {
	*r += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(uint64(*r), uint64(*r)^0xe7037ed1a0b428db)
	return hi ^ lo
}

// share draws from [0, 1).
func (r *random) share() float64 { return float64(r.next()>>11) / (1 << 53) }

// below draws from [0, n); n fits 31 bits.
func (r *random) below(n int) int {
	return int((r.next() >> 32) * uint64(n) >> 32)
}
