package plan_test

import (
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestAWitnessIsLookedForAnew: in the loss of host-a the largest VMs, placed first, take the only host with the NIC class that the smallest needs,
// and more than maxRefuge other ways to place them are looked at before that is undone: it is found with the smallest in front.
func TestAWitnessIsLookedForAnew(t *testing.T) {
	t.Parallel()
	p := &policy.Problem{
		Snapshot: &fleet.Snapshot{Version: fleet.SnapshotVersion, Sources: site().Snapshot.Sources}, PolicyID: "p",
		Hosts: map[fleet.HostID]policy.HostFacts{}, Pools: map[fleet.PoolID]policy.PoolFacts{}, VMs: map[fleet.VMID]policy.Requirement{},
	}
	host := func(id fleet.HostID, cpus int, class fleet.NICClass) {
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, fleet.Host{
			ID: id, Source: "kvm", Hypervisor: fleet.KVM, NICs: []fleet.NIC{{ID: "eth0", Class: class}},
		})
		p.Hosts[id] = policy.HostFacts{CPU: fleet.CPUs(cpus), Memory: 64 * fleet.GiB}
	}
	vm := func(id fleet.VMID, cpus int, class fleet.NICClass) {
		p.Snapshot.VMs = append(p.Snapshot.VMs, fleet.VM{ID: id, Source: "kvm", Host: "host-a", Ref: "r", CPU: fleet.CPUs(cpus), Memory: fleet.GiB, Power: fleet.Running})
		p.VMs[id] = policy.Requirement{Level: "l", Protect: true, NICClass: class}
	}
	host("host-a", 64, 3)
	host("host-b", 4, 3) // where the first, by first fit, takes what only vm-nic could
	for _, id := range []fleet.HostID{"host-c", "host-d", "host-e", "host-f", "host-g", "host-h"} {
		host(id, 4, 0)
	}
	for _, id := range []fleet.VMID{"vm-1", "vm-2", "vm-3", "vm-4", "vm-5", "vm-6"} {
		vm(id, 4, 0)
	}
	vm("vm-nic", 1, 3)
	p.Reserve.Over = []policy.Loss{policy.LossHost}
	p.Snapshot.Sort()
	got, err := plan.Survival(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got {
		if !f.Survived || len(f.Unprotected) > 0 {
			t.Errorf("the loss of %s is not survived: no place for %v, %v", f.Name, f.Unsaved, f.Unprotected)
		}
	}
	// What is impossible stays so.
	vm("vm-other", 4, 0)
	p.Snapshot.VM("vm-other").Host = "host-b"
	need(p, "vm-other", func(r *policy.Requirement) { r.Protect = false })
	p.Snapshot.Sort()
	if got, err = plan.Survival(p); err != nil || got[0].Survived {
		t.Errorf("survived without a host for vm-nic: %+v, %v", got, err)
	}
}
