package search

import "math"

// anneal is the state of simulated annealing.
type anneal struct {
	temp float64
}

const logs = 1 << 12

var logTable = func() (t [logs]float64) {
	for i := range t {
		t[i] = -math.Log((float64(i) + 0.5) / logs)
	}
	return t
}()

// Tune: experiment knobs.
var Tune struct {
	T0, T1, T2, L0, L1, Lambda float64
	Acc, Tried, Gain           [8]int64
}

// Run tries at most steps moves, in one cooling, and looks at stop now and then.
func (x *Search) Run(steps int64, stop func() bool) {
	s := x.s
	t0, t1 := Tune.T0, Tune.T1
	const block = 4096
	blocks := steps / block
	x.cool(t0, t1, blocks*2/3, Tune.L0, Tune.L1)
	lambda := Tune.L0 * max(1, Tune.L1/t1)
	for n := 0; s.shortTotal > 0 && n < 100; n++ {
		lambda *= 1.5
		if lambda > 1e9 {
			break
		}
		x.setLambda(lambda)
		for range 64 * block {
			x.step(Tune.T2)
		}
	}
	println("repaired", s.shortTotal, s.total, int64(lambda))
	if s.shortTotal == 0 {
		s.setPrice(nil)
		x.note()
		x.cool(Tune.T2, t1, blocks/3, 0, 0)
	}
	_ = s
	x.revert()
}

func (x *Search) step(temp float64) {
	s := x.s
	rnd := x.rnd.next()
	rank := int((rnd >> 32) * uint64(len(s.movable)) >> 32)
	v := s.movable[rank]
	limit := int64(temp * logTable[rnd&(logs-1)])
	switch rnd >> 12 & 7 {
	case 0:
		if in := s.initial[v]; in >= 0 && in != s.host[v] {
			x.tryShift(v, in, limit, 0)
		}
	case 1, 2:
		b := int32(x.rnd.below(s.nh))
		if b != s.host[v] {
			x.tryShift(v, b, limit, 1)
		}
	case 3, 4:
		w := s.movable[x.rnd.below(len(s.movable))]
		if s.host[v] != s.host[w] {
			x.trySwap(v, w, limit, 2)
		}
	default:
		r := x.rnd.next()
		span := max(2, len(s.movable)>>(1+r&7))
		near := rank + int((r>>32)*uint64(span)>>32) - span/2
		if near >= len(s.movable) || near < 0 {
			return
		}
		w := s.movable[near]
		if s.host[v] != s.host[w] {
			x.trySwap(v, w, limit, 3)
		}
	}
}

func (x *Search) tryShift(v, b int32, limit int64, kind int) {
	s := x.s
	if !s.shiftFits(v, b) {
		return
	}
	Tune.Tried[kind]++
	d := s.shiftDelta(v, b)
	if s.price != nil {
		d += s.shiftShort(v, b)
	}
	if d <= limit {
		Tune.Acc[kind]++
		if d < 0 {
			Tune.Gain[kind] -= d
		}
		s.shift(v, b)
		x.touch(v)
		x.note()
	}
}

func (x *Search) trySwap(v, w int32, limit int64, kind int) {
	s := x.s
	if !s.swapFits(v, w) {
		return
	}
	Tune.Tried[kind]++
	d := s.swapDelta(v, w)
	if s.price != nil {
		d += s.swapShort(v, w)
	}
	if d <= limit {
		Tune.Acc[kind]++
		if d < 0 {
			Tune.Gain[kind] -= d
		}
		s.swap(v, w)
		x.touch(v)
		x.touch(w)
		x.note()
	}
}

func (x *Search) setLambda(l float64) {
	price := make([]int64, x.s.nr)
	for r := range price {
		price[r] = int64(l)
	}
	x.s.setPrice(price)
}

func (x *Search) cool(t0, t1 float64, blocks int64, l0, l1 float64) {
	s := x.s
	const block = 4096
	for b := int64(0); b < blocks; b++ {
		temp := t0 * math.Pow(t1/t0, float64(b)/float64(blocks))
		if l0 > 0 && b%64 == 0 {
			lambda := l0 * max(1, l1/temp)
			x.setLambda(lambda)
			Tune.Acc[6], Tune.Acc[7] = s.shortTotal/int64(lambda), s.total
			Tune.Lambda = lambda
		}
		for range block {
			x.step(temp)
		}
	}
}
