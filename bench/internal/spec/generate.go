package spec

import (
	"fmt"
	"math/rand/v2"
)

// size of a VM: CPU in thousandths of a thread (four vCPUs share a thread), memory in MiB.
type size struct{ cpu, memory int64 }

var sizes = []size{
	{250, 2 << 10}, {500, 4 << 10}, {500, 8 << 10}, {1000, 8 << 10}, {1000, 16 << 10}, {2000, 16 << 10}, {2000, 32 << 10},
	{4000, 32 << 10}, {4000, 64 << 10}, {8000, 48 << 10}, {2000, 96 << 10},
}

// Generate is a fleet by seed, with VMs that ask for a little more than all nodes have. The same seed gives the same fleet.
func Generate(nodes int, seed uint64, full bool) *Fleet {
	r := rand.New(rand.NewPCG(seed, 0x6265727468)) //nolint:gosec // a fleet to measure with, no secret
	f := &Fleet{Seed: seed, Full: full}
	shift := r.IntN(100)
	for i := range nodes {
		f.Nodes = append(f.Nodes, node(i, shift, full))
	}
	if full {
		for rack := range (nodes + rackNodes - 1) / rackNodes {
			f.Pools = append(f.Pools, Pool{Rack: rack, Size: 24 << 10}, Pool{Rack: rack, Fast: true, Size: 12 << 10})
		}
	}
	allC, allM := f.Capacity()
	var c, m int64
	for c < allC+allC/20 && m < allM+allM/20 {
		n := 1
		if r.IntN(10) == 0 { // about a third of the VMs are replicas
			n = 2 + r.IntN(4)
		}
		v := vm(r, full)
		u := Unit{Name: fmt.Sprintf("svc-%06d", len(f.Units))}
		for range min(n, nodes) {
			v.Name = fmt.Sprintf("vm-%07d", len(f.VMs))
			u.VMs = append(u.VMs, len(f.VMs))
			f.VMs = append(f.VMs, v)
			c += v.CPU
			m += v.Memory
		}
		f.Units = append(f.Units, u)
	}
	return f
}

// rackNodes is how many nodes share their pools.
const rackNodes = 8

func node(i, shift int, full bool) Node {
	n := Node{Name: fmt.Sprintf("node-%05d", i), Rack: i / rackNodes}
	// Of ten nodes five are small and two large, and of each five of ten have the least tier and two the best: whatever the
	// seed, every size and tier has its share.
	kind := (i + shift) % 100
	switch x := kind % 10; {
	case x < 5:
		n.CPU, n.Memory = 32_000, 384<<10
	case x < 8:
		n.CPU, n.Memory = 48_000, 576<<10
	default:
		n.CPU, n.Memory = 64_000, 768<<10
	}
	switch x := (kind/10 + kind) % 10; {
	case x < 5:
		n.Tier = Bronze
	case x < 8:
		n.Tier = Silver
	default:
		n.Tier = Gold
	}
	if full {
		n.NICs = []NIC{{1, 32}, {1, 32}, {2, 32}, {2, 32}}
	}
	return n
}

func vm(r *rand.Rand, full bool) VM {
	s := sizes[r.IntN(len(sizes))]
	v := VM{CPU: s.cpu, Memory: s.memory}
	switch x := r.IntN(100); {
	case x < 62:
		v.Tier = Bronze
	case x < 87:
		v.Tier = Silver
	default:
		v.Tier = Gold
	}
	if full {
		v.Disk = int64(20 * (1 + r.IntN(10)))
		v.Fast = r.IntN(3) == 0
		if r.IntN(2) == 0 {
			v.Class, v.Queues = 1+r.IntN(2), 2+2*r.IntN(6)
		}
	}
	return v
}

// Load places the first units up to a share of the capacity, spread by free memory over a few random nodes each, and is a
// start that all constraints allow and that no scheduler of the comparison made. The units that it could not place are
// left out: None.
func (f *Fleet) Load(share float64) (at []int, units int) {
	r := rand.New(rand.NewPCG(f.Seed, 0x6c6f6164)) //nolint:gosec // as above
	at = make([]int, len(f.VMs))
	for i := range at {
		at[i] = None
	}
	free := append([]Node(nil), f.Nodes...)
	for i := range free {
		free[i].NICs = append([]NIC(nil), free[i].NICs...)
	}
	pools := append([]Pool(nil), f.Pools...)
	units = f.UnitsWithin(share)
	for i := range f.Units[:units] {
		taken := map[int]bool{}
		for _, v := range f.Units[i].VMs {
			best := None
			for range 24 {
				h := r.IntN(len(free))
				if !taken[h] && fits(&free[h], &f.VMs[v], pools) && (best == None || better(&free[h], &free[best])) {
					best = h
				}
			}
			if best != None {
				take(&free[best], &f.VMs[v], pools)
				at[v], taken[best] = best, true
			}
		}
	}
	return at, units
}

// better prefers the lower tier, then more free memory.
func better(a, b *Node) bool {
	if a.Tier != b.Tier {
		return a.Tier < b.Tier
	}
	return a.Memory > b.Memory
}

func fits(n *Node, v *VM, pools []Pool) bool {
	return n.Tier >= v.Tier && n.CPU >= v.CPU && n.Memory >= v.Memory &&
		(v.Disk == 0 || pool(pools, n, v).Size >= v.Disk) && (v.Queues == 0 || nic(n, v) != nil)
}

func take(n *Node, v *VM, pools []Pool) {
	n.CPU -= v.CPU
	n.Memory -= v.Memory
	if v.Disk > 0 {
		pool(pools, n, v).Size -= v.Disk
	}
	if v.Queues > 0 {
		nic(n, v).Queues -= v.Queues
	}
}

func pool(pools []Pool, n *Node, v *VM) *Pool {
	if v.Fast {
		return &pools[2*n.Rack+1]
	}
	return &pools[2*n.Rack]
}

func nic(n *Node, v *VM) *NIC {
	for i := range n.NICs {
		if n.NICs[i].Class >= v.Class && n.NICs[i].Queues >= v.Queues {
			return &n.NICs[i]
		}
	}
	return nil
}
