package whatif

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Tier is how full the hosts of one server tier are, those in maintenance or out of sight left out.
type Tier struct {
	Tier       string         `json:"tier"`
	Hosts      int            `json:"hosts"`
	VMs        int            `json:"vms"`
	CPU        fleet.MilliCPU `json:"cpu"`    // promised
	CPUAll     fleet.MilliCPU `json:"cpuAll"` // to promise, overcommitment included
	Memory     fleet.Bytes    `json:"memory"`
	MemoryAll  fleet.Bytes    `json:"memoryAll"`
	CPUPart    float64        `json:"cpuPart"` // of 1
	MemoryPart float64        `json:"memoryPart"`
}

// PoolTier is how full the pools of one storage tier are that a host reaches.
type PoolTier struct {
	Tier     string      `json:"tier"`
	Pools    int         `json:"pools"`
	Used     fleet.Bytes `json:"used"`
	Capacity fleet.Bytes `json:"capacity"`
	Part     float64     `json:"part"` // of 1
}

// sideOf counts the fleet s. p is its problem, or nil.
func sideOf(cat *policy.Catalogue, s *fleet.Snapshot, p *policy.Problem) (Side, error) {
	if p == nil {
		var err error
		if p, err = policy.Resolve(cat, s); err != nil {
			return Side{}, fmt.Errorf("apply policy: %w", err)
		}
	}
	sum, err := plan.Summarize(p, &plan.Plan{})
	if err != nil {
		return Side{}, fmt.Errorf("count fleet: %w", err)
	}
	side := Side{Hosts: len(s.Hosts), VMs: len(s.VMs), Cost: sum.CostBefore, Parts: sum.Before, Broken: sum.BrokenBefore, Reserve: sum.Reserve}
	if side.Tiers, err = tiersOf(p); err != nil {
		return Side{}, fmt.Errorf("count fleet: %w", err)
	}
	if side.Pools, err = poolsOf(p); err != nil {
		return Side{}, fmt.Errorf("count fleet: %w", err)
	}
	return side, nil
}

// add adds n to a sum of amounts of which none is negative, and says whether it could.
func add[T ~int64](sum *T, n T) bool {
	*sum += n
	return *sum >= 0
}

func part(used, all float64) float64 {
	if all <= 0 {
		return 0
	}
	return used / all
}

// tiersOf counts the hosts by tier, the highest first. It refuses a sum beyond int64, which hosts of a file may have.
func tiersOf(p *policy.Problem) ([]Tier, error) {
	by := map[policy.Rank]*Tier{}
	host := map[fleet.HostID]*Tier{}
	var ranks []policy.Rank
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		if h.Maintenance || h.Unreachable {
			continue
		}
		f := p.Hosts[h.ID]
		t := by[f.Tier]
		if t == nil {
			t = &Tier{Tier: p.ServerTier(f.Tier)}
			by[f.Tier] = t
			ranks = append(ranks, f.Tier)
		}
		t.Hosts++
		if !add(&t.CPUAll, f.CPU) {
			return nil, tooLarge(p, f.Tier, "CPU", func(f policy.HostFacts) int64 { return int64(f.CPU) })
		}
		if !add(&t.MemoryAll, f.Memory) {
			return nil, tooLarge(p, f.Tier, "memory", func(f policy.HostFacts) int64 { return int64(f.Memory) })
		}
		host[h.ID] = t
	}
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		if t := host[v.Host]; t != nil {
			t.VMs++
			t.CPU += v.CPU
			t.Memory += v.Memory
		}
	}
	slices.SortFunc(ranks, func(a, b policy.Rank) int { return cmp.Compare(b, a) })
	out := make([]Tier, 0, len(ranks))
	for _, r := range ranks {
		t := by[r]
		t.CPUPart = part(float64(t.CPU), float64(t.CPUAll))
		t.MemoryPart = part(float64(t.Memory), float64(t.MemoryAll))
		out = append(out, *t)
	}
	return out, nil
}

// tooLarge names the host that has most of what cannot be summed.
func tooLarge(p *policy.Problem, tier policy.Rank, what string, of func(policy.HostFacts) int64) error {
	var most fleet.HostID
	for i := range p.Snapshot.Hosts {
		id := p.Snapshot.Hosts[i].ID
		if p.Hosts[id].Tier == tier && (most == "" || of(p.Hosts[id]) > of(p.Hosts[most])) {
			most = id
		}
	}
	return fmt.Errorf("host %s: the %s of all hosts of tier %s is too large to count", most, what, p.ServerTier(tier))
}

// poolsOf counts the pools by tier, the highest first. It refuses a sum beyond int64.
func poolsOf(p *policy.Problem) ([]PoolTier, error) {
	reached := map[fleet.PoolID]bool{}
	for i := range p.Snapshot.Hosts {
		for _, id := range p.Snapshot.Hosts[i].Pools {
			reached[id] = true
		}
	}
	by := map[policy.Rank]*PoolTier{}
	var ranks []policy.Rank
	for i := range p.Snapshot.Pools {
		pool := &p.Snapshot.Pools[i]
		if !reached[pool.ID] {
			continue
		}
		rank := p.Pools[pool.ID].Tier
		t := by[rank]
		if t == nil {
			t = &PoolTier{Tier: p.PoolTier(rank)}
			by[rank] = t
			ranks = append(ranks, rank)
		}
		t.Pools++
		t.Used += pool.Capacity - pool.Free // less than the capacity, at every sum
		if !add(&t.Capacity, pool.Capacity) {
			return nil, fmt.Errorf("pool %s: the capacity of the pools of tier %s is too large to count", pool.ID, t.Tier)
		}
	}
	slices.SortFunc(ranks, func(a, b policy.Rank) int { return cmp.Compare(b, a) })
	out := make([]PoolTier, 0, len(ranks))
	for _, r := range ranks {
		t := by[r]
		t.Part = part(float64(t.Used), float64(t.Capacity))
		out = append(out, *t)
	}
	return out, nil
}

// settle is the changed fleet once its plan is done: lost hosts and what was left on them are gone, and the VMs that were started
// elsewhere run as before.
func settle(c *changed, before *fleet.Snapshot, pl *plan.Plan) *fleet.Snapshot {
	s := clone(c.snap)
	w := &changed{snap: s}
	for i := range pl.Steps {
		st := &pl.Steps[i]
		if a := st.Attach; a != nil {
			w.detach(a.Module.ID)
			m, h := s.Module(a.Module.ID), s.Host(a.To)
			h.NICs, h.Pools = m.With(h)
			m.Host = a.To
			continue
		}
		move(s, s.VM(st.Move.VM.ID), st.Move.To)
	}
	s.VMs = slices.DeleteFunc(s.VMs, func(v fleet.VM) bool { return c.hosts[v.Host] != "" })
	for i := range s.VMs {
		v := &s.VMs[i]
		was := before.VM(v.ID)
		v.Power, v.Blocked, v.Pinned = was.Power, was.Blocked, was.Pinned
	}
	s.Hosts = slices.DeleteFunc(s.Hosts, func(h fleet.Host) bool { return c.hosts[h.ID] != "" })
	left := func(h fleet.HostID) bool { return c.hosts[h] == "" }
	for i := range s.Modules {
		m := &s.Modules[i]
		m.AttachableTo = slices.DeleteFunc(slices.Clone(m.AttachableTo), func(h fleet.HostID) bool { return !left(h) })
	}
	return s
}

// move puts v elsewhere. A copy has no backing chain.
func move(s *fleet.Snapshot, v *fleet.VM, to fleet.Placement) {
	v.Host = to.Host
	v.Disks = slices.Clone(v.Disks)
	for i := range v.Disks {
		d := &v.Disks[i]
		if d.Pool == to.Disks[i].Pool {
			continue
		}
		from, pool := s.Pool(d.Pool), s.Pool(to.Disks[i].Pool)
		from.Free = min(from.Free+plan.Freed(d, false), from.Capacity)
		pool.Free = max(pool.Free-d.Used, 0)
		d.Pool, d.Chain = pool.ID, nil
	}
}
