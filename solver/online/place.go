package online

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// query is one search for a place, with memory that is used again.
type query struct {
	vm   *model.VM
	form int
	// parked: what the VM's disks use of their initial pools is counted there.
	parked bool
	allow  func(model.HostIx) bool // nil: every host
	needQ  int64
	needR  int64
	pools  []poolChoice // by reach set, of a host that is not the VM's initial one
	stamp  uint32
	seen   int // feasible hosts
	visits int // nodes
	best   Decision
	key    int64
	found  bool
	roots  []root  // of the classes that can take the VM
	shape  []int64 // of the VM, for evenness
}

// root is a class to search, with the least that its hosts come to.
type root struct {
	class     int
	cost, key int64
}

// PlaceWaiting finds a place for a VM of the problem that has no host.
func (x *Placer) PlaceWaiting(i int) (Decision, bool) {
	if i < 0 || i >= len(x.p.VMs) || x.gone[i] || x.a.Host[i] != model.None {
		return Decision{}, false
	}
	x.q.parked = true
	d, ok := x.place(x.p.VMs[i:i+1], nil)
	x.q.parked = false
	return d, ok
}

// PlaceOn is Place on the hosts that allow says yes to.
func (x *Placer) PlaceOn(allow func(model.HostIx) bool, forms ...model.VM) (Decision, bool) {
	return x.place(forms, allow)
}

// PlaceAmong is Place on the hosts of a list alone. O(hosts of the list).
func (x *Placer) PlaceAmong(hosts []model.HostIx, forms ...model.VM) (Decision, bool) {
	q := &x.q
	q.found, q.allow = false, nil
	q.best = Decision{}
	for f := range forms {
		v := &forms[f]
		if x.Check(v) != nil {
			continue
		}
		q.begin(x, v, f)
		for _, h := range hosts {
			if h >= 0 && int(h) < len(x.hosts) {
				q.host(x, h)
			}
		}
	}
	return q.best, q.found
}

// host judges one host.
func (q *query) host(x *Placer, h model.HostIx) {
	v := q.vm
	if h == v.Initial {
		q.initial(x)
		return
	}
	if !x.tree.built || v.Fixed || !x.canLeave(v) {
		return
	}
	s, k := x.tree.leafOf(x, h)
	if fit := x.p.Fit[v.Class][x.p.Hosts[h].Class]; fit != model.Forbidden {
		if cost, ok := q.bound(x, x.tree.node(s, k), fit); ok {
			q.leaf(x, h, cost)
		}
	}
}

// Check says what is wrong with a VM for this problem, as Validate would: a VM that Check refuses gets no place.
func (x *Placer) Check(v *model.VM) error {
	p := &x.p
	switch {
	case len(v.Demand) != len(p.Resources):
		return fmt.Errorf("check VM: %d demands for %d resources", len(v.Demand), len(p.Resources))
	case v.Class < 0 || int(v.Class) >= len(p.Fit):
		return fmt.Errorf("check VM: class %d of %d", v.Class, len(p.Fit))
	case v.Group < model.None || int(v.Group) >= len(p.Groups):
		return fmt.Errorf("check VM: group %d of %d", v.Group, len(p.Groups))
	case v.Apart < model.None || v.Apart >= model.MaxLevels:
		return fmt.Errorf("check VM: apart on level %d", v.Apart)
	case v.Initial < model.None || int(v.Initial) >= len(p.Hosts):
		return fmt.Errorf("check VM: initial host %d of %d", v.Initial, len(p.Hosts))
	case len(v.Disks) > model.MaxDisks:
		return fmt.Errorf("check VM: %d disks, at most %d", len(v.Disks), model.MaxDisks)
	}
	for r, n := range v.Demand {
		if n < 0 {
			return fmt.Errorf("check VM: demand %d of resource %s", n, p.Resources[r].Name)
		}
	}
	for j := range v.Disks {
		d := &v.Disks[j]
		if len(d.Demand) != len(p.PoolResources) || d.Class < 0 || int(d.Class) >= len(p.PoolFit) ||
			d.Initial < model.None || int(d.Initial) >= len(p.Pools) {
			return fmt.Errorf("check VM: disk %d: %d demands, class %d, pool %d", j, len(d.Demand), d.Class, d.Initial)
		}
	}
	return nil
}

func (x *Placer) place(forms []model.VM, allow func(model.HostIx) bool) (Decision, bool) {
	q := &x.q
	q.found, q.allow = false, allow
	q.best = Decision{}
	for f := range forms {
		v := &forms[f]
		if x.Check(v) != nil {
			continue
		}
		q.begin(x, v, f)
		if v.Initial != model.None {
			q.initial(x)
		}
		if x.tree.built && !v.Fixed && x.canLeave(v) {
			q.classes(x)
		}
	}
	return q.best, q.found
}

// canLeave says whether the VM's initial host has room for what the VM holds there while it moves.
func (x *Placer) canLeave(v *model.VM) bool {
	if v.Initial == model.None {
		return true
	}
	s, host := &x.hosts[v.Initial], &x.p.Hosts[v.Initial]
	for r, d := range v.Demand {
		if d > 0 && x.p.Resources[r].Transient && s.use[r]+s.extra[r]+d > host.Capacity[r] {
			return false
		}
	}
	return true
}

func (q *query) begin(x *Placer, v *model.VM, form int) {
	q.vm, q.form, q.seen, q.visits = v, form, 0, 0
	q.stamp++
	if q.stamp == 0 { // wrapped: old choices would pass for new ones
		clear(q.pools)
		q.stamp = 1
	}
	q.needQ, q.needR = 0, 0
	for _, n := range v.NICs {
		q.needQ += int64(n.Queues)
		q.needR += n.Rate
	}
	t := &x.tree
	q.shape = q.shape[:0]
	for k := 1; k < len(t.odds); k++ {
		a, b := t.odds[0], t.odds[k]
		q.shape = append(q.shape, shareOf(v.Demand[a], t.unit[a])-shareOf(v.Demand[b], t.unit[b]))
	}
}

// keyOf is the least packing score of the VM under a node.
func (q *query) keyOf(x *Placer, n []int64) int64 {
	if len(q.shape) > 0 {
		return x.tree.evenness(n, q.shape)
	}
	return n[keyWord]
}

// keyOn is the packing score of the VM on one host, open or not.
func (q *query) keyOn(x *Placer, h model.HostIx) int64 {
	if len(q.shape) == 0 {
		return x.key(h)
	}
	most, t := int64(0), &x.tree
	for k, d := range q.shape {
		off := t.shareLeft(x, h, t.odds[0]) - t.shareLeft(x, h, t.odds[k+1]) - d
		most = max(most, off, -off)
	}
	return most / evenStep
}

// classes searches the classes that can take the VM, the most promising first.
func (q *query) classes(x *Placer) {
	t := &x.tree
	row := x.p.Fit[q.vm.Class]
	q.roots = q.roots[:0]
	for c := range t.span {
		s := &t.span[c]
		if s.size == 0 || row[c] == model.Forbidden {
			continue
		}
		n := t.node(s, 1)
		if cost, ok := q.bound(x, n, row[c]); ok {
			q.roots = append(q.roots, root{c, cost, q.keyOf(x, n)})
		}
	}
	slices.SortFunc(q.roots, func(a, b root) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.key, b.key), cmp.Compare(a.class, b.class))
	})
	for i := range q.roots {
		r := &q.roots[i]
		w := walk{q, x, &t.span[r.class], row[r.class]}
		if !w.down(1, t.node(w.s, 1), r.cost, r.key) {
			return
		}
	}
}

// bound is what the VM costs at least on the hosts under a node of a class where it costs fit; false: none of them takes it.
func (q *query) bound(x *Placer, n []int64, fit int64) (int64, bool) {
	if n[reachLoWord] > n[reachHiWord] {
		return 0, false
	}
	t := &x.tree
	free := n[freeWord:t.slack]
	for r, d := range q.vm.Demand {
		if d > free[r] && d > 0 {
			return 0, false
		}
	}
	if q.needQ > 0 && q.needQ > free[t.width-2] || q.needR > 0 && q.needR > free[t.width-1] {
		return 0, false
	}
	cost := n[onWord] + fit
	for k, r := range t.loads {
		d, s := q.vm.Demand[r], n[t.slack+k]
		if d > s {
			cost += x.p.Resources[r].Load * (d - max(0, s))
		}
	}
	for b := range t.bals {
		cost += q.balance(x, b, n[t.level+2*b], n[t.level+2*b+1])
	}
	if n[reachLoWord] == n[reachHiWord] && len(q.vm.Disks) > 0 {
		c := q.choice(x, int32(n[reachLoWord])) //nolint:gosec // MaxHosts
		if !c.ok {
			return 0, false
		}
		cost += c.cost
	}
	return cost, true
}

// balance is what the VM adds to balance b at least on a host where it stands between low and high. On one host both are
// the same, and the answer exact.
func (q *query) balance(x *Placer, b int, low, high int64) int64 {
	w := &x.p.Balances[b]
	step := q.vm.Demand[w.B] - w.Target*q.vm.Demand[w.A]
	at := low // what the VM adds grows with where the host stands, if it adds at all
	if step < 0 {
		at = high
	}
	return w.Weight * (max(0, at+step) - max(0, at))
}

// better says whether a place of this cost and key on this host beats the best so far.
func (q *query) better(cost, key int64, h model.HostIx) bool {
	if !q.found {
		return true
	}
	if cost != q.best.Cost {
		return cost < q.best.Cost
	}
	if key != q.key {
		return key < q.key
	}
	return h < q.best.Host
}

// promising says whether a node of this bound, key and least host can hold a better place.
func (q *query) promising(cost, key, host int64) bool {
	if !q.found {
		return true
	}
	if cost != q.best.Cost {
		return cost < q.best.Cost
	}
	return key < q.key || key == q.key && host < int64(q.best.Host)
}

// visitsEach is how many nodes are looked at for each candidate, once there is a place.
const visitsEach = 16

// walk is a search of one class.
type walk struct {
	q   *query
	x   *Placer
	s   *span
	fit int64
}

// down looks at the hosts under node k, the more promising side first. False: enough was seen.
func (w *walk) down(k int, n []int64, cost, key int64) bool {
	q, x := w.q, w.x
	if !q.promising(cost, key, n[hostWord]) {
		return true
	}
	if q.visits++; q.found && x.o.Candidates > 0 && q.visits > visitsEach*x.o.Candidates {
		return false
	}
	t := &x.tree
	if k >= w.s.size {
		if h := t.leaf[w.s.first+k-w.s.size]; h != q.vm.Initial {
			q.leaf(x, h, cost)
		}
		return x.o.Candidates == 0 || q.seen < x.o.Candidates
	}
	a, b := t.node(w.s, 2*k), t.node(w.s, 2*k+1)
	ca, okA := q.bound(x, a, w.fit)
	cb, okB := q.bound(x, b, w.fit)
	ka, kb := q.keyOf(x, a), q.keyOf(x, b)
	if okA && okB && (cb < ca || cb == ca && kb < ka) {
		return w.down(2*k+1, b, cb, kb) && w.down(2*k, a, ca, ka)
	}
	return (!okA || w.down(2*k, a, ca, ka)) && (!okB || w.down(2*k+1, b, cb, kb))
}

// leaf judges one open host of which the amounts and the pools are known to do; cost is exact but for moving there.
func (q *query) leaf(x *Placer, h model.HostIx, cost int64) {
	v := q.vm
	if q.allow != nil && !q.allow(h) || !x.groupAllows(v, h) {
		return
	}
	d := Decision{Host: h, Form: q.form, Cost: cost}
	if v.Initial != model.None {
		if len(v.Disks) == 0 { // with disks, their choice has counted it
			if v.Move[model.HostChange] == model.Forbidden {
				return
			}
			d.Cost += v.Move[model.HostChange]
		}
		if x.p.Hop != nil {
			d.Cost += int64(x.p.Hop[x.p.Hosts[v.Initial].Place][x.p.Hosts[h].Place]) * x.p.HopWeight
		}
	}
	if len(v.Disks) > 0 {
		d.Pools = q.choice(x, x.hosts[h].reach).pools
	}
	q.offer(x, d)
}

// initial judges the host that the VM had at first, which may be closed.
func (q *query) initial(x *Placer) {
	v, h := q.vm, q.vm.Initial
	s, host := &x.hosts[h], &x.p.Hosts[h]
	fit := x.p.Fit[v.Class][host.Class]
	if fit == model.Forbidden || q.allow != nil && !q.allow(h) || !x.groupAllows(v, h) {
		return
	}
	cost := fit
	if len(s.vms) == 0 {
		cost += host.On
	}
	for r, d := range v.Demand {
		if d > 0 && s.use[r]+s.extra[r]+d > host.Capacity[r] {
			return
		}
		over := s.use[r] - host.Soft[r]
		cost += x.p.Resources[r].Load * (max(0, over+d) - max(0, over))
	}
	for b := range x.p.Balances {
		at := x.short(b, h)
		cost += q.balance(x, b, at, at)
	}
	d := Decision{Host: h, Form: q.form, Cost: cost}
	if len(v.Disks) > 0 {
		c := q.choosePools(x, host.Pools, 0)
		if !c.ok {
			return
		}
		d.Cost += c.cost
		d.Pools = c.pools
	}
	q.offer(x, d)
}

// offer takes a place that is better than the best so far, if the NICs have room too.
func (q *query) offer(x *Placer, d Decision) {
	key := int64(math.MinInt64) // with a rater: not even with the best key
	if x.o.Rater == nil {
		key = q.keyOn(x, d.Host)
	}
	if !q.better(d.Cost, key, d.Host) {
		q.seen++
		return
	}
	nics, repack, ok := x.packNICs(d.Host, q.vm, true)
	if !ok {
		return
	}
	q.seen++
	if x.o.Rater != nil {
		key = x.o.Rater.Rate(x, d.Host, q.vm)
	}
	if q.better(d.Cost, key, d.Host) {
		d.NICs, d.Repack = nics, repack
		q.best, q.key, q.found = d, key, true
	}
}
