package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// waved numbers the waves of the steps of a plan and seals it.
func waved(t *testing.T, p *policy.Problem, waves []int, steps ...plan.Step) *plan.Plan {
	t.Helper()
	pl := seal(t, p, steps...)
	for i := range pl.Steps {
		pl.Steps[i].Wave = waves[i]
	}
	if err := pl.Seal(); err != nil {
		t.Fatal(err)
	}
	return pl
}

// TestCheckWaves has vm-web make room for vm-db: legal one after the other, and not at once. Each case lacks one thing.
func TestCheckWaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(p *policy.Problem)
		want  string // in the detail
	}{
		{"cpu", func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) }) }, "cpu"},
		{"memory", func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.Memory = 15 * fleet.GiB }) }, "memory"},
		{"queues", func(p *policy.Problem) {
			p.Snapshot.Hosts[0].NICs = p.Snapshot.Hosts[0].NICs[:1]
			need(p, "vm-web", func(r *policy.Requirement) { r.NICClass, r.Queues = 2, 3 })
		}, "nic-queues"},
		{"pool", func(p *policy.Problem) { p.Snapshot.Pools[0].Free = 14 * fleet.GiB }, "pool-space"},
		{"operations", func(p *policy.Problem) {
			p.Snapshot.Pools[0].IOPS = 100
			for _, id := range []fleet.VMID{"vm-web", "vm-db"} {
				need(p, id, func(r *policy.Requirement) { r.Disks[0].IOPS = 60 })
			}
		}, "pool-iops"},
		{"spread", spread("vm-db", "vm-web", policy.DomainHost), "spread"},
		{"limit of a host", func(p *policy.Problem) { p.Moves.PerHost = 1 }, "on host gold-1, the limit is 1"},
		{"limit of a pool", func(p *policy.Problem) { p.Moves.PerPool = 1 }, "on pool gold-1/nvme, the limit is 1"},
		{"limit of a wave", func(p *policy.Problem) { p.Moves.PerWave = 1 }, "in all, the limit is 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := site()
			c.spoil(p)
			web, db := move(p, "vm-web", "gold-2", "gold-2/nvme"), move(p, "vm-db", "gold-1", "gold-1/nvme")
			expect(t, "", plan.Check(p, waved(t, p, []int{1, 2}, web, db)))
			out := plan.Check(p, waved(t, p, []int{1, 1}, web, db))
			expect(t, plan.ConstraintWave, out)
			if len(out) > 0 && !strings.Contains(out[0].Detail, c.want) {
				t.Errorf("got %v, expected %q", out, c.want)
			}
		})
	}
	t.Run("nothing in the way", func(t *testing.T) {
		t.Parallel()
		p := site()
		web, db := move(p, "vm-web", "gold-2", "gold-2/nvme"), move(p, "vm-db", "gold-1", "gold-1/nvme")
		expect(t, "", plan.Check(p, waved(t, p, []int{1, 1}, web, db)))
	})
	t.Run("limit of a link", func(t *testing.T) {
		t.Parallel()
		p := site()
		p.Moves.PerLink = 1
		two := p.Snapshot.VMs[2]
		two.ID = "vm-x"
		p.Snapshot.VMs = append(p.Snapshot.VMs, two)
		p.VMs["vm-x"] = p.VMs["vm-web"]
		web, x := move(p, "vm-web", "gold-2", "gold-2/nvme"), move(p, "vm-x", "gold-2", "gold-2/nvme")
		expect(t, "", plan.Check(p, waved(t, p, []int{1, 2}, web, x)))
		expect(t, plan.ConstraintWave, plan.Check(p, waved(t, p, []int{1, 1}, web, x)))
	})
}

func TestCheckNumbersOfWaves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		waves []int
		want  string
	}{
		"one after the other": {[]int{1, 2}, ""},
		"from nought":         {[]int{0, 1}, plan.ConstraintWave},
		"from two":            {[]int{2, 3}, plan.ConstraintWave},
		"a gap":               {[]int{1, 3}, plan.ConstraintWave},
		"back":                {[]int{1, 0}, plan.ConstraintWave},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := site()
			expect(t, c.want, plan.Check(p, waved(t, p, c.waves, move(p, "vm-web", "gold-2", "gold-2/nvme"), move(p, "vm-db", "gold-1", "gold-1/nvme"))))
		})
	}
	t.Run("one VM twice", func(t *testing.T) {
		t.Parallel()
		p := site()
		second := onward(p, move(p, "vm-db", "gold-2", "gold-2/nvme"), "gold-1", "gold-1/nvme")
		expect(t, "", plan.Check(p, waved(t, p, []int{1, 2}, move(p, "vm-db", "gold-1", "gold-1/nvme"), second)))
		expect(t, plan.ConstraintWave, plan.Check(p, waved(t, p, []int{1, 1}, move(p, "vm-db", "gold-1", "gold-1/nvme"), second)))
	})
	t.Run("what remains may begin anywhere", func(t *testing.T) {
		t.Parallel()
		p := site()
		st := move(p, "vm-db", "gold-1", "gold-1/nvme")
		st.N, st.Wave = 7, 4
		expect(t, "", plan.CheckSteps(p, []plan.Step{st}))
	})
}

// onward is st from another place, where the VM has come by an earlier step.
func onward(p *policy.Problem, st plan.Step, host fleet.HostID, pool fleet.PoolID) plan.Step {
	m := &st.Move
	m.From = m.From.Clone()
	m.From.Host, m.From.Disks[0].Pool = host, pool
	m.FromHost = *p.Snapshot.Host(host)
	m.Pools = []fleet.Pool{*p.Snapshot.Pool(pool), *p.Snapshot.Pool(m.To.Disks[0].Pool)}
	m.VM.Host, m.VM.Disks = host, slices.Clone(m.VM.Disks)
	m.VM.Disks[0].Pool, m.VM.Disks[0].Path = pool, "" // only the hypervisor knows it by then
	return st
}
