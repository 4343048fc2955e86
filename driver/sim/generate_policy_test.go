package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	berthplan "github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestRightPlacesBreakNothing holds the generator to its promise that a legal placement exists: the one that it
// had before it misplaced anything is checked against what the built-in catalogue resolves.
func TestRightPlacesBreakNothing(t *testing.T) {
	t.Parallel()
	catalogue := policy.Default()
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Hosts: rapid.IntRange(1, 60).Draw(t, "hosts"), Seed: rapid.Uint64().Draw(t, "seed"), Shape: drawShape(t)}
		o.VMs = o.Hosts * rapid.IntRange(1, 15).Draw(t, "density")
		g := generate(o)
		p, err := policy.Resolve(catalogue, g.snap)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range g.broken(p) {
			t.Error(fault)
		}
	})
}

// drawShape is any shape that Validate accepts, now and then the usual one.
func drawShape(t *rapid.T) *Shape {
	if rapid.IntRange(0, 3).Draw(t, "usual") == 0 {
		return nil
	}
	percent := func(name string, high int) int { return rapid.IntRange(0, high).Draw(t, name) }
	s := &Shape{
		Gold: percent("gold", 100), PoolsPerCluster: rapid.IntRange(3, MaxPools).Draw(t, "pools"), NICs: rapid.IntRange(2, MaxNICs).Draw(t, "nics"),
		Modules: rapid.IntRange(0, MaxModules).Draw(t, "modules"), Skew: percent("skew", 50), Misplaced: percent("misplaced", 100),
		Fill: rapid.IntRange(1, MaxFill).Draw(t, "fill"), Racks: rapid.IntRange(0, 70).Draw(t, "racks"),
		Spread: percent("spread", 100), Guarantee: percent("guarantee", 100),
	}
	s.Silver = percent("silver", 100-s.Gold)
	s.Bronze = 100 - s.Gold - s.Silver
	s.Affinity = percent("affinity", 100-s.Spread)
	return s
}

// broken lists the requirements that the right places break.
func (g *generator) broken(p *policy.Problem) []string {
	var faults []string
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	loads := map[fleet.HostID]load{}
	spread, affinity := map[string]string{}, map[string]fleet.HostID{}
	stored, iops := make([]fleet.Bytes, len(g.snap.Pools)), make([]fleet.IOPS, len(g.snap.Pools))
	needs := map[fleet.HostID][]berthplan.QueueNeed{}
	vms := make([]fleet.VM, 0, len(g.plans)) // g.plans is in the order of creation, which is that of the names
	vms = append(vms, g.snap.VMs...)
	for i := range vms {
		v, plan := &vms[i], &g.plans[i]
		r, h := p.VMs[v.ID], &g.snap.Hosts[plan.right]
		f := p.Hosts[h.ID]
		if f.Tier < r.Server || f.Security < r.Security || h.Maintenance {
			say("%s needs server %d, security %d: %s has %d, %d (maintenance %v)", v.ID, r.Server, r.Security, h.ID, f.Tier, f.Security, h.Maintenance)
		}
		if f.NICClass["ens1f0"] < r.NICClass {
			say("%s needs NIC class %d, %s has %d", v.ID, r.NICClass, h.ID, f.NICClass["ens1f0"])
		}
		if !slices.Contains(h.Networks, v.VNICs[0].Network) {
			say("%s is on network %s, which %s has not", v.ID, v.VNICs[0].Network, h.ID)
		}
		l := loads[h.ID]
		l.add(load{v.CPU, v.Memory, r.Queues})
		loads[h.ID] = l
		if l.cpu > f.CPU || l.memory > f.Memory {
			say("%s is full with %s: %+v", h.ID, v.ID, l)
		}
		needs[h.ID] = append(needs[h.ID], berthplan.NICNeeds(v, &r)...)
		if k := r.SpreadGroup + "@" + string(h.ID); r.SpreadGroup != "" {
			if spread[k] != "" {
				say("%s and %s of spread group %s are both on %s", spread[k], v.ID, r.SpreadGroup, h.ID)
			}
			spread[k] = string(v.ID)
		}
		if k := r.AffinityGroup; k != "" {
			if affinity[k] != "" && affinity[k] != h.ID {
				say("affinity group %s is on %s and %s", k, affinity[k], h.ID)
			}
			affinity[k] = h.ID
		}
		for j, d := range r.Disks {
			pool := &g.snap.Pools[g.rightPool(plan, j)]
			if p.Pools[pool.ID].Tier < d.Tier || !slices.Contains(h.Pools, pool.ID) {
				say("%s disk %d needs tier %d on %s: %s has %d", v.ID, j, d.Tier, h.ID, pool.ID, p.Pools[pool.ID].Tier)
			}
			i := g.rightPool(plan, j)
			if iops[i] += d.IOPS; iops[i] > pool.IOPS && pool.IOPS > 0 {
				say("%s has promised %d operations with %s, and has %d", pool.ID, iops[i], v.ID, pool.IOPS)
			}
			stored[i] += v.Disks[j].Used
			if stored[i] > pool.Capacity-p.Pools[pool.ID].Reserve {
				say("%s is full with %s", pool.ID, v.ID)
			}
		}
		if r.Hold != "" && (v.Host != h.ID || plan.found != plan.right) {
			say("%s is held (%s) on %s, its right host is %s", v.ID, r.Hold, v.Host, h.ID)
		}
	}
	for i := range g.snap.Hosts {
		h := &g.snap.Hosts[i]
		rooms := make([]berthplan.QueueRoom, 0, len(h.NICs))
		for j := range h.NICs {
			n := &h.NICs[j]
			rooms = append(rooms, berthplan.QueueRoom{Class: n.Class, Free: n.Queues, Rate: n.Guarantee})
		}
		if !berthplan.PackQueues(rooms, needs[h.ID]) {
			say("%s: its NICs have not what its VMs reserve: %+v", h.ID, needs[h.ID])
		}
	}
	return faults
}

// rightPool is the index of a right pool in the snapshot, which was sorted after the plans were made.
func (g *generator) rightPool(p *vmPlan, disk int) int {
	i, _ := slices.BinarySearchFunc(g.snap.Pools, g.poolIDs[p.pools[disk]], func(p fleet.Pool, id fleet.PoolID) int {
		return strings.Compare(string(p.ID), string(id))
	})
	return i
}

// TestFleetIsAsFound looks for what a generated fleet is made for: each kind of label, each kind of fault.
func TestFleetIsAsFound(t *testing.T) {
	t.Parallel()
	s := Generate(Options{Hosts: 100, VMs: 2500, Seed: 42})
	p, err := policy.Resolve(policy.Default(), s)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	use, memory, all := map[fleet.HostID]fleet.Bytes{}, fleet.Bytes(0), fleet.Bytes(0)
	spread := map[string]bool{}
	for i := range s.VMs {
		v := &s.VMs[i]
		r, f, h := p.VMs[v.ID], p.Hosts[v.Host], s.Host(v.Host)
		use[v.Host] += v.Memory
		memory += v.Memory
		count(seen, map[string]bool{
			"held": r.Hold != "", "host below need": f.Tier < r.Server, "host above need": f.Tier > r.Server,
			"in maintenance": h.Maintenance, "unreachable": h.Unreachable, "stopped": v.Power == fleet.Stopped,
			"suspended": v.Power == fleet.Suspended, "pinned": v.Pinned != "", "blocked": len(v.Blocked) > 0,
			"clamped": r.Asked == "gold" && r.Level == "silver", "level " + r.Level: true, "affinity": r.AffinityGroup != "",
		})
		if k := r.SpreadGroup + "@" + string(v.Host); r.SpreadGroup != "" {
			count(seen, map[string]bool{"spread broken": spread[k]})
			spread[k] = true
		}
		for j := range v.Disks {
			tier := p.Pools[v.Disks[j].Pool].Tier
			count(seen, map[string]bool{
				"trust " + string(v.Disks[j].Label.Trust): true, "pool below need": tier < r.Disks[j].Tier,
				"pool above need": tier > r.Disks[j].Tier, "local pool": !s.Pool(v.Disks[j].Pool).Shared,
			})
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		count(seen, map[string]bool{"hot": use[h.ID] > h.Memory})
		if !h.Maintenance {
			all += h.Memory
		}
		if p.Hosts[h.ID].Tier == policy.Unranked {
			t.Errorf("%s: no rule of the built-in catalogue matches", h.ID)
		}
	}
	for _, k := range []string{
		"held", "host below need", "host above need", "in maintenance", "unreachable", "stopped", "suspended", "pinned", "blocked",
		"clamped", "level bronze", "level silver", "level gold", "affinity", "spread broken", "trust none", "trust unread",
		"trust unsigned", "trust invalid", "trust signed", "pool below need", "pool above need", "local pool", "hot",
	} {
		if seen[k] == 0 {
			t.Errorf("no VM, disk or host is: %s", k)
		}
	}
	if percent := memory * 100 / all; percent < 55 || percent > 75 {
		t.Errorf("%d %% of the memory is used, expected 55 to 75", percent)
	}
	gaps := 0
	for _, g := range s.Gaps {
		if g.What == "label" {
			gaps++
		}
	}
	if gaps != seen["trust unread"] {
		t.Errorf("%d gaps for %d labels that were not read", gaps, seen["trust unread"])
	}
}

func count(seen map[string]int, facts map[string]bool) {
	for k, is := range facts {
		if is {
			seen[k]++
		}
	}
}
