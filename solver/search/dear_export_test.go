package search

import "github.com/berth-project/berth/plan/model"

// CostsOfDear makes n random moves with moves dear by factors up to most, then with none, and gives the cost kept by deltas at
// the end, the assignment that it is the cost of, and how often a look in between saw the cost of moves not multiplied.
func CostsOfDear(p *model.Problem, from *model.Assignment, seed uint64, n, most int) (cost model.Points, to *model.Assignment, wrong int, err error) {
	x, err := New(p, from, seed)
	if err != nil {
		return 0, nil, 0, err
	}
	s := x.s
	for range 8 {
		f := int64(1 + x.rnd.below(most))
		s.setDear(f)
		if len(s.movable) > 0 {
			x.steady(1e12, int64(n))
		}
		c, err := model.Evaluate(p, x.now())
		if err != nil {
			return 0, nil, 0, err
		}
		moves := c.Move + c.Copy + c.Hop + c.GroupMove
		if s.total != c.Total()+(f-1)*moves {
			wrong++
		}
	}
	s.setDear(1)
	return s.total, x.now(), wrong, nil
}

// now is the present state.
func (x *Search) now() *model.Assignment {
	a := x.best.Clone()
	for v := range x.s.nv {
		a.Host[v] = model.HostIx(x.s.host[v])
		for j := range a.Pool[v] {
			a.Pool[v][j] = model.PoolIx(x.s.pools(int32(v))[j])
		}
	}
	return a
}
