package solver_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// with is p with the VM at a place, or without it where to is nil; what the VM's disks take counts in the pools.
func with(p *policy.Problem, v fleet.VM, to *fleet.Placement) *policy.Problem {
	c := *p
	s := *p.Snapshot
	s.Pools = slices.Clone(s.Pools)
	s.VMs = slices.DeleteFunc(slices.Clone(s.VMs), func(w fleet.VM) bool { return w.ID == v.ID })
	if to != nil {
		v.Host = to.Host
		v.Disks = slices.Clone(v.Disks)
		for i, d := range to.Disks {
			v.Disks[i].Pool, v.Disks[i].Chain = d.Pool, nil
			s.Pool(d.Pool).Free -= v.Disks[i].Used
		}
		s.VMs = append(s.VMs, v)
		s.Sort()
	} else {
		for _, d := range v.Disks {
			pool := s.Pool(d.Pool)
			pool.Free = min(pool.Free+d.Used, pool.Capacity)
		}
	}
	c.Snapshot = &s
	return &c
}

// holds says whether the VM may be at the place in the fleet without it: tried on the fleet's own types.
func holds(p *policy.Problem, v fleet.VM, to fleet.Placement) bool {
	h := p.Snapshot.Host(to.Host)
	if h.Source != v.Source || !p.Snapshot.Source(h.Source).Reachable || h.Unreachable || h.Maintenance {
		return false
	}
	at := with(p, v, &to)
	for _, d := range to.Disks {
		pool := at.Snapshot.Pool(d.Pool)
		if !slices.Contains(h.Pools, d.Pool) || pool.Source != v.Source || pool.Free < p.Pools[d.Pool].Reserve {
			return false
		}
	}
	if g := p.VMs[v.ID].AffinityGroup; g != "" {
		hosts := map[fleet.HostID]bool{}
		for _, w := range p.Snapshot.VMs {
			if p.VMs[w.ID].AffinityGroup == g {
				hosts[w.Host] = true
			}
		}
		if len(hosts) > 0 && !hosts[to.Host] {
			return false
		}
	}
	return !brokenVM(at, v.ID, p.VMs[v.ID])
}

// sound closes the hosts that have promised too much and lowers reserves that are used already: what a VM that asks for
// nothing may do there is not what this test is about.
func sound(p *policy.Problem) *policy.Problem {
	s := *p.Snapshot
	s.Hosts = slices.Clone(s.Hosts)
	p.Snapshot = &s
	for i := range s.Hosts {
		h := &s.Hosts[i]
		probe := fleet.VM{ID: "vm-probe", Source: h.Source, Host: h.ID}
		q := *p
		q.Hosts, q.VMs = map[fleet.HostID]policy.HostFacts{}, map[fleet.VMID]policy.Requirement{probe.ID: {Server: policy.Unranked}}
		for id, f := range p.Hosts {
			q.Hosts[id] = f
		}
		for id, n := range p.VMs {
			q.VMs[id] = n
		}
		h.Maintenance = h.Maintenance || brokenVM(with(&q, probe, &fleet.Placement{Host: h.ID}), probe.ID, policy.Requirement{Server: policy.Unranked})
	}
	facts := map[fleet.PoolID]policy.PoolFacts{}
	for _, pool := range s.Pools {
		f := p.Pools[pool.ID]
		f.Reserve = min(f.Reserve, pool.Free)
		facts[pool.ID] = f
	}
	p.Pools = facts
	return p
}

// TestPlacerAgreesWithTryingAll takes each VM out of a fleet and has it placed again: a place that is given has to be
// legal and the cheapest, and where none is given there is none.
func TestPlacerAgreesWithTryingAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		for _, v := range p.Snapshot.VMs {
			if slices.ContainsFunc(v.Disks, func(d fleet.Disk) bool { return len(d.Chain) > 0 }) {
				continue
			}
			rest := sound(with(p, v, nil))
			x, err := solver.NewPlacer(rest, solver.PlacerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := x.Place(v, p.VMs[v.ID])
			if err != nil {
				t.Fatal(err)
			}
			best, found := int64(0), false
			for _, h := range rest.Snapshot.Hosts {
				for _, disks := range choices(rest, &v, &h, nil) {
					to := fleet.Placement{Host: h.ID, Disks: disks}
					if c := plan.SoftCost(p, &v, to); holds(rest, v, to) && (!found || c < best) {
						best, found = c, true
					}
				}
			}
			switch {
			case got.OK != found:
				t.Errorf("%s: placed %t (%s, refused by %q), some place is legal: %t", v.ID, got.OK, got.To.Host, got.Refused, found)
			case found && (!holds(rest, v, got.To) || plan.SoftCost(p, &v, got.To) != best):
				t.Errorf("%s: at %v, legal %t, costs %d, expected %d", v.ID, got.To, holds(rest, v, got.To), plan.SoftCost(p, &v, got.To), best)
			case !found && got.Refused == "":
				t.Errorf("%s: no place, and no reason", v.ID)
			}
		}
	})
}

// TestPlacerTakesBack places and removes: what was removed leaves nothing behind.
func TestPlacerTakesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		x, err := solver.NewPlacer(p, solver.PlacerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Snapshot.VMs) == 0 {
			return
		}
		v := rapid.SampledFrom(p.Snapshot.VMs).Draw(t, "vm")
		need := p.VMs[v.ID]
		if _, err := x.Place(v, need); err == nil {
			t.Fatal("a VM was placed a second time")
		}
		if err := x.Remove(v.ID); err != nil {
			t.Fatal(err)
		}
		first, err := x.Place(v, need)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if first.OK {
				if err := x.Remove(v.ID); err != nil {
					t.Fatal(err)
				}
			}
			again, err := x.Place(v, need)
			if err != nil || again.OK != first.OK || !again.To.Equal(first.To) || again.Refused != first.Refused {
				t.Fatalf("placed again: %+v, %v, expected %+v", again, err, first)
			}
		}
		if err := x.Remove("vm-nobody"); !errors.Is(err, solver.ErrUnknownVM) {
			t.Errorf("remove of an unknown VM: %v", err)
		}
	})
}
