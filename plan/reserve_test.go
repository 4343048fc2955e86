package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// guarded is site with vm-web protected over hosts, and gold-2 as its only other place.
func guarded() *policy.Problem {
	p := site()
	p.Reserve.Over = []policy.Loss{policy.LossHost}
	need(p, "vm-web", func(r *policy.Requirement) { r.Server, r.Protect = gold, true })
	p.Snapshot.VMs[2].Disks[0].Pool = "nas"
	facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(4) }) // vm-log has 2 of them
	need(p, "vm-db", func(r *policy.Requirement) { r.Server, r.Queues = bronze, 0 })
	return p
}

// TestCheckReserve has vm-db take the room that vm-web would need.
func TestCheckReserve(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(p *policy.Problem)
		want  string
	}{
		{"the last refuge is taken", nil, plan.ConstraintReserve},
		{"nobody is protected", func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Protect = false })
		}, ""},
		{"nothing is to be survived", func(p *policy.Problem) { p.Reserve.Over = nil }, ""},
		{"over chassis", func(p *policy.Problem) { p.Reserve.Over = []policy.Loss{policy.LossChassis} }, plan.ConstraintReserve},
		{"there is another refuge", func(p *policy.Problem) {
			facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = gold })
		}, ""},
		{"it was not survived before", func(p *policy.Problem) {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.Security = 0 })
			need(p, "vm-web", func(r *policy.Requirement) { r.Security = 1 })
			need(p, "vm-db", func(r *policy.Requirement) { r.Security = 0 })
		}, ""},
		{"no reserve can help: its disk is local", func(p *policy.Problem) { p.Snapshot.VMs[2].Disks[0].Pool = "gold-1/nvme" }, ""},
		{"memory", func(p *policy.Problem) {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU, f.Memory = fleet.CPUs(8), 16*fleet.GiB })
		}, plan.ConstraintReserve},
		{"queues", func(p *policy.Problem) {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(8) })
			for _, id := range []fleet.VMID{"vm-db", "vm-web"} {
				need(p, id, func(r *policy.Requirement) { r.NICClass, r.Queues = 2, 4 })
			}
		}, plan.ConstraintReserve},
		{"it mends a VM without a legal place", func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Server = gold })
		}, ""},
		{"others give way", func(p *policy.Problem) { p.Reserve.EvictUnprotected = true }, ""},
		{"protected ones do not give way", func(p *policy.Problem) {
			p.Reserve.EvictUnprotected = true
			need(p, "vm-db", func(r *policy.Requirement) { r.Protect = true })
			p.Snapshot.VMs[2].CPU = fleet.CPUs(3)
		}, plan.ConstraintReserve},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := guarded()
			if c.spoil != nil {
				c.spoil(p)
			}
			out := plan.Check(p, seal(t, p, move(p, "vm-db", "gold-2", "nas")))
			expect(t, c.want, out)
			if c.want == "" {
				return
			}
			if !strings.Contains(out[0].Detail, "gold-1 would leave vm-web without a place") {
				t.Errorf("got %v", out)
			}
		})
	}
	t.Run("while it is under way", func(t *testing.T) {
		t.Parallel()
		p := guarded()
		db, log := move(p, "vm-db", "gold-2", "nas"), move(p, "vm-log", "host-a", "nas")
		expect(t, "", plan.Check(p, waved(t, p, []int{1, 2}, log, db)))
		expect(t, plan.ConstraintReserve, plan.Check(p, waved(t, p, []int{1, 1}, log, db)))
	})
	t.Run("summary", func(t *testing.T) {
		t.Parallel()
		p := guarded()
		want := plan.ReserveSummary{Failures: 3, SurvivedBefore: 3, SurvivedAfter: 2}
		if got := seal(t, p, move(p, "vm-db", "gold-2", "nas")).Summary.Reserve; got != want {
			t.Errorf("got %+v, expected %+v", got, want)
		}
		p.Snapshot.VMs[2].Disks[0].Pool = "gold-1/nvme"
		list, err := plan.Survival(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(list[0].Unprotected); got != "[{vm-web not protected: its disk vda is on gold-1/nvme, which no other host reaches}]" {
			t.Errorf("got %s", got)
		}
	})
}

func TestReserveOverModules(t *testing.T) {
	t.Parallel()
	module := func() *policy.Problem {
		p := guarded()
		p.Reserve.Over = []policy.Loss{policy.LossModule}
		m := fleet.IOModule{ID: "io-7", Source: "kvm", Ref: "io-7", Kind: fleet.ModuleNIC, AttachableTo: []fleet.HostID{"gold-1"}, Host: "gold-1"}
		h := &p.Snapshot.Hosts[0]
		h.NICs[0].Module = "io-7"
		m.NICs = []fleet.NIC{h.NICs[0]}
		p.Snapshot.Modules = []fleet.IOModule{m}
		need(p, "vm-web", func(r *policy.Requirement) { r.NICClass, r.Queues = 2, 4 }) // eth1 has 3
		return p
	}
	p := module()
	expect(t, plan.ConstraintReserve, plan.Check(p, seal(t, p, move(p, "vm-db", "gold-2", "nas"))))
	p = module()
	need(p, "vm-web", func(r *policy.Requirement) { r.Queues = 3 }) // eth1 will do
	expect(t, "", plan.Check(p, seal(t, p, move(p, "vm-db", "gold-2", "nas"))))
}

// drawGuarded is a small fleet of hosts that are alike but for their size, with VMs that are protected or not.
func drawGuarded(t *rapid.T) *policy.Problem {
	p := site()
	s := p.Snapshot
	s.Hosts, s.VMs, p.VMs, p.Hosts = nil, nil, map[fleet.VMID]policy.Requirement{}, map[fleet.HostID]policy.HostFacts{}
	for i := range rapid.IntRange(2, 5).Draw(t, "hosts") {
		h := fleet.Host{
			ID: fleet.HostID(fmt.Sprintf("host-%c", 'a'+i)), Source: "kvm", Pools: []fleet.PoolID{"nas"}, Hypervisor: fleet.KVM,
			Chassis: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "chassis"), CPU: fleet.CPUs(rapid.IntRange(2, 8).Draw(t, "cpu")),
			Memory: 64 * fleet.GiB, NICs: []fleet.NIC{{ID: "eth0", Class: 2, Queues: 4}},
		}
		s.Hosts = append(s.Hosts, h)
		p.Hosts[h.ID] = policy.HostFacts{Tier: policy.Rank(rapid.IntRange(0, 1).Draw(t, "tier")), CPU: h.CPU, Memory: h.Memory}
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "vms") {
		id := fleet.VMID(fmt.Sprintf("vm-%d", i))
		s.VMs = append(s.VMs, fleet.VM{
			ID: id, Source: "kvm", Host: rapid.SampledFrom(s.Hosts).Draw(t, "on").ID, Power: fleet.Running, CPU: fleet.CPUs(rapid.IntRange(0, 3).Draw(t, "vm cpu")),
			Memory: 4 * fleet.GiB, Disks: []fleet.Disk{{ID: "vda", Pool: "nas", Path: "x", Size: fleet.GiB}},
		})
		p.VMs[id] = policy.Requirement{
			Level: "l", Protect: rapid.IntRange(0, 2).Draw(t, "protect") > 0, Server: policy.Rank(rapid.IntRange(0, 3).Draw(t, "server") / 3),
			NICClass: 1, Queues: fleet.Queues(rapid.IntRange(0, 5).Draw(t, "queues") / 2), Disks: []policy.DiskRequirement{{}},
		}
	}
	p.Reserve = policy.Reserve{Over: []policy.Loss{policy.LossChassis, policy.LossHost}, EvictUnprotected: rapid.IntRange(0, 3).Draw(t, "evict") == 0}
	s.Sort()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReserveKeepsItsBooks enters and leaves VMs at random and counts everything anew after each.
func TestReserveKeepsItsBooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawGuarded(t)
		r, err := plan.NewReserve(p)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			return
		}
		for range rapid.IntRange(0, 20).Draw(t, "moves") {
			v := rapid.IntRange(0, len(p.Snapshot.VMs)-1).Draw(t, "vm")
			h := rapid.IntRange(0, len(p.Snapshot.Hosts)-1).Draw(t, "host")
			lives := r.Lives()
			breaks := r.Breaks([]int{v}, h)
			if err := r.Audit(); err != nil || !slices.Equal(lives, r.Lives()) {
				t.Fatalf("asked whether vm %d breaks anything on host %d: %v, survived %v, before %v", v, h, err, r.Lives(), lives)
			}
			from := r.Host(p.Snapshot.VMs[v].Host)
			at := p.Snapshot.VMs[v].Place()
			r.Mark()
			r.Enter(v, h, at)
			if broke := r.Broke(); breaks != broke {
				t.Fatalf("vm %d on host %d: foretold %v, it broke: %v", v, h, breaks, broke)
			}
			if err := r.Audit(); err != nil {
				t.Fatalf("vm %d entered host %d: %v", v, h, err)
			}
			back := rapid.Bool().Draw(t, "back")
			switch {
			case h == from:
			case back:
				r.Leave(v, h, at)
				if r.Revive(); !slices.Equal(lives, r.Lives()) {
					t.Fatalf("taken back: survived %v, before %v", r.Lives(), lives)
				}
			default:
				r.Leave(v, from, at)
				p.Snapshot.VMs[v].Host = p.Snapshot.Hosts[h].ID
			}
			if err := r.Audit(); err != nil {
				t.Fatalf("vm %d left: %v", v, err)
			}
		}
	})
}

// TestSurvivalIsTrue places the VMs of each lost host by trying everything: what is said to be survived is, and where nothing can be
// placed it is not said.
func TestSurvivalIsTrue(t *testing.T) {
	t.Parallel()
	said, could := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawGuarded(t)
		list, err := plan.Survival(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			can := survivable(p, f)
			if f.Survived && !can {
				t.Errorf("%s %s is said to be survived", f.Loss, f.Name)
			}
			if can {
				could++
			}
			if f.Survived {
				said++
			}
		}
	})
	if said*20 < could*19 {
		t.Errorf("%d of %d failures that can be survived are found to be", said, could)
	}
}

// survivable tries every host for every VM that f takes the place of, those apart that no host takes at all.
func survivable(p *policy.Problem, f plan.Failure) bool {
	lost := func(h *fleet.Host) bool {
		return f.Loss == policy.LossHost && string(h.ID) == f.Name || f.Loss == policy.LossChassis && h.Chassis == f.Name
	}
	stuck := map[fleet.VMID]bool{}
	for _, u := range f.Unprotected {
		stuck[u.VM] = true
	}
	on := map[fleet.HostID][]fleet.VMID{}
	var homeless []fleet.VMID
	for _, v := range p.Snapshot.VMs {
		switch need := p.VMs[v.ID]; {
		case !lost(p.Snapshot.Host(v.Host)):
			if need.Protect || !p.Reserve.EvictUnprotected {
				on[v.Host] = append(on[v.Host], v.ID)
			}
		case need.Protect && !stuck[v.ID]:
			homeless = append(homeless, v.ID)
		}
	}
	var try func(rest []fleet.VMID) bool
	try = func(rest []fleet.VMID) bool {
		if len(rest) == 0 {
			return true
		}
		for i := range p.Snapshot.Hosts {
			h := &p.Snapshot.Hosts[i]
			if lost(h) || !carries(p, h, on[h.ID], rest[0]) {
				continue
			}
			on[h.ID] = append(on[h.ID], rest[0])
			ok := try(rest[1:])
			on[h.ID] = on[h.ID][:len(on[h.ID])-1]
			if ok {
				return true
			}
		}
		return false
	}
	return try(homeless)
}

// carries says whether h, with the VMs on it, has room for another and is right for it.
func carries(p *policy.Problem, h *fleet.Host, on []fleet.VMID, id fleet.VMID) bool {
	need, facts := p.VMs[id], p.Hosts[h.ID]
	var cpu fleet.MilliCPU
	var needs []plan.QueueNeed
	for _, v := range append(slices.Clone(on), id) {
		r := p.VMs[v]
		cpu += p.Snapshot.VM(v).CPU
		needs = append(needs, plan.NICNeeds(p.Snapshot.VM(v), &r)...)
	}
	v := p.Snapshot.VM(id)
	packs := plan.PackQueues([]plan.QueueRoom{{Class: 2, Free: 4}}, needs)
	return facts.Tier >= need.Server && (v.CPU == 0 || cpu <= facts.CPU) && (packs || len(plan.NICNeeds(v, &need)) == 0)
}
