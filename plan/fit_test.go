package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// on changes one host of the problem's snapshot.
func on(id fleet.HostID, change func(h *fleet.Host)) func(p *policy.Problem) {
	return func(p *policy.Problem) { change(p.Snapshot.Host(id)) }
}

// rated lets vm-db need a bandwidth, and gives gold-1's two NICs one each.
func rated(need1 fleet.Mbps, nics ...fleet.Mbps) func(p *policy.Problem) {
	return func(p *policy.Problem) {
		need(p, "vm-db", func(r *policy.Requirement) { r.Rate = need1 })
		for i, g := range nics {
			p.Snapshot.Host("gold-1").NICs[i].Guarantee = g
		}
	}
}

// TestCheckFit: hypervisor, guest, processor, bandwidth and racks; what is not known refuses nothing.
func TestCheckFit(t *testing.T) {
	t.Parallel()
	kinds := func(k ...fleet.Hypervisor) func(p *policy.Problem) {
		return func(p *policy.Problem) { need(p, "vm-db", func(r *policy.Requirement) { r.Hypervisors = k }) }
	}
	guest := func(of string, hosts ...string) func(p *policy.Problem) {
		return func(p *policy.Problem) { p.Snapshot.VM("vm-db").Guest, p.Snapshot.Host("gold-1").Guests = of, hosts }
	}
	baseline := func(of string, hosts ...string) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			p.Snapshot.VM("vm-db").CPUBaseline, p.Snapshot.Host("gold-1").CPUBaselines = of, hosts
		}
	}
	both := func(a ...func(p *policy.Problem)) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			for _, f := range a {
				f(p)
			}
		}
	}
	rack := func(of string, over policy.Domain) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			p.Snapshot.Host("gold-1").Rack, p.Snapshot.Host("gold-2").Rack = of, "r1"
			spread("vm-db", "vm-log", over)(p)
		}
	}
	second := func(g fleet.Mbps) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			v := p.Snapshot.VM("vm-db")
			v.VNICs = append(v.VNICs, fleet.VNIC{ID: "n1", Network: "lan", Guarantee: g})
		}
	}
	busy := func(p *policy.Problem) {
		need(p, "vm-web", func(r *policy.Requirement) { r.NICClass, r.Rate = 2, 600 })
	}
	runStepCases(t, []stepCase{
		{name: "no hypervisor that it may run on", spoil: kinds(fleet.Xen, fleet.VSphere), want: plan.ConstraintHypervisor},
		{name: "one of its hypervisors", spoil: kinds(fleet.Xen, fleet.KVM)},
		{name: "guest not run there", spoil: guest("plan9", "linux"), want: plan.ConstraintGuest},
		{name: "guest run there", spoil: guest("plan9", "linux", "plan9")},
		{name: "guests not known", spoil: guest("plan9")},
		{name: "guest not known", spoil: guest("", "linux")},
		{name: "processor baseline lacking", spoil: baseline("skylake", "haswell"), want: plan.ConstraintCPUModel},
		{name: "processor baseline there", spoil: baseline("haswell", "haswell", "skylake")},
		{name: "processor baselines not known", spoil: baseline("haswell")},
		{name: "bandwidth", spoil: rated(1000, 1000)},
		{name: "no NIC can promise", spoil: rated(1000), want: plan.ConstraintNICRate},
		{name: "two NICs together are not one", spoil: rated(1000, 600, 600), want: plan.ConstraintNICRate},
		{name: "bandwidth promised to another", spoil: both(rated(1000, 1500), busy), want: plan.ConstraintNICRate},
		{name: "another NIC for the other", spoil: both(rated(1000, 1500, 600), busy)},
		{name: "bandwidth without the queues", spoil: both(rated(1000, 0, 1000), on("gold-1", func(h *fleet.Host) { h.NICs[1].Queues = 1 })),
			want: plan.ConstraintNICRate},
		{name: "a promised virtual NIC more", spoil: both(rated(1000, 1000, 500), second(500))},
		{name: "a promised virtual NIC too many", spoil: both(rated(1000, 1000, 499), second(500)), want: plan.ConstraintNICRate},
		{name: "one rack", spoil: rack("r1", policy.DomainRack), want: plan.ConstraintSpread},
		{name: "another rack", spoil: rack("r2", policy.DomainRack)},
		{name: "one site", spoil: both(rack("r2", policy.DomainSite), on("gold-1", func(h *fleet.Host) { h.Site = "s" }),
			on("gold-2", func(h *fleet.Host) { h.Site = "s" })), want: plan.ConstraintSpread},
		{name: "one chassis without a rack", spoil: both(rack("", policy.DomainRack), func(p *policy.Problem) {
			for _, id := range []fleet.HostID{"gold-1", "gold-2"} {
				p.Snapshot.Host(id).Chassis, p.Snapshot.Host(id).Rack = "c", ""
			}
		}), want: plan.ConstraintSpread},
	})
}

// TestCheckPoolPromises: operations and bandwidth of a pool, those of the disks already there counted.
func TestCheckPoolPromises(t *testing.T) {
	t.Parallel()
	pool := func(iops fleet.IOPS, rate fleet.MBps) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			p.Snapshot.Pool("gold-1/nvme").IOPS, p.Snapshot.Pool("gold-1/nvme").Throughput = iops, rate
			for _, id := range []fleet.VMID{"vm-db", "vm-web"} { // vm-web is there
				need(p, id, func(r *policy.Requirement) { r.Disks[0].IOPS, r.Disks[0].Throughput = 100, 10 })
			}
		}
	}
	idle := func(f func(p *policy.Problem)) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			f(p)
			need(p, "vm-db", func(r *policy.Requirement) { r.Disks[0].IOPS, r.Disks[0].Throughput = 0, 0 })
		}
	}
	runStepCases(t, []stepCase{
		{name: "not limited", spoil: pool(0, 0)},
		{name: "just enough", spoil: pool(200, 20)},
		{name: "operations", spoil: pool(199, 20), want: plan.ConstraintPoolIOPS},
		{name: "bandwidth", spoil: pool(200, 19), want: plan.ConstraintPoolThroughput},
		{name: "a disk that reserves nothing", spoil: idle(pool(50, 5))},
		{name: "a disk that stays", spoil: func(p *policy.Problem) {
			pool(1, 1)(p)
			p.Snapshot.Pool("nas").IOPS = 1
		}, pool: "nas"},
	})
}

// TestCheckPoolPromisesOfOneWave: the disks of all moves of a wave come to the pool at once.
func TestCheckPoolPromisesOfOneWave(t *testing.T) {
	t.Parallel()
	p := site()
	p.Snapshot.Pool("nas").IOPS = 150
	p.Snapshot.VM("vm-db").Disks[0].Pool = "host-a/nvme"
	for _, id := range []fleet.VMID{"vm-log", "vm-web"} {
		need(p, id, func(r *policy.Requirement) { r.Disks[0].IOPS = 100 })
	}
	steps := []plan.Step{move(p, "vm-log", "gold-2", "nas"), move(p, "vm-web", "gold-1", "nas")}
	for i := range steps {
		steps[i].N, steps[i].Wave = i+1, 1
	}
	got := plan.CheckSteps(p, steps)
	if !slices.ContainsFunc(got, func(v plan.Violation) bool {
		return v.Constraint == plan.ConstraintWave && strings.HasPrefix(v.Detail, plan.ConstraintPoolIOPS)
	}) {
		t.Errorf("%v", got)
	}
}

// TestBrokenByPromises: those that a pool or a NIC has promised more than it has count as broken, others there do not.
func TestBrokenByPromises(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(p *policy.Problem)
		want  int
	}{
		"operations": {func(p *policy.Problem) {
			p.Snapshot.Pool("gold-1/nvme").IOPS = 9
			need(p, "vm-web", func(r *policy.Requirement) { r.Disks[0].IOPS = 10 })
		}, 2},
		"bandwidth of a pool": {func(p *policy.Problem) {
			p.Snapshot.Pool("gold-1/nvme").Throughput = 9
			need(p, "vm-web", func(r *policy.Requirement) { r.Disks[0].Throughput = 10 })
		}, 2},
		"nothing reserved": {func(p *policy.Problem) { p.Snapshot.Pool("gold-1/nvme").IOPS = 9 }, 1},
		"bandwidth of a NIC": {func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Rate = 10 })
		}, 2},
		"processor": {func(p *policy.Problem) {
			p.Snapshot.VM("vm-web").CPUBaseline, p.Snapshot.Host("gold-1").CPUBaselines = "new", []string{"old"}
		}, 2},
	} {
		p := site()
		tc.spoil(p)
		if pl := seal(t, p); pl.Summary.BrokenBefore != tc.want {
			t.Errorf("%s: %d broken, expected %d with vm-db", name, pl.Summary.BrokenBefore, tc.want)
		}
	}
}
