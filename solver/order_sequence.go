package solver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/plan"
)

// target is where a unit should go.
type target struct {
	unit unitIx
	to   place // its disks are those of all VMs of the unit, one after another
}

// Bounds of sequence: rounds over what waits, and units that are tried for a detour each time all are stuck.
const (
	maxOrderRounds  = 256
	maxOrderDetours = 64
)

// sequence moves units to their targets, each move legal when it is made, and gives those that no legal order was found for. Where
// units wait for one another in a circle, the one with the cheapest detour goes by way of a free place. The reasons of
// the moves are from why.
func (x *search) sequence(targets []target, why func(vmIx, place) string) []plan.Unordered {
	q := &sequencer{search: x, why: why, never: make(map[unitIx]bool)}
	start := len(x.log)
	for {
		q.reset(targets)
		q.run()
		lost, ok := q.astray()
		if !ok || x.stopped {
			break
		}
		// A detour that led nowhere is no step of a plan: all is done again without it.
		q.never[lost] = true
		x.undo(start)
		x.version++
	}
	return q.unordered()
}

// sequencer is one run of sequence.
type sequencer struct {
	*search
	why    func(vmIx, place) string
	waits  []target
	parked map[unitIx]bool
	never  map[unitIx]bool // a detour of these leads nowhere
}

func (q *sequencer) reset(targets []target) {
	q.parked = make(map[unitIx]bool)
	q.waits = slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return q.there(t) })
}

// there says whether a unit is at its target.
func (q *sequencer) there(t target) bool {
	at := 0
	for _, i := range q.units[t.unit].vms {
		v := &q.vms[i]
		if v.host != t.to.host || !slices.Equal(v.disks, t.to.disks[at:at+len(v.disks)]) {
			return false
		}
		at += len(v.disks)
	}
	return true
}

// run makes what moves are legal, and breaks circles, until nothing is left or nothing goes.
func (q *sequencer) run() {
	for range maxOrderRounds {
		if q.over() || len(q.waits) == 0 {
			return
		}
		if !q.advance() && (q.closing || !q.detour()) {
			return
		}
	}
}

// advance makes every move that has become legal. It says whether there was one.
func (q *sequencer) advance() bool {
	before := len(q.waits)
	q.waits = slices.DeleteFunc(q.waits, func(t target) bool {
		u := &q.units[t.unit]
		return q.goes(u, t.to) && q.commit(u, t.to, q.why)
	})
	return len(q.waits) < before
}

// goes says whether all VMs of u can move to p now, one after another.
func (q *sequencer) goes(u *unit, p place) bool {
	mark, at, ok := len(q.log), 0, true
	for _, i := range u.vms {
		mine := p.disks[at : at+len(q.vms[i].disks)]
		if v := &q.vms[i]; v.host != p.host || !slices.Equal(v.disks, mine) {
			if ok = q.legal(i, p.host, mine); !ok {
				break
			}
		}
		at += q.shiftTo(i, p, at)
	}
	q.undo(mark)
	return ok
}

// detour sends the unit with the cheapest detour to a free place, where that lets another go on. A unit makes one at most.
func (q *sequencer) detour() bool {
	var best target
	found := false
	tried := 0
	for _, t := range q.waits {
		u := &q.units[t.unit]
		if q.parked[t.unit] || q.never[t.unit] || u.torn || u.anchor != none {
			continue
		}
		if tried++; tried > maxOrderDetours {
			break
		}
		query := anywhere
		query.host = q.vms[u.vms[0]].host
		p, ok := q.find(u, query, q.opts.Seed)
		if !ok || p.host == t.to.host || !q.goes(u, p) || found && p.cost >= best.to.cost || !q.helps(t, p) {
			continue
		}
		best, found = target{t.unit, p}, true
	}
	if !found {
		return false
	}
	q.parked[best.unit] = true
	return q.commit(&q.units[best.unit], best.to, q.whyDetour)
}

// helps says whether another unit that waits can go once that of t is at p.
func (q *sequencer) helps(t target, p place) bool {
	mark := len(q.log)
	defer q.undo(mark)
	left := q.vms[q.units[t.unit].vms[0]].host
	q.shiftUnit(&q.units[t.unit], p)
	return slices.ContainsFunc(q.waits, func(w target) bool {
		near := w.to.host == left || slices.ContainsFunc(w.to.disks, func(d poolIx) bool { return slices.Contains(q.hosts[left].pools, d) })
		return w.unit != t.unit && near && q.goes(&q.units[w.unit], w.to)
	})
}

func (q *sequencer) whyDetour(i vmIx, _ place) string {
	return fmt.Sprintf("makes room for those that wait for %s, on its way to another place", q.hosts[q.vms[i].host].snap.ID)
}

// astray is a unit that made a detour and did not come to its target.
func (q *sequencer) astray() (unitIx, bool) {
	for _, t := range q.waits {
		if q.parked[t.unit] {
			return t.unit, true
		}
	}
	return none, false
}

// unordered tells of each VM that still waits what is in its way.
func (q *sequencer) unordered() []plan.Unordered {
	out := []plan.Unordered{}
	for _, t := range q.waits {
		at := 0
		for _, i := range q.units[t.unit].vms {
			v := &q.vms[i]
			mine := t.to.disks[at : at+len(v.disks)]
			at += len(v.disks)
			if v.host == t.to.host && slices.Equal(v.disks, mine) {
				continue
			}
			out = append(out, plan.Unordered{VM: v.snap.ID, To: q.placement(v, t.to.host, mine), Reason: q.hindrance(i, t.to.host, mine)})
		}
	}
	slices.SortFunc(out, func(a, b plan.Unordered) int { return cmp.Compare(a.VM, b.VM) })
	return out
}

func (q *sequencer) hindrance(i vmIx, h hostIx, disks []poolIx) string {
	host := q.hosts[h].snap.ID
	if q.stopped {
		return "the budget ended before it was moved"
	}
	if q.vms[i].host != h {
		if c := q.hostRefusal(q.single(i), h); c != "" {
			return fmt.Sprintf("no legal order of moves leads there: %s refuses it by %s, and no free place was found for a swap", host, c)
		}
	}
	if q.mode(&q.vms[i], h, disks) == "" {
		return fmt.Sprintf("no driver can move it to %s", host)
	}
	return fmt.Sprintf("no legal order of moves leads there: %s takes it, its pools have no room, and no free place was found for a swap", host)
}
