package plan_test

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// contradictory is two hosts of one source in one chassis, with vm-a on host-a and vm-b on host-b.
func contradictory(change func(p *policy.Problem, a, b *policy.Requirement)) *policy.Problem {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Sources: []fleet.Source{{ID: "kvm", Kind: fleet.KVM, Reachable: true}},
		Pools: []fleet.Pool{{ID: "nas", Source: "kvm", Capacity: 100, Free: 50}},
	}
	p := &policy.Problem{
		Snapshot: s, ServerTiers: []string{"bronze", "gold"}, PoolTiers: []string{"hdd", "nvme"}, SecurityClasses: []string{"open", "strict"},
		Hosts: map[fleet.HostID]policy.HostFacts{}, Pools: map[fleet.PoolID]policy.PoolFacts{"nas": {}}, VMs: map[fleet.VMID]policy.Requirement{},
	}
	needs := map[fleet.VMID]*policy.Requirement{}
	for _, x := range []string{"a", "b"} {
		h, v := fleet.HostID("host-"+x), fleet.VMID("vm-"+x)
		s.Hosts = append(s.Hosts, fleet.Host{ID: h, Source: "kvm", Hypervisor: fleet.KVM, Chassis: "c-1", CPU: 8000, Memory: 8 * fleet.GiB, Pools: []fleet.PoolID{"nas"}})
		p.Hosts[h] = policy.HostFacts{CPU: 8000, Memory: 8 * fleet.GiB}
		s.VMs = append(s.VMs, fleet.VM{ID: v, Source: "kvm", Host: h, Power: fleet.Running, CPU: 1000, Memory: fleet.GiB, Disks: []fleet.Disk{{ID: "vda", Pool: "nas", Used: 1}}})
		needs[v] = &policy.Requirement{Level: "bronze", Disks: []policy.DiskRequirement{{}}}
	}
	change(p, needs["vm-a"], needs["vm-b"])
	for id, n := range needs {
		p.VMs[id] = *n
	}
	return p
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*policy.Problem, *policy.Requirement, *policy.Requirement){
		"": func(*policy.Problem, *policy.Requirement, *policy.Requirement) {},
		"vm-a and vm-b have to be on one host (affinity group app) and apart (spread group web)": func(_ *policy.Problem, a, b *policy.Requirement) {
			a.AffinityGroup, b.AffinityGroup = "app", "app"
			a.SpreadGroup, b.SpreadGroup, a.SpreadDomain, b.SpreadDomain = "web", "web", policy.DomainHost, policy.DomainHost
		},
		"affinity group app (vm-a, vm-b) needs 10 threads and 2 GiB on one host; the most that a host of source kvm promises is 8 threads, and 8 GiB": func(p *policy.Problem, a, b *policy.Requirement) {
			a.AffinityGroup, b.AffinityGroup = "app", "app"
			p.Snapshot.VMs[0].CPU, p.Snapshot.VMs[1].CPU = 5000, 5000
		},
		"2 VMs of spread group web (vm-a, vm-b) need a chassis each, and there are 1": func(_ *policy.Problem, a, b *policy.Requirement) {
			a.SpreadGroup, b.SpreadGroup, a.SpreadDomain, b.SpreadDomain = "web", "web", policy.DomainChassis, policy.DomainChassis
		},
		"level gold asks for what none of the 2 hosts of source kvm has, even empty: 2 by server-tier; asked for by vm-a": func(_ *policy.Problem, a, _ *policy.Requirement) {
			a.Level, a.Server = "gold", 1
		},
		"level gold asks for what none of the 2 hosts of source kvm has, even empty: 2 by pool-tier; asked for by vm-b": func(_ *policy.Problem, _, b *policy.Requirement) {
			b.Level, b.Disks[0].Tier = "gold", 1
		},
		"vm-a needs 9 threads and 1 GiB; the most that a host of source kvm promises is 8 threads, and 8 GiB": func(p *policy.Problem, _, _ *policy.Requirement) {
			p.Snapshot.VMs[0].CPU = 9000
		},
		"host host-b has 0 threads and 8 GiB to promise, and runs 1 VMs": func(p *policy.Problem, _, _ *policy.Requirement) {
			p.Hosts["host-b"] = policy.HostFacts{Memory: 8 * fleet.GiB}
		},
		"pool nas has a capacity of 0, and holds 2 disks": func(p *policy.Problem, _, _ *policy.Requirement) {
			p.Snapshot.Pools[0].Capacity, p.Snapshot.Pools[0].Free = 0, 0
		},
	} {
		if got := strings.Join(plan.Contradictions(contradictory(change)), "; "); got != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
}
