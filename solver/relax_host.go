package solver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// against lists changes that could help against what refuses the unit on h, each to be judged.
func (r *relaxer) against(h hostIx, refused string) []trial {
	switch refused {
	case plan.ConstraintMaintenance:
		return r.endMaintenance(h)
	case plan.ConstraintServerTier, plan.ConstraintSecurity:
		return r.patches(h)
	case plan.ConstraintNetwork:
		return r.networks(h)
	case plan.ConstraintNICClass:
		return append(r.modules(h, refused), r.newNIC(h)...)
	case plan.ConstraintSpread:
		return r.moves(h, r.rivalsOf(h))
	case plan.ConstraintCPU, plan.ConstraintMemory:
		return append(r.moves(h, r.othersOn(h, refused)), r.moreHost(h)...)
	case plan.ConstraintNICQueues, plan.ConstraintNICRate:
		out := append(r.moves(h, r.othersOn(h, refused)), r.modules(h, refused)...)
		return append(out, r.moreNIC(h)...)
	case plan.ConstraintPoolReach, plan.ConstraintPoolTier:
		return append(r.modules(h, refused), r.reach(h)...)
	case plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput:
		return append(r.morePool(h, refused), r.reach(h)...)
	}
	return nil
}

// setHost is a trial that gives h another description, and what the rules then say of it.
func (r *relaxer) setHost(h hostIx, a Adjustment, change func(*fleet.Host)) trial {
	was := r.hosts[h]
	t := trial{adjustment: a, undo: func() { r.hosts[h].snap, r.hosts[h].facts, r.hosts[h].open = was.snap, was.facts, was.open }}
	t.do = func() {
		snap := *r.hosts[h].snap
		change(&snap)
		host := &r.hosts[h]
		host.snap = &snap
		host.open = !snap.Maintenance && !snap.Unreachable && r.p.Snapshot.Source(snap.Source).Reachable
		if r.rules == nil {
			return
		}
		extra := host.facts // what other trials of the path have added to the rules' own
		if facts, err := r.rules.HostFacts(r.p.Snapshot, &snap); err == nil {
			base := r.p.Hosts[snap.ID]
			facts.CPU += extra.CPU - base.CPU
			facts.Memory += extra.Memory - base.Memory
			host.facts = facts
		}
	}
	return t
}

func (r *relaxer) endMaintenance(h hostIx) []trial {
	a := Adjustment{Kind: AdjustMaintenance, Host: r.hosts[h].snap.ID, cost: costOf(AdjustMaintenance, 0)}
	a.Text = fmt.Sprintf("take %s out of maintenance", a.Host)
	return []trial{r.setHost(h, a, func(s *fleet.Host) { s.Maintenance = false })}
}

// patches are trials of the vulnerabilities of a host, one by one, and all at once.
func (r *relaxer) patches(h hostIx) []trial {
	if r.rules == nil || r.patchy[h] {
		return nil
	}
	snap := r.hosts[h].snap
	var open []string
	for _, id := range slices.Concat(slices.Sorted(maps.Keys(snap.Patch)), r.rules.Patches()) {
		if snap.Patch[id] != fleet.PatchFixed && !slices.Contains(open, id) {
			open = append(open, id)
		}
	}
	slices.Sort(open)
	var out []trial
	try := func(ids []string, text, name string) {
		a := Adjustment{Kind: AdjustPatch, Host: snap.ID, Name: name, cost: costOf(AdjustPatch, int64(len(ids)))}
		a.Text = fmt.Sprintf("patch %s on %s", text, snap.ID)
		t := r.setHost(h, a, func(s *fleet.Host) {
			s.Patch = maps.Clone(s.Patch)
			if s.Patch == nil {
				s.Patch = map[string]fleet.PatchState{}
			}
			for _, id := range ids {
				s.Patch[id] = fleet.PatchFixed
			}
		})
		do, undo := t.do, t.undo
		t.do = func() { do(); r.patchy[h] = true }
		t.undo = func() { undo(); delete(r.patchy, h) }
		out = append(out, t)
	}
	for _, id := range open {
		try([]string{id}, id, id)
	}
	if len(open) > 1 {
		try(open, "all that is open", "")
	}
	return out
}

// networks gives h one network that a VM of the unit is on.
func (r *relaxer) networks(h hostIx) []trial {
	for _, i := range r.u.vms {
		for _, n := range r.vms[i].snap.VNICs {
			if n.Network == "" || slices.Contains(r.hosts[h].snap.Networks, n.Network) {
				continue
			}
			a := Adjustment{Kind: AdjustNetwork, Host: r.hosts[h].snap.ID, Name: n.Network, cost: costOf(AdjustNetwork, 0)}
			a.Text = fmt.Sprintf("give %s the network %s", a.Host, n.Network)
			return []trial{r.setHost(h, a, func(s *fleet.Host) { s.Networks = append(slices.Clone(s.Networks), n.Network) })}
		}
	}
	return nil
}

// modules are those that could be attached to h and that nobody would miss where they are, whoever has to attach them.
func (r *relaxer) modules(h hostIx, refused string) []trial {
	var out []trial
	for i := range r.mods {
		m := modIx(i) // fewer modules than 2^31
		mod := &r.mods[i]
		_, known := slices.BinarySearch(mod.snap.AttachableTo, r.hosts[h].snap.ID)
		if !known || mod.host == h || !r.hosts[h].open || !mod.helps(refused) || !r.free(m) {
			continue
		}
		a := Adjustment{Kind: AdjustModule, Host: r.hosts[h].snap.ID, Module: mod.snap.ID, cost: costOf(AdjustModule, 0)}
		a.Text = fmt.Sprintf("attach %s to %s", a.Module, a.Host)
		out = append(out, trial{adjustment: a, do: func() { r.attach(m, h) }, undo: func() {}})
	}
	return out
}

// othersOn are the units on h beside the unit's own that use what it lacks, those whose leaving suffices and the smallest
// of them first.
func (r *relaxer) othersOn(h hostIx, refused string) []unitIx {
	var mine unitIx = none
	if x := r.vms[r.vm].unit; x != none {
		mine = x
	}
	list := slices.DeleteFunc(r.unitsOn(h, refused), func(u unitIx) bool { return u == mine })
	enough := func(u *unit) bool {
		return u.cpu >= r.u.cpu-r.hosts[h].freeCPU() && u.memory >= r.u.memory-r.hosts[h].freeMemory()
	}
	slices.SortStableFunc(list, func(a, b unitIx) int {
		v, w := &r.units[a], &r.units[b]
		if x, y := enough(v), enough(w); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(v.size(), w.size()), cmp.Compare(a, b))
	})
	return list
}

// rivalsOf are the units of the unit's spread groups that are in the way on h.
func (r *relaxer) rivalsOf(h hostIx) []unitIx {
	x := search{state: r.state}
	return slices.DeleteFunc(x.rivals(r.u, h), func(u unitIx) bool { return slices.Contains(r.units[u].vms, r.vm) })
}

// moves takes other VMs off h to a legal place elsewhere, whatever their priority: the plan may not do that, a person may.
func (r *relaxer) moves(h hostIx, list []unitIx) []trial {
	var out []trial
	for _, ui := range list {
		if len(out) == maxRelaxMoves || r.left <= 0 {
			break
		}
		u := &r.units[ui]
		q := anywhere
		q.host = h
		r.left--
		p, ok := r.find(u, q, 0)
		if !ok || p.host == h {
			continue
		}
		a := Adjustment{
			Kind: AdjustMove, VM: r.vms[u.vms[0]].snap.ID, Host: r.hosts[p.host].snap.ID, To: r.places(u, p),
			cost: costOf(AdjustMove, int64(u.memory/fleet.GiB)),
		}
		a.Text = fmt.Sprintf("move %s from %s to %s", r.names(u.vms), r.hosts[h].snap.ID, a.Host)
		out = append(out, trial{adjustment: a, do: func() { r.shiftUnit(u, p) }, undo: func() {}})
	}
	return out
}

// moreHost is what h lacks of CPU and memory, in whole threads and GiB.
func (r *relaxer) moreHost(h hostIx) []trial {
	var cpu fleet.MilliCPU
	var memory fleet.Bytes
	for _, i := range r.u.vms {
		if v := &r.vms[i]; v.host != h {
			cpu += v.snap.CPU
			memory += v.snap.Memory
		}
	}
	host := &r.hosts[h]
	id := host.snap.ID
	if lack := (max(cpu-host.freeCPU(), 0) + 999) / 1000 * 1000; lack > 0 && cpu+host.cpu > host.facts.CPU {
		a := Adjustment{Kind: AdjustCPU, Host: id, Amount: int64(lack), cost: costOf(AdjustCPU, int64(lack/1000))}
		a.Text = fmt.Sprintf("%s more threads on %s", lack, id)
		return []trial{{adjustment: a, do: func() { r.hosts[h].facts.CPU += lack }, undo: func() { r.hosts[h].facts.CPU -= lack }}}
	}
	lack := (max(memory-host.freeMemory(), 0) + fleet.GiB - 1) / fleet.GiB * fleet.GiB
	if lack <= 0 {
		return nil
	}
	a := Adjustment{Kind: AdjustMemory, Host: id, Amount: int64(lack), cost: costOf(AdjustMemory, int64(lack/fleet.GiB))}
	a.Text = fmt.Sprintf("%s more memory on %s", fleet.FormatBytes(lack), id)
	return []trial{{adjustment: a, do: func() { r.hosts[h].facts.Memory += lack }, undo: func() { r.hosts[h].facts.Memory -= lack }}}
}
