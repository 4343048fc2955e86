package solver_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// largeFleet has clusters of 32 hosts that share a datastore of each tier, besides a local pool; a tenth of
// the hosts are gold, a fifth silver. Labels are drawn without regard to where the VMs are, so that about a
// third of them are wrong. The fleet is two thirds full.
func largeFleet(hosts, vms int, seed uint64) *policy.Problem {
	p := emptyProblem()
	rnd := rand.New(rand.NewPCG(seed, 0))
	pool := func(id string, tier policy.Rank, tib int) fleet.PoolID {
		c := fleet.Bytes(tib) * fleet.TiB
		p.Snapshot.Pools = append(p.Snapshot.Pools, fleet.Pool{ID: fleet.PoolID(id), Source: "kvm", Ref: id, Capacity: c, Free: c})
		p.Pools[fleet.PoolID(id)] = policy.PoolFacts{Tier: tier, Reserve: c / 20}
		return fleet.PoolID(id)
	}
	free := map[fleet.PoolID]fleet.Bytes{}
	for i := range hosts {
		cluster := i / 32
		if i%32 == 0 {
			for tier, name := range poolTiers {
				pool(fmt.Sprintf("ds-%03d-%s", cluster, name), policy.Rank(tier), 40)
			}
		}
		h := fleet.Host{
			ID: fleet.HostID(fmt.Sprintf("host-%05d", i)), Source: "kvm", Hypervisor: fleet.KVM, CPU: fleet.CPUs(64), Memory: 512 * fleet.GiB,
			Cluster: fmt.Sprintf("cluster-%03d", cluster), Chassis: fmt.Sprintf("chassis-%04d", i/8),
			NICs: []fleet.NIC{{ID: "eth0", Class: fleet.NICClass(i % 4), Queues: 64}, {ID: "eth1", Class: 2, Queues: 32}},
		}
		h.Pools = []fleet.PoolID{pool(string(h.ID)+"/local", policy.Rank(i%2), 4)}
		for _, name := range poolTiers {
			h.Pools = append(h.Pools, fleet.PoolID(fmt.Sprintf("ds-%03d-%s", cluster, name)))
		}
		tier := policy.Rank(0)
		if i%10 == 0 {
			tier = 2
		} else if i%10 < 3 {
			tier = 1
		}
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, h)
		p.Hosts[h.ID] = policy.HostFacts{Tier: tier, CPU: 4 * h.CPU, Memory: h.Memory}
	}
	for i := range vms {
		h := &p.Snapshot.Hosts[i%hosts]
		level := policy.Rank([]int{0, 0, 0, 0, 0, 0, 1, 1, 1, 2}[rnd.IntN(10)])
		d := fleet.Disk{ID: "vda", Pool: h.Pools[rnd.IntN(len(h.Pools))], Path: "x", Size: 100 * fleet.GiB, Used: fleet.Bytes(10+rnd.IntN(60)) * fleet.GiB}
		free[d.Pool] += d.Used
		v := fleet.VM{
			ID: fleet.VMID(fmt.Sprintf("vm-%06d", i)), Source: "kvm", Host: h.ID, Power: fleet.Running, CPU: fleet.CPUs(1 << rnd.IntN(4)),
			Memory: fleet.Bytes(4<<rnd.IntN(3)) * fleet.GiB, Disks: []fleet.Disk{d},
		}
		need := policy.Requirement{
			Level: serverTiers[level], Priority: policy.Priority(100 + 400*int(level)), Server: level,
			Disks: []policy.DiskRequirement{{Tier: level, Level: serverTiers[level]}}, NICClass: fleet.NICClass(level), Queues: fleet.Queues(2 * level),
		}
		if i%50 < 3 {
			need.SpreadGroup, need.SpreadDomain = fmt.Sprintf("g-%05d", i/50), policy.DomainHost
		}
		p.Snapshot.VMs = append(p.Snapshot.VMs, v)
		p.VMs[v.ID] = need
	}
	for i := range p.Snapshot.Pools {
		pool := &p.Snapshot.Pools[i]
		pool.Free = max(pool.Free-free[pool.ID], 0)
	}
	p.Snapshot.Sort()
	return p
}

func benchmark(b *testing.B, p *policy.Problem) {
	b.Helper()
	benchmarkWith(b, p, solver.Options{}, func() {})
}

func benchmarkWith(b *testing.B, p *policy.Problem, o solver.Options, begin func()) {
	b.Helper()
	if err := p.Snapshot.Validate(); err != nil {
		b.Fatal(err)
	}
	var pl *plan.Plan
	for b.Loop() {
		begin()
		var err error
		if pl, err = solver.Solve(p, o); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(pl.Steps)), "steps")
	b.ReportMetric(float64(pl.Summary.Cost()), "cost")
	b.ReportMetric(pl.Summary.GapPercent, "gap-percent")
	b.ReportMetric(float64(len(pl.Unplaced)), "unplaced")
	b.ReportMetric(float64(pl.Summary.BrokenBefore), "broken-before")
	b.ReportMetric(float64(pl.Summary.BrokenAfter), "broken-after")
	start := time.Now()
	if v := plan.Check(p, pl); len(v) > 0 {
		b.Fatal(v[0])
	}
	b.ReportMetric(time.Since(start).Seconds(), "check-s")
}

func BenchmarkSolve100(b *testing.B)   { benchmark(b, largeFleet(100, 2_500, 1)) }
func BenchmarkSolve1000(b *testing.B)  { benchmark(b, largeFleet(1_000, 25_000, 1)) }
func BenchmarkSolve10000(b *testing.B) { benchmark(b, largeFleet(10_000, 250_000, 1)) }

// The first legal plan: Stop speaks once all that can be mended is.
func benchmarkFirst(b *testing.B, p *policy.Problem) {
	b.Helper()
	told := 0
	benchmarkWith(b, p, solver.Options{
		Stop:     func() bool { return told > 0 },
		Progress: func(int64) { told++ },
	}, func() { told = 0 })
}

func BenchmarkFirst1000(b *testing.B)  { benchmarkFirst(b, largeFleet(1_000, 25_000, 1)) }
func BenchmarkFirst10000(b *testing.B) { benchmarkFirst(b, largeFleet(10_000, 250_000, 1)) }
