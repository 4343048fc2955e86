package solver

import (
	"cmp"
	"math"
	"slices"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Displacement: what has no right place, and none by making room, gets one where VMs of strictly lower priority whose levels give
// way go below what their labels ask for. Nobody is left without a place, and what goes below its need is as little as is
// found: the highest priority counts first, then how many, then the points.

// Bounds of the search for one unit, besides those of ejections: VMs on each host that are asked, how deep those who give way look for others
// who do, and searches for a place in all.
const (
	maxGiveAsked = 24
	maxGiveDepth = 2
	maxGiveLooks = 4096
	maxWayScan   = 2048 // hosts looked at for the unit that the way is for
)

// giving is what displace keeps from one run to the next.
type giving struct {
	failed map[unitIx]int // by unit: the version at which nobody could give way to it
	full   map[hostIx]int // the same by over-full host,
	near   map[int]int    // and by spread group in conflict
	futile map[likeness]int
	barren map[likeness]int    // of those who give way: how often in a row nobody did so for one in its turn
	looks  int                 // searches left for the present unit
	vain   map[concession]bool // came to nothing in the end
	unjust int                 // how often that was so
	joined bool                // the log is compact as far as it may be
}

// giveMove is one move of a way.
type giveMove struct {
	unit unitIx
	to   place
	whom unitIx // for whom; none: it is the one that the way is for; beside: that one stays where it is
}

const beside unitIx = -2

// way is how a unit gets a right place: the moves in order, its own last, and what it costs. The priorities of those who go below their
// need are from the highest down.
type way struct {
	moves  []giveMove
	harmed []policy.Priority
	cost   points
}

// less says whether a harms less than b, or costs less.
func (a *way) less(b *way) bool {
	return cmp.Or(slices.Compare(a.harmed, b.harmed), cmp.Compare(a.cost, b.cost)) < 0
}

// givesWay says whether u may be displaced: every VM of it.
func (s *state) givesWay(u *unit) bool {
	return !slices.ContainsFunc(u.vms, func(i vmIx) bool { return !s.vms[i].need.GiveWay })
}

// displace finds ways for what has no right place, the highest priority first. It says whether it moved anything.
func (x *search) displace() bool {
	if !slices.ContainsFunc(x.units, func(u unit) bool { return x.givesWay(&u) }) {
		return false
	}
	if x.giving.failed == nil {
		x.giving.failed = map[unitIx]int{}
	}
	x.giving.futile, x.giving.barren = map[likeness]int{}, map[likeness]int{}
	if x.giving.full == nil {
		x.giving.full, x.giving.near = map[hostIx]int{}, map[int]int{}
	}
	start, lowest := x.version, x.lowestGiver()
	for _, ui := range x.pending() {
		u := &x.units[ui]
		if x.over() {
			break
		}
		if x.giving.failed[ui] == x.version || x.wrong(u) == "" || x.failed[ui] != x.version && x.mend(ui) {
			continue
		}
		if k := x.likeness(u); u.priority > lowest && x.giving.futile[k] < maxFutile {
			if x.makeWay(u) {
				delete(x.giving.futile, k)
				continue
			}
			x.giving.futile[k]++
		}
		x.giving.failed[ui] = x.version
	}
	if !x.over() {
		x.relieveByWay()
		x.partByWay()
	}
	return x.version != start
}

// lowestGiver is the lowest priority of those who may be displaced.
func (s *state) lowestGiver() policy.Priority {
	lowest := policy.Priority(math.MaxInt)
	for i := range s.units {
		if u := &s.units[i]; u.priority < lowest && s.givesWay(u) {
			lowest = u.priority
		}
	}
	return lowest
}

// makeWay places u by the best way that is found.
func (x *search) makeWay(u *unit) bool {
	x.giving.looks = maxGiveLooks
	w, ok := x.bestWay(u, anywhere, 0)
	return ok && x.goWay(&w, u, x.whyWrong)
}

// goWay makes the moves of a way that is for u, which itself moves for the reason that why gives.
func (x *search) goWay(w *way, u *unit, why func(vmIx, place) string) bool {
	n := len(x.log)
	for _, m := range w.moves {
		n += len(x.units[m.unit].vms)
	}
	if n > x.opts.MaxSteps {
		x.stopped = true
		return false
	}
	for _, m := range w.moves {
		x.give(m, u, why)
	}
	return true
}

// give makes a move of the way of u.
func (x *search) give(m giveMove, u *unit, why func(vmIx, place) string) {
	who, mark := &x.units[m.unit], len(x.log)
	switch m.whom {
	case none:
		x.commit(who, m.to, why)
		return
	case beside:
		x.commit(who, m.to, x.whyRoom(u))
	default:
		x.commit(who, m.to, x.whyRoom(&x.units[m.whom]))
	}
	for n := mark; n < len(x.log); n++ {
		if l := &x.log[n]; x.goesBelow(l) {
			l.below, l.winner = true, x.chief(u)
			l.why, l.where = x.whyDisplaced(l), x.whereBelow(l)
		}
	}
}

// chief is the VM of u of the highest priority, the first of equals.
func (s *state) chief(u *unit) vmIx {
	best := u.vms[0]
	for _, i := range u.vms {
		if s.vms[i].need.Priority > s.vms[best].need.Priority {
			best = i
		}
	}
	return best
}

// bestWay is the way for u that harms and costs least, of those that are found: first where those who give way go below their need at
// once, then where they find others who give way to them. The state stays as it is.
func (x *search) bestWay(u *unit, q query, depth int) (way, bool) {
	var best way
	found, mark := false, len(x.log)
	consider := func(w way, ok bool) bool {
		x.undo(mark)
		if ok && (!found || w.less(&best)) {
			best, found = w, true
		}
		return ok
	}
	hosts := x.wayHosts(u, q, depth)
	for _, h := range hosts {
		for _, g := range x.givers(u, h, q) {
			if slices.ContainsFunc(x.partings(u, h, &g), func(off query) bool { return consider(x.oneGives(u, h, q, g.unit, off)) }) {
				break
			}
		}
		consider(x.severalGive(u, h, q))
	}
	for _, h := range hosts {
		for _, g := range x.givers(u, h, q) {
			if depth < maxGiveDepth {
				consider(x.chain(u, h, q, g, depth))
			}
		}
	}
	return best, found
}

// wayHosts lists hosts that could take u by themselves, were room made there by those who may leave: for the unit that the way is for
// those where somebody may give way, since room without that was looked for before, and a fleet has many hosts that are full of its like.
func (x *search) wayHosts(u *unit, q query, depth int) []hostIx {
	scan := maxEjectScan
	if depth == 0 {
		scan = maxWayScan
	}
	return x.hostsFor(u, q.host, scan, func(h hostIx) bool {
		if !x.holds(u, h) {
			return false
		}
		_, refused := x.fitLax(u, h, q)
		return helpable(refused) && (depth > 0 || len(x.givers(u, h, q)) > 0)
	})
}

// helpable says whether a VM that leaves can help against a constraint.
func helpable(refused string) bool {
	switch refused {
	case plan.ConstraintCPU, plan.ConstraintMemory, plan.ConstraintNICQueues, plan.ConstraintNICRate, plan.ConstraintSpread,
		plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput:
		return true
	default:
		return false
	}
}

// fitLax is fit for a unit without a right place, to which the reserve is no bar where it has no other. A host that has promised too much
// of what a VM on it takes is no place for which anybody is displaced.
func (x *search) fitLax(u *unit, h hostIx, q query) (place, string) {
	if c := x.overfull(h); c != "" && slices.ContainsFunc(u.vms, func(i vmIx) bool { return x.vms[i].host == h && x.vms[i].uses(c) }) {
		return place{}, plan.ConstraintAffinity // as good as any that no VM that leaves helps against
	}
	p, refused := x.fit(u, h, q)
	if refused == "" || x.reserve == nil {
		return p, refused
	}
	lax, strand := x.lax, x.strand
	x.lax, x.strand = true, true
	defer func() { x.lax, x.strand = lax, strand }()
	return x.fit(u, h, q)
}

// oneGives tries a way in which the unit v alone leaves.
func (x *search) oneGives(u *unit, h hostIx, q query, v unitIx, off query) (way, bool) {
	if x.giving.looks--; x.giving.looks <= 0 {
		return way{}, false
	}
	to, ok := x.placeBelow(&x.units[v], off)
	if !ok {
		return way{}, false
	}
	var w way
	ui := x.vms[u.vms[0]].unit
	x.leaves(&w, v, to, ui)
	p, refused := x.fitLax(u, h, q)
	w.moves = append(w.moves, giveMove{ui, p, none})
	w.cost += p.cost
	return w, refused == ""
}

// chain tries a way in which g leaves for a right place that others make for it.
func (x *search) chain(u *unit, h hostIx, q query, g giver, depth int) (way, bool) {
	k := x.likeness(&x.units[g.unit])
	if x.giving.barren[k] >= maxFutile {
		return way{}, false
	}
	if x.giving.looks--; x.giving.looks <= 0 {
		return way{}, false
	}
	w, ok := x.bestWay(&x.units[g.unit], g.off, depth+1)
	if !ok {
		x.giving.barren[k]++
		return way{}, false
	}
	delete(x.giving.barren, k)
	for _, m := range w.moves {
		x.shiftUnit(&x.units[m.unit], m.to)
	}
	p, refused := x.fitLax(u, h, q)
	ui := x.vms[u.vms[0]].unit
	w.moves[len(w.moves)-1].whom = ui
	w.moves = append(w.moves, giveMove{ui, p, none})
	w.cost += p.cost - x.present(&x.units[g.unit])
	return w, refused == ""
}

// severalGive tries a way in which as many leave h, or its pools, as it takes: for a right place where there is one.
func (x *search) severalGive(u *unit, h hostIx, q query) (way, bool) {
	var w way
	ui := x.vms[u.vms[0]].unit
	x.refused = x.refused[:0]
	for len(w.moves) <= maxEjectUnits {
		p, refused := x.fitLax(u, h, q)
		if refused == "" {
			w.moves = append(w.moves, giveMove{ui, p, none})
			w.cost += p.cost
			return w, true
		}
		if x.giving.looks--; x.giving.looks <= 0 {
			break
		}
		if e, ok := x.evict(u, h, refused); ok {
			x.leaves(&w, e.unit, e.to, ui)
			continue
		}
		if !x.oneLeaves(&w, u, h, q, ui) {
			break
		}
	}
	return way{}, false
}

// oneLeaves adds the first who can give way to w.
func (x *search) oneLeaves(w *way, u *unit, h hostIx, q query, ui unitIx) bool {
	for _, g := range x.givers(u, h, q) {
		if to, ok := x.placeBelow(&x.units[g.unit], g.off); ok {
			x.leaves(w, g.unit, to, ui)
			return true
		}
	}
	return false
}

// leaves moves v and adds that to w.
func (x *search) leaves(w *way, v unitIx, to place, ui unitIx) {
	who, mark := &x.units[v], len(x.log)
	w.cost += to.cost - x.present(who)
	x.shiftUnit(who, to)
	w.moves = append(w.moves, giveMove{v, to, ui})
	if slices.ContainsFunc(x.log[mark:], func(m move) bool { return x.goesBelow(&m) }) {
		w.harmed = append(w.harmed, who.priority)
		slices.SortFunc(w.harmed, func(a, b policy.Priority) int { return cmp.Compare(b, a) })
	}
}
