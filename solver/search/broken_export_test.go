package search

import "github.com/berth-project/berth/plan/model"

// CountsOfBroken makes n random moves with rules priced, whether they pay or not, and says how many made more or fewer rules
// broken and at how many the count kept by deltas was not the one made anew. Rules that are not laxable: none, none.
func CountsOfBroken(p *model.Problem, from *model.Assignment, seed uint64, n int) (changes, wrong int, err error) {
	x, err := New(p, from, seed)
	if err != nil {
		return 0, 0, err
	}
	s := x.s
	if !s.laxable() || len(s.movable) == 0 {
		return 0, 0, nil
	}
	s.setPrice(make([]int64, s.nr))
	s.setRule(1)
	for range n {
		was := s.broken
		v, w, b := s.movable[x.rnd.below(len(s.movable))], s.movable[x.rnd.below(len(s.movable))], int32(x.rnd.below(s.nh))
		switch {
		case s.slow[v] || s.slow[w] || s.host[v] < 0 || s.host[w] < 0:
			continue
		case x.rnd.next()&1 == 0:
			if s.host[v] != b && s.shiftFits(v, b) {
				s.shift(v, b)
			}
		case s.host[v] != s.host[w] && s.swapFits(v, w):
			s.swap(v, w)
		}
		if s.broken != was {
			changes++
		}
		if s.broken != s.countBroken() {
			wrong++
		}
	}
	return changes, wrong, nil
}
