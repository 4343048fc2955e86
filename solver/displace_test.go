package solver_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// drawGiving is a small fleet in which most VMs give way.
func drawGiving(t *rapid.T) *policy.Problem {
	var p *policy.Problem
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		p = drawProblem(t)
	case 1:
		p = drawBusy(t)
	case 2:
		p = drawProtected(t)
	default:
		p = drawFull(t)
	}
	for _, v := range p.Snapshot.VMs {
		need := p.VMs[v.ID]
		need.GiveWay = rapid.IntRange(0, 4).Draw(t, "gives") < 4
		p.VMs[v.ID] = need
	}
	return p
}

// drawFull is a fleet in which all but a few VMs are right where they are, and hosts of the upper tiers are full of them.
func drawFull(t *rapid.T) *policy.Problem {
	p := emptyProblem()
	shared := drawPool(t, p, "nas", "kvm")
	p.Pools[shared] = policy.PoolFacts{Tier: 2}
	for i := range rapid.IntRange(2, 5).Draw(t, "hosts") {
		h := fleet.Host{ID: fleet.HostID("host-" + string(rune('a'+i))), Source: "kvm", Hypervisor: fleet.KVM, Pools: []fleet.PoolID{shared}}
		if rapid.Bool().Draw(t, "local") {
			h.Pools = append(h.Pools, drawPool(t, p, fleet.PoolID(h.ID)+"/p", "kvm"))
		}
		f := policy.HostFacts{Tier: policy.Rank(max(rapid.IntRange(0, 2).Draw(t, "tier"), 2-2*i)), CPU: fleet.CPUs(rapid.IntRange(0, 3).Draw(t, "spare")), Memory: 64 * fleet.GiB}
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, h)
		p.Hosts[h.ID] = f
	}
	for i := range rapid.IntRange(2, 9).Draw(t, "vms") {
		drawVM(t, p, i)
		v := &p.Snapshot.VMs[i]
		v.Pinned, v.Power, v.Blocked, v.VNICs = "", fleet.Running, nil, nil
		need, f := p.VMs[v.ID], p.Hosts[v.Host]
		f.CPU += v.CPU
		p.Hosts[v.Host] = f
		need.NICClass, need.Queues, need.Security = 0, 0, 0
		if rapid.IntRange(0, 3).Draw(t, "wants") == 3 {
			need.Server, need.Priority = 2, max(need.Priority, 500)
		} else {
			need.Server = f.Tier
			for j := range need.Disks {
				need.Disks[j].Tier = max(min(need.Disks[j].Tier, p.Pools[v.Disks[j].Pool].Tier), 0)
			}
		}
		p.VMs[v.ID] = need
	}
	drawContest(t, p)
	p.Snapshot.Sort()
	return p
}

// drawContest adds a VM that needs the first host, which is gold, and one of lower priority that fills it.
func drawContest(t *rapid.T, p *policy.Problem) {
	cpu := fleet.CPUs(rapid.IntRange(1, 4).Draw(t, "contest"))
	for id, at := range map[fleet.VMID]int{"vm-wants": 1, "vm-has": 0} {
		h := &p.Snapshot.Hosts[at]
		p.Snapshot.VMs = append(p.Snapshot.VMs, fleet.VM{ID: id, Source: "kvm", Host: h.ID, Ref: "r", CPU: cpu, Memory: fleet.GiB, Power: fleet.Running})
		p.VMs[id] = policy.Requirement{Level: "l", Priority: policy.Priority(900 - 500*(1-at)), Server: 2}
		f := p.Hosts[h.ID]
		f.CPU += cpu
		p.Hosts[h.ID] = f
	}
}

// displaced lists the VMs that a plan displaces, each once.
func displaced(pl *plan.Plan) []fleet.VMID {
	var out []fleet.VMID
	for _, st := range pl.Steps {
		if id := st.Move.VM.ID; slices.Contains(st.Risks, plan.RiskDisplaced) && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

func TestDisplacingPlansAreLegal(t *testing.T) {
	t.Parallel()
	plans := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawGiving(t)
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("%s, in\n%s", v, planText(pl))
		}
		if len(displaced(pl)) > 0 {
			plans++
		}
		if len(pl.Unordered) > 0 {
			return // what could not be ordered may be once the rest is done
		}
		again := mustSolve(t, after(p, pl.Steps))
		if len(again.Steps) > 0 || len(again.Unplaced) != len(pl.Unplaced) {
			t.Errorf("solved again:\n%s\nafter\n%s", planText(again), planText(pl))
		}
	})
	t.Logf("%d plans displace VMs", plans)
	if plans == 0 {
		t.Error("nobody was displaced: nothing is tested")
	}
}

// TestDisplacedGiveWayUpwardsOnly judges by the reasons and the policy alone: for whom a VM is displaced has a strictly higher priority,
// was wrong before and is not after, and the displaced one gives way, is still of its security class, and is told of.
func TestDisplacedGiveWayUpwardsOnly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawGiving(t)
		for id, need := range p.VMs { // a group counts by its highest
			need.AffinityGroup = ""
			p.VMs[id] = need
		}
		pl := mustSolve(t, p)
		end := after(p, pl.Steps)
		for _, st := range pl.Steps {
			if !slices.Contains(st.Risks, plan.RiskDisplaced) {
				continue
			}
			d, w := p.VMs[st.Move.VM.ID], p.VMs[st.GivesWayTo]
			if d.Priority >= w.Priority || !d.GiveWay {
				t.Errorf("%s of priority %d (gives way: %t) gives way to %s of priority %d", st.Move.VM.ID, d.Priority, d.GiveWay, st.GivesWayTo, w.Priority)
			}
			if p.Hosts[st.Move.To.Host].Security < d.Security {
				t.Errorf("%s goes below its security class", st.Move.VM.ID)
			}
			if brokenVM(byItself(end, st.GivesWayTo), st.GivesWayTo, w) || !brokenVM(p, st.GivesWayTo, w) && !crowded(p, st.GivesWayTo) &&
				!slices.Contains(displaced(pl), st.GivesWayTo) {
				t.Errorf("%s is not brought from a wrong place to a right one in\n%s", st.GivesWayTo, planText(pl))
			}
			if brokenVM(byItself(end, st.Move.VM.ID), st.Move.VM.ID, d) && !slices.ContainsFunc(pl.Unplaced, func(u plan.Unplaced) bool { return u.VM == st.Move.VM.ID }) {
				t.Errorf("%s has no right place and is not listed, in\n%s", st.Move.VM.ID, planText(pl))
			}
		}
	})
}

func TestPermutedInputDisplacesTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawGiving(t)
		q, s := *p, *p.Snapshot
		s.Hosts, s.Pools, s.VMs, s.Modules = slices.Clone(s.Hosts), slices.Clone(s.Pools), slices.Clone(s.VMs), slices.Clone(s.Modules)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		rnd.Shuffle(len(s.Hosts), func(i, j int) { s.Hosts[i], s.Hosts[j] = s.Hosts[j], s.Hosts[i] })
		rnd.Shuffle(len(s.Pools), func(i, j int) { s.Pools[i], s.Pools[j] = s.Pools[j], s.Pools[i] })
		rnd.Shuffle(len(s.VMs), func(i, j int) { s.VMs[i], s.VMs[j] = s.VMs[j], s.VMs[i] })
		s.Sort()
		q.Snapshot = &s
		if a, b := encoded(t, p), encoded(t, &q); !bytes.Equal(a, b) {
			t.Errorf("plans differ:\n%s\n%s", a, b)
		}
	})
}

// TestFewDisplacementsAreMissed tries for each VM without a right place to move one VM of lower priority that gives way to any place that
// is legal for it but for tiers and NIC class: hardly ever does the VM find a place then. Ways are searched within bounds (of
// three disks, not every two are tried elsewhere), so that it is few, and not none; the fleets are always the same.
func TestFewDisplacementsAreMissed(t *testing.T) {
	t.Parallel()
	const fleets, oneIn = 400, 200
	draw := rapid.Custom(drawGiving)
	asked, tried, missed := 0, 0, 0
	for seed := range fleets {
		p := draw.Example(seed)
		for id, need := range p.VMs { // groups move as one
			need.AffinityGroup = ""
			p.VMs[id] = need
		}
		pl := mustSolve(t, p)
		if len(pl.Unordered) > 0 {
			continue // the fleet is not what the search for ways left it as
		}
		end := after(p, pl.Steps)
		for _, u := range pl.Unplaced {
			if !brokenAlone(end, u.VM) || crowded(end, u.VM) {
				continue // it is its neighbours that are too many: nobody is displaced for a place on an over-full host
			}
			asked++
			n, way := wayFor(end, u.VM)
			tried += n
			if way != "" {
				missed++
				t.Logf("fleet %d: %s, after\n%s", seed, way, planText(pl))
			}
		}
	}
	t.Logf("%d VMs without a place, %d displacements tried, %d would have helped", asked, tried, missed)
	if tried == 0 || missed*oneIn > asked {
		t.Errorf("%d of %d VMs would have had a place by a single displacement; %d were tried", missed, asked, tried)
	}
}

// wayFor tries every single displacement for a VM, and says how many there were and the first that helps.
func wayFor(end *policy.Problem, id fleet.VMID) (int, string) {
	tried := 0
	for _, d := range end.Snapshot.VMs {
		low := end.VMs[d.ID]
		if !low.GiveWay || low.Priority >= end.VMs[id].Priority || plan.HoldReason(end, &d) != "" {
			continue
		}
		for _, st := range lowPlaces(end, &d) {
			tried++
			if to := anyPlace(after(end, []plan.Step{*st}), id); to != nil {
				return tried, fmt.Sprintf("%s could go to %v were %s on %v", id, to.Move.To, d.ID, st.Move.To)
			}
		}
	}
	return tried, ""
}

// byItself is p without any VM but one.
func byItself(p *policy.Problem, id fleet.VMID) *policy.Problem {
	q, s := *p, *p.Snapshot
	s.VMs = []fleet.VM{*p.Snapshot.VM(id)}
	q.Snapshot = &s
	return &q
}

// brokenAlone says whether the VM is wrong where it is whatever else is there.
func brokenAlone(p *policy.Problem, id fleet.VMID) bool {
	v, need := p.Snapshot.VM(id), p.VMs[id]
	if p.Hosts[v.Host].Tier < need.Server || p.Snapshot.Host(v.Host).Maintenance {
		return true
	}
	for i, d := range v.Disks {
		if p.Pools[d.Pool].Tier < need.Disks[i].Tier {
			return true
		}
	}
	return false
}

// crowded says whether the VM's host has promised more than it has.
func crowded(p *policy.Problem, id fleet.VMID) bool {
	h := p.Snapshot.VM(id).Host
	free := p.Hosts[h]
	for _, v := range p.Snapshot.VMs {
		if v.Host == h {
			free.CPU -= v.CPU
			free.Memory -= v.Memory
		}
	}
	return free.CPU < 0 || free.Memory < 0
}

// lowPlaces are the steps by which a VM could be displaced.
func lowPlaces(p *policy.Problem, v *fleet.VM) []*plan.Step {
	q := *p
	q.VMs = map[fleet.VMID]policy.Requirement{}
	for id, need := range p.VMs {
		q.VMs[id] = need
	}
	low := q.VMs[v.ID]
	low.Server, low.Disks = 0, slices.Clone(low.Disks)
	for i := range low.Disks {
		low.Disks[i].Tier = 0
	}
	if len(plan.NICNeeds(v, &low)) == 0 {
		low.NICClass = 0
	}
	q.VMs[v.ID] = low
	var out []*plan.Step
	for _, h := range p.Snapshot.Hosts {
		for _, disks := range choices(&q, v, &h, nil) {
			if st := step(&q, v, fleet.Placement{Host: h.ID, Disks: disks}); st != nil && len(plan.CheckSteps(&q, []plan.Step{*st})) == 0 &&
				!brokenVM(after(&q, []plan.Step{*st}), v.ID, low) {
				out = append(out, st)
			}
		}
	}
	return out
}
