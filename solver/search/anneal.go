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
	T0, T1 float64
	Acc [8]int64
}

// Run tries at most steps moves, in one cooling, and looks at stop now and then.
func (x *Search) Run(steps int64, stop func() bool) {
	s := x.s
	t0, t1 := Tune.T0, Tune.T1
	const block = 4096
	blocks := steps / block
	for b := int64(0); b < blocks; b++ {
		if stop != nil && stop() {
			break
		}
		temp := t0 * math.Pow(t1/t0, float64(b)/float64(blocks))
		for range block {
			x.step(temp)
		}
		x.steps += block
	}
	_ = s
	x.revert()
}

func (x *Search) step(temp float64) {
	s := x.s
	rnd := x.rnd.next()
	v := s.movable[int((rnd>>32)*uint64(len(s.movable))>>32)]
	limit := int64(temp * logTable[rnd&(logs-1)])
	if rnd&(1<<20) != 0 {
		Tune.Acc[0]++
		b := int32(x.rnd.below(s.nh))
		if b == s.host[v] || !s.shiftFits(v, b) {
			return
		}
		Tune.Acc[1]++
		if s.shiftDelta(v, b) <= limit {
			Tune.Acc[2]++
			s.shift(v, b)
			x.touch(v)
			x.note()
		}
		return
	}
	w := s.movable[x.rnd.below(len(s.movable))]
	Tune.Acc[3]++
	if s.host[v] == s.host[w] || !s.swapFits(v, w) {
		return
	}
	Tune.Acc[4]++
	if s.swapDelta(v, w) <= limit {
		Tune.Acc[5]++
		s.swap(v, w)
		x.touch(v)
		x.touch(w)
		x.note()
	}
}
