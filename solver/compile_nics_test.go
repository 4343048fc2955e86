package solver_test

import (
	"slices"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver"
)

// TestCompiledNICsAreTheVMs: a second virtual NIC that is promised a bandwidth needs its own share in the model too, and the plan
// leaves the VM no host that has one NIC of the two.
func TestCompiledNICsAreTheVMs(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, `
		pool nas tier=nvme
		host gold-1 tier=gold pools=nas nics=2:8:10000
		host gold-2 tier=gold pools=nas nics=2:8:10000,2:8:10000
		host bronze-1 pools=nas nics=2:8:25000
		vm vm-db host=bronze-1 needs=gold nic=2 queues=2 rate=6000 disks=nas:10:nvme`)
	v := p.Snapshot.VM("vm-db")
	v.VNICs = []fleet.VNIC{{ID: "n0", Guarantee: 7000}, {ID: "n1"}, {ID: "n2", Guarantee: 5000}}
	m, ix, err := solver.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ix.VMs, func(ids []fleet.VMID) bool { return ids[0] == "vm-db" })
	if want := []model.NICNeed{{Class: 2, Queues: 2, Rate: 7000}, {Class: 2, Rate: 5000}}; !slices.Equal(m.VMs[i].NICs, want) {
		t.Errorf("the model has %v, expected %v", m.VMs[i].NICs, want)
	}
	pl := mustSolve(t, p)
	for _, v := range plan.Check(p, pl) {
		t.Error(v)
	}
	if len(pl.Steps) != 1 || pl.Steps[0].Move.To.Host != "gold-2" {
		t.Errorf("expected vm-db on gold-2: %s", planText(pl))
	}
}
