package search

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// SumsAfter makes n random moves, whether they pay or not, and says what of all that they bring up to date is not as a state has
// it that is made anew. Every other time rules and room have a price.
func SumsAfter(p *model.Problem, from *model.Assignment, seed uint64, n int) (moves int, wrong []string, err error) {
	x, err := New(p, from, seed)
	if err != nil {
		return 0, nil, err
	}
	s := x.s
	if s.disks != nil || len(s.movable) == 0 {
		return 0, nil, nil
	}
	if seed&1 == 0 && s.laxable() {
		price := make([]int64, s.nr)
		for r := range price {
			price[r] = int64(r + 1)
		}
		s.setPrice(price)
		s.setRule(3)
	}
	for range n {
		v, w, b := s.movable[x.rnd.below(len(s.movable))], s.movable[x.rnd.below(len(s.movable))], int32(x.rnd.below(s.nh))
		switch {
		case s.slow[v] || s.slow[w] || s.host[v] < 0 || s.host[w] < 0:
			continue
		case x.rnd.next()&1 == 0:
			if s.host[v] == b || !s.shiftFits(v, b) {
				continue
			}
			s.shift(v, b)
		case s.host[v] == s.host[w] || !s.swapFits(v, w):
			continue
		default:
			s.swap(v, w)
		}
		moves++
		if wrong = append(s.differs(p, s.assignment()), s.lacksWrongly()...); len(wrong) > 0 {
			return moves, wrong, nil
		}
	}
	return moves, nil, nil
}

// assignment is where the VMs are.
func (s *state) assignment() *model.Assignment {
	a := s.p.Start()
	for v, h := range s.host {
		a.Host[v] = model.HostIx(h)
	}
	return a
}

// differs names what is not as in a state that a is loaded into.
func (s *state) differs(p *model.Problem, a *model.Assignment) (wrong []string) {
	w := newState(newTables(p))
	w.load(a)
	w.setPrice(s.price)
	w.setRule(s.rule)
	for _, c := range []struct {
		name  string
		equal bool
	}{
		{"slack", slices.Equal(s.slack, w.slack)}, {"over", slices.Equal(s.over, w.over)}, {"cost of hosts", slices.Equal(s.hostCost, w.hostCost)},
		{"cost of VMs", slices.Equal(s.vmCost, w.vmCost)}, {"counts", slices.Equal(s.counts, w.counts)}, {"flags", slices.Equal(s.flags, w.flags)},
		{"distinct", slices.Equal(s.distinct, w.distinct)}, {"moved", slices.Equal(s.moved, w.moved) && s.mostMove == w.mostMove},
		{"short", (s.price == nil || slices.Equal(s.short, w.short)) && s.shortTotal == w.shortTotal}, {"broken", s.broken == w.broken}, {"total", s.total == w.total},
	} {
		if !c.equal {
			wrong = append(wrong, c.name)
		}
	}
	for v, h := range s.host {
		if h >= 0 && s.vms[h][s.at[v]] != int32(v) {
			wrong = append(wrong, fmt.Sprintf("list of host %d", h))
		}
	}
	return wrong
}

// lacksWrongly names the groups and zones whose counts of others are not what a look at every VM says.
func (s *state) lacksWrongly() (wrong []string) {
	there := func(g, z int32) bool {
		return slices.ContainsFunc(s.of(int(g)), func(v int32) bool { return s.host[v] >= 0 && s.zone[s.host[v]] == z })
	}
	for g := range int32(s.ng) {
		for z := range int32(s.zones) {
			lacking, needing := int32(0), int32(0)
			for f := range int32(s.ng) {
				for _, n := range s.p.Groups[f].Needs {
					switch {
					case f == g && int32(n) != g && !there(int32(n), z):
						lacking++
					case f != g && int32(n) == g && there(f, z):
						needing++
					}
				}
			}
			off := s.near[g].off
			if !s.near[g].on || off < 0 {
				continue
			}
			f := s.flags[off+z]
			if s.lacking(g, z) != lacking || s.needing(g, z) != needing || f&lacks != 0 != (lacking > 0) ||
				f&wanted != 0 != (needing > 0 && s.inZone(g, z) == 1) {
				wrong = append(wrong, fmt.Sprintf("needs of group %d in zone %d", g, z))
			}
		}
	}
	return wrong
}
