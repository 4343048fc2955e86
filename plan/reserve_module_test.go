package plan_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// refuged is wired with vm-web protected on gold-1: its only other place is gold-2, and that because of io-1.
func refuged() *policy.Problem {
	p := wired()
	p.Reserve.Over = []policy.Loss{policy.LossHost}
	p.Snapshot.VM("vm-web").Disks[0].Pool = "nas"
	h := p.Snapshot.Host("gold-1")
	h.NICs = append(slices.Clone(h.NICs), fleet.NIC{ID: "eth9", Class: 3, Queues: 8, Guarantee: 100})
	need(p, "vm-web", func(r *policy.Requirement) { r.Server, r.NICClass, r.Protect = gold, 3, true })
	return p
}

// TestCheckReserveOfModules: taking away the module that a protected VM would need after a failure is a fault, and only then.
func TestCheckReserveOfModules(t *testing.T) {
	t.Parallel()
	p := refuged()
	taken := attach(p, "io-1", "host-a")
	out := plan.Check(p, seal(t, p, taken))
	expect(t, plan.ConstraintReserve, out)
	if len(out) > 0 && !strings.Contains(out[0].Detail, "the loss of host gold-1 would leave vm-web without a place") {
		t.Errorf("got %v", out)
	}
	if got := plan.ReserveFaults(p, seal(t, p, taken).Steps); !slices.Equal(got, []int{0}) {
		t.Errorf("got faults %v", got)
	}
	p = refuged()
	facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = gold }) // the refuge moves along
	expect(t, "", plan.Check(p, seal(t, p, attach(p, "io-1", "host-a"))))
	p = refuged()
	need(p, "vm-web", func(r *policy.Requirement) { r.NICClass = 2 })
	expect(t, "", plan.Check(p, seal(t, p, attach(p, "io-1", "host-a"))))
	p = refuged()
	need(p, "vm-web", func(r *policy.Requirement) { r.Protect = false })
	expect(t, "", plan.Check(p, seal(t, p, attach(p, "io-1", "host-a"))))

	// Whoever the module helps depends on it from then on, and was no better off before.
	p = refuged()
	p.Reserve.Over = []policy.Loss{policy.LossModule}
	need(p, "vm-web", func(r *policy.Requirement) { r.NICClass, r.Queues = 2, 8 })
	p.Snapshot.Host("gold-1").NICs = p.Snapshot.Host("gold-1").NICs[:2]
	expect(t, "", plan.Check(p, seal(t, p, attach(p, "io-1", "gold-1"))))

	// A place that the module makes counts for the steps behind it.
	p = refuged()
	facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = gold })
	need(p, "vm-db", func(r *policy.Requirement) { r.Server, r.Security, r.Queues = bronze, 0, 0 })
	facts(p, "host-a", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) }) // vm-db has 2 of them
	expect(t, plan.ConstraintReserve, plan.Check(p, seal(t, p, attach(p, "io-1", "host-a"))))
	expect(t, "", plan.Check(p, seal(t, p, move(p, "vm-db", "gold-2", "nas"), attach(p, "io-1", "host-a"))))
}

// TestReserveAttachesAndTakesBack moves modules and VMs at random, with everything counted anew after each, and takes all of it back.
func TestReserveAttachesAndTakesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawGuarded(t)
		p.Reserve.Over = append(p.Reserve.Over, policy.LossModule)
		drawModules(t, p)
		r, err := plan.NewReserve(p)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			return
		}
		lives := r.Lives()
		var backs []func()
		for range rapid.IntRange(1, 8).Draw(t, "moves") {
			m := rapid.SampledFrom(p.Snapshot.Modules).Draw(t, "module")
			to := rapid.SampledFrom(p.Snapshot.Hosts).Draw(t, "host").ID
			if r.On(m.ID) == to {
				continue
			}
			backs = append(backs, r.Attach(p.Snapshot.Module(m.ID), to))
			if err := r.Audit(); err != nil {
				t.Fatalf("module %s to %s: %v", m.ID, to, err)
			}
			r.Breaks([]int{rapid.IntRange(0, len(p.Snapshot.VMs)-1).Draw(t, "vm")}, rapid.IntRange(0, len(p.Snapshot.Hosts)-1).Draw(t, "for"))
		}
		for _, back := range slices.Backward(backs) {
			back()
			if err := r.Audit(); err != nil {
				t.Fatalf("taken back: %v", err)
			}
		}
		r.Revive()
		if !slices.Equal(lives, r.Lives()) {
			t.Errorf("taken back: survived %v, before %v", r.Lives(), lives)
		}
	})
}

// drawModules gives the fleet modules, each on a host or nowhere.
func drawModules(t *rapid.T, p *policy.Problem) {
	s := p.Snapshot
	s.Sources[0].Capabilities.AttachModules = true
	s.Pools = append(s.Pools, fleet.Pool{ID: "san", Source: "kvm", Ref: "/san", Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB})
	p.Pools["san"] = policy.PoolFacts{}
	var hosts []fleet.HostID
	for _, h := range s.Hosts {
		hosts = append(hosts, h.ID)
	}
	for _, id := range []fleet.ModuleID{"io-1", "io-2"} {
		m := fleet.IOModule{ID: id, Source: "kvm", Kind: fleet.ModuleNIC, AttachableTo: hosts,
			NICs: []fleet.NIC{{ID: fleet.NICID(id), Class: 2, Queues: fleet.Queues(rapid.IntRange(1, 6).Draw(t, "module's queues"))}}}
		if rapid.Bool().Draw(t, "pool") {
			m.Kind, m.Pools = fleet.ModuleHBA, []fleet.PoolID{"san"}
		}
		if rapid.Bool().Draw(t, "attached") {
			m.Host = rapid.SampledFrom(hosts).Draw(t, "attached to")
			h := s.Host(m.Host)
			h.NICs, h.Pools = m.With(h)
		}
		s.Modules = append(s.Modules, m)
	}
	for i := range s.VMs {
		if rapid.IntRange(0, 3).Draw(t, "on the san") == 0 {
			s.VMs[i].Disks[0].Pool = "san"
		}
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
}
