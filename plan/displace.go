package plan

import (
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Displacement: where a VM of higher priority has no right place, one of strictly lower priority whose level gives way may be moved
// below what its label asks for. Server tier, storage tier and NIC class are negotiable then, and nothing else: what is
// reserved of NICs stays reserved, and a host or pool that no rule ranks takes nobody.

// negotiable is v as one that may be displaced.
func (v *vmAt) negotiable() *vmAt {
	low := *v
	low.need.Server, low.need.NICClass = 0, 0
	return &low
}

// arrivalRefusal is hostRefusal, of a VM that may be displaced without what is negotiable.
func (w *world) arrivalRefusal(v *vmAt, id fleet.HostID, displaced bool) refusal {
	if displaced {
		v = v.negotiable()
	}
	return w.hostRefusal(v, id)
}

// below says whether what a step to the place to changes of v's place is below v's need, where that is negotiable.
func (w *world) below(v *vmAt, to fleet.Placement) bool {
	if h := w.hosts[to.Host]; to.Host != v.at.Host && (h.facts.Tier < v.need.Server || !h.hasClass(v.need.NICClass)) {
		return true
	}
	for i, d := range to.Disks {
		if d.Pool != v.at.Disks[i].Pool && w.p.Pools[d.Pool].Tier < v.need.Disks[i].Tier {
			return true
		}
	}
	return false
}

// displaces says whether a step displaces v, as far as the step says and the policy allows it. What it says of for whom is
// judged by justify.
func (c *checker) displaces(v *vmAt, st *Step) bool {
	says := slices.Contains(st.Risks, RiskDisplaced)
	switch {
	case says && v.need.GiveWay:
		c.displaced = append(c.displaced, st)
		return true
	case says:
		c.say(ConstraintDisplaced, "the level %s does not give way", v.need.Level)
	case st.GivesWayTo != "":
		c.say(ConstraintDisplaced, "gives way to %s without the risk %q", st.GivesWayTo, RiskDisplaced)
	}
	return false
}

// justify checks that each displaced VM gives way to one that it may give way to. What remains of a plan need not have the VM that
// the whole had in mind.
func (c *checker) justify() {
	if len(c.displaced) == 0 {
		return
	}
	y, err := newYielding(c.w)
	if err != nil {
		c.say(ConstraintProblem, "%v", err)
		return
	}
	for _, st := range c.displaced {
		c.at, c.vm = st.N, st.Move.VM.ID
		won := y.winners(c.w.vms[c.vm])
		switch {
		case len(won) == 0:
			c.say(ConstraintDisplaced, "nobody of higher priority who had no right place gets one by it")
		case c.own && !slices.Contains(won, st.GivesWayTo):
			c.say(ConstraintDisplaced, "does not give way to %q but to %s", st.GivesWayTo, won[0])
		}
	}
	c.at, c.vm = 0, ""
}

// GaveWay tells to whom each VM gives way that a step brings below its need, by the rules of Check: the one that the step names where
// that is true, else the one of the highest priority, "" when there is none who justifies it. The error says what is wrong with p.
func GaveWay(p *policy.Problem, steps []Step) (map[fleet.VMID]fleet.VMID, error) {
	w, err := newWorld(p)
	if err != nil {
		return nil, err
	}
	for i := range steps {
		st := &steps[i]
		if a := st.Attach; a != nil {
			if m := p.Snapshot.Module(a.Module.ID); m != nil && w.hosts[a.To] != nil {
				w.attach(m, a.To)
			}
		} else if v := w.vms[st.Move.VM.ID]; v != nil && w.unknown(v, st.Move.To) == "" {
			w.move(v, st.Move.To)
		}
	}
	y, err := newYielding(w)
	if err != nil {
		return nil, err
	}
	out := map[fleet.VMID]fleet.VMID{}
	for i := range steps {
		st := &steps[i]
		v := w.vms[st.Move.VM.ID]
		if v == nil || !slices.Contains(st.Risks, RiskDisplaced) {
			continue
		}
		if won := y.winners(v); slices.Contains(won, st.GivesWayTo) {
			out[v.vm.ID] = st.GivesWayTo
		} else if out[v.vm.ID] = ""; len(won) > 0 {
			out[v.vm.ID] = won[0]
		}
	}
	return out, nil
}
