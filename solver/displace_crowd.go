package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/policy"
)

// Displacement for those whose place is wrong by who else is there: on an over-full host, or in a failure domain with another of their spread
// group. One of them goes to a right place for which others give way; or those of lower priority among them go below their need, and
// those who stay are right.

// relieveByWay does so on over-full hosts.
func (x *search) relieveByWay() {
	for i := range x.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		for c := x.overfull(h); c != "" && !x.over() && x.giving.full[h] != x.version; c = x.overfull(h) {
			list := x.unitsOn(h, c)
			stays := func() bool { return x.overfull(h) == "" }
			if !x.oneByWay(list, x.onHost(h, c), stays, x.whyOverfull(h, c)) {
				x.giving.full[h] = x.version
				break
			}
		}
	}
}

// onHost lists the VMs on h that use the resource c.
func (x *search) onHost(h hostIx, c string) []vmIx {
	return slices.DeleteFunc(slices.Clone(x.hosts[h].vms), func(i vmIx) bool { return !x.vms[i].uses(c) })
}

// partByWay does so in spread groups.
func (x *search) partByWay() {
	for g := range x.members {
		for range x.members[g] {
			if x.over() || x.giving.near[g] == x.version {
				break
			}
			list := x.conflictedUnits(g)
			if len(list) == 0 {
				break
			}
			crowd := slices.DeleteFunc(slices.Clone(x.members[g]), func(i vmIx) bool { return !x.conflicted(i) })
			if !x.oneByWay(list, crowd, func() bool { return true }, x.whySpread) {
				x.giving.near[g] = x.version
				break
			}
		}
	}
}

// oneByWay brings one of list elsewhere, or some of them, by the way that harms least. crowd are all VMs that are in each other's way; enough says
// whether as many have left as had to.
func (x *search) oneByWay(list []unitIx, crowd []vmIx, enough func() bool, why func(vmIx, place) string) bool {
	x.giving.looks = maxGiveLooks
	var best way
	var whose *unit
	consider := func(w way, u *unit, ok bool) {
		if ok && (whose == nil || w.less(&best)) {
			best, whose = w, u
		}
	}
	for _, ui := range list[:min(len(list), maxGiveAsked)] {
		u := &x.units[ui]
		w, ok := x.bestWay(u, off(x.vms[u.vms[0]].host, none), 0)
		consider(w, u, ok)
	}
	consider(x.someLeave(list, crowd, enough))
	return whose != nil && x.goWay(&best, whose, why)
}

// someLeave is a way in which those of list that give way leave, the lowest priority first, until it is enough, and the one of crowd for whom: of
// strictly higher priority than each of them, and right where it is then.
func (x *search) someLeave(list []unitIx, crowd []vmIx, enough func() bool) (way, *unit, bool) {
	mark := len(x.log)
	defer func() { x.undo(mark) }()
	var w way
	var most policy.Priority
	for _, ui := range list[:min(len(list), maxGiveAsked)] {
		u := &x.units[ui]
		if u.torn || u.anchor != none || !x.givesWay(u) {
			continue
		}
		if x.giving.looks--; x.giving.looks <= 0 || len(w.moves) > maxEjectUnits {
			break
		}
		to, ok := x.placeBelow(u, off(x.vms[u.vms[0]].host, none))
		if !ok {
			continue
		}
		x.leaves(&w, ui, to, beside)
		most = max(most, u.priority)
		if !enough() {
			continue
		}
		if to := x.staysRight(crowd, w.moves, most); to != nil {
			return w, to, true
		}
	}
	return way{}, nil, false
}

// staysRight is the unit of the VM of crowd of the highest priority, above most, that is right where it is and not among those who left; nil
// when there is none.
func (x *search) staysRight(crowd []vmIx, left []giveMove, most policy.Priority) *unit {
	best := vmIx(none)
	for _, i := range crowd {
		v := &x.vms[i]
		u := x.single(i)
		if v.unit != none {
			u = &x.units[v.unit]
		}
		gone := slices.ContainsFunc(left, func(m giveMove) bool { return m.unit == v.unit }) || slices.ContainsFunc(left, func(m giveMove) bool {
			return x.giving.vain[concession{m.unit, v.unit}]
		})
		if gone || u.priority <= most || x.faulty(u) != "" || x.conflicted(i) || x.overfull(v.host) != "" {
			continue
		}
		if best == none || cmp.Compare(v.need.Priority, x.vms[best].need.Priority) > 0 {
			best = i
		}
	}
	if best == none {
		return nil
	}
	return x.single(best)
}
