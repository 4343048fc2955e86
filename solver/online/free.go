package online

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// Freeing bounds one attempt to free a host.
type Freeing struct {
	Steps int         // VMs without a place that are dealt with, at most
	Seed  uint64      // which way the search goes
	Stop  func() bool // asked now and then; nil: never
}

// freeing is an ejection search: what has no place goes where the VMs that have to leave for it are those that were
// easiest to place so far (Nagata and Bräysy's way of saving vehicles). Penalties count how often a VM had no place.
type freeing struct {
	x       *Placer
	h       model.HostIx
	hosts   []model.HostIx // that may be used
	was     map[int]Decision
	moved   []int // the keys of was, in order
	queue   []int
	penalty map[int]int64
	rnd     *rand.Rand
	f       Freeing
	steps   int
}

// Free empties a host into the others that are in use, ejecting VMs and placing them again where it must. It returns the
// moves, whose order is not that in which they can be made one by one; false: no way was found, and nothing is changed.
// A step is O(hosts in use times pairs of VMs on each).
func (x *Placer) Free(h model.HostIx, f Freeing) ([]Move, bool) {
	if h < 0 || int(h) >= len(x.hosts) || len(x.hosts[h].vms) == 0 {
		return nil, false
	}
	s := &freeing{
		x: x, h: h, was: map[int]Decision{}, penalty: map[int]int64{},
		rnd: rand.New(rand.NewPCG(f.Seed, uint64(h))), f: f, steps: f.Steps, //nolint:gosec // a seed, no secret
	}
	for _, g := range x.byCount() {
		if g != h && x.p.Hosts[g].Open {
			s.hosts = append(s.hosts, g)
		}
	}
	slices.Sort(s.hosts)
	if len(s.hosts) == 0 || s.roomLacks() {
		return nil, false
	}
	for _, i := range slices.Clone(x.hosts[h].vms) {
		if !s.eject(int(i)) {
			s.restore()
			return nil, false
		}
	}
	if !s.run() {
		s.restore()
		return nil, false
	}
	var moves []Move
	for _, i := range s.moved {
		if from, to := s.was[i].Host, x.a.Host[i]; from != to {
			moves = append(moves, Move{i, from, to})
		}
	}
	return moves, true
}

// roomLacks says whether the other hosts have too little free even as one.
func (s *freeing) roomLacks() bool {
	for r, use := range s.x.hosts[s.h].use {
		for _, g := range s.hosts {
			use -= max(0, s.x.p.Hosts[g].Capacity[r]-s.x.hosts[g].use[r]-s.x.hosts[g].extra[r])
		}
		if use > 0 {
			return true
		}
	}
	return false
}

func (s *freeing) movable(i int) bool {
	v := &s.x.p.VMs[i]
	return !v.Fixed && (v.Group == model.None || !s.x.isNeeded(i))
}

// eject takes a VM off its host and queues it; false: it must not move.
func (s *freeing) eject(i int) bool {
	if !s.movable(i) {
		return false
	}
	s.note(i)
	s.x.take(i)
	s.queue = append(s.queue, i)
	return true
}

func (s *freeing) note(i int) {
	if _, ok := s.was[i]; !ok {
		s.was[i] = s.x.decisionOf(i)
		s.moved = append(s.moved, i)
	}
}

// restore puts everything back.
func (s *freeing) restore() {
	for _, i := range s.moved {
		s.x.take(i)
	}
	for _, i := range s.moved {
		d := s.was[i]
		s.x.put(i, &d)
	}
}

func (s *freeing) run() bool {
	for len(s.queue) > 0 {
		if s.steps--; s.steps < 0 || s.steps%64 == 0 && s.f.Stop != nil && s.f.Stop() {
			return false
		}
		i := s.next()
		if s.insert(i) {
			continue
		}
		s.penalty[i]++
		h, out := s.cheapest(i)
		if h == model.None {
			s.queue = append(s.queue, i)
			s.shake(8)
			continue
		}
		if !s.swapIn(i, h, out) {
			s.queue = append(s.queue, i)
		}
		s.shake(4)
	}
	return true
}

// next takes the VM that is hardest to place out of the queue: the largest.
func (s *freeing) next() int {
	k := len(s.queue) - 1 // what was ejected last, which keeps the search near
	i := s.queue[k]
	s.queue = s.queue[:k]
	return i
}

// insert places a VM on one of the hosts without ejecting any.
func (s *freeing) insert(i int) bool {
	n := len(s.hosts)
	if n == 0 {
		return false
	}
	from := s.rnd.IntN(n)
	for k := range n {
		if s.putOn(i, s.hosts[(from+k)%n]) {
			return true
		}
	}
	return false
}

// putOn places a waiting VM on one host if it fits.
func (s *freeing) putOn(i int, h model.HostIx) bool {
	if !s.x.roomFor(i, h, model.None, model.None) {
		return false
	}
	d, ok := s.x.on(i, h)
	if ok {
		s.x.put(i, &d)
	}
	return ok
}

// roomFor compares amounts: the VM's demand with what is free on a host once VMs a and b have left it.
func (x *Placer) roomFor(i int, h model.HostIx, a, b int32) bool {
	s, limit := &x.hosts[h], x.p.Hosts[h].Capacity
	for r, d := range x.p.VMs[i].Demand {
		if d == 0 {
			continue
		}
		free := limit[r] - s.use[r] - s.extra[r] - d
		if a >= 0 {
			free += x.p.VMs[a].Demand[r]
		}
		if b >= 0 {
			free += x.p.VMs[b].Demand[r]
		}
		if free < 0 {
			return false
		}
	}
	return true
}

// on is the place of a waiting VM on one host, without repacking NICs.
func (x *Placer) on(i int, h model.HostIx) (Decision, bool) {
	d, ok := x.onHost(i, h)
	return d, ok && !d.Repack
}

// onHost is the place of a waiting VM on one host.
func (x *Placer) onHost(i int, h model.HostIx) (Decision, bool) {
	q := &x.q
	q.found, q.allow, q.parked = false, nil, true
	q.best = Decision{}
	q.begin(x, &x.p.VMs[i], 0)
	q.host(x, h)
	q.parked = false
	return q.best, q.found
}

// cheapest finds the host and the one or two VMs to leave it for VM i, by the least sum of penalties and fewer than i's.
func (s *freeing) cheapest(i int) (model.HostIx, [2]int32) {
	limit := s.penalty[i]
	best, host, out := limit, model.HostIx(model.None), [2]int32{model.None, model.None}
	ties := 0
	for _, h := range s.hosts {
		vms := s.x.hosts[h].vms
		for k, a := range vms {
			pa := s.penalty[int(a)] + 1
			if pa > best+1 {
				continue
			}
			if s.x.roomFor(i, h, a, model.None) {
				if pa < best || pa == best && s.tie(&ties) {
					best, host, out = pa, h, [2]int32{a, model.None}
				}
				continue
			}
			for _, b := range vms[k+1:] {
				pb := pa + s.penalty[int(b)] + 1
				if pb > best || !s.x.roomFor(i, h, a, b) {
					continue
				}
				if pb < best || s.tie(&ties) {
					best, host, out = pb, h, [2]int32{a, b}
				}
			}
		}
	}
	return host, out
}

// tie takes each of n equals with the same probability.
func (s *freeing) tie(n *int) bool {
	*n++
	return s.rnd.IntN(*n) == 0
}

// swapIn ejects VMs for VM i; false: i has no place there even so, and they stay.
func (s *freeing) swapIn(i int, h model.HostIx, out [2]int32) bool {
	var back []int
	for _, o := range out {
		if o == model.None {
			continue
		}
		if !s.movable(int(o)) {
			break
		}
		s.note(int(o))
		s.x.take(int(o))
		back = append(back, int(o))
	}
	if s.putOn(i, h) {
		slices.SortFunc(back, func(a, b int) int { return cmp.Compare(s.x.size(&s.x.p.VMs[a]), s.x.size(&s.x.p.VMs[b])) })
		s.queue = append(s.queue, back...)
		return true
	}
	for _, o := range back {
		if !s.putOn(o, h) {
			s.queue = append(s.queue, o)
		}
	}
	return false
}

// shake moves or swaps random VMs, so that the next ejections find other hosts.
func (s *freeing) shake(n int) {
	for range n {
		h, g := s.hosts[s.rnd.IntN(len(s.hosts))], s.hosts[s.rnd.IntN(len(s.hosts))]
		if h == g || len(s.x.hosts[h].vms) == 0 {
			continue
		}
		a := s.x.hosts[h].vms[s.rnd.IntN(len(s.x.hosts[h].vms))]
		if !s.movable(int(a)) {
			continue
		}
		b := int32(model.None)
		if m := len(s.x.hosts[g].vms); m > 0 {
			if k := s.rnd.IntN(m + 1); k < m {
				b = s.x.hosts[g].vms[k]
			}
		}
		s.exchange(a, b, h, g)
	}
}

// exchange swaps a on h with b on g, or moves a to g if b is none, where both fit.
func (s *freeing) exchange(a, b int32, h, g model.HostIx) {
	if !s.x.roomFor(int(a), g, b, model.None) || b >= 0 && (!s.movable(int(b)) || !s.x.roomFor(int(b), h, a, model.None)) {
		return
	}
	s.note(int(a))
	wasA := s.x.decisionOf(int(a))
	s.x.take(int(a))
	var wasB Decision
	if b >= 0 {
		s.note(int(b))
		wasB = s.x.decisionOf(int(b))
		s.x.take(int(b))
	}
	if s.putOn(int(a), g) {
		if b < 0 || s.putOn(int(b), h) {
			return
		}
		s.x.take(int(a))
	}
	s.x.put(int(a), &wasA)
	if b >= 0 {
		s.x.put(int(b), &wasB)
	}
}
