package online

import "github.com/berth-project/berth/plan/model"

// Aligned rates a host by how well what it has free is shaped like what the VM asks for: the scalar product of the two,
// as shares of the largest host. It fills hosts evenly in all resources.
type Aligned struct{}

// Rate implements Rater.
func (Aligned) Rate(x *Placer, h model.HostIx, vm *model.VM) int64 {
	sum := int64(0)
	for r, unit := range x.tree.unit {
		if unit > 0 {
			free := shareOf(x.p.Hosts[h].Capacity[r]-x.hosts[h].use[r], unit)
			sum += free * shareOf(vm.Demand[r], unit) >> 5 // MaxResources products of 40 bits
		}
	}
	return -sum
}
