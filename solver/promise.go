package solver

import (
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// promised is what of u the constraint c is about: operations, or bandwidth.
func promised(c string, u ioUse) int64 {
	if c == plan.ConstraintPoolIOPS {
		return int64(u.iops)
	}
	return int64(u.rate)
}

// offered is what a pool can promise of it; 0: not limited.
func offered(c string, p *fleet.Pool) int64 {
	if c == plan.ConstraintPoolIOPS {
		return int64(p.IOPS)
	}
	return int64(p.Throughput)
}

// ioConstraints are what a pool can promise, in the order in which they are judged.
var ioConstraints = [2]string{plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput}

// ioRefusal is the constraint by which p cannot promise more beside what it has promised and added; "" when it can.
func (s *state) ioRefusal(p poolIx, added, more ioUse) string {
	pool := &s.pools[p]
	for _, c := range ioConstraints {
		if n, all := promised(c, more), offered(c, pool.snap); n > 0 && all > 0 && promised(c, pool.io.plus(added))+n > all {
			return c
		}
	}
	return ""
}

// overpromised is the constraint that p breaks by what it has promised already; "" when none.
func (s *state) overpromised(p poolIx) string {
	for _, c := range ioConstraints {
		if all := offered(c, s.pools[p].snap); all > 0 && promised(c, s.pools[p].io) > all {
			return c
		}
	}
	return ""
}

// starved is the constraint by which a pool of v has promised too much of what v has reserved there, and that pool.
func (s *state) starved(v *vmState) (string, poolIx) {
	for n, p := range v.disks {
		for _, c := range ioConstraints {
			if all := offered(c, s.pools[p].snap); all > 0 && promised(c, v.io(n)) > 0 && promised(c, s.pools[p].io) > all {
				return c, p
			}
		}
	}
	return "", none
}

// ioOnPool is what p gets back to promise when u leaves it.
func (s *state) ioOnPool(u *unit, p poolIx) ioUse {
	var n ioUse
	for _, i := range u.vms {
		v := &s.vms[i]
		for j, d := range v.disks {
			if d == p {
				n = n.plus(v.io(j))
			}
		}
	}
	return n
}

// relievePools moves VMs off pools that have promised more than they have, lowest priority first.
func (x *search) relievePools() {
	for i := range x.pools {
		p := poolIx(i) // fewer pools than 2^31
		for c := x.overpromised(p); c != "" && !x.over(); c = x.overpromised(p) {
			list := x.unitsOnPool(p, c)
			x.sortVictims(list)
			if !x.moveOffPool(list, p, c, x.whyOverpromised(p, c)) {
				break
			}
		}
	}
}

// moveOffPool moves all disks of one unit that reserve of the constraint c in p, or one of them, to other pools.
func (x *search) moveOffPool(list []unitIx, p poolIx, c string, why func(vmIx, place) string) bool {
	return slices.ContainsFunc(list, func(ui unitIx) bool {
		u := &x.units[ui]
		return slices.ContainsFunc(x.reliefs(u, p, c), func(q query) bool {
			to, ok := x.find(u, q, x.opts.Seed)
			return ok && x.commit(u, to, why)
		})
	})
}

// reliefs are the searches by which u could relieve p: without any disk there that reserves of c, and without one of them.
func (s *state) reliefs(u *unit, p poolIx, c string) []query {
	q := anywhere
	q.pool, q.spare = p, c
	out := []query{q}
	for _, i := range u.vms {
		v := &s.vms[i]
		for n, d := range v.disks {
			if d == p && promised(c, v.io(n)) > 0 {
				q.of, q.n = v, n
				out = append(out, q)
			}
		}
	}
	return out
}

// unpromised names the VMs that would have to leave pools that have promised too much, lowest priority first.
func (x *search) unpromised(why map[vmIx]string) {
	for i := range x.pools {
		p := poolIx(i) // fewer pools than 2^31
		c := x.overpromised(p)
		if c == "" {
			continue
		}
		text := x.overpromisedText(p, c)
		lack := promised(c, x.pools[p].io) - offered(c, x.pools[p].snap)
		list := x.unitsOnPool(p, c)
		x.sortVictims(list)
		for _, ui := range list {
			for _, vm := range x.units[ui].vms {
				mine := int64(0)
				for j, d := range x.vms[vm].disks {
					if d == p {
						mine += promised(c, x.vms[vm].io(j))
					}
				}
				if mine == 0 || lack <= 0 {
					continue
				}
				lack -= mine
				if _, ok := why[vm]; !ok {
					why[vm] = text
				}
			}
		}
	}
}

// refusedAt is the constraint that refuses u on another host. Where u has to leave a pool that has promised too much, own, a
// host with no other pool for it refuses it by the same.
func (s *state) refusedAt(u *unit, h hostIx, own string) string {
	_, r := s.fit(u, h, anywhere)
	if r != "" || own != plan.ConstraintPoolIOPS && own != plan.ConstraintPoolThroughput {
		return r
	}
	for _, i := range u.vms {
		if c, p := s.starved(&s.vms[i]); c == own {
			if !slices.ContainsFunc(s.reliefs(u, p, c), func(q query) bool { _, r := s.fit(u, h, q); return r == "" }) {
				return own
			}
		}
	}
	return ""
}
