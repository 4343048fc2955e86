package online

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// tree is a segment tree over the hosts of each class, ordered by what they reach and index. A node bounds the hosts under
// it: what one of them has free at most, and what a VM costs there at least. A class has a tree of its own, because what
// a VM costs on the class is then known at the root: a node over several classes could only say the least of them all.
// Update and the way down to one host take O(log hosts) nodes of O(resources).
type tree struct {
	built bool
	width int // of free: the resources, then NIC queues and NIC rate in all
	loads []int
	bals  int
	odds  []int // the resources that are compared with the first of them
	// data holds the nodes, each stride words in a row, so that the two children of a node, which are looked at together, are
	// neighbours: the words named below, then the most free by resource, the most left under the soft mark by priced
	// resource, and the least and the greatest of target times free A less free B by balance.
	data   []int64
	stride int
	slack  int              // where in a node the soft marks begin,
	level  int              // and the balances,
	odd    int              // and how unevenly hosts are free, where the score asks for it: see evenness
	leaf   []model.HostIx   // by leaf of all trees, in order
	span   []span           // by class
	reach  [][]model.PoolIx // by reach set
	// unit is, by resource, the largest capacity of a host: what shares are of.
	unit []int64
}

// span is the tree of one class: node 1 is its root, 2k and 2k+1 are the children of k, and its leaves begin at size.
type span struct {
	base  int // of its nodes among all
	size  int // leaves, a power of two; 0: no host is of the class
	first int // of its leaves among all
	count int // hosts
}

// The first words of a node.
const (
	onWord      = iota // the least price of a host being in use
	keyWord            // the least packing score, where it is the same for every VM
	hostWord           // the least index of a host
	reachLoWord        // the reach sets of open hosts; lo > hi: there are none
	reachHiWord
	freeWord
)

const share = 1 << 20 // of a whole, in packing scores

// node is node k of a class.
func (t *tree) node(s *span, k int) []int64 {
	i := (s.base + k) * t.stride
	return t.data[i : i+t.stride : i+t.stride]
}

// leafOf is the leaf of a host.
func (t *tree) leafOf(x *Placer, h model.HostIx) (*span, int) {
	s := &t.span[x.p.Hosts[h].Class]
	return s, s.size + int(x.hosts[h].leaf)
}

// buildTree makes the tree from nothing: O(hosts log hosts).
func (x *Placer) buildTree() {
	t := &x.tree
	t.shape(x)
	x.reachSets()
	t.leaf = make([]model.HostIx, len(x.hosts))
	for i := range t.leaf {
		t.leaf[i] = model.HostIx(i) //nolint:gosec // MaxHosts
	}
	slices.SortFunc(t.leaf, func(a, b model.HostIx) int {
		return cmp.Or(cmp.Compare(x.p.Hosts[a].Class, x.p.Hosts[b].Class), cmp.Compare(x.hosts[a].reach, x.hosts[b].reach), cmp.Compare(a, b))
	})
	nodes := t.spans(x)
	t.data = make([]int64, nodes*t.stride)
	for c := range t.span {
		s := &t.span[c]
		for i := range s.size {
			if i < s.count {
				h := t.leaf[s.first+i]
				x.hosts[h].leaf = int32(i) //nolint:gosec // MaxHosts
				t.setLeaf(x, h)
			} else {
				t.void(t.node(s, s.size+i))
			}
		}
		for i := s.size - 1; i > 0; i-- {
			t.join(s, i)
		}
	}
	t.built = true
	x.q.pools = make([]poolChoice, len(t.reach))
}

// shape says what a node knows.
func (t *tree) shape(x *Placer) {
	t.width = len(x.p.Resources) + 2
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
	t.slack = freeWord + t.width
	t.level = t.slack + len(t.loads)
	t.odd = t.level + 2*t.bals
	t.stride = t.odd
	t.odds = t.odds[:0]
	if x.o.Score != Even || x.o.Rater != nil {
		return
	}
	for r, unit := range t.unit {
		if unit > 0 {
			t.odds = append(t.odds, r)
		}
	}
	if len(t.odds) > 1 {
		t.stride += 2 * (len(t.odds) - 1)
	}
}

// spans gives each class its nodes, and returns how many there are.
func (t *tree) spans(x *Placer) int {
	classes := 0
	for h := range x.p.Hosts {
		classes = max(classes, int(x.p.Hosts[h].Class)+1)
	}
	t.span = make([]span, classes)
	nodes := 0
	for i, h := range t.leaf {
		s := &t.span[x.p.Hosts[h].Class]
		if s.count++; s.count == 1 {
			s.first = i
		}
	}
	for c := range t.span {
		s := &t.span[c]
		if s.count == 0 {
			continue
		}
		for s.size = 1; s.size < s.count; {
			s.size *= 2
		}
		s.base = nodes
		nodes += 2 * s.size
	}
	return nodes
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

// update brings the tree up to date with one host. What does not change a node changes none above it.
func (t *tree) update(x *Placer, h model.HostIx) {
	if !t.built {
		return
	}
	t.setLeaf(x, h)
	s, k := t.leafOf(x, h)
	for k /= 2; k > 0 && t.join(s, k); k /= 2 {
	}
}

// void makes a node one of no hosts.
func (t *tree) void(n []int64) {
	n[onWord], n[keyWord], n[reachLoWord], n[reachHiWord] = math.MaxInt64, math.MaxInt64, math.MaxInt64, -1
	n[hostWord] = math.MaxInt64
	for r := range t.width {
		n[freeWord+r] = -1
	}
	for k := range t.loads {
		n[t.slack+k] = math.MinInt64
	}
	for i := t.level; i < t.stride; i += 2 {
		n[i], n[i+1] = math.MaxInt64, math.MinInt64
	}
}

func (t *tree) setLeaf(x *Placer, h model.HostIx) {
	s, host := &x.hosts[h], &x.p.Hosts[h]
	n := t.node(t.leafOf(x, h))
	if !host.Open {
		t.void(n)
		return
	}
	for r := range s.use {
		n[freeWord+r] = host.Capacity[r] - s.use[r] - s.extra[r]
	}
	q, rate := int64(0), int64(0)
	for k := range s.nics {
		q += int64(s.nics[k].Queues)
		rate += s.nics[k].Rate
	}
	n[freeWord+t.width-2], n[freeWord+t.width-1] = q, rate
	for k, r := range t.loads {
		n[t.slack+k] = host.Soft[r] - s.use[r]
	}
	for b := range t.bals {
		v := x.short(b, h)
		n[t.level+2*b], n[t.level+2*b+1] = v, v
	}
	n[onWord] = host.On
	if len(s.vms) > 0 {
		n[onWord] = 0
	}
	for k := t.odd; k < t.stride; k += 2 {
		v := t.shareLeft(x, h, t.odds[0]) - t.shareLeft(x, h, t.odds[1+(k-t.odd)/2])
		n[k], n[k+1] = v, v
	}
	n[keyWord], n[hostWord], n[reachLoWord], n[reachHiWord] = x.key(h), int64(h), int64(s.reach), int64(s.reach)
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
	if x.o.Score == Even { // see evenness
		return 0
	}
	least := int64(math.MaxInt64)
	for r, unit := range x.tree.unit {
		if unit > 0 {
			least = min(least, x.tree.shareLeft(x, h, r))
		}
	}
	if x.o.Score == WorstFit {
		return -least
	}
	return least
}

// shareLeft is what a host has free of a resource, as a share of what the largest host has.
func (t *tree) shareLeft(x *Placer, h model.HostIx, r int) int64 {
	return shareOf(x.p.Hosts[h].Capacity[r]-x.hosts[h].use[r], t.unit[r])
}

// evenStep is how finely evenness is told apart, in parts of share. A coarser step finds a host sooner, a finer one a better
// host.
const evenStep = share / 64

// evenness is the packing score of a VM on the hosts under a node at least, exact on a leaf. With f what a host has free of
// a resource and d what the VM takes, as shares of the largest host, it is the greatest |(f0 - d0) - (fr - dr)|, in steps.
func (t *tree) evenness(n, shape []int64) int64 {
	most := int64(0)
	for k, d := range shape {
		low, high := n[t.odd+2*k], n[t.odd+2*k+1]
		most = max(most, low-d, d-high)
	}
	return most / evenStep
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

// join makes node k of a class the bound of its two children, and says whether that changed it.
func (t *tree) join(s *span, k int) bool {
	n, a, b := t.node(s, k), t.node(s, 2*k), t.node(s, 2*k+1)
	changed := false
	set := func(i int, v int64) {
		changed = changed || n[i] != v
		n[i] = v
	}
	set(onWord, min(a[onWord], b[onWord]))
	set(keyWord, min(a[keyWord], b[keyWord]))
	set(hostWord, min(a[hostWord], b[hostWord]))
	set(reachLoWord, min(a[reachLoWord], b[reachLoWord]))
	set(reachHiWord, max(a[reachHiWord], b[reachHiWord]))
	for i := freeWord; i < t.level; i++ {
		set(i, max(a[i], b[i]))
	}
	for i := t.level; i < t.stride; i += 2 {
		set(i, min(a[i], b[i]))
		set(i+1, max(a[i+1], b[i+1]))
	}
	return changed
}
