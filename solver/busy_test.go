package solver_test

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// drawBusy is a small random fleet in which much has to move at once: hosts in maintenance, hosts that have promised too much, tiers that do
// not fit. All hosts reach a shared pool, so that hosts are what is scarce.
func drawBusy(t *rapid.T) *policy.Problem {
	p := emptyProblem()
	nas := drawPool(t, p, "nas", "kvm")
	p.Pools[nas] = policy.PoolFacts{Tier: 2}
	for i := range rapid.IntRange(3, 7).Draw(t, "hosts") {
		h := fleet.Host{
			ID: fleet.HostID(fmt.Sprintf("host-%c", 'a'+i)), Source: "kvm", Hypervisor: fleet.KVM, Pools: []fleet.PoolID{nas},
			Maintenance: rapid.IntRange(0, 3).Draw(t, "maintenance") == 0, Chassis: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "chassis"),
			NICs: []fleet.NIC{{ID: "eth0", Class: 2, Queues: fleet.Queues(rapid.IntRange(0, 6).Draw(t, "queues"))}, {ID: "eth1", Class: 1, Queues: 2}},
		}
		if rapid.Bool().Draw(t, "local") {
			h.Pools = append(h.Pools, drawPool(t, p, fleet.PoolID(h.ID)+"/local", "kvm"))
		}
		h.CPU, h.Memory = fleet.CPUs(rapid.IntRange(3, 10).Draw(t, "cpu")), fleet.Bytes(rapid.IntRange(8, 40).Draw(t, "memory"))*fleet.GiB
		p.Hosts[h.ID] = policy.HostFacts{Tier: policy.Rank(rapid.IntRange(0, 2).Draw(t, "tier")), CPU: h.CPU, Memory: h.Memory}
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, h)
	}
	p.Snapshot.Sort() // for Snapshot.Pool
	for i := range rapid.IntRange(4, 14).Draw(t, "vms") {
		drawBusyVM(t, p, i)
	}
	p.Snapshot.Sort()
	if err := p.Snapshot.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func drawBusyVM(t *rapid.T, p *policy.Problem, n int) {
	h := rapid.SampledFrom(p.Snapshot.Hosts).Draw(t, "on")
	v := fleet.VM{
		ID: fleet.VMID(fmt.Sprintf("vm-%02d", n)), Source: "kvm", Host: h.ID, Ref: "r", CPU: fleet.CPUs(rapid.IntRange(0, 3).Draw(t, "vm cpu")),
		Memory: fleet.Bytes(rapid.IntRange(0, 8).Draw(t, "vm memory")) * fleet.GiB, Power: fleet.Running,
	}
	need := policy.Requirement{
		Level: "l", Priority: policy.Priority(rapid.SampledFrom([]int{100, 500, 900}).Draw(t, "prio")),
		Server: policy.Rank(rapid.IntRange(0, 4).Draw(t, "server") / 2),
	}
	if rapid.IntRange(0, 3).Draw(t, "wants nic") == 0 {
		need.NICClass, need.Queues = 1, fleet.Queues(rapid.IntRange(1, 3).Draw(t, "vm queues"))
	}
	if rapid.IntRange(0, 2).Draw(t, "group") == 0 {
		need.SpreadGroup = rapid.SampledFrom([]string{"web", "db"}).Draw(t, "spread")
		need.SpreadDomain = rapid.SampledFrom([]policy.Domain{policy.DomainHost, policy.DomainChassis}).Draw(t, "over")
	}
	pool := p.Snapshot.Pool(rapid.SampledFrom(h.Pools).Draw(t, "lies on"))
	d := fleet.Disk{ID: "vda", Pool: pool.ID, Path: "x", Size: 9 * fleet.GiB, Used: fleet.Bytes(rapid.IntRange(0, 4).Draw(t, "used")) * fleet.GiB}
	if pool.Free < d.Used {
		d.Used = 0
	}
	pool.Free -= d.Used
	v.Disks = []fleet.Disk{d}
	need.Disks = []policy.DiskRequirement{{Tier: policy.Rank(rapid.IntRange(0, 2).Draw(t, "disk tier") / 2), Level: "l"}}
	p.Snapshot.VMs = append(p.Snapshot.VMs, v)
	p.VMs[v.ID] = need
}
