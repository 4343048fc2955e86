package solver_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// drawProblem is a small random fleet, tight enough that not all fits and everything that the model knows
// turns up: tiers, shared and local pools, chains, NICs, groups, pins, blockers, maintenance, two sources.
func drawProblem(t *rapid.T) *policy.Problem {
	p := emptyProblem()
	p.Snapshot.Sources[0].Capabilities = drawCapabilities(t, "kvm")
	if rapid.IntRange(0, 4).Draw(t, "sources") == 0 {
		p.Snapshot.Sources = append(p.Snapshot.Sources, fleet.Source{
			ID: "lab", Kind: fleet.KVM, Reachable: rapid.Bool().Draw(t, "lab up"), Capabilities: drawCapabilities(t, "lab"),
		})
	}
	w := &p.Weights
	w.TierWaste, w.PoolWaste = rapid.Int64Range(0, 20).Draw(t, "w1"), rapid.Int64Range(0, 3).Draw(t, "w2")
	w.MoveVM, w.MoveGiB, w.Downtime = rapid.Int64Range(0, 9).Draw(t, "w3"), rapid.Int64Range(0, 2).Draw(t, "w4"), rapid.Int64Range(0, 60).Draw(t, "w5")
	drawHosts(t, p)
	for i := range rapid.IntRange(0, 12).Draw(t, "vms") {
		drawVM(t, p, i)
	}
	drawFit(t, p)
	p.Snapshot.Sort()
	if err := p.Snapshot.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func drawCapabilities(t *rapid.T, name string) fleet.Capabilities {
	if rapid.IntRange(0, 2).Draw(t, name+" all") > 0 {
		return fleet.Capabilities{LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true}
	}
	return fleet.Capabilities{
		LiveMigration: rapid.Bool().Draw(t, name+" migrate"), LiveStorage: rapid.Bool().Draw(t, name+" storage"),
		LiveBoth: rapid.Bool().Draw(t, name+" both"), Offline: rapid.Bool().Draw(t, name+" offline"),
	}
}

func drawPool(t *rapid.T, p *policy.Problem, id fleet.PoolID, source fleet.SourceID) fleet.PoolID {
	gib := fleet.Bytes(rapid.IntRange(5, 60).Draw(t, "size"))
	p.Snapshot.Pools = append(p.Snapshot.Pools, fleet.Pool{
		ID: id, Source: source, Ref: "/" + string(id), Type: "dir", Capacity: gib * fleet.GiB, Free: gib * fleet.GiB,
	})
	p.Pools[id] = policy.PoolFacts{
		Tier: policy.Rank(rapid.IntRange(-1, 2).Draw(t, "pool tier")), Reserve: fleet.Bytes(rapid.IntRange(0, 4).Draw(t, "reserve")) * fleet.GiB,
	}
	return id
}

func drawHosts(t *rapid.T, p *policy.Problem) {
	shared := map[fleet.SourceID][]fleet.PoolID{}
	for _, s := range p.Snapshot.Sources {
		for i := range rapid.IntRange(0, 2).Draw(t, "shared") {
			shared[s.ID] = append(shared[s.ID], drawPool(t, p, fleet.PoolID(fmt.Sprintf("%s-nas%d", s.ID, i)), s.ID))
		}
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "hosts") {
		s := rapid.SampledFrom(p.Snapshot.Sources).Draw(t, "source")
		h := fleet.Host{
			ID: fleet.HostID(fmt.Sprintf("host-%c", 'a'+i)), Source: s.ID, Hypervisor: fleet.KVM,
			Maintenance: rapid.IntRange(0, 7).Draw(t, "maintenance") == 0, Unreachable: rapid.IntRange(0, 15).Draw(t, "unreachable") == 0,
			Chassis: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "chassis"), Cluster: rapid.SampledFrom([]string{"", "k1"}).Draw(t, "cluster"),
		}
		for j := range rapid.IntRange(0, 2).Draw(t, "local") {
			h.Pools = append(h.Pools, drawPool(t, p, fleet.PoolID(fmt.Sprintf("%s/p%d", h.ID, j)), s.ID))
		}
		for _, id := range shared[s.ID] {
			if rapid.IntRange(0, 2).Draw(t, "reach") > 0 {
				h.Pools = append(h.Pools, id)
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "nets") == 0 {
			h.Networks = []string{"lan"}
		}
		facts := policy.HostFacts{
			Tier: policy.Rank(rapid.IntRange(-1, 2).Draw(t, "tier")), Security: rapid.IntRange(0, 1).Draw(t, "security"),
			CPU: fleet.CPUs(rapid.IntRange(2, 12).Draw(t, "cpu")), Memory: fleet.Bytes(rapid.IntRange(4, 40).Draw(t, "memory")) * fleet.GiB,
		}
		for j := range rapid.IntRange(0, 2).Draw(t, "nics") {
			h.NICs = append(h.NICs, fleet.NIC{
				ID: fleet.NICID(fmt.Sprintf("eth%d", j)), Class: fleet.NICClass(rapid.IntRange(0, 3).Draw(t, "class")),
				Queues: fleet.Queues(rapid.IntRange(0, 8).Draw(t, "queues")),
			})
		}
		h.CPU, h.Memory = facts.CPU, facts.Memory
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, h)
		p.Hosts[h.ID] = facts
	}
}

func drawVM(t *rapid.T, p *policy.Problem, n int) {
	h := rapid.SampledFrom(p.Snapshot.Hosts).Draw(t, "on")
	v := fleet.VM{
		ID: fleet.VMID(fmt.Sprintf("vm-%02d", n)), Source: h.Source, Host: h.ID, Ref: "r", CPU: fleet.CPUs(rapid.IntRange(0, 4).Draw(t, "vm cpu")),
		Memory: fleet.Bytes(rapid.IntRange(0, 12).Draw(t, "vm memory")) * fleet.GiB,
		Power:  rapid.SampledFrom([]fleet.PowerState{fleet.Running, fleet.Running, fleet.Stopped, fleet.Suspended}).Draw(t, "power"),
	}
	need := policy.Requirement{
		Level: "l", Priority: policy.Priority(rapid.SampledFrom([]int{100, 500, 900}).Draw(t, "prio")),
		Server: policy.Rank(rapid.IntRange(0, 2).Draw(t, "server")), Security: rapid.IntRange(0, 4).Draw(t, "sec") / 4,
	}
	if rapid.IntRange(0, 2).Draw(t, "wants nic") == 0 {
		need.NICClass, need.Queues = fleet.NICClass(rapid.IntRange(0, 3).Draw(t, "vm class")), fleet.Queues(rapid.IntRange(0, 5).Draw(t, "vm queues"))
	}
	switch rapid.IntRange(0, 5).Draw(t, "group") {
	case 0:
		need.SpreadGroup = rapid.SampledFrom([]string{"web", "db"}).Draw(t, "spread")
		need.SpreadDomain = rapid.SampledFrom([]policy.Domain{policy.DomainHost, policy.DomainHost, policy.DomainChassis, policy.DomainCluster}).Draw(t, "over")
	case 1:
		need.AffinityGroup = rapid.SampledFrom([]string{"app", "mail"}).Draw(t, "affinity")
	}
	if rapid.IntRange(0, 9).Draw(t, "pin") == 0 {
		v.Pinned = "by hand"
	}
	if rapid.IntRange(0, 4).Draw(t, "vnic") == 0 {
		v.VNICs = []fleet.VNIC{{ID: "n0", Network: rapid.SampledFrom([]string{"", "lan", "dmz"}).Draw(t, "network")}}
	}
	for _, c := range []fleet.Change{fleet.ChangeHost, fleet.ChangeStorage} {
		if rapid.IntRange(0, 5).Draw(t, "block") == 0 {
			v.Blocked = append(v.Blocked, fleet.Blocker{Change: c, Reason: "vmdk"})
		}
	}
	if len(h.Pools) > 0 {
		drawDisks(t, p, &v, &need, h)
	}
	p.Snapshot.VMs = append(p.Snapshot.VMs, v)
	p.VMs[v.ID] = need
}

func drawDisks(t *rapid.T, p *policy.Problem, v *fleet.VM, need *policy.Requirement, h fleet.Host) {
	for i := range rapid.IntRange(0, 3).Draw(t, "disks") {
		id := rapid.SampledFrom(h.Pools).Draw(t, "pool")
		at := slices.IndexFunc(p.Snapshot.Pools, func(p fleet.Pool) bool { return p.ID == id })
		pool := &p.Snapshot.Pools[at]
		used := min(fleet.Bytes(rapid.IntRange(0, 12).Draw(t, "used"))*fleet.GiB, pool.Free)
		pool.Free -= used
		d := fleet.Disk{ID: fleet.DiskID(fmt.Sprintf("vd%c", 'a'+i)), Pool: id, Path: "/x", Format: "vmdk", Size: used, Used: used}
		if rapid.IntRange(0, 5).Draw(t, "chain") == 0 {
			d.Chain = []fleet.ChainLink{{Pool: rapid.SampledFrom(h.Pools).Draw(t, "base"), Path: "/base"}}
		}
		v.Disks = append(v.Disks, d)
		need.Disks = append(need.Disks, policy.DiskRequirement{Tier: policy.Rank(rapid.IntRange(0, 2).Draw(t, "disk tier")), Level: "l"})
	}
}
