package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// preempt makes room for g: the cheapest set of VMs of strictly lower priority gives way, and each of them gets another
// place if there is one, the highest priority first; the others are evicted.
func (x *Placer) preempt(g *guest, m model.VM) (Placed, bool) {
	if a := g.need.AffinityGroup; a != "" && len(x.homes[a]) > 0 {
		return Placed{}, false // its group is somewhere, and nothing says who would have to go there
	}
	e, ok := x.at.Preempt(m)
	if !ok || e == nil {
		return Placed{}, false
	}
	if x.keep != nil { // with those that give way still there: what is survived then is survived without them too
		g.kept = x.keep.Join(&g.vm, g.need)
		if !x.keep.Admit(g.kept, int(e.Decision.Host), x.placementAt(g, e.Decision.Host, e.Decision.Pools)) {
			x.keep.Quit(g.kept)
			return Placed{}, false
		}
	}
	out := make([]*guest, 0, len(e.VMs))
	vms := make([]model.VM, 0, len(e.VMs))
	for _, i := range e.VMs {
		v := x.by[i]
		out = append(out, v)
		vms = append(vms, x.at.Problem().VMs[i])
	}
	for _, v := range out {
		x.leave(v)
		_ = x.at.Remove(v.ix) // Preempt named it
	}
	answer := Placed{OK: true, To: x.settle(g, m, e.Decision)}
	order := make([]int, len(out))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(out[b].need.Priority, out[a].need.Priority) })
	for _, n := range order {
		v := out[n]
		if d, ok := x.find(v, vms[n]); ok {
			answer.Moved = append(answer.Moved, MovedVM{v.vm.ID, x.settle(v, vms[n], d)})
			continue
		}
		x.release(v)
		answer.Evicted = append(answer.Evicted, v.vm.ID)
	}
	return answer, true
}
