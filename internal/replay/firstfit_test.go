package replay

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// firstFit places on the first host that has all that a VM of these tests asks for. It holds to the rules on its own, so
// that a violation in a replay is the replay's.
type firstFit struct {
	p       *policy.Problem
	cpu     map[fleet.HostID]fleet.MilliCPU
	memory  map[fleet.HostID]fleet.Bytes
	free    map[fleet.PoolID]fleet.Bytes
	queues  map[fleet.HostID]fleet.Queues
	groups  map[string]map[fleet.HostID]int
	running map[fleet.VMID]placed
	// careless puts every VM on the first host, whatever it has promised; preempt evicts all of lower priority from the
	// first host that has the tier when nothing else helps.
	careless, preempt bool
}

type placed struct {
	vm   fleet.VM
	need policy.Requirement
}

func open(careless, preempt bool) func(p *policy.Problem) (Placer, error) {
	return func(p *policy.Problem) (Placer, error) {
		f := &firstFit{
			p: p, cpu: map[fleet.HostID]fleet.MilliCPU{}, memory: map[fleet.HostID]fleet.Bytes{}, free: map[fleet.PoolID]fleet.Bytes{},
			queues: map[fleet.HostID]fleet.Queues{}, groups: map[string]map[fleet.HostID]int{}, running: map[fleet.VMID]placed{},
			careless: careless, preempt: preempt,
		}
		for _, pool := range p.Snapshot.Pools {
			f.free[pool.ID] = pool.Free - p.Pools[pool.ID].Reserve
		}
		for _, v := range p.Snapshot.VMs {
			f.count(v, p.VMs[v.ID], 1)
		}
		return f, nil
	}
}

func (f *firstFit) count(v fleet.VM, need policy.Requirement, by int) {
	f.cpu[v.Host] += v.CPU * fleet.MilliCPU(by)
	f.memory[v.Host] += v.Memory * fleet.Bytes(by)
	f.queues[v.Host] += need.Queues * fleet.Queues(by)
	for _, g := range []string{"s " + need.SpreadGroup, "a " + need.AffinityGroup} {
		if f.groups[g] == nil {
			f.groups[g] = map[fleet.HostID]int{}
		}
		f.groups[g][v.Host] += by
	}
	if by > 0 {
		f.running[v.ID] = placed{v, need}
	} else {
		delete(f.running, v.ID)
	}
}

func (f *firstFit) Place(v fleet.VM, need policy.Requirement) (Answer, error) {
	var last string
	for i := range f.p.Snapshot.Hosts {
		h := &f.p.Snapshot.Hosts[i]
		why := f.refuses(h, &v, need)
		if f.careless && i == 0 {
			why = ""
		}
		to := fleet.Placement{Host: h.ID}
		for _, d := range v.Disks {
			pool := f.pool(h, d, need.Disks[0].Tier)
			if pool == "" && why == "" {
				why = plan.ConstraintPoolSpace
			}
			to.Disks = append(to.Disks, fleet.DiskPlace{Disk: d.ID, Pool: pool})
		}
		if why != "" {
			last = why
			continue
		}
		return f.take(v, need, to), nil
	}
	if f.preempt {
		return f.evict(v, need, last), nil
	}
	return Answer{Refused: last}, nil
}

func (f *firstFit) take(v fleet.VM, need policy.Requirement, to fleet.Placement) Answer {
	v.Host = to.Host
	for j := range v.Disks {
		f.free[to.Disks[j].Pool] -= v.Disks[j].Used
	}
	f.count(v, need, 1)
	return Answer{Placed: true, To: to}
}

// evict takes the first VM of lower priority whose going lets v in.
func (f *firstFit) evict(v fleet.VM, need policy.Requirement, why string) Answer {
	for i := range f.p.Snapshot.Hosts {
		h := &f.p.Snapshot.Hosts[i]
		for _, other := range f.p.Snapshot.VMs {
			o, ok := f.running[other.ID]
			if !ok || o.vm.Host != h.ID || o.need.Priority >= need.Priority {
				continue
			}
			f.count(o.vm, o.need, -1)
			if f.refuses(h, &v, need) == "" && len(v.Disks) == 1 {
				if pool := f.pool(h, v.Disks[0], need.Disks[0].Tier); pool != "" {
					a := f.take(v, need, fleet.Placement{Host: h.ID, Disks: []fleet.DiskPlace{{Disk: "vda", Pool: pool}}})
					a.Evicted = []fleet.VMID{other.ID}
					return a
				}
			}
			f.count(o.vm, o.need, 1)
		}
	}
	return Answer{Refused: why}
}

func (f *firstFit) refuses(h *fleet.Host, v *fleet.VM, need policy.Requirement) string {
	facts := f.p.Hosts[h.ID]
	class, queues := fleet.NICClass(0), fleet.Queues(0)
	for _, n := range h.NICs {
		class = max(class, facts.NICClass[n.ID])
		if facts.NICClass[n.ID] >= need.NICClass {
			queues = max(queues, n.Queues)
		}
	}
	apart := false
	for other := range f.groups["a "+need.AffinityGroup] {
		apart = apart || need.AffinityGroup != "" && other != h.ID && f.groups["a "+need.AffinityGroup][other] > 0
	}
	switch {
	case h.Unreachable || h.Maintenance:
		return plan.ConstraintUnreachable
	case facts.Tier < need.Server || facts.Security < need.Security:
		return plan.ConstraintServerTier
	case class < need.NICClass || need.Queues > 0 && f.queues[h.ID]+need.Queues > queues:
		return plan.ConstraintNICQueues
	case apart:
		return plan.ConstraintAffinity
	case need.SpreadGroup != "" && f.groups["s "+need.SpreadGroup][h.ID] > 0:
		return plan.ConstraintSpread
	case f.cpu[h.ID]+v.CPU > facts.CPU:
		return plan.ConstraintCPU
	case f.memory[h.ID]+v.Memory > facts.Memory:
		return plan.ConstraintMemory
	}
	return ""
}

func (f *firstFit) pool(h *fleet.Host, d fleet.Disk, tier policy.Rank) fleet.PoolID {
	for _, id := range h.Pools {
		if f.p.Pools[id].Tier >= tier && f.free[id] >= d.Used {
			return id
		}
	}
	return ""
}

func (f *firstFit) Remove(id fleet.VMID) error {
	p, ok := f.running[id]
	if !ok {
		return fmt.Errorf("remove vm %s: it does not run", id)
	}
	f.count(p.vm, p.need, -1)
	return nil // what its disks took stays taken until the next opening: careful, and never wrong
}

// solve plans without the local search, which has tests of its own: repair alone is quick enough for hundreds of replays.
func solve(p *policy.Problem, steps int, _ bool) (*plan.Plan, error) {
	return solver.Solve(p, solver.Options{MaxSteps: steps, Effort: -1})
}
