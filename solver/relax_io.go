package solver

import (
	"fmt"
	"maps"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// newNICID names a NIC that is not there yet.
const newNICID fleet.NICID = "new"

// newNIC gives h a NIC of the class and with the queues and bandwidth that the unit asks for.
func (r *relaxer) newNIC(h hostIx) []trial {
	a := Adjustment{Kind: AdjustNIC, Host: r.hosts[h].snap.ID, NIC: newNICID}
	for _, i := range r.u.vms {
		v := &r.vms[i]
		a.Class = max(a.Class, v.need.NICClass)
		for _, n := range v.nics {
			a.Amount += int64(n.Queues)
			a.Rate += n.Rate
		}
	}
	a.cost = costOf(AdjustNIC, 10*int64(a.Class)+a.Amount)
	a.Text = fmt.Sprintf("a NIC of class %d in %s", a.Class, a.Host)
	if a.Amount > 0 {
		a.Text = fmt.Sprintf("a NIC of class %d with %d queues in %s", a.Class, a.Amount, a.Host)
	}
	if slices.ContainsFunc(r.hosts[h].snap.NICs, func(n fleet.NIC) bool { return n.ID == a.NIC }) {
		return nil
	}
	was := r.hosts[h]
	return []trial{{adjustment: a, do: func() {
		snap := *r.hosts[h].snap
		snap.NICs = append(slices.Clone(snap.NICs), fleet.NIC{ID: a.NIC, Class: a.Class, Queues: fleet.Queues(a.Amount), Guarantee: a.Rate})
		facts := maps.Clone(r.hosts[h].facts.NICClass)
		if facts == nil {
			facts = map[fleet.NICID]fleet.NICClass{}
		}
		facts[a.NIC] = a.Class
		r.hosts[h].snap, r.hosts[h].facts.NICClass = &snap, facts
	}, undo: func() { r.hosts[h].snap, r.hosts[h].facts.NICClass = was.snap, was.facts.NICClass }}}
}

// moreNIC gives one NIC of h, the first of the class that the unit asks for, what all of the unit reserve.
func (r *relaxer) moreNIC(h hostIx) []trial {
	var class fleet.NICClass
	var queues fleet.Queues
	var rate fleet.Mbps
	for _, i := range r.u.vms {
		for _, n := range r.vms[i].nics {
			class = max(class, n.Class)
			queues += n.Queues
			rate += n.Rate
		}
	}
	host := &r.hosts[h]
	at := slices.IndexFunc(host.snap.NICs, func(n fleet.NIC) bool { return n.Module == "" && n.ID != newNICID && host.class(&n) >= class })
	if at < 0 {
		return r.newNIC(h)
	}
	nic := host.snap.NICs[at].ID
	try := func(a Adjustment) trial {
		was := host.snap
		return trial{adjustment: a, do: func() {
			snap := *r.hosts[h].snap
			snap.NICs = slices.Clone(snap.NICs)
			if n := &snap.NICs[at]; a.Kind == AdjustQueues {
				n.Queues += fleet.Queues(a.Amount)
			} else {
				n.Guarantee += fleet.Mbps(a.Amount)
				n.Speed = max(n.Speed, n.Guarantee)
			}
			r.hosts[h].snap = &snap
		}, undo: func() { r.hosts[h].snap = was }}
	}
	var out []trial
	if queues > 0 {
		a := Adjustment{Kind: AdjustQueues, Host: host.snap.ID, NIC: nic, Amount: int64(queues), cost: costOf(AdjustQueues, int64(queues))}
		a.Text = fmt.Sprintf("%d more queues on %s of %s", queues, nic, a.Host)
		out = append(out, try(a))
	}
	if rate > 0 {
		a := Adjustment{Kind: AdjustRate, Host: host.snap.ID, NIC: nic, Amount: int64(rate), cost: costOf(AdjustRate, int64(rate/100))}
		a.Text = fmt.Sprintf("%s more bandwidth on %s of %s", rate, nic, a.Host)
		out = append(out, try(a))
	}
	return out
}

// reach connects h to a pool: one that a disk of the unit, or its chain, lies on, or the one of a disk's tier with most room.
func (r *relaxer) reach(h hostIx) []trial {
	var want []poolIx
	add := func(p poolIx) {
		if p != none && !slices.Contains(want, p) && !slices.Contains(r.hosts[h].pools, p) && r.pools[p].snap.Source == r.hosts[h].snap.Source {
			want = append(want, p)
		}
	}
	for _, i := range r.u.vms {
		v := &r.vms[i]
		for n, p := range v.disks {
			need := max(v.need.Disks[n].Tier, 0)
			if r.pools[p].facts.Tier >= need {
				add(p)
				continue
			}
			best := poolIx(none)
			for q := range r.pools {
				if pool := &r.pools[q]; pool.facts.Tier >= need && len(pool.hosts) != 1 && (best == none || r.room(poolIx(q)) > r.room(best)) { // fewer pools than 2^31
					best = poolIx(q)
				}
			}
			add(best)
		}
		for _, id := range r.needed(v) {
			add(r.pool(id))
		}
	}
	var out []trial
	for _, p := range want[:min(len(want), maxAdjustments)] {
		a := Adjustment{Kind: AdjustReach, Host: r.hosts[h].snap.ID, Pool: r.pools[p].snap.ID, cost: costOf(AdjustReach, 0)}
		a.Text = fmt.Sprintf("connect %s to %s", a.Host, a.Pool)
		was, snap := r.hosts[h].pools, r.hosts[h].snap
		out = append(out, trial{adjustment: a, do: func() {
			host := *snap
			host.Pools = append(slices.Clone(snap.Pools), a.Pool)
			slices.Sort(host.Pools)
			r.hosts[h].snap = &host
			at, _ := slices.BinarySearch(was, p)
			r.hosts[h].pools = slices.Insert(slices.Clone(was), at, p)
		}, undo: func() { r.hosts[h].pools, r.hosts[h].snap = was, snap }})
	}
	return out
}

// morePool gives a pool that h reaches, the one that lacks least, what a disk of the unit lacks there.
func (r *relaxer) morePool(h hostIx, refused string) []trial {
	best, lack := poolIx(none), int64(0)
	for _, i := range r.u.vms {
		v := &r.vms[i]
		for n, at := range v.disks {
			need := max(v.need.Disks[n].Tier, 0)
			for _, p := range r.hosts[h].pools {
				pool := &r.pools[p]
				if pool.facts.Tier < need || pool.snap.Source != v.snap.Source {
					continue
				}
				if l := r.lacks(v, n, p, at, refused); l > 0 && (best == none || l < lack) {
					best, lack = p, l
				}
			}
		}
	}
	if best == none {
		return nil
	}
	pool := &r.pools[best]
	a := Adjustment{Pool: pool.snap.ID}
	was := pool.snap
	change := func(*fleet.Pool) {}
	switch refused {
	case plan.ConstraintPoolSpace:
		gib := (lack + int64(fleet.GiB) - 1) / int64(fleet.GiB)
		a.Kind, a.Amount, a.cost = AdjustSpace, gib*int64(fleet.GiB), costOf(AdjustSpace, gib)
		a.Text = fmt.Sprintf("%s more free in pool %s", fleet.FormatBytes(fleet.Bytes(a.Amount)), a.Pool)
	case plan.ConstraintPoolIOPS:
		a.Kind, a.Amount, a.cost = AdjustIOPS, lack, costOf(AdjustIOPS, lack/100)
		a.Text = fmt.Sprintf("%d more operations a second from pool %s", lack, a.Pool)
		change = func(p *fleet.Pool) { p.IOPS += fleet.IOPS(lack) }
	default:
		a.Kind, a.Amount, a.cost = AdjustThroughput, lack, costOf(AdjustThroughput, lack/100)
		a.Text = fmt.Sprintf("%d MB/s more from pool %s", lack, a.Pool)
		change = func(p *fleet.Pool) { p.Throughput += fleet.MBps(lack) }
	}
	more := fleet.Bytes(0)
	if a.Kind == AdjustSpace {
		more = fleet.Bytes(a.Amount)
	}
	return []trial{{adjustment: a, do: func() {
		snap := *was
		change(&snap)
		r.pools[best].snap = &snap
		r.pools[best].free += more
	}, undo: func() {
		r.pools[best].snap = was
		r.pools[best].free -= more
	}}}
}

// lacks is how much p lacks of what the constraint is about for the n-th disk of v, which lies in at.
func (r *relaxer) lacks(v *vmState, n int, p, at poolIx, refused string) int64 {
	if refused == plan.ConstraintPoolSpace {
		if p == at {
			return 0
		}
		return int64(v.snap.Disks[n].Used - r.room(p))
	}
	use, all := r.pools[p].io, offered(refused, r.pools[p].snap)
	if p != at {
		use = use.plus(v.io(n))
	}
	if all == 0 || promised(refused, v.io(n)) == 0 {
		return 0
	}
	return promised(refused, use) - all
}
