package solver

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
)

// Bounds of one run: steps of climb, so many for each VM of the model, within these limits, and what a run has to save. A
// fleet that is solved again gets as many, so that a run that found nothing finds nothing again.
const (
	stepsPerVM   = 10
	minImprove   = 100
	climbMost    = 100_000   // the same of large fleets
	hostLooks    = 2_000_000 // hosts that a run may look at: a step looks at all of them where each has pools of its own
	damping      = 1000      // a run counts when it saves more than this fraction of the cost,
	coarse       = 400       // or this one, where the fleet is too large for all steps of the local search
	maxPolishing = 8         // passes over the VMs of a run
)

// rearranged runs the local search and reports progress. It says whether that moved anything.
func (x *search) rearranged() bool {
	x.progress()
	moved := x.redirect() || x.rearrange()
	if moved && x.over() {
		x.progress() // nobody else will
	}
	return moved
}

// progress tells the cost so far.
func (x *search) progress() {
	if x.opts.Progress == nil {
		return
	}
	soft, parts := x.spent()
	x.opts.Progress(int64(soft) + x.prices.Points(parts))
}

// spent is the cost so far, moves included: of VMs, and of hosts in parts of a point.
func (x *search) spent() (soft points, parts int64) {
	for i := range x.vms {
		v := &x.vms[i]
		soft += x.softCost(v, v.host, v.disks)
	}
	for n := range x.log {
		if m := &x.log[n]; m.attach == nil {
			soft += x.moveCost(m)
		}
	}
	for h := range x.hosts {
		parts += x.hostParts(x.prices, hostIx(h), x.hosts[h].load) // fewer hosts than 2^31
	}
	return soft, parts
}

// pricesHosts says whether hosts cost anything by what is on them.
func (s *state) pricesHosts() bool {
	w := &s.p.Weights
	return w.Overload > 0 || w.Stranded > 0 || w.HostOn > 0
}

// partsAt is what the hosts of u and h come to cost more by what is on them once u is on h, in parts of a point.
func (s *state) partsAt(u *unit, h hostIx) int64 {
	var sum int64
	there := s.hosts[h].load
	for n, i := range u.vms {
		v := &s.vms[i]
		if v.host == h {
			continue
		}
		there.Add(v.load, 1)
		if slices.ContainsFunc(u.vms[:n], func(j vmIx) bool { return s.vms[j].host == v.host }) {
			continue // counted with the first that leaves it
		}
		left := s.hosts[v.host].load
		for _, j := range u.vms[n:] {
			if s.vms[j].host == v.host {
				left.Add(s.vms[j].load, -1)
			}
		}
		sum += s.hostParts(s.prices, v.host, left) - s.hostParts(s.prices, v.host, s.hosts[v.host].load)
	}
	return sum + s.hostParts(s.prices, h, there) - s.hostParts(s.prices, h, s.hosts[h].load)
}

// pays says whether u saves anything by going to p, where saved is what it saves by itself.
func (x *search) pays(u *unit, saved points, p place) bool {
	m := x.prices
	hosts := append(x.ownHosts(u), p.host)
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	sum := func() int64 {
		var c int64
		for _, h := range hosts {
			c += x.hostParts(m, h, x.hosts[h].load)
		}
		return c
	}
	before, mark := sum(), len(x.log)
	x.shiftUnit(u, p)
	after := sum()
	x.undo(mark)
	return int64(saved)*m.Scale()+before-after > 0
}

// rearrange looks for a cheaper fleet with the local search (solver/search), has what it found polished by the placer, and
// goes there as far as legal moves lead and as far as it pays: a set of moves that saves less than it costs is left out.
// Where no legal order leads to enough of it, the placer tries from the present places alone. A run that saves less than a
// thousandth of the whole cost (a hundredth, of large fleets) changes nothing, so that plans settle instead of following
// the last point for ever. It says whether it moved anything.
func (x *search) rearrange() bool {
	if x.opts.Effort < 0 || x.over() {
		return false
	}
	c, err := compile(x.state)
	if err != nil {
		return false // too large for the model: what repair and waste have found is the plan
	}
	l := newLedger(c.p)
	if !l.promising() || x.over() {
		return false
	}
	start := c.p.Start()
	found := x.anneal(c.p, start)
	if x.approach(c, l, found) {
		return true
	}
	return found != start && !x.over() && x.approach(c, l, start)
}

// polished loads l with what a climb makes of an answer, and gives its sets of moves and what they have to save; nil when
// they do not.
func (x *search) polished(c *compiler, l *ledger, from *model.Assignment) ([]moveSet, int64) {
	to, err := climb(c.p, from, x.opts.Seed, x.climbSteps(len(c.items)), x.opts.Stop)
	if err != nil {
		return nil, 0
	}
	l.load(to)
	l.polish()
	sets, least := l.sets(), l.least()
	if gainOf(sets) < least {
		return nil, 0
	}
	return sets, least
}

// approach polishes an answer and goes where it leads. It says whether that was worth it; else nothing has changed.
func (x *search) approach(c *compiler, l *ledger, from *model.Assignment) bool {
	sets, least := x.polished(c, l, from)
	if sets == nil {
		return false
	}
	x.closing = x.asked()
	defer func() { x.closing = false }()
	start := len(x.log)
	saved := int64(0)
	for _, set := range sets {
		saved += x.carryOut(c, l, set)
		if x.stopped {
			break
		}
	}
	if saved < least && !x.stopped {
		x.undo(start)
		x.version++
		return false
	}
	return len(x.log) > start
}

// large says whether a model of so many VMs is too large for all steps of the local search.
func large(vms int) bool { return vms > annealMost/annealPerVM }

// climbSteps is the budget of one climb in a model of so many VMs.
func (x *search) climbSteps(vms int) int64 {
	steps := min(max(int64(vms)*stepsPerVM, minImprove), minImprove+hostLooks/int64(max(len(x.hosts), 1)))
	if large(vms) {
		steps = climbMost
	}
	return steps * int64(max(x.opts.Effort, 1))
}

// least is what a run has to save.
func (l *ledger) least() int64 {
	fraction := int64(damping)
	if large(len(l.p.VMs)) {
		fraction = coarse
	}
	return (l.startCost()+fraction-1)/fraction + 1
}

// target is where the answer has the unit of item n.
func (c *compiler) target(l *ledger, n int) target {
	to := place{host: hostIx(l.host[n])}
	for _, p := range l.pools[n] {
		to.disks = append(to.disks, poolIx(p))
	}
	return target{c.items[n].unit, to}
}

// carryOut makes the moves of one set and gives what they saved, in parts of a point; nothing when it does not pay.
func (x *search) carryOut(c *compiler, l *ledger, set moveSet) int64 {
	if set.gain <= 0 {
		return 0
	}
	targets := make([]target, 0, len(set.vms))
	for _, n := range set.vms {
		targets = append(targets, c.target(l, n))
	}
	start := len(x.log)
	x.sequence(targets, x.whySet(len(set.vms), set.gain/c.scale))
	saved := x.savedSince(c, start)
	if saved <= 0 {
		x.undo(start)
		x.version++
		return 0
	}
	return saved
}

// whySet is the reason of moves that pay together.
func (x *search) whySet(n int, points int64) func(vmIx, place) string {
	tail := fmt.Sprintf("saves %d points, the move included", points)
	if n > 1 {
		tail = fmt.Sprintf("one of %d moves that save %d points together, the moves included", n, points)
	}
	return func(i vmIx, _ place) string {
		v := &x.vms[i]
		over := x.overNeed(v)
		if over == nil && v.unit != none && len(x.units[v.unit].vms) > 1 {
			over = []string{"stays with its affinity group " + v.need.AffinityGroup}
		}
		if over == nil {
			return tail
		}
		return strings.Join(over, ", ") + ": " + tail
	}
}

// savedSince is what the moves of the log since mark saved, in parts of a point, what they cost taken off.
func (x *search) savedSince(c *compiler, mark int) int64 {
	now, then := map[hostIx]plan.Load{}, map[hostIx]plan.Load{}
	note := func(h hostIx) {
		if _, ok := now[h]; !ok {
			now[h] = x.hosts[h].load
			then[h] = now[h]
		}
	}
	seen := map[vmIx]bool{}
	var soft points
	for n := mark; n < len(x.log); n++ {
		m := &x.log[n]
		soft -= x.moveCost(m)
		if m.attach != nil {
			continue
		}
		v := &x.vms[m.vm]
		if !seen[m.vm] {
			seen[m.vm] = true
			soft += x.softCost(v, m.from, m.was) - x.softCost(v, v.host, v.disks)
		}
		if m.from != m.to {
			note(m.from)
			note(m.to)
			of := c.prices.Of(v.snap)
			left, entered := then[m.from], then[m.to]
			left.Add(of, 1)
			then[m.from] = left
			entered.Add(of, -1)
			then[m.to] = entered
		}
	}
	saved := int64(soft) * c.scale // Compile has seen that no such product overflows
	for h := range now {           // a sum: the order does not matter
		saved += x.hostParts(c.prices, h, then[h]) - x.hostParts(c.prices, h, now[h])
	}
	return saved
}

// hostParts is what h costs with l promised on it, in parts of a point.
func (s *state) hostParts(m plan.Prices, h hostIx, l plan.Load) int64 {
	overload, stranded, energy := m.HostParts(s.hosts[h].facts, l)
	return overload + stranded + energy
}

// moveCost is what one logged move costs.
func (s *state) moveCost(m *move) points {
	if m.attach != nil {
		return points(plan.ModuleCost(s.p.Weights))
	}
	v := &s.vms[m.vm]
	was := vmState{source: v.source, snap: v.snap, host: m.from, disks: m.was}
	mode := s.mode(&was, m.to, m.is)
	return points(plan.MoveCost(s.p.Weights, was.copied(m.is), mode == fleet.Offline && v.snap.Power == fleet.Running) +
		plan.LinkCost(s.p.Weights, v.snap, mode, m.from != m.to))
}

// moveSet is moves that depend on each other by a host, a pool or a group: one pays only with the others.
type moveSet struct {
	vms  []int // of the model
	gain int64
}
