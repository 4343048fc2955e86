package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
)

// giver is a unit that may give way, and what it has to be off for that to help.
type giver struct {
	unit unitIx
	off  query
}

// givers lists those who may give way to u on h, the lowest priority first, then those who suffice alone, the smallest of them first.
func (x *search) givers(u *unit, h hostIx, q query) []giver {
	_, refused := x.fitLax(u, h, q)
	var out []giver
	switch refused {
	case plan.ConstraintCPU, plan.ConstraintMemory, plan.ConstraintNICQueues, plan.ConstraintNICRate:
		out = x.lower(u, x.usersOf(h, refused, func(v *unit) bool { return v.priority < u.priority }), x.shortage(u, h, refused), func(unitIx) query { return off(h, none) })
	case plan.ConstraintSpread:
		out = x.lower(u, x.rivals(u, h), func(*unit) int64 { return 0 }, func(v unitIx) query {
			q := off(x.vms[x.units[v].vms[0]].host, none)
			q.apart, q.kinds = h, x.parted(u, &x.units[v])
			return q
		})
	case plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput:
		for _, p := range x.hosts[h].pools {
			short := func(v *unit) int64 { return maxTotal - int64(x.onPool(v, p)) }
			if refused != plan.ConstraintPoolSpace {
				short = func(v *unit) int64 { return maxTotal - promised(refused, x.ioOnPool(v, p)) }
			}
			out = append(out, x.lower(u, x.unitsOnPool(p, refused), short, func(unitIx) query { return off(none, p) })...)
		}
	}
	return out
}

// parted are the kinds of failure domain that VMs of u and v of one spread group may not share, a bit each.
func (s *state) parted(u, v *unit) uint8 {
	var out uint8
	for _, i := range u.vms {
		for _, j := range v.vms {
			if a, b := &s.vms[i], &s.vms[j]; a.spread != none && a.spread == b.spread {
				out |= 1<<a.kind | 1<<b.kind
			}
		}
	}
	return out
}

// off is a search for a place neither on a host nor in a pool.
func off(h hostIx, p poolIx) query {
	q := anywhere
	q.host, q.pool = h, p
	return q
}

// lower leaves those of list who may give way to u, in order, at most maxGiveAsked of them.
func (x *search) lower(u *unit, list []unitIx, short func(*unit) int64, away func(unitIx) query) []giver {
	ui := x.vms[u.vms[0]].unit
	list = slices.DeleteFunc(list, func(i unitIx) bool {
		v := &x.units[i]
		return v == u || v.priority >= u.priority || v.torn || v.anchor != none || !x.givesWay(v) || x.giving.vain[concession{i, ui}]
	})
	slices.SortFunc(list, func(a, b unitIx) int {
		v, w := &x.units[a], &x.units[b]
		m, n := short(v), short(w)
		if c := cmp.Or(cmp.Compare(v.priority, w.priority), cmp.Compare(max(m, 0), max(n, 0))); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(n, m), cmp.Compare(a, b)) // both suffice: the smaller one leaves less room behind
	})
	out := make([]giver, 0, min(len(list), maxGiveAsked))
	for _, i := range list[:min(len(list), maxGiveAsked)] {
		out = append(out, giver{i, away(i)})
	}
	return out
}

// partings are the searches by which one who gives way may leave: as it has to, and besides without each of the pools that u could take,
// then without one of its disks there.
func (x *search) partings(u *unit, h hostIx, g *giver) []query {
	out := []query{g.off}
	add := func(q query) {
		q.apart, q.kinds = g.off.apart, g.off.kinds
		if len(out) < maxPartings {
			out = append(out, q)
		}
	}
	pools := x.poolsFor(u, h)
	if p := g.off.pool; p != none {
		pools = []poolIx{p}
		add(off(h, p))
	} else {
		for _, p := range pools {
			add(off(g.off.host, p))
		}
	}
	for _, p := range pools {
		for _, i := range x.units[g.unit].vms {
			for n := range x.vms[i].disks {
				q := off(g.off.host, p)
				q.of, q.n = &x.vms[i], n
				add(q)
			}
		}
	}
	return out
}

// maxPartings bounds the searches that partings gives.
const maxPartings = 16

// poolsFor lists the pools of h that are good enough for a disk of u.
func (x *search) poolsFor(u *unit, h hostIx) []poolIx {
	var out []poolIx
	for _, p := range x.hosts[h].pools {
		if slices.ContainsFunc(u.vms, func(i vmIx) bool {
			return slices.ContainsFunc(x.vms[i].need.Disks, func(d policy.DiskRequirement) bool { return x.pools[p].facts.Tier >= max(d.Tier, 0) })
		}) {
			out = append(out, p)
		}
	}
	return out
}

// maxDrops bounds the ways to ask for less that placeBelow tries.
const maxDrops = 256

// drop is by how many ranks less is asked for of server, pools and NIC class.
type drop struct{ server, pool, nic int }

func (d drop) sum() int { return d.server + d.pool + d.nic }

// placeBelow is a place of u that is below its need by as few ranks as there is one, the cheapest of such, within what is not
// negotiable.
func (x *search) placeBelow(u *unit, q query) (place, bool) {
	all := drop{server: int(u.server), nic: int(u.nicClass)}
	for _, i := range u.vms {
		for _, d := range x.vms[i].need.Disks {
			all.pool = max(all.pool, int(d.Tier))
		}
	}
	p, ok := x.findBelow(u, all, q)
	if !ok || all.sum() <= 1 {
		return p, ok
	}
	var drops []drop
	for a := range max(all.server, 0) + 1 {
		for b := range all.pool + 1 {
			for c := range all.nic + 1 {
				drops = append(drops, drop{a, b, c})
			}
		}
	}
	slices.SortStableFunc(drops, func(a, b drop) int { return cmp.Compare(a.sum(), b.sum()) })
	for _, d := range drops[:min(len(drops), maxDrops)] {
		if better, ok := x.findBelow(u, d, q); ok {
			return better, true
		}
	}
	return p, true
}

func (x *search) findBelow(u *unit, d drop, q query) (place, bool) {
	defer x.lowered(u, d)()
	return x.find(u, q, x.opts.Seed)
}

// lowered makes u ask for less until the result is called. The unit's fault is not asked for meanwhile.
func (s *state) lowered(u *unit, d drop) func() {
	server, class := u.server, u.nicClass
	needs := make([]policy.Requirement, len(u.vms))
	u.server, u.nicClass = max(u.server-policy.Rank(d.server), 0), max(u.nicClass-fleet.NICClass(d.nic), 0) //nolint:gosec // a class is at most 3
	for n, i := range u.vms {
		v := &s.vms[i]
		needs[n] = v.need
		v.need.Server, v.need.NICClass = min(v.need.Server, u.server), min(v.need.NICClass, u.nicClass)
		v.need.Disks = slices.Clone(v.need.Disks)
		for j := range v.need.Disks {
			v.need.Disks[j].Tier = max(v.need.Disks[j].Tier-policy.Rank(d.pool), 0)
		}
	}
	return func() {
		u.server, u.nicClass = server, class
		for n, i := range u.vms {
			s.vms[i].need = needs[n]
		}
	}
}

// goesBelow says whether what a logged move changes is below what its VM asks for, where that is negotiable.
func (s *state) goesBelow(m *move) bool {
	if m.attach != nil {
		return false
	}
	v, h := &s.vms[m.vm], &s.hosts[m.to]
	if m.from != m.to && (h.facts.Tier < v.need.Server || !h.hasClass(v.need.NICClass)) {
		return true
	}
	for j, p := range m.is {
		if p != m.was[j] && s.pools[p].facts.Tier < v.need.Disks[j].Tier {
			return true
		}
	}
	return false
}

// legalAgain says whether a move of an earlier log is legal now, as it was then.
func (s *state) legalAgain(m *move) bool {
	if s.legal(m.vm, m.to, m.is) {
		return true
	}
	if !m.below {
		return false
	}
	const lowest = 1 << 20
	defer s.lowered(s.single(m.vm), drop{lowest, lowest, int(fleet.MaxNICClass)})()
	return s.legal(m.vm, m.to, m.is)
}

// unjustified tells each displaced VM of the log to whom it gives way, and gives the moves of those for whom that is nobody.
func (s *state) unjustified() []int {
	if !slices.ContainsFunc(s.log, func(m move) bool { return m.below }) {
		return nil
	}
	won, err := plan.GaveWay(s.p, s.steps())
	if err != nil {
		return nil // Solve itself will tell
	}
	var bad []int
	for n := range s.log {
		m := &s.log[n]
		if !m.below {
			continue
		}
		if m.winner = s.vm(won[n]); m.winner == none {
			bad = append(bad, n)
			continue
		}
		m.why = s.whyDisplaced(m)
	}
	return bad
}

// whyDisplaced says for whom the VM of m gives way.
func (s *state) whyDisplaced(m *move) string {
	v, w := &s.vms[m.vm], &s.vms[m.winner]
	return fmt.Sprintf("gives way to %s (%s, priority %d): %s has priority %d and its level gives way", w.snap.ID, w.need.Level, w.need.Priority,
		v.snap.ID, v.need.Priority)
}

// whereBelow says in what the place that m leads to is below what its VM asks for, and what it has.
func (s *state) whereBelow(m *move) string {
	v, h := &s.vms[m.vm], &s.hosts[m.to]
	var parts []string
	if m.from != m.to && h.facts.Tier < v.need.Server {
		parts = append(parts, fmt.Sprintf("%s is %s, it needs %s", h.snap.ID, s.p.ServerTier(h.facts.Tier), s.p.ServerTier(v.need.Server)))
	}
	if m.from != m.to && !h.hasClass(v.need.NICClass) {
		parts = append(parts, fmt.Sprintf("%s has no NIC of class %d", h.snap.ID, v.need.NICClass))
	}
	for j, p := range m.is {
		if need := v.need.Disks[j].Tier; p != m.was[j] && s.pools[p].facts.Tier < need {
			parts = append(parts, fmt.Sprintf("%s is %s, disk %s needs %s", s.pools[p].snap.ID, s.p.PoolTier(s.pools[p].facts.Tier), v.snap.Disks[j].ID,
				s.p.PoolTier(need)))
		}
	}
	text := "displaced: " + strings.Join(parts, ", ")
	if m.where != "" {
		text += "; " + m.where
	}
	return text
}

// gaveWay tells of each VM that was displaced for whom.
func (s *state) gaveWay() map[vmIx]string {
	out := map[vmIx]string{}
	for n := range s.log {
		if m := &s.log[n]; m.below {
			w := &s.vms[m.winner]
			out[m.vm] = fmt.Sprintf("gave way to %s (%s, priority %d): ", w.snap.ID, w.need.Level, w.need.Priority)
		}
	}
	return out
}

// excuse makes what the log displaces cost nothing in the bound, wherever it is: below its need a VM may cost less than in any right place.
func (f floor) excuse(end *state) {
	c := f.c
	gone := end.gaveWay()
	if c == nil || len(gone) == 0 {
		return
	}
	excused := map[int]bool{}
	for n := range c.items {
		v := &c.p.VMs[n]
		if _, ok := gone[c.items[n].vms[0]]; !ok || v.Fixed { // each VM is an item of its own
			continue
		}
		excused[n] = true
		v.Class = c.class("displaced", func(hostIx) model.Points { return 0 })
		v.Move, v.Disks = [4]model.Points{}, nil
	}
	c.tolerated = slices.DeleteFunc(c.tolerated, func(t tolerance) bool { return excused[t.item] })
}
