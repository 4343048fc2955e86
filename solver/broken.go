package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// wrong is the first constraint that u's present place breaks by itself; "" when it is where it should be.
// An over-full host and a spread that is broken are not of one unit: see overfull and conflicted.
func (s *state) wrong(u *unit) string {
	s.judge(u)
	return u.fault
}

// judge finds what wrong and wasteful say of u, if it may not be known any more.
func (s *state) judge(u *unit) {
	if u.epoch == s.epoch {
		return
	}
	u.fault, u.waste, u.epoch = s.faulty(u), false, s.epoch
	for _, i := range u.vms {
		v := &s.vms[i]
		u.waste = u.waste || s.hosts[v.host].facts.Tier > max(v.need.Server, policy.Rank(0))
	}
}

func (s *state) faulty(u *unit) string {
	first := s.vms[u.vms[0]].host
	for _, i := range u.vms {
		v := &s.vms[i]
		if c := s.fixedRefusal(s.single(i), v.host); c != "" {
			return c
		}
		if v.host != first || u.anchor != none && v.host != u.anchor || u.torn {
			return plan.ConstraintAffinity
		}
		for j, p := range v.disks {
			switch _, ok := slices.BinarySearch(s.hosts[v.host].pools, p); {
			case !ok:
				return plan.ConstraintPoolReach
			case s.pools[p].facts.Tier < max(v.need.Disks[j].Tier, 0):
				return plan.ConstraintPoolTier
			}
		}
	}
	return ""
}

// single is the VM i as a unit of its own, affinity left aside.
func (s *state) single(i vmIx) *unit {
	if u := s.alone[i]; u != nil {
		return u
	}
	if x := s.vms[i].unit; x != none && len(s.units[x].vms) == 1 && s.units[x].anchor == none {
		s.alone[i] = &s.units[x]
		return s.alone[i]
	}
	u := &unit{anchor: none}
	u.add(i, &s.vms[i])
	s.alone[i] = u
	return u
}

// overfull says which resource of h is promised more than there is of it; "" when none is.
func (s *state) overfull(h hostIx) string {
	host := &s.hosts[h]
	switch {
	case host.cpu > host.facts.CPU:
		return plan.ConstraintCPU
	case host.memory > host.facts.Memory:
		return plan.ConstraintMemory
	case len(host.queued) > 0:
		return s.nicRefusal(host, h, nil)
	}
	return ""
}

// conflicted says whether v shares a failure domain with another of its spread group.
func (s *state) conflicted(i vmIx) bool {
	v := &s.vms[i]
	if v.spread == none {
		return false
	}
	for k := range kinds {
		if s.asked[v.spread]>>k&1 == 0 {
			continue
		}
		c := s.spread[domainKey{v.spread, k, s.hosts[v.host].domains[k]}]
		if c.all > 1 && c.asking > 0 {
			return true
		}
	}
	return false
}

// size orders units of one priority: the share of an average host, larger first.
func (u *unit) size() int64 { return int64(u.cpu)/1000 + int64(u.memory>>30) }

// pending lists the units whose own place is wrong, by priority, then size, then name.
func (s *state) pending() []unitIx {
	var out []unitIx
	for i := range s.units {
		if s.wrong(&s.units[i]) != "" {
			out = append(out, unitIx(i))
		}
	}
	s.sortUnits(out)
	return out
}

func (s *state) sortUnits(list []unitIx) {
	slices.SortFunc(list, func(a, b unitIx) int {
		x, y := &s.units[a], &s.units[b]
		return cmp.Or(cmp.Compare(y.priority, x.priority), cmp.Compare(y.size(), x.size()), cmp.Compare(a, b))
	})
}

// unitsOn lists the units with a VM on h that uses the resource c, lowest priority first, and among equals
// the largest first, so that few have to leave.
func (s *state) unitsOn(h hostIx, c string) []unitIx {
	out := s.usersOf(h, c, func(*unit) bool { return true })
	s.sortVictims(out)
	return out
}

// usersOf lists, by index, the units with a VM on h that uses the resource c, of those that may.
func (s *state) usersOf(h hostIx, c string, may func(*unit) bool) []unitIx {
	var out []unitIx
	for _, i := range s.hosts[h].vms {
		v := &s.vms[i]
		if v.unit != none && v.uses(c) && may(&s.units[v.unit]) {
			out = append(out, v.unit)
		}
	}
	slices.Sort(out) // a host may have thousands of VMs
	return slices.Compact(out)
}

func (s *state) sortVictims(list []unitIx) {
	slices.SortFunc(list, func(a, b unitIx) int {
		x, y := &s.units[a], &s.units[b]
		return cmp.Or(cmp.Compare(x.priority, y.priority), cmp.Compare(y.size(), x.size()), cmp.Compare(a, b))
	})
}

// uses says whether v takes anything of the resource that the constraint c is about.
func (v *vmState) uses(c string) bool {
	switch c {
	case plan.ConstraintCPU:
		return v.snap.CPU > 0
	case plan.ConstraintMemory:
		return v.snap.Memory > 0
	case plan.ConstraintNICQueues, plan.ConstraintNICRate:
		return len(v.nics) > 0
	default:
		return true
	}
}

// wasteful says whether u sits on a host above its need.
func (s *state) wasteful(u *unit) bool {
	s.judge(u)
	return u.waste
}
