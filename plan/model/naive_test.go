package model_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
)

// naive is Evaluate once more, straight from the comments of the contract, summed host by host and VM by VM.
func naive(p *model.Problem, a *model.Assignment) model.Cost {
	var c model.Cost
	use := func(h model.HostIx, r int) int64 {
		n := int64(0)
		for i := range p.VMs {
			if a.Host[i] == h {
				n += p.VMs[i].Demand[r]
			}
		}
		return n
	}
	for h := range p.Hosts {
		at, host := model.HostIx(h), p.Hosts[h]
		for r := range p.Resources {
			c.Load += p.Resources[r].Load * max(0, use(at, r)-host.Soft[r])
		}
		for _, b := range p.Balances {
			freeA, freeB := host.Capacity[b.A]-use(at, b.A), host.Capacity[b.B]-use(at, b.B)
			c.Balance += b.Weight * max(0, b.Target*freeA-freeB)
		}
		if slices.Contains(a.Host, at) {
			c.On += host.On
		}
	}
	moved := map[model.GroupIx]int64{}
	for i, v := range p.VMs {
		h, change := a.Host[i], 0
		for j, d := range v.Disks {
			if at := a.Pool[i][j]; at != model.None {
				c.PoolFit += max(0, p.PoolFit[d.Class][p.Pools[at].Class]) * d.Weight
				if h != model.None && d.Initial != model.None && d.Initial != at {
					c.Copy += d.Copy
					change = model.DiskChange
				}
			}
		}
		if h == model.None {
			c.Drop += v.Drop
			continue
		}
		c.Fit += max(0, p.Fit[v.Class][p.Hosts[h].Class])
		if v.Initial == model.None {
			continue
		}
		if h != v.Initial {
			change |= model.HostChange
			if p.Hop != nil {
				c.Hop += p.HopWeight * int64(p.Hop[p.Hosts[v.Initial].Place][p.Hosts[h].Place])
			}
			moved[v.Group]++
		}
		c.Move += max(0, v.Move[change])
	}
	delete(moved, model.None)
	for _, n := range moved {
		c.GroupMove = max(c.GroupMove, n*p.GroupMove)
	}
	return c
}

// legal is Verify once more, as one yes or no.
func legal(p *model.Problem, a *model.Assignment) bool {
	for h := range p.Hosts {
		var needs []model.NICNeed
		for r := range p.Resources {
			use := int64(0)
			for i, v := range p.VMs {
				on := a.Host[i] == model.HostIx(h)
				left := v.Initial == model.HostIx(h) && a.Host[i] != model.None && !on && p.Resources[r].Transient
				if on || left {
					use += v.Demand[r]
				}
			}
			if use > p.Hosts[h].Capacity[r] {
				return false
			}
		}
		for i := range p.VMs {
			if a.Host[i] == model.HostIx(h) {
				needs = append(needs, p.VMs[i].NICs...)
			}
		}
		if !packs(slices.Clone(p.Hosts[h].NICs), needs) {
			return false
		}
	}
	return legalPools(p, a) && legalVMs(p, a) && legalGroups(p, a)
}

// packs tries every NIC for every need.
func packs(rooms []model.NIC, needs []model.NICNeed) bool {
	if len(needs) == 0 {
		return true
	}
	n := needs[0]
	if n == (model.NICNeed{}) {
		return packs(rooms, needs[1:])
	}
	for k := range rooms {
		if r := &rooms[k]; r.Class >= n.Class && r.Queues >= n.Queues && r.Rate >= n.Rate {
			r.Queues, r.Rate = r.Queues-n.Queues, r.Rate-n.Rate
			ok := packs(rooms, needs[1:])
			r.Queues, r.Rate = r.Queues+n.Queues, r.Rate+n.Rate
			if ok {
				return true
			}
		}
	}
	return false
}

func legalPools(p *model.Problem, a *model.Assignment) bool {
	for s := range p.Pools {
		for r := range p.PoolResources {
			use, mine := p.Pools[s].Base[r], int64(0)
			for i, v := range p.VMs {
				for j, d := range v.Disks {
					at := a.Pool[i][j] == model.PoolIx(s)
					left := d.Initial == model.PoolIx(s) && !at && (d.Sticky || p.PoolResources[r].Transient)
					if at || left {
						mine += d.Demand[r]
					}
				}
			}
			if mine > 0 && use+mine > p.Pools[s].Capacity[r] {
				return false
			}
		}
	}
	return true
}

func legalVMs(p *model.Problem, a *model.Assignment) bool {
	for i, v := range p.VMs {
		h := a.Host[i]
		if v.Fixed && h != v.Initial || h == model.None && v.Drop == 0 && v.Initial != model.None {
			return false
		}
		change := 0
		for j, d := range v.Disks {
			at := a.Pool[i][j]
			switch {
			case d.Fixed && at != d.Initial, h == model.None && at != d.Initial:
				return false
			case h == model.None:
			case at == model.None, p.PoolFit[d.Class][p.Pools[at].Class] < 0, at != d.Initial && !p.Pools[at].Open,
				!slices.Contains(p.Hosts[h].Pools, at):
				return false
			case d.Initial != model.None && at != d.Initial:
				change = model.DiskChange
			}
		}
		if h == model.None {
			continue
		}
		if p.Fit[v.Class][p.Hosts[h].Class] < 0 || !p.Hosts[h].Open && h != v.Initial {
			return false
		}
		if h != v.Initial {
			change |= model.HostChange
		}
		if v.Initial != model.None && v.Move[change] < 0 {
			return false
		}
	}
	return true
}

func legalGroups(p *model.Problem, a *model.Assignment) bool {
	for i, v := range p.VMs {
		if v.Group == model.None || a.Host[i] == model.None {
			continue
		}
		host := p.Hosts[a.Host[i]]
		for k, w := range p.VMs {
			if k != i && w.Group == v.Group && a.Host[k] != model.None && v.Apart >= 0 &&
				p.Hosts[a.Host[k]].Domain[v.Apart] == host.Domain[v.Apart] {
				return false
			}
		}
		for _, n := range p.Groups[v.Group].Needs {
			if !slices.ContainsFunc(seats(p, a, n), func(h model.HostIx) bool { return p.Hosts[h].Zone == host.Zone }) {
				return false
			}
		}
	}
	for g := range p.Groups {
		in := seats(p, a, model.GroupIx(g))
		members, want, domains := 0, int(p.Groups[g].Min), map[int32]bool{}
		for _, v := range p.VMs {
			if v.Group == model.GroupIx(g) {
				members++
			}
		}
		if len(in) < members {
			want = min(want, len(in))
		}
		for _, h := range in {
			domains[p.Hosts[h].Domain[p.Groups[g].Level]] = true
		}
		if want > 1 && len(domains) < want {
			return false
		}
	}
	return true
}

func seats(p *model.Problem, a *model.Assignment, g model.GroupIx) []model.HostIx {
	var out []model.HostIx
	for i, v := range p.VMs {
		if v.Group == g && a.Host[i] != model.None {
			out = append(out, a.Host[i])
		}
	}
	return out
}

// anywhere gives every VM a random host and every disk a random pool, or none.
func anywhere(r *rand.Rand, p *model.Problem) *model.Assignment {
	a := p.Start()
	for i := range p.VMs {
		a.Host[i] = model.HostIx(r.IntN(len(p.Hosts)+1) - 1)
		for j := range a.Pool[i] {
			if len(p.Pools) > 0 && r.IntN(2) == 0 {
				a.Pool[i][j] = model.PoolIx(r.IntN(len(p.Pools)+1) - 1)
			}
		}
	}
	return a
}

// TestPlantedAndNaive holds the generator to its word, and Evaluate and Verify against the naive ones on planted, initial and
// random assignments.
func TestPlantedAndNaive(t *testing.T) {
	t.Parallel()
	yes, no := 0, 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := modeltest.Any(r, 5, 12)
		p, planted := modeltest.Random(r, s)
		if err := p.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if bad := model.Verify(p, planted); len(bad) > 0 && !strays(p, planted) {
			t.Fatalf("seed %d: planted: %+v", seed, bad)
		}
		if c := p.Contradictions(); len(c) > 0 {
			t.Fatalf("seed %d: has an answer, but %q", seed, c)
		}
		for k, a := range []*model.Assignment{planted, p.Start(), anywhere(r, p), nudged(r, p, planted), nudged(r, p, p.Start())} {
			got, err := model.Evaluate(p, a)
			if want := naive(p, a); err != nil || got != want {
				t.Fatalf("seed %d, assignment %d: %+v (%v), naively %+v", seed, k, got, err, want)
			}
			bad := model.Verify(p, a)
			if ok := legal(p, a); ok != (len(bad) == 0) {
				t.Fatalf("seed %d, assignment %d: naively legal %v, but %+v", seed, k, ok, bad)
			}
			if len(bad) == 0 {
				yes++
			} else {
				no++
			}
		}
	}
	if yes < 500 || no < 500 {
		t.Fatalf("%d legal and %d illegal assignments: the generator shows too little", yes, no)
	}
}

// strays says whether a VM or a disk of p starts elsewhere than planted.
func strays(p *model.Problem, planted *model.Assignment) bool {
	for i := range p.VMs {
		if h := p.VMs[i].Initial; h != model.None && h != planted.Host[i] {
			return true
		}
	}
	return false
}

// nudged moves one VM.
func nudged(r *rand.Rand, p *model.Problem, a *model.Assignment) *model.Assignment {
	b := a.Clone()
	if n := len(p.VMs); n > 0 {
		b.Host[r.IntN(n)] = model.HostIx(r.IntN(len(p.Hosts)))
	}
	return b
}
