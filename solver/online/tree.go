package online

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// tree is a segment tree over the hosts, ordered by class, what they reach and index. A node bounds the hosts under it:
// what one of them has free at most, and what a VM costs there at least. Update and the way down to one host take
// O(log hosts) nodes of O(resources).
type tree struct {
	size  int // leaves, a power of two; 0: not built
	width int // of free: the resources, then NIC queues and NIC rate in all
	loads []int
	bals  int
	leaf  []model.HostIx // by leaf
	free  []int64        // by node and resource: the most free
	slack []int64        // by node and priced resource: the most left under the soft mark
	low   []int64        // by node and balance: the least and
	high  []int64        // the greatest of target times free A less free B
	node  []bound
	reach [][]model.PoolIx // by reach set
	// unit is, by resource, the largest capacity of a host: what shares are of.
	unit []int64
}

// bound is what a node knows besides amounts.
type bound struct {
	on, key          int64
	classLo, classHi int32 // of open hosts; lo > hi: there are none
	reachLo, reachHi int32
}

const share = 1 << 20 // of a whole, in packing scores

// buildTree makes the tree from nothing: O(hosts log hosts).
func (x *Placer) buildTree() {
	t := &x.tree
	n := len(x.hosts)
	t.size, t.width = 1, len(x.p.Resources)+2
	for t.size < n {
		t.size *= 2
	}
	t.loads = t.loads[:0]
	t.unit = make([]int64, len(x.p.Resources))
	for r := range x.p.Resources {
		if x.p.Resources[r].Load > 0 {
			t.loads = append(t.loads, r)
		}
		for h := range x.p.Hosts {
			t.unit[r] = max(t.unit[r], x.p.Hosts[h].Capacity[r])
		}
	}
	t.bals = len(x.p.Balances)
	x.reachSets()
	t.leaf = make([]model.HostIx, n)
	for i := range t.leaf {
		t.leaf[i] = model.HostIx(i) //nolint:gosec // MaxHosts
	}
	slices.SortFunc(t.leaf, func(a, b model.HostIx) int {
		return cmp.Or(cmp.Compare(x.p.Hosts[a].Class, x.p.Hosts[b].Class), cmp.Compare(x.hosts[a].reach, x.hosts[b].reach), cmp.Compare(a, b))
	})
	t.free = make([]int64, 2*t.size*t.width)
	t.slack = make([]int64, 2*t.size*len(t.loads))
	t.low = make([]int64, 2*t.size*t.bals)
	t.high = make([]int64, 2*t.size*t.bals)
	t.node = make([]bound, 2*t.size)
	for i := range t.size {
		if i < n {
			x.hosts[t.leaf[i]].leaf = int32(i) //nolint:gosec // MaxHosts
			t.setLeaf(x, t.leaf[i])
		} else {
			t.void(t.size + i)
		}
	}
	for i := t.size - 1; i > 0; i-- {
		t.join(i)
	}
	x.q.pools = make([]poolChoice, len(t.reach))
}

// reachSets numbers the sets of pools that hosts reach, in the order of the hosts.
func (x *Placer) reachSets() {
	x.tree.reach = nil
	seen := map[string]int32{}
	var key []byte
	for h := range x.p.Hosts {
		key = key[:0]
		for _, s := range x.p.Hosts[h].Pools {
			key = append(key, byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
		}
		n, ok := seen[string(key)]
		if !ok {
			n = int32(len(x.tree.reach)) //nolint:gosec // MaxHosts
			seen[string(key)] = n
			x.tree.reach = append(x.tree.reach, x.p.Hosts[h].Pools)
		}
		x.hosts[h].reach = n
	}
}

// update brings the tree up to date with one host.
func (t *tree) update(x *Placer, h model.HostIx) {
	if t.size == 0 {
		return
	}
	t.setLeaf(x, h)
	for i := (t.size + int(x.hosts[h].leaf)) / 2; i > 0; i /= 2 {
		t.join(i)
	}
}

// void makes a node one of no hosts.
func (t *tree) void(i int) {
	for r := range t.width {
		t.free[i*t.width+r] = -1
	}
	for k := range t.loads {
		t.slack[i*len(t.loads)+k] = math.MinInt64
	}
	for b := range t.bals {
		t.low[i*t.bals+b], t.high[i*t.bals+b] = math.MaxInt64, math.MinInt64
	}
	t.node[i] = bound{on: math.MaxInt64, key: math.MaxInt64, classLo: math.MaxInt32, classHi: -1, reachLo: math.MaxInt32, reachHi: -1}
}

func (t *tree) setLeaf(x *Placer, h model.HostIx) {
	s, host := &x.hosts[h], &x.p.Hosts[h]
	i := t.size + int(s.leaf)
	if !host.Open {
		t.void(i)
		return
	}
	free := t.free[i*t.width : (i+1)*t.width]
	for r := range s.use {
		free[r] = host.Capacity[r] - s.use[r] - s.extra[r]
	}
	q, rate := int64(0), int64(0)
	for k := range s.nics {
		q += int64(s.nics[k].Queues)
		rate += s.nics[k].Rate
	}
	free[t.width-2], free[t.width-1] = q, rate
	for k, r := range t.loads {
		t.slack[i*len(t.loads)+k] = host.Soft[r] - s.use[r]
	}
	for b := range t.bals {
		v := x.short(b, h)
		t.low[i*t.bals+b], t.high[i*t.bals+b] = v, v
	}
	on := host.On
	if len(s.vms) > 0 {
		on = 0
	}
	t.node[i] = bound{on: on, key: x.key(h), classLo: host.Class, classHi: host.Class, reachLo: s.reach, reachHi: s.reach}
}

// short is what balance b prices on a host, before it is cut at nothing.
func (x *Placer) short(b int, h model.HostIx) int64 {
	w, host, use := &x.p.Balances[b], &x.p.Hosts[h], x.hosts[h].use
	return w.Target*(host.Capacity[w.A]-use[w.A]) - (host.Capacity[w.B] - use[w.B])
}

// key is the packing score of a host for any VM.
func (x *Placer) key(h model.HostIx) int64 {
	if x.o.Rater != nil {
		return math.MinInt64
	}
	if x.o.Score == FirstFit {
		return int64(h)
	}
	least := int64(math.MaxInt64)
	for r, unit := range x.tree.unit {
		if unit > 0 {
			least = min(least, shareOf(x.p.Hosts[h].Capacity[r]-x.hosts[h].use[r], unit))
		}
	}
	if x.o.Score == WorstFit {
		return -least
	}
	return least
}

// shareOf is n of unit, in parts of share; 0 for less than nothing.
func shareOf(n, unit int64) int64 {
	if n <= 0 {
		return 0
	}
	if n >= unit {
		return share
	}
	hi, lo := bits.Mul64(uint64(n), share)
	q, _ := bits.Div64(hi, lo, uint64(unit))
	return int64(q) //nolint:gosec // at most share
}

// join makes node i the bound of its two children.
func (t *tree) join(i int) {
	a, b := 2*i, 2*i+1
	for r := range t.width {
		t.free[i*t.width+r] = max(t.free[a*t.width+r], t.free[b*t.width+r])
	}
	n := len(t.loads)
	for k := range n {
		t.slack[i*n+k] = max(t.slack[a*n+k], t.slack[b*n+k])
	}
	for k := range t.bals {
		t.low[i*t.bals+k] = min(t.low[a*t.bals+k], t.low[b*t.bals+k])
		t.high[i*t.bals+k] = max(t.high[a*t.bals+k], t.high[b*t.bals+k])
	}
	x, y := &t.node[a], &t.node[b]
	t.node[i] = bound{
		on: min(x.on, y.on), key: min(x.key, y.key),
		classLo: min(x.classLo, y.classLo), classHi: max(x.classHi, y.classHi),
		reachLo: min(x.reachLo, y.reachLo), reachHi: max(x.reachHi, y.reachHi),
	}
}
