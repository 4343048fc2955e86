package online

import (
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// maxPoolNodes bounds the search for the pools of one VM's disks. Beyond, the best so far counts, or none.
const maxPoolNodes = 100_000

// poolChoice is the cheapest pools for the query's VM among those that hosts of one reach set reach.
type poolChoice struct {
	stamp uint32
	ok    bool
	cost  int64
	pools []model.PoolIx
}

// choice is the choice for a reach set on hosts other than the VM's initial one, found once for a query.
func (q *query) choice(x *Placer, reach int32) *poolChoice {
	c := &q.pools[reach]
	if c.stamp != q.stamp {
		*c = q.choosePools(x, x.tree.reach[reach], model.HostChange)
		c.stamp = q.stamp
	}
	return c
}

// choosePools finds the cheapest pools, with the price of moving; change is HostChange or 0.
func (q *query) choosePools(x *Placer, reach []model.PoolIx, change int) poolChoice {
	v := q.vm
	if v.Initial == model.None {
		change = 0
	}
	s := disksSearch{q: q, x: x, reach: reach, left: maxPoolNodes}
	s.order = make([]int, len(v.Disks))
	for j := range s.order {
		s.order[j] = j
	}
	slices.SortStableFunc(s.order, func(a, b int) int { return slices.Compare(v.Disks[b].Demand, v.Disks[a].Demand) })
	var best poolChoice
	for _, stay := range [2]bool{true, false} {
		price := int64(0)
		if v.Initial != model.None {
			if !stay {
				change |= model.DiskChange
			}
			if price = v.Move[change]; price == model.Forbidden {
				continue
			}
		} else if stay {
			continue
		}
		if c := s.run(stay); c.ok && (!best.ok || c.cost+price < best.cost) {
			c.cost += price
			best = c
		}
	}
	return best
}

// disksSearch is a search in depth over the disks, the largest first, with a bound.
type disksSearch struct {
	q     *query
	x     *Placer
	reach []model.PoolIx
	order []int
	rest  []int64 // by depth: what the disks from there on cost at least
	take  []model.PoolIx
	best  poolChoice
	left  int
	stay  bool
}

func (s *disksSearch) run(stay bool) poolChoice {
	n := len(s.order)
	s.stay, s.best = stay, poolChoice{}
	s.rest = make([]int64, n+1)
	s.take = make([]model.PoolIx, n)
	for k := n - 1; k >= 0; k-- {
		d := &s.q.vm.Disks[s.order[k]]
		least, ok := int64(0), false
		for _, at := range s.reach {
			if c, can := s.price(d, at); can && (!ok || c < least) {
				least, ok = c, true
			}
		}
		if !ok {
			return poolChoice{}
		}
		s.rest[k] = s.rest[k+1] + least
	}
	s.dive(0, 0)
	return s.best
}

// price is what a disk costs in a pool, its copy with it; false: it must not go there.
func (s *disksSearch) price(d *model.Disk, at model.PoolIx) (int64, bool) {
	pool := &s.x.p.Pools[at]
	c := s.x.p.PoolFit[d.Class][pool.Class]
	if c == model.Forbidden || !pool.Open && at != d.Initial {
		return 0, false
	}
	c *= d.Weight
	if d.Initial != model.None && d.Initial != at {
		if d.Fixed || s.stay {
			return 0, false
		}
		c += d.Copy
	}
	return c, true
}

// dive places the disk of depth k and all after it.
func (s *disksSearch) dive(k int, cost int64) {
	if s.best.ok && cost+s.rest[k] >= s.best.cost {
		return
	}
	if s.left--; s.left < 0 {
		return
	}
	if k == len(s.order) {
		if !s.stay && s.q.vm.Initial != model.None && !s.changed() {
			return // priced as a change, which may be cheaper than none
		}
		s.best = poolChoice{ok: true, cost: cost, pools: slices.Clone(s.take)}
		return
	}
	j := s.order[k]
	d := &s.q.vm.Disks[j]
	type option struct {
		at   model.PoolIx
		cost int64
		room int64
	}
	var buf [16]option
	options := buf[:0]
	for _, at := range s.reach {
		if c, ok := s.price(d, at); ok && s.fits(k, d, at) {
			options = append(options, option{at, c, s.room(at)})
		}
	}
	slices.SortStableFunc(options, func(a, b option) int {
		if a.cost != b.cost {
			return sign(a.cost, b.cost)
		}
		return sign(b.room, a.room)
	})
	for _, o := range options {
		s.take[j] = o.at
		s.dive(k+1, cost+o.cost)
	}
}

// changed says whether a disk leaves its initial pool.
func (s *disksSearch) changed() bool {
	for j := range s.take {
		if d := &s.q.vm.Disks[j]; d.Initial != model.None && d.Initial != s.take[j] {
			return true
		}
	}
	return false
}

func sign(a, b int64) int {
	if a < b {
		return -1
	}
	return 1
}

// room is what a pool has left of its first resource: among equals, the emptiest is taken.
func (s *disksSearch) room(at model.PoolIx) int64 {
	if len(s.x.p.PoolResources) == 0 {
		return 0
	}
	return s.x.p.Pools[at].Capacity[0] - s.x.pools[at].use[0]
}

// fits says whether a pool has room for the disk of depth k beside those that the search has put there. Parked disks that
// it has not come to yet may still leave, which is judged when it comes to them.
func (s *disksSearch) fits(k int, d *model.Disk, at model.PoolIx) bool {
	stays := at == d.Initial && s.q.parked
	pool, use := &s.x.p.Pools[at], s.x.pools[at].use
	for r := range d.Demand {
		come, free := int64(0), pool.Capacity[r]-use[r]
		if !stays {
			come = d.Demand[r]
		}
		for n, j := range s.order {
			if n == k {
				continue
			}
			e := &s.q.vm.Disks[j]
			home := e.Initial == at && s.q.parked
			switch {
			case n < k && s.take[j] == at && !home:
				come += e.Demand[r]
			case home && (n > k || s.take[j] != at) && !e.Sticky && !s.x.p.PoolResources[r].Transient:
				free += e.Demand[r]
			}
		}
		if come > 0 && come > free {
			return false
		}
	}
	return true
}
