package solver_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// drawProtected is a fleet in which something has to survive the loss of hosts and chassis. In half of them all VMs are right where they
// are, so that no move may break anything.
func drawProtected(t *rapid.T) *policy.Problem {
	p := drawBusy(t)
	drawLimits(t, p)
	p.Reserve = policy.Reserve{Over: []policy.Loss{policy.LossChassis, policy.LossHost}, EvictUnprotected: rapid.IntRange(0, 4).Draw(t, "evict") == 0}
	calm := rapid.Bool().Draw(t, "calm")
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		h.Maintenance = h.Maintenance && !calm
		f := p.Hosts[h.ID]
		if f.CPU = 2 * f.CPU; calm { // just as much as it takes, and room for one or two more
			f.CPU = fleet.CPUs(rapid.IntRange(0, 6).Draw(t, "spare"))
			for _, v := range p.Snapshot.VMs {
				if v.Host == h.ID {
					f.CPU += v.CPU
				}
			}
		}
		p.Hosts[h.ID] = f
	}
	for _, v := range p.Snapshot.VMs {
		need := p.VMs[v.ID]
		need.Protect = rapid.IntRange(0, 2).Draw(t, "protect") > 0
		if calm {
			need.SpreadGroup, need.Server, need.Queues = "", min(need.Server, max(p.Hosts[v.Host].Tier-1, 0)), 0
			need.Disks[0].Tier = 0
		}
		p.VMs[v.ID] = need
	}
	return p
}

func TestProtectedPlansAreLegal(t *testing.T) {
	t.Parallel()
	steps := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProtected(t)
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("%s, in %s", v, planText(pl))
		}
		if len(pl.Unordered) > 0 {
			return // what could not be ordered may be once the rest is done
		}
		again := mustSolve(t, after(p, pl.Steps))
		for _, st := range again.Steps {
			t.Logf("first: %s\nagain: %s", planText(pl), planText(again))
			t.Errorf("solved again: moves %s from %s to %s: %s", st.Move.VM.ID, st.Move.From.Host, st.Move.To.Host, st.Reason)
		}
		steps += len(pl.Steps)
	})
	if steps == 0 {
		t.Error("no steps: nothing is tested")
	}
}

// TestFailuresAreSurvivedInEveryState tries every state of every wave of plans that mend nothing: each failure that was survived before the
// plan still is, whichever steps are done or under way. A VM that is under way may be lost with either end. Places are found by trying all.
func TestFailuresAreSurvivedInEveryState(t *testing.T) {
	t.Parallel()
	states := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProtected(t)
		pl := mustSolve(t, p)
		if pl.Summary.BrokenBefore > 0 || len(pl.Steps) == 0 {
			return // a plan may break a failure that mends a VM without a legal place
		}
		before, err := plan.Survival(p)
		if err != nil {
			t.Fatal(err)
		}
		eachWave(p, pl, func(now *policy.Problem, wave []plan.Step) {
			eachState(wave, func(at []phase) {
				for _, f := range before {
					if !f.Survived || slices.ContainsFunc(f.Unprotected, func(u plan.Unprotected) bool { return moves(pl, u.VM) }) {
						continue // a VM that nothing could help counts from when it can be helped
					}
					states++
					if r := (&rescue{p: now, wave: wave, at: at, f: f}); !r.possible() {
						t.Errorf("wave %d in the state %v: the loss of %s %s is not survived", wave[0].Wave, at, f.Loss, f.Name)
					}
				}
			})
		})
	})
	if states < 50 {
		t.Errorf("only %d states were tried", states)
	}
}

func moves(pl *plan.Plan, id fleet.VMID) bool {
	return slices.ContainsFunc(pl.Steps, func(st plan.Step) bool { return st.Move.VM.ID == id })
}

// rescue looks for places after one failure in one state of a wave.
type rescue struct {
	p    *policy.Problem
	wave []plan.Step
	at   []phase
	f    plan.Failure
	on   map[fleet.HostID][]fleet.VMID
}

func (r *rescue) lost(id fleet.HostID) bool {
	h := r.p.Snapshot.Host(id)
	return r.f.Loss == policy.LossHost && string(id) == r.f.Name || r.f.Loss == policy.LossChassis && h.Chassis == r.f.Name
}

func (r *rescue) possible() bool {
	r.on = map[fleet.HostID][]fleet.VMID{}
	var homeless []fleet.VMID
	for i := range r.p.Snapshot.VMs {
		v := &r.p.Snapshot.VMs[i]
		protected := r.p.VMs[v.ID].Protect
		hit := false
		for _, h := range ends(v, r.wave, r.at) {
			hit = hit || r.lost(h)
			if protected || !r.p.Reserve.EvictUnprotected {
				r.on[h] = append(r.on[h], v.ID)
			}
		}
		if hit && protected && r.helpable(v) {
			homeless = append(homeless, v.ID)
		}
	}
	return r.place(homeless)
}

// helpable says whether some host takes v when nothing is on it.
func (r *rescue) helpable(v *fleet.VM) bool {
	return slices.ContainsFunc(r.p.Snapshot.Hosts, func(h fleet.Host) bool { return !r.lost(h.ID) && r.carries(&h, nil, v) })
}

func (r *rescue) place(rest []fleet.VMID) bool {
	if len(rest) == 0 {
		return true
	}
	v := r.p.Snapshot.VM(rest[0])
	for i := range r.p.Snapshot.Hosts {
		h := &r.p.Snapshot.Hosts[i]
		others := slices.DeleteFunc(slices.Clone(r.on[h.ID]), func(id fleet.VMID) bool { return id == v.ID }) // it may be under way there
		if r.lost(h.ID) || !r.carries(h, others, v) {
			continue
		}
		was := r.on[h.ID]
		r.on[h.ID] = append(others, v.ID)
		ok := r.place(rest[1:])
		r.on[h.ID] = was
		if ok {
			return true
		}
	}
	return false
}

// carries says whether h, with the VMs others on it, is right for v and has room for it.
func (r *rescue) carries(h *fleet.Host, others []fleet.VMID, v *fleet.VM) bool {
	need, facts := r.p.VMs[v.ID], r.p.Hosts[h.ID]
	if h.Maintenance || facts.Tier < max(need.Server, 0) || facts.Security < need.Security {
		return false
	}
	if need.NICClass > 0 && !slices.ContainsFunc(h.NICs, func(n fleet.NIC) bool { return n.Class >= need.NICClass }) {
		return false
	}
	pools := []fleet.PoolID{v.Disks[0].Pool}
	for i, st := range r.wave {
		if st.Move.VM.ID == v.ID && r.at[i] == under {
			pools = append(pools, st.Move.To.Disks[0].Pool)
		}
		if st.Move.VM.ID == v.ID && r.at[i] == done {
			pools = []fleet.PoolID{st.Move.To.Disks[0].Pool}
		}
	}
	for _, p := range pools {
		if !slices.Contains(h.Pools, p) {
			return false
		}
	}
	cpu, memory, needs := v.CPU, v.Memory, plan.NICNeeds(v, &need)
	asks := len(needs) > 0
	for _, id := range others {
		o, n := r.p.Snapshot.VM(id), r.p.VMs[id]
		cpu, memory = cpu+o.CPU, memory+o.Memory
		needs = append(needs, plan.NICNeeds(o, &n)...)
	}
	var rooms []plan.QueueRoom
	for _, n := range h.NICs {
		rooms = append(rooms, plan.QueueRoom{Class: n.Class, Free: n.Queues, Rate: n.Guarantee})
	}
	return (v.CPU == 0 || cpu <= facts.CPU) && (v.Memory == 0 || memory <= facts.Memory) && (!asks || plan.PackQueues(rooms, needs))
}

// BenchmarkReserve solves a fleet whose gold and silver VMs are protected over hosts and chassis.
func BenchmarkReserve(b *testing.B) {
	for _, hosts := range []int{200, 1_000, 10_000} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			p := largeFleet(hosts, 25*hosts, 1)
			protectGold(p)
			var pl *plan.Plan
			for b.Loop() {
				var err error
				if pl, err = solver.Solve(p, solver.Options{Effort: -1}); err != nil {
					b.Fatal(err)
				}
			}
			r := pl.Summary.Reserve
			b.ReportMetric(float64(len(pl.Steps)), "steps")
			b.ReportMetric(float64(r.Failures), "failures")
			b.ReportMetric(float64(r.SurvivedBefore), "survived-before")
			b.ReportMetric(float64(r.SurvivedAfter), "survived-after")
		})
	}
}

func protectGold(p *policy.Problem) {
	p.Reserve.Over = []policy.Loss{policy.LossChassis, policy.LossHost}
	for id, need := range p.VMs {
		need.Protect = need.Server > 0
		p.VMs[id] = need
	}
}

// BenchmarkSurvival looks for all places of all failures of a fleet from nothing.
func BenchmarkSurvival(b *testing.B) {
	p := largeFleet(10_000, 250_000, 1)
	protectGold(p)
	for b.Loop() {
		list, err := plan.Survival(p)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(list)), "failures")
	}
}
