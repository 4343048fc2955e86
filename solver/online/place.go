package online

import (
	"fmt"
	"math"

	"github.com/berth-project/berth/plan/model"
)

// query is one search for a place, with memory that is used again.
type query struct {
	vm   *model.VM
	form int
	// parked: what the VM's disks use of their initial pools is counted there.
	parked bool
	allow  func(model.HostIx) bool // nil: every host
	fitMin int64                   // the least of the VM's row of Fit
	needQ  int64
	needR  int64
	pools  []poolChoice // by reach set, of a host that is not the VM's initial one
	stamp  uint32
	seen   int // feasible hosts
	visits int // nodes
	best   Decision
	key    int64
	found  bool
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
		if x.tree.size > 0 && !v.Fixed && x.canLeave(v) {
			if lb, ok := q.bound(x, 1); ok {
				q.walk(x, 1, lb)
			}
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
	q.fitMin = math.MaxInt64
	for _, c := range x.p.Fit[v.Class] {
		if c != model.Forbidden {
			q.fitMin = min(q.fitMin, c)
		}
	}
	q.needQ, q.needR = 0, 0
	for _, n := range v.NICs {
		q.needQ += int64(n.Queues)
		q.needR += n.Rate
	}
}

// bound is what the VM costs at least on the hosts under node i; false: none of them takes it.
func (q *query) bound(x *Placer, i int) (int64, bool) {
	t, n := &x.tree, &x.tree.node[i]
	if n.classLo > n.classHi {
		return 0, false
	}
	free := t.free[i*t.width : (i+1)*t.width]
	for r, d := range q.vm.Demand {
		if d > free[r] && d > 0 {
			return 0, false
		}
	}
	if q.needQ > 0 && q.needQ > free[t.width-2] || q.needR > 0 && q.needR > free[t.width-1] {
		return 0, false
	}
	cost := n.on
	if n.classLo == n.classHi {
		c := x.p.Fit[q.vm.Class][n.classLo]
		if c == model.Forbidden {
			return 0, false
		}
		cost += c
	} else {
		if q.fitMin == math.MaxInt64 {
			return 0, false
		}
		cost += q.fitMin
	}
	if n.reachLo == n.reachHi && len(q.vm.Disks) > 0 {
		c := q.choice(x, n.reachLo)
		if !c.ok {
			return 0, false
		}
		cost += c.cost
	}
	for k, r := range t.loads {
		d, s := q.vm.Demand[r], t.slack[i*len(t.loads)+k]
		if d > s {
			cost += x.p.Resources[r].Load * (d - max(0, s))
		}
	}
	for b := range t.bals {
		cost += q.balance(x, b, t.low[i*t.bals+b], t.high[i*t.bals+b])
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

// promising says whether node i, of this bound, can hold a better place.
func (q *query) promising(x *Placer, i int, cost int64) bool {
	if !q.found {
		return true
	}
	if cost != q.best.Cost {
		return cost < q.best.Cost
	}
	return x.tree.node[i].key <= q.key
}

// visitsEach is how many nodes are looked at for each candidate, once there is a place.
const visitsEach = 16

// walk goes down to the hosts under node i, the more promising side first. False: enough was seen.
func (q *query) walk(x *Placer, i int, lb int64) bool {
	if !q.promising(x, i, lb) {
		return true
	}
	if q.visits++; q.found && x.o.Candidates > 0 && q.visits > visitsEach*x.o.Candidates {
		return false
	}
	if i >= x.tree.size {
		h := x.tree.leaf[i-x.tree.size]
		if h != q.vm.Initial {
			q.leaf(x, h, lb)
		}
		return x.o.Candidates == 0 || q.seen < x.o.Candidates
	}
	a, b := 2*i, 2*i+1
	ca, okA := q.bound(x, a)
	cb, okB := q.bound(x, b)
	if okA && okB && (cb < ca || cb == ca && x.tree.node[b].key < x.tree.node[a].key) {
		return q.walk(x, b, cb) && q.walk(x, a, ca)
	}
	return (!okA || q.walk(x, a, ca)) && (!okB || q.walk(x, b, cb))
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
	if !q.better(d.Cost, math.MinInt64, d.Host) { // not even with the best key
		return
	}
	nics, repack, ok := x.packNICs(d.Host, q.vm, true)
	if !ok {
		return
	}
	q.seen++
	key := x.key(d.Host)
	if x.o.Rater != nil {
		key = x.o.Rater.Rate(x, d.Host, q.vm)
	}
	if q.better(d.Cost, key, d.Host) {
		d.NICs, d.Repack = nics, repack
		q.best, q.key, q.found = d, key, true
	}
}
