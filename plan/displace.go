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

// lowest checks that the place that v was displaced to is right in all that is not negotiable.
func (c *checker) lowest(v *vmAt) {
	if r := c.w.hostRefusal(v.negotiable(), v.at.Host); r.constraint != "" {
		c.say(ConstraintDisplaced, "is no better off: %s", r.detail)
		return
	}
	for _, d := range v.at.Disks {
		if c.w.p.Pools[d.Pool].Tier < 0 {
			c.say(ConstraintDisplaced, "is no better off: pool %s has no tier", d.Pool)
			return
		}
	}
}

// displaces says whether a step displaces v, as far as the step says and the policy allows it. What it says of for whom is
// judged by justify.
func (c *checker) displaces(v *vmAt, st *Step) bool {
	says := slices.Contains(st.Risks, RiskDisplaced)
	switch {
	case says && v.need.GiveWay:
		return true
	case says:
		c.say(ConstraintDisplaced, "the level %s does not give way", v.need.Level)
	case st.GivesWayTo != "":
		c.say(ConstraintDisplaced, "gives way to %s without the risk %q", st.GivesWayTo, RiskDisplaced)
	}
	return false
}

// displacement is a step that brings a VM below its need, and who got a right place by that while the steps were made.
type displacement struct {
	st   *Step
	from fleet.Placement
	won  []fleet.VMID
}

// displacements are those of the steps made so far, and in whose way each would be: by the host and the pools it left, and by its spread group.
type displacements struct {
	list  []displacement
	hosts map[fleet.HostID][]int
	pools map[fleet.PoolID][]int
	group map[string][]int
}

// add notes a displacement of v before it is made.
func (d *displacements) add(v *vmAt, st *Step) {
	if d.hosts == nil {
		d.hosts, d.pools, d.group = map[fleet.HostID][]int{}, map[fleet.PoolID][]int{}, map[string][]int{}
	}
	n := len(d.list)
	d.list = append(d.list, displacement{st: st, from: v.at.Clone()})
	d.hosts[v.at.Host] = append(d.hosts[v.at.Host], n)
	for _, p := range v.at.Disks {
		if list := d.pools[p.Pool]; len(list) == 0 || list[len(list)-1] != n {
			d.pools[p.Pool] = append(list, n)
		}
	}
	if g := v.need.SpreadGroup; g != "" {
		d.group[g] = append(d.group[g], n)
	}
}

// near lists those that could be in the way of v at the place to, by index.
func (d *displacements) near(v *vmAt, to fleet.Placement) []int {
	out := slices.Clone(d.hosts[to.Host])
	for _, p := range to.Disks {
		out = append(out, d.pools[p.Pool]...)
	}
	if g := v.need.SpreadGroup; g != "" {
		out = append(out, d.group[g]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pass notes a step of v before it is made in w: a VM that is wrong may get a place where one does that was displaced would be in its way.
func (d *displacements) pass(w *world, v *vmAt, st *Step, displaced bool) {
	if len(d.list) > 0 && (w.brokenAlone(v) || w.crowded(v) || v.need.AffinityGroup != "" && w.parts(w.affine[v.need.AffinityGroup]) > 1) {
		for _, i := range d.near(v, st.Move.To) {
			e := &d.list[i]
			if o := w.vms[e.st.Move.VM.ID]; o != v && w.crowds(o, e.from, v, st.Move.To) {
				e.won = append(e.won, v.vm.ID)
			}
		}
	}
	if displaced {
		d.add(v, st)
	}
}

// winners lists the VMs to which each of the steps gives way, those of the highest priority first.
func (d *displacements) winners(end *world) ([][]fleet.VMID, error) {
	y, err := newYielding(end)
	if err != nil {
		return nil, err
	}
	out := make([][]fleet.VMID, len(d.list))
	for i, e := range d.list {
		v := end.vms[e.st.Move.VM.ID]
		out[i] = y.winners(v)
		for _, id := range e.won {
			o := end.vms[id]
			group := y.group(o)
			if y.priority(o) > y.priority(v) && !y.right(y.start, group) && y.right(end, group) && !slices.Contains(out[i], id) {
				out[i] = append(out[i], id)
			}
		}
	}
	return out, nil
}

// justify checks that each displaced VM gives way to one that it may give way to. What remains of a plan need not have the VM that
// the whole had in mind.
func (c *checker) justify() {
	if len(c.below.list) == 0 {
		return
	}
	won, err := c.below.winners(c.w)
	if err != nil {
		c.say(ConstraintProblem, "%v", err)
		return
	}
	for i, e := range c.below.list {
		c.at, c.vm = e.st.N, e.st.Move.VM.ID
		switch {
		case len(won[i]) == 0:
			c.say(ConstraintDisplaced, "nobody of higher priority who had no right place gets one by it")
		case c.own && !slices.Contains(won[i], e.st.GivesWayTo):
			c.say(ConstraintDisplaced, "does not give way to %q but to %s", e.st.GivesWayTo, won[i][0])
		}
	}
	c.at, c.vm = 0, ""
}

// GaveWay tells of each step to whom its VM gives way where the step brings it below its need, by the rules of Check: the one that the
// step names where that is true, else the one of the highest priority, "" where there is none who justifies it. The error says
// what is wrong with p.
func GaveWay(p *policy.Problem, steps []Step) (map[int]fleet.VMID, error) {
	w, err := newWorld(p)
	if err != nil {
		return nil, err
	}
	var d displacements
	at := map[*Step]int{}
	for i := range steps {
		st := &steps[i]
		at[st] = i
		if a := st.Attach; a != nil {
			if m := p.Snapshot.Module(a.Module.ID); m != nil && w.hosts[a.To] != nil {
				w.attach(m, a.To)
			}
		} else if v := w.vms[st.Move.VM.ID]; v != nil && w.unknown(v, st.Move.To) == "" {
			d.pass(w, v, st, slices.Contains(st.Risks, RiskDisplaced))
			w.move(v, st.Move.To)
		}
	}
	won, err := d.winners(w)
	if err != nil {
		return nil, err
	}
	out := map[int]fleet.VMID{}
	for i, e := range d.list {
		n := at[e.st]
		if out[n] = ""; slices.Contains(won[i], e.st.GivesWayTo) {
			out[n] = e.st.GivesWayTo
		} else if len(won[i]) > 0 {
			out[n] = won[i][0]
		}
	}
	return out, nil
}
