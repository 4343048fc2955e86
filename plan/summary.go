package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Summarize counts p's lists against problem; the bound alone is p's own. The steps must be ones that Check accepts; the error says what
// is wrong with the problem, or which step names what there is not.
func Summarize(problem *policy.Problem, p *Plan) (Summary, error) {
	w, err := newWorld(problem)
	if err != nil {
		return Summary{}, fmt.Errorf("summarize plan: %w", err)
	}
	s := Summary{VMs: len(w.vms), Moves: len(p.Steps), Unplaced: len(p.Unplaced), Held: len(p.Held)}
	s.Before, s.BrokenBefore = w.cost(), w.broken()
	s.CostBefore = s.Before.Total()
	if Protects(problem) {
		_, s.Reserve.SurvivedBefore, _ = w.reserveCount()
	}
	touched := make(map[fleet.VMID]bool, len(p.Steps)+len(p.Unplaced)+len(p.Held))
	displaced := map[fleet.VMID]bool{}
	for i := range p.Steps {
		st := &p.Steps[i]
		if a := st.Attach; a != nil {
			m := problem.Snapshot.Module(a.Module.ID)
			if m == nil || w.hosts[a.To] == nil {
				return Summary{}, fmt.Errorf("summarize plan: step %d names what there is not", i+1)
			}
			s.Moves--
			s.Modules++
			s.CostOfMoves += ModuleCost(problem.Weights)
			w.attach(m, a.To)
			continue
		}
		v := w.vms[st.Move.VM.ID]
		if v == nil || w.unknown(v, st.Move.To) != "" {
			return Summary{}, fmt.Errorf("summarize plan: step %d names what there is not", i+1)
		}
		c := changeOf(v, st.Move.To)
		touched[v.vm.ID] = true
		if slices.Contains(st.Risks, RiskDisplaced) {
			displaced[v.vm.ID] = true
		}
		s.Bytes += c.copied
		s.CostOfMoves += MoveCost(problem.Weights, c.copied, c.down(v.vm, st.Move.Mode)) +
			LinkCost(problem.Weights, v.vm, st.Move.Mode, c.host)
		w.move(v, st.Move.To)
	}
	for _, u := range p.Unplaced {
		touched[u.VM] = true
		if displaced[u.VM] {
			s.Displaced++
			delete(displaced, u.VM)
		}
	}
	for _, h := range p.Held {
		touched[h.VM] = true
	}
	s.After, s.BrokenAfter = w.cost(), w.broken()
	if Protects(problem) {
		// A module that was attached nowhere is a failure more once it is.
		s.Reserve.Failures, s.Reserve.SurvivedAfter, s.Reserve.Unprotected = w.reserveCount()
		s.Reserve.Untried = min(max(p.Summary.Reserve.Untried, 0), s.Reserve.Failures-s.Reserve.SurvivedAfter) // known to the solver alone
	}
	s.CostAfter = s.After.Total()
	s.Bound = p.Summary.Bound
	s.GapPercent = GapPercent(s.Cost(), s.Bound)
	s.Right = s.VMs - len(touched)
	return s, nil
}

func (w *world) cost() Cost {
	var c Cost
	m := NewPrices(w.p)
	for _, h := range w.hosts {
		h.load = Load{}
	}
	for i := range w.list {
		v := &w.list[i]
		c.TierWaste += TierCost(w.p.Weights, v.home.facts.Tier, v.need.Server, v.vm.CPU)
		for j, d := range v.at.Disks {
			c.PoolWaste += PoolCost(w.p.Weights, w.p.Pools[d.Pool].Tier, v.need.Disks[j].Tier, v.vm.Disks[j].Used)
		}
		v.home.load.Add(m.Of(v.vm), 1)
	}
	var overload, stranded, energy int64
	for _, h := range w.hosts {
		o, s, e := m.HostParts(h.facts, h.load)
		overload, stranded, energy = overload+o, stranded+s, energy+e
	}
	c.Overload, c.Stranded, c.Energy = m.Points(overload), m.Points(stranded), m.Points(energy)
	return c
}

// broken counts the VMs with a broken hard constraint: all VMs on a host with too little CPU, memory or
// queues count, those with a promise of a pool that has promised too much, and both sides of a conflict.
func (w *world) broken() int {
	bad := make(map[fleet.VMID]bool)
	for _, h := range w.hosts {
		if !h.packs() {
			for vm := range h.queued {
				bad[vm] = true
			}
		}
	}
	for _, members := range w.affine {
		if w.parts(members) > 1 {
			for _, id := range members {
				bad[id] = true
			}
		}
	}
	w.brokenSpread(bad)
	n := len(bad)
	for i := range w.list {
		v := &w.list[i]
		if h := v.home; (h.cpu > h.facts.CPU || h.memory > h.facts.Memory || w.brokenAlone(v) || w.starved(v)) && !bad[v.vm.ID] {
			n++
		}
	}
	return n
}

// brokenSpread marks conflicts by counting domains, so that a large group does not cost its square.
func (w *world) brokenSpread(bad map[fleet.VMID]bool) {
	for _, members := range w.spread {
		for _, k := range policy.Domains() {
			if !slices.ContainsFunc(members, func(id fleet.VMID) bool { return w.vms[id].need.SpreadDomain == k }) {
				continue
			}
			all, asking := map[string]int{}, map[string]int{}
			for _, id := range members {
				v := w.vms[id]
				d := DomainOf(k, v.home.host)
				all[d]++
				if v.need.SpreadDomain == k {
					asking[d]++
				}
			}
			for _, id := range members {
				if d := DomainOf(k, w.vms[id].home.host); all[d] > 1 && asking[d] > 0 {
					bad[id] = true
				}
			}
		}
	}
}

// starved says whether a disk of v reserves operations or bandwidth in a pool that has promised more than it has.
func (w *world) starved(v *vmAt) bool {
	for i, d := range v.at.Disks {
		n := v.need.Disks[i]
		if n.IOPS <= 0 && n.Throughput <= 0 {
			continue
		}
		pool, u := w.p.Snapshot.Pool(d.Pool), w.used[d.Pool]
		if pool.IOPS > 0 && n.IOPS > 0 && u.iops > pool.IOPS || pool.Throughput > 0 && n.Throughput > 0 && u.rate > pool.Throughput {
			return true
		}
	}
	return false
}

// brokenAlone says whether v's place is wrong whatever else is on its host. Of a host that could not be seen
// nothing is known, and nothing counts as broken.
func (w *world) brokenAlone(v *vmAt) bool {
	if v.home.host.Unreachable {
		return false
	}
	if w.hostRefusal(v, v.at.Host).constraint != "" {
		return true
	}
	for i, d := range v.at.Disks {
		if w.p.Pools[d.Pool].Tier < max(v.need.Disks[i].Tier, 0) {
			return true
		}
	}
	return w.reachRefusal(v, v.at) != ""
}
