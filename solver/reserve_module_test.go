package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestModulesKeepTheReserve: where I/O modules move and VMs are protected, also against the loss of a module, plans stay legal.
func TestModulesKeepTheReserve(t *testing.T) {
	t.Parallel()
	attached := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProtected(t)
		if rapid.Bool().Draw(t, "over modules") {
			p.Reserve.Over = append(p.Reserve.Over, policy.LossModule)
		}
		drawModules(t, p)
		for i := range p.Snapshot.Sources {
			p.Snapshot.Sources[i].Capabilities.AttachModules = true
		}
		for i := range p.Snapshot.VMs {
			if v := &p.Snapshot.VMs[i]; rapid.IntRange(0, 2).Draw(t, "needs a NIC") == 0 {
				need := p.VMs[v.ID]
				need.NICClass, need.Queues = 2, 2
				p.VMs[v.ID] = need
			}
		}
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("%s, in %s", v, planText(pl))
		}
		attached += pl.Summary.Modules
	})
	if attached == 0 {
		t.Error("no module moved: nothing is tested")
	}
}

// TestModuleStaysForTheReserve: io-1 would make a place for vm-db on gold-1, but vm-web needs it on gold-2 should gold-3 be lost.
func TestModuleStaysForTheReserve(t *testing.T) {
	t.Parallel()
	for protect, want := range map[string]int{"": 1, "protect": 0} {
		p := parseFleet(t, `
			reserve limits over=host
			pool nas tier=nvme
			host gold-1 tier=gold cpu=8 mem=32 pools=nas nics=2:8
			host gold-2 tier=gold cpu=4 mem=32 pools=nas nics=2:8
			host gold-3 tier=gold cpu=4 mem=32 pools=nas nics=3:8
			module io-1 nics=3:8 on=gold-1,gold-2 host=gold-2
			vm vm-db host=gold-1 cpu=6 needs=gold nic=3 queues=2 disks=nas:1:nvme
			vm vm-web host=gold-3 cpu=4 needs=gold nic=3 queues=2 disks=nas:1:nvme `+protect)
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Error(v)
		}
		if pl.Summary.Modules != want {
			t.Errorf("%q: %d modules move, expected %d: %s", protect, pl.Summary.Modules, want, planText(pl))
		}
	}
}
