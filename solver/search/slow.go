package search

import "github.com/berth-project/berth/plan/model"

// disks is which pool each disk is in, and the room of the pools. Disks are numbered through, VM by VM.
type disks struct {
	from  []int32 // first disk of a VM, by VM, and the end
	pool  []int32
	slack []int64 // [pool*nq+resource], less what leaves behind
	nq    int
	saved []int32 // pools of the VM whose move is being judged
}

func newDisks(t *tables) *disks {
	d := &disks{from: make([]int32, t.nv+1), nq: len(t.p.PoolResources)}
	n := int32(0)
	for i := range t.p.VMs {
		d.from[i] = n
		n += int32(len(t.p.VMs[i].Disks)) //nolint:gosec // bounded by MaxVMs * MaxDisks
	}
	d.from[t.nv] = n
	if n == 0 {
		return nil
	}
	d.pool = make([]int32, n)
	d.slack = make([]int64, len(t.p.Pools)*d.nq)
	return d
}

// load takes the pools of a.
func (d *disks) load(s *state, a *model.Assignment) {
	for i := range s.p.Pools {
		q := &s.p.Pools[i]
		for r := range d.nq {
			d.slack[i*d.nq+r] = q.Capacity[r] - q.Base[r]
		}
	}
	for i := range s.p.VMs {
		for j := range s.p.VMs[i].Disks {
			k := &s.p.VMs[i].Disks[j]
			d.pool[int(d.from[i])+j] = int32(a.Pool[i][j])
			for r := range d.nq {
				if k.Initial != model.None && s.staysBehind(k, r) {
					d.slack[int(k.Initial)*d.nq+r] -= k.Demand[r]
				}
			}
			s.takePool(k, int32(a.Pool[i][j]), 1)
		}
	}
}

// staysBehind says whether a disk counts for resource r in its initial pool wherever it is.
func (t *tables) staysBehind(k *model.Disk, r int) bool {
	return k.Sticky || t.p.PoolResources[r].Transient
}

// takePool adds disk k to pool q, n times (1 or -1).
func (s *state) takePool(k *model.Disk, q int32, n int64) {
	if q < 0 {
		return
	}
	slack := s.disks.slack[int(q)*s.disks.nq:]
	for r, need := range k.Demand {
		if int32(k.Initial) != q || !s.staysBehind(k, r) {
			slack[r] -= n * need
		}
	}
}

// poolRoom says whether pool q has room for disk k, which is not in it.
func (s *state) poolRoom(k *model.Disk, q int32) bool {
	slack := s.disks.slack[int(q)*s.disks.nq:]
	for r, need := range k.Demand {
		if need > slack[r] && need > 0 && (int32(k.Initial) != q || !s.staysBehind(k, r)) {
			return false
		}
	}
	return true
}

// pools is where the disks of v are.
func (s *state) pools(v int32) []int32 { return s.disks.pool[s.disks.from[v]:s.disks.from[v+1]] }

// poolPrice is what the disks of v cost where they are, and whether one of them is not in its initial pool.
func (s *state) poolPrice(v int32, placed bool) (c int64, changed bool) {
	if s.disks == nil {
		return 0, false
	}
	for j, q := range s.pools(v) {
		if q < 0 {
			continue
		}
		k := &s.p.VMs[v].Disks[j]
		c += max(0, s.p.PoolFit[k.Class][s.p.Pools[q].Class]) * k.Weight
		if placed && k.Initial != model.None && int32(k.Initial) != q {
			c += s.dear * k.Copy
			changed = true
		}
	}
	return c, changed
}

// slowPrice is hostPrice for a VM with disks, in the pools where they are.
func (s *state) slowPrice(v, h int32) int64 {
	c := int64(0)
	if s.fitAny {
		c = max(0, s.fit[int(s.class[v])*s.classes+int(s.hostClass[h])])
	}
	pools, changed := s.poolPrice(v, true)
	c += pools
	in := s.initial[v]
	if in < 0 {
		return c
	}
	if in != h && s.hop != nil {
		c += s.dear * s.hop[int(s.place[in])*s.places+int(s.place[h])]
	}
	return c + s.dear*max(0, s.p.VMs[v].Move[change(in != h, changed)])
}

func change(host, disk bool) int {
	c := 0
	if host {
		c |= model.HostChange
	}
	if disk {
		c |= model.DiskChange
	}
	return c
}

// poolPlan is how pools are chosen for the disks of a VM that goes to a host.
type poolPlan int

const (
	planKeep   poolPlan = iota // where they are, or else their initial pool, or else the cheapest
	planCheap                  // the cheapest
	planRandom                 // any
)

// planPools moves the disks of v to pools that host h reaches; false, and the disks anywhere, if there is no way.
func (s *state) planPools(v, h int32, how poolPlan, rnd *random) bool {
	pools := s.pools(v)
	vm := &s.p.VMs[v]
	changed := false
	for j := range pools {
		k := &vm.Disks[j]
		s.takePool(k, pools[j], -1)
		to := s.choosePool(k, pools[j], h, how, rnd)
		s.takePool(k, to, 1)
		pools[j] = to
		if to < 0 {
			return false
		}
		changed = changed || k.Initial != model.None && int32(k.Initial) != to
	}
	in := s.initial[v]
	return in < 0 || vm.Move[change(in != h, changed)] >= 0
}

// choosePool is the pool for disk k of a VM on host h, or None.
func (s *state) choosePool(k *model.Disk, now, h int32, how poolPlan, rnd *random) int32 {
	best, bestCost := int32(model.None), int64(0)
	reach := s.p.Hosts[h].Pools
	start := 0
	if how == planRandom && len(reach) > 0 {
		start = rnd.below(len(reach))
	}
	for n := range reach {
		q := int32(reach[(start+n)%len(reach)])
		if k.Fixed && q != int32(k.Initial) || !s.p.Pools[q].Open && q != int32(k.Initial) {
			continue
		}
		c := s.p.PoolFit[k.Class][s.p.Pools[q].Class]
		if c < 0 || !s.poolRoom(k, q) && q != now {
			continue
		}
		c *= k.Weight
		if int32(k.Initial) != q && k.Initial != model.None {
			c += s.dear * k.Copy
		}
		switch {
		case how == planRandom:
			return q
		case how == planKeep && q == now:
			return q
		case how == planKeep && q == int32(k.Initial):
			c = -1
		}
		if best < 0 || c < bestCost {
			best, bestCost = q, c
		}
	}
	return best
}

// tryPools puts the disks of v where host h reaches them, the cheaper of two ways; undoPools takes it back. False: there
// is no way, and nothing has changed.
func (s *state) tryPools(v, h int32, rnd *random) bool {
	if s.disks == nil || len(s.p.VMs[v].Disks) == 0 {
		in := s.initial[v]
		return in < 0 || in == h || s.moveCost[v] >= 0
	}
	s.disks.saved = append(s.disks.saved[:0], s.pools(v)...)
	saved := s.disks.saved
	if rnd != nil && rnd.next()&15 == 0 {
		if s.planPools(v, h, planRandom, rnd) {
			return true
		}
		s.setPools(v, saved)
		return false
	}
	cheap := s.planPools(v, h, planCheap, nil)
	price := int64(0)
	var kept []int32
	if cheap {
		price = s.slowPrice(v, h)
		kept = append(kept, s.pools(v)...)
	}
	s.setPools(v, saved)
	if s.planPools(v, h, planKeep, nil) && (!cheap || s.slowPrice(v, h) <= price) {
		return true
	}
	if cheap {
		s.setPools(v, kept)
		return true
	}
	s.setPools(v, saved)
	return false
}

// undoPools takes the last tryPools of v back.
func (s *state) undoPools(v int32) {
	if s.disks != nil && len(s.p.VMs[v].Disks) > 0 {
		s.setPools(v, s.disks.saved)
	}
}

// setPools moves the disks of v, whatever the room.
func (s *state) setPools(v int32, to []int32) {
	pools := s.pools(v)
	for j := range pools {
		k := &s.p.VMs[v].Disks[j]
		s.takePool(k, pools[j], -1)
		s.takePool(k, to[j], 1)
		pools[j] = to[j]
	}
}

// repriceVM brings the price of v up to date after its disks have moved and it has not.
func (s *state) repriceVM(v int32) {
	c := s.slowPrice(v, s.host[v])
	s.total += c - s.vmCost[v]
	s.vmCost[v] = c
}
