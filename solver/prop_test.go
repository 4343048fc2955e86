package solver_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

func mustSolve(t interface{ Fatal(...any) }, p *policy.Problem) *plan.Plan {
	pl, err := solver.Solve(p, solver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

// after is the problem as it is once pl has been applied, made without the code of plan or solver.
func after(p *policy.Problem, steps []plan.Step) *policy.Problem {
	c := *p
	s := *p.Snapshot
	s.VMs, s.Pools = slices.Clone(s.VMs), slices.Clone(s.Pools)
	s.Hosts, s.Modules = slices.Clone(s.Hosts), slices.Clone(s.Modules)
	for i := range s.VMs {
		s.VMs[i].Disks = slices.Clone(s.VMs[i].Disks)
	}
	for _, st := range steps {
		if st.Attach != nil {
			afterModule(&s, st.Attach)
			continue
		}
		v := s.VM(st.Move.VM.ID)
		v.Host = st.Move.To.Host
		for i, d := range st.Move.To.Disks {
			disk := &v.Disks[i]
			if disk.Pool == d.Pool {
				continue
			}
			s.Pool(d.Pool).Free -= disk.Used
			if from := s.Pool(disk.Pool); len(disk.Chain) == 0 {
				from.Free = min(from.Free+disk.Used, from.Capacity)
			}
			disk.Pool, disk.Chain = d.Pool, nil
		}
	}
	c.Snapshot = &s
	return &c
}

func TestCheckAcceptsEveryPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Error(v)
		}
		if b := pl.Summary; b.BrokenAfter > b.BrokenBefore {
			t.Errorf("%d VMs broken after, %d before", b.BrokenAfter, b.BrokenBefore)
		}
		if err := after(p, pl.Steps).Snapshot.Validate(); err != nil {
			t.Error(err)
		}
	})
}

func TestSolvingAgainMovesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		again := mustSolve(t, after(p, pl.Steps))
		for _, st := range again.Steps {
			if st.Attach != nil {
				t.Errorf("moves module %s to %s: %s", st.Attach.Module.ID, st.Attach.To, st.Reason)
				continue
			}
			t.Errorf("moves %s from %v to %v: %s", st.Move.VM.ID, st.Move.From, st.Move.To, st.Reason)
		}
		if len(again.Unplaced) != len(pl.Unplaced) {
			t.Errorf("%d unplaced, %d when solved again", len(pl.Unplaced), len(again.Unplaced))
		}
	})
}

func TestPermutedInputGivesTheSamePlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		q := *p
		s := *p.Snapshot
		s.Hosts, s.Pools, s.VMs = slices.Clone(s.Hosts), slices.Clone(s.Pools), slices.Clone(s.VMs)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		rnd.Shuffle(len(s.Hosts), func(i, j int) { s.Hosts[i], s.Hosts[j] = s.Hosts[j], s.Hosts[i] })
		rnd.Shuffle(len(s.Pools), func(i, j int) { s.Pools[i], s.Pools[j] = s.Pools[j], s.Pools[i] })
		rnd.Shuffle(len(s.VMs), func(i, j int) { s.VMs[i], s.VMs[j] = s.VMs[j], s.VMs[i] })
		s.Modules = slices.Clone(s.Modules)
		rnd.Shuffle(len(s.Modules), func(i, j int) { s.Modules[i], s.Modules[j] = s.Modules[j], s.Modules[i] })
		s.Sort()
		q.Snapshot = &s
		a, b := encoded(t, p), encoded(t, &q)
		if !bytes.Equal(a, b) {
			t.Errorf("plans differ:\n%s\n%s", a, b)
		}
	})
}

func encoded(t *rapid.T, p *policy.Problem) []byte {
	f := plan.File{Plan: *mustSolve(t, p), Snapshot: *p.Snapshot}
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.DecodeFile("plan.json", b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("decoded and encoded again: %v, differs:\n%s\n%s", err, b, again)
	}
	return b
}

// TestUnplacedHasNoPlace tries every host and every choice of pools for what the plan could not place, by
// appending a step to the plan that Check would have to accept.
func TestUnplacedHasNoPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		end := after(p, pl.Steps)
		for _, u := range pl.Unplaced {
			n := 0
			for _, r := range u.Refused {
				n += r.Count
			}
			if n != len(p.Snapshot.Hosts) {
				t.Errorf("%s: %d of %d hosts refused: %v", u.VM, n, len(p.Snapshot.Hosts), u.Refused)
			}
			if p.VMs[u.VM].AffinityGroup != "" {
				continue // its group moves as one
			}
			if st := anyPlace(end, u.VM); st != nil {
				t.Errorf("%s (%s) could go to %v", u.VM, u.Reason, st.Move.To)
			}
			if m, st := anyModule(end, u.VM); st != nil && !strings.Contains(u.Reason, "has promised") {
				t.Errorf("%s (%s) could go to %v with module %s on %s", u.VM, u.Reason, st.Move.To, m.Module.ID, m.To)
			}
		}
	})
}

// anyModule is a place for the VM that one move of a module makes, found by trying all.
func anyModule(p *policy.Problem, id fleet.VMID) (*fleet.Attachment, *plan.Step) {
	for i := range p.Snapshot.Modules {
		m := &p.Snapshot.Modules[i]
		for _, h := range m.AttachableTo {
			st := moduleStep(p, m, h)
			if len(plan.CheckSteps(p, []plan.Step{st})) > 0 {
				continue
			}
			if place := anyPlace(after(p, []plan.Step{st}), id); place != nil {
				return st.Attach, place
			}
		}
	}
	return nil, nil
}

// anyPlace is a step that mends all that is wrong with the VM, found by trying all.
func anyPlace(p *policy.Problem, id fleet.VMID) *plan.Step {
	v := p.Snapshot.VM(id)
	need := p.VMs[id]
	for _, h := range p.Snapshot.Hosts {
		for _, disks := range choices(p, v, &h, nil) {
			st := step(p, v, fleet.Placement{Host: h.ID, Disks: disks})
			if st == nil || len(plan.CheckSteps(p, []plan.Step{*st})) > 0 {
				continue
			}
			if moved := after(p, []plan.Step{*st}); brokenVM(moved, v.ID, need) {
				continue
			}
			return st
		}
	}
	return nil
}

func choices(p *policy.Problem, v *fleet.VM, h *fleet.Host, chosen []fleet.DiskPlace) [][]fleet.DiskPlace {
	if len(chosen) == len(v.Disks) {
		return [][]fleet.DiskPlace{slices.Clone(chosen)}
	}
	var out [][]fleet.DiskPlace
	for _, pool := range h.Pools {
		out = append(out, choices(p, v, h, append(chosen, fleet.DiskPlace{Disk: v.Disks[len(chosen)].ID, Pool: pool}))...)
	}
	return out
}

func step(p *policy.Problem, v *fleet.VM, to fleet.Placement) *plan.Step {
	if to.Equal(v.Place()) {
		return nil
	}
	st := &plan.Step{N: 1, Level: p.VMs[v.ID].Level, Reason: "test"}
	st.Move = fleet.Relocation{VM: *v, From: v.Place(), To: to, FromHost: *p.Snapshot.Host(v.Host), ToHost: *p.Snapshot.Host(to.Host)}
	for i, d := range to.Disks {
		st.Move.Pools = append(st.Move.Pools, *p.Snapshot.Pool(d.Pool), *p.Snapshot.Pool(v.Disks[i].Pool))
		if d.Pool != v.Disks[i].Pool {
			st.Bytes += v.Disks[i].Used
		}
	}
	for _, m := range []fleet.Mode{fleet.Live, fleet.Offline} {
		st.Move.Mode, st.Risks = m, nil
		if m == fleet.Offline && v.Power == fleet.Running {
			st.Risks = []plan.Risk{plan.RiskDowntime}
		}
		if !slices.ContainsFunc(plan.CheckSteps(p, []plan.Step{*st}), func(v plan.Violation) bool { return v.Constraint == plan.ConstraintMode }) {
			return st
		}
	}
	return nil
}

// brokenVM says whether anything is wrong with the VM where it is, in the words of the policy alone.
func brokenVM(p *policy.Problem, id fleet.VMID, need policy.Requirement) bool {
	v := p.Snapshot.VM(id)
	h, facts := p.Snapshot.Host(v.Host), p.Hosts[v.Host]
	if facts.Tier < need.Server || facts.Security < need.Security || h.Maintenance || h.Unreachable || brokenFit(p, v, h) {
		return true
	}
	if need.NICClass > 0 && !slices.ContainsFunc(h.NICs, func(n fleet.NIC) bool { return n.Class >= need.NICClass }) {
		return true
	}
	for _, n := range v.VNICs {
		if n.Network != "" && len(h.Networks) > 0 && !slices.Contains(h.Networks, n.Network) {
			return true
		}
	}
	for i, d := range v.Disks {
		if p.Pools[d.Pool].Tier < need.Disks[i].Tier {
			return true
		}
	}
	var cpu fleet.MilliCPU
	var memory fleet.Bytes
	var queues []plan.QueueNeed
	for _, o := range p.Snapshot.VMs {
		if o.Host == v.Host {
			cpu += o.CPU
			memory += o.Memory
			n := p.VMs[o.ID]
			queues = append(queues, plan.NICNeeds(&o, &n)...)
		}
		if g := need.SpreadGroup; g != "" && o.ID != id && p.VMs[o.ID].SpreadGroup == g {
			oh := p.Snapshot.Host(o.Host)
			for _, k := range []policy.Domain{need.SpreadDomain, p.VMs[o.ID].SpreadDomain} {
				if plan.DomainOf(k, h) == plan.DomainOf(k, oh) {
					return true
				}
			}
		}
	}
	var rooms []plan.QueueRoom
	for _, n := range h.NICs {
		rooms = append(rooms, plan.QueueRoom{Class: n.Class, Free: n.Queues, Rate: n.Guarantee})
	}
	return cpu > facts.CPU || memory > facts.Memory || !plan.PackQueues(rooms, queues)
}

// TestNoOneGivesWayToALowerPriority holds every step against the state it runs in: a VM that moves for
// another's sake moves for one of at least its own priority.
func TestNoOneGivesWayToALowerPriority(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		for _, st := range pl.Steps {
			var forVM string
			var prio int
			if _, err := fmt.Sscanf(st.Reason, "makes room for %s", &forVM); err != nil {
				continue
			}
			i := bytes.Index([]byte(st.Reason), []byte("priority "))
			if _, err := fmt.Sscanf(st.Reason[i:], "priority %d", &prio); err != nil {
				t.Fatal(err)
			}
			if g := p.VMs[st.Move.VM.ID]; int(g.Priority) > prio {
				t.Errorf("step %d: %s has priority %d: %s", st.N, st.Move.VM.ID, g.Priority, st.Reason)
			}
		}
	})
}
