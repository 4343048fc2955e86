package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/policy"
)

// repair places what is wrong, priority first, until nothing more can be. It says whether it moved anything.
func (x *search) repair() bool {
	start := x.version
	for !x.over() {
		before := x.version
		x.repairUnits()
		x.relieveHosts()
		x.relievePools()
		x.partSpreads()
		if x.version == before {
			break
		}
	}
	return x.version != start
}

// maxWaiting bounds how many units that found no place are asked again after each move.
const maxWaiting = 256

func (x *search) repairUnits() {
	clear(x.futile)
	var waiting []unitIx // had no place, highest priority first
	for _, ui := range x.pending() {
		if x.over() {
			return
		}
		u := &x.units[ui]
		if x.failed[ui] == x.version || x.wrong(u) == "" {
			continue
		}
		mark := len(x.log)
		if !x.mend(ui) {
			waiting = append(waiting, ui)
			continue
		}
		// What was freed goes to those of higher priority first, not to the next in the list.
		waiting = x.wake(waiting, mark)
	}
}

// mend places u directly, or makes room for it.
func (x *search) mend(ui unitIx) bool {
	u := &x.units[ui]
	if p, ok := x.find(u, anywhere, x.opts.Seed); ok {
		return x.commit(u, p, x.whyWrong)
	}
	if x.mendLax(u, anywhere, x.whyWrong) {
		return true
	}
	if k := x.likeness(u); x.futile[k] < maxFutile {
		if x.makeRoom(u, none, x.whyWrong) {
			delete(x.futile, k)
			return true
		}
		x.futile[k]++
	}
	x.failed[ui] = x.version
	return false
}

// maxFutile bounds how many units that are alike in need are looked for room for in vain, one after another in one round: of a fleet that
// is too small for thousands the rest is believed to fare no better.
const maxFutile = 64

// likeness is what units have in common for which room is made alike: the amounts of their disks aside.
func (x *search) likeness(u *unit) likeness {
	s := x.shape(u)
	s.used, s.io = 0, ioUse{}
	return likeness{s, u.source, u.priority, u.anchor}
}

type likeness struct {
	shape    shape
	source   int32
	priority policy.Priority
	anchor   hostIx
}

// wake offers the hosts that the moves since mark left, or whose pools they left, to the units that wait.
func (x *search) wake(waiting []unitIx, mark int) []unitIx {
	if len(waiting) == 0 {
		return waiting
	}
	hosts := x.freed(mark)
	tops := x.topsOf(hosts)
	most := mostOf(tops)
	out := waiting[:0]
	for n, ui := range waiting {
		if n >= maxWaiting {
			if len(out) == n {
				return waiting // nobody was woken
			}
			return append(out, waiting[n:]...)
		}
		u := &x.units[ui]
		if x.hopeless(u, hosts, most) || !x.wakeOne(u, hosts, tops) {
			out = append(out, ui)
			continue
		}
		tops = x.topsOf(hosts)
		most = mostOf(tops)
	}
	return out
}

// mostOf is the most of everything that any of the hosts has.
func mostOf(tops []top) top {
	most := top{-maxTotal, -maxTotal, -1 << 30, noSlack}
	for i := range tops {
		t := &tops[i]
		most.cpu, most.memory, most.tier = max(most.cpu, t.cpu), max(most.memory, t.memory), max(most.tier, t.tier)
		most.queues.rise(&t.queues)
	}
	return most
}

// hopeless says whether none of the hosts, sorted, has what u needs, by the most that any has: wakeOne would pass over
// each of them.
func (x *search) hopeless(u *unit, hosts []hostIx, most top) bool {
	if most.tier < u.server {
		return true
	}
	if least := u.least(); len(u.vms) > 1 || !most.lacks(&least) {
		return false
	}
	_, own := slices.BinarySearch(hosts, x.vms[u.vms[0]].host)
	return !own
}

// topsOf is what each of the hosts has.
func (x *search) topsOf(hosts []hostIx) []top {
	out := x.tops[:0]
	for _, h := range hosts {
		host := &x.hosts[h]
		out = append(out, top{host.freeCPU(), host.freeMemory(), host.facts.Tier, host.queueSlack()})
	}
	x.tops = out
	return out
}

// wakeOne places u on the best of the hosts. Most are passed over by what they have, without another look at them.
func (x *search) wakeOne(u *unit, hosts []hostIx, tops []top) bool {
	var best place
	found := false
	own, least, one := x.vms[u.vms[0]].host, u.least(), len(u.vms) == 1
	for n, h := range hosts {
		if t := &tops[n]; t.tier < u.server || one && h != own && t.lacks(&least) {
			continue
		}
		if p, refused := x.fit(u, h, anywhere); refused == "" && (!found || x.better(p, best, x.opts.Seed)) {
			best, found = p, true
		}
	}
	return found && x.commit(u, best, x.whyWrong)
}

// maxFreed bounds the hosts that wake looks at; later rounds look at all.
const maxFreed = 64

func (s *state) freed(mark int) []hostIx {
	var hosts []hostIx
	for _, m := range s.log[mark:] {
		if m.attach != nil {
			hosts = append(hosts, m.to)
			continue
		}
		hosts = append(hosts, m.from)
		for j, p := range m.was {
			if p != m.is[j] {
				hosts = append(hosts, s.pools[p].hosts[:min(len(s.pools[p].hosts), maxFreed)]...)
			}
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	return hosts[:min(len(hosts), maxFreed)]
}

// relieveHosts moves VMs off hosts that have promised more than they have, lowest priority first.
func (x *search) relieveHosts() {
	for i := range x.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		for c := x.overfull(h); c != "" && !x.over(); c = x.overfull(h) {
			why := x.whyOverfull(h, c)
			if !x.moveOne(x.unitsOn(h, c), why) && !x.relieveByModule(h, c) {
				break
			}
		}
	}
}

// partSpreads moves VMs apart that share a failure domain with another of their group.
func (x *search) partSpreads() {
	for g := range x.members {
		for range x.members[g] {
			if x.over() || !x.moveOne(x.conflictedUnits(g), x.whySpread) {
				break
			}
		}
	}
}

// conflictedUnits lists the units that may move of the members of g in conflict, lowest priority first.
func (s *state) conflictedUnits(g int) []unitIx {
	var out []unitIx
	for _, i := range s.members[g] {
		if u := s.vms[i].unit; u != none && s.conflicted(i) && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	s.sortVictims(out)
	return out
}

// moveOne moves the first of list that has a place on another host, or one for which room can be made.
func (x *search) moveOne(list []unitIx, why func(vmIx, place) string) bool {
	for _, ui := range list {
		u := &x.units[ui]
		q := anywhere
		q.host = x.vms[u.vms[0]].host
		if p, ok := x.find(u, q, x.opts.Seed); ok {
			return x.commit(u, p, why)
		}
	}
	for _, ui := range list {
		if u := &x.units[ui]; x.stuck[ui] != x.version {
			if x.makeRoom(u, x.vms[u.vms[0]].host, why) {
				return true
			}
			x.stuck[ui] = x.version
		}
	}
	return x.moveOneLax(list, why)
}

// improve moves units off hosts and pools above their need where that saves more than the move costs, most
// waste first. It says whether it moved anything.
func (x *search) improve() bool {
	start := x.version
	for pass := 0; pass < maxPasses && !x.over(); pass++ {
		before := x.version
		for _, w := range x.wasters() {
			if x.over() {
				break
			}
			x.improveUnit(w)
		}
		if x.version == before {
			break
		}
	}
	return x.version != start
}

type waster struct {
	unit unitIx
	cost points
}

func (x *search) wasters() []waster {
	var out []waster
	for i := range x.units {
		u := &x.units[i]
		if c := x.present(u); c > points(max(x.p.Weights.MoveVM, 0)) && x.wrong(u) == "" {
			out = append(out, waster{unitIx(i), c})
		}
	}
	slices.SortFunc(out, func(a, b waster) int { return cmp.Or(cmp.Compare(b.cost, a.cost), cmp.Compare(a.unit, b.unit)) })
	return out
}

// present is the soft cost of u where it is.
func (s *state) present(u *unit) points {
	var c points
	for _, i := range u.vms {
		v := &s.vms[i]
		c += s.softCost(v, v.host, v.disks)
	}
	return c
}

// vain is a search for a cheaper place that found none.
type vain struct {
	at    int   // of the state's clock; 0: none yet
	epoch int32 // of the state
	moves int   // of the first VM until then
	limit points
}

// vainSince is the time until which it is known that w has no cheaper place, 0 when that is not known. What others than
// those on a host and its pools decide, a group or a reserve, changes without a mark there.
func (x *search) vainSince(w waster) int {
	u, was := &x.units[w.unit], x.vain[w.unit]
	first := &x.vms[u.vms[0]]
	if was.at == 0 || was.epoch != x.epoch || was.moves != first.moves || was.limit < w.cost || x.reserve != nil || len(u.vms) > 1 ||
		u.anchor != none || first.spread != none {
		return 0
	}
	return was.at
}

func (x *search) improveUnit(w waster) {
	u := &x.units[w.unit]
	q := anywhere
	q.limit, q.since = w.cost, x.vainSince(w)
	p, ok := x.find(u, q, x.opts.Seed)
	if !ok {
		x.vain[w.unit] = vain{x.clock, x.epoch, x.vms[u.vms[0]].moves, w.cost}
		return
	}
	// A VM without memory or CPU of its own fits a host that has promised too much already, and counts as wrong there.
	if h := &x.hosts[p.host]; p.host != x.vms[u.vms[0]].host && (h.freeCPU() < 0 || h.freeMemory() < 0) {
		return
	}
	if x.pricesHosts() && !x.pays(u, w.cost-p.cost, p) {
		return
	}
	x.commit(u, p, x.whyWaste)
}
