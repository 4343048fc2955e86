package solver

import "github.com/berth-project/berth/plan/model"

// preempt makes room for g at the cost of VMs of lower priority.
func (x *Placer) preempt(g *guest, m model.VM) (Placed, bool) {
	return Placed{}, false
}
