package solver

import (
	"fmt"
	"slices"
)

// maxFreeing bounds the times in one search for a place that a module's users are moved on trial.
const maxFreeing = 32

// vacate moves those who would miss m off its host, one after another, until nobody is left who would: only who yields to u, and each to
// a legal place of its own. It says what that costs; the moves stay in the log for the caller to undo.
func (x *search) vacate(u *unit, m modIx) ([]eviction, points, bool) {
	h := x.mods[m].host
	if h == none || x.hosts[h].snap.Unreachable {
		return nil, 0, false
	}
	var out []eviction
	var cost points
	q := anywhere
	q.host = h
	for !x.free(m) {
		if len(out) == maxEjectUnits {
			return nil, 0, false
		}
		e, ok := x.firstOff(u, m, q)
		if !ok {
			return nil, 0, false
		}
		out = append(out, e)
		cost += e.to.cost - x.present(&x.units[e.unit])
		x.shiftUnit(&x.units[e.unit], e.to)
	}
	return out, cost, true
}

// firstOff is one user of m that can leave its host, lowest priority first. Who would lose a class of NIC, a pool or the last NIC has to
// go; where there are none but those, the queues or the rate are short, and whoever reserves some may go instead.
func (x *search) firstOff(u *unit, m modIx, q query) (eviction, bool) {
	var must, may []unitIx
	host := &x.hosts[x.mods[m].host]
	bare := x.bare(m)
	for _, i := range host.vms {
		v := &x.vms[i]
		switch loses := x.loses(v, host, &bare); {
		case loses && (v.unit == none || !x.yields(&x.units[v.unit], u)):
			return eviction{}, false // the module cannot be freed
		case loses:
			must = append(must, v.unit)
		case len(v.nics) > 0 && v.unit != none:
			may = append(may, v.unit)
		}
	}
	list := must
	if len(list) == 0 {
		list = may
	}
	slices.Sort(list)
	list = slices.DeleteFunc(slices.Compact(list), func(i unitIx) bool { return &x.units[i] == u || !x.yields(&x.units[i], u) })
	x.sortVictims(list)
	for _, i := range list[:min(len(list), maxEjectAsked)] {
		if p, ok := x.find(&x.units[i], q, x.opts.Seed); ok {
			return eviction{i, p}, true
		}
		if len(must) > 0 {
			break // who has to go and cannot
		}
	}
	return eviction{}, false
}

// whyFree is the reason of a move that frees the module m for u.
func (x *search) whyFree(u *unit, m modIx) func(vmIx, place) string {
	first := &x.vms[u.vms[0]]
	text := fmt.Sprintf("frees module %s of %s, which makes a place for %s (%s, priority %d)", x.mods[m].snap.ID,
		x.hosts[x.mods[m].host].snap.ID, x.names(u.vms), first.need.Level, u.priority)
	return func(vmIx, place) string { return text }
}
