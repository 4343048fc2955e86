package search

import "math"

// Where all VMs come in pairs, such as an instance and its standby on another host, and it matters which of a pair is where, a VM that
// moves, or two that change hosts, seldom pay by themselves: what they change about the hosts has to be put right by pairs that change
// places, their own or a third one. And where moves have a price, their number is kept when a VM goes home and another one leaves the
// same host for it, or when two that have moved change targets. Random exchanges are seldom any of these, so that half of the steps are.

// Shares of the steps, of 16: what is left over goes to the other moves, or to VMs that have moved and change targets.
const (
	pairSteps  = 8
	pairChange = 1              // a pair changes places
	pairShift  = pairChange + 1 // any VM moves anywhere
	pairHome   = pairShift + 1  // a VM goes where its pair has left a host
	pairRelay  = pairHome + 7   // the same, and another one of that host comes for it
)

// What is looked at.
const (
	pairMends = 2  // pairs that change places to mend one step
	pairLooks = 3  // VMs of each of the two hosts, to find one of them
	awayLooks = 12 // VMs, to find one that is away
)

// pairsOf is the other VM of the pair of each VM; nil where not all VMs that can move come in groups of two, without disks and NICs.
func (s *state) pairsOf() []int32 {
	if len(s.movable) == 0 {
		return nil
	}
	twin := make([]int32, s.nv)
	for _, v := range s.movable {
		g := s.group[v]
		if g < 0 || len(s.of(int(g))) != 2 || s.slow[v] {
			return nil
		}
		of := s.of(int(g))
		twin[of[0]], twin[of[1]] = of[1], of[0]
	}
	return twin
}

// pairStep tries to move a VM or to exchange two, with pairs that change places to mend what that does.
func (x *Search) pairStep(temp float64) {
	s := x.s
	rnd := x.rnd.next()
	limit := int64(temp * logTable[rnd&(logs-1)])
	v := x.away()
	one := s.movable[x.rnd.below(len(s.movable))]
	switch kind := rnd >> 12 & 15; {
	case v < 0 || kind < pairChange:
		x.tryPairs(one, x.twin[one], -1, limit)
	case kind < pairShift:
		x.tryPairs(one, -1, x.anyHost(one), limit)
	case kind < pairHome:
		x.tryPairs(v, -1, x.left(v), limit)
	case kind < pairRelay:
		if at := s.vms[x.left(v)]; len(at) > 0 {
			x.tryPairs(v, at[x.rnd.below(len(at))], -1, limit)
		}
	default:
		if w := x.away(); w >= 0 {
			x.tryPairs(v, w, -1, limit)
		}
	}
}

// away is a random VM on a host where none of its pair was at first; -1: none of those that were looked at.
func (x *Search) away() int32 {
	s := x.s
	for range awayLooks {
		v := s.movable[x.rnd.below(len(s.movable))]
		h, in := s.host[v], s.initial[v]
		if h < 0 || in < 0 || h == in {
			continue
		}
		if t := x.twin[v]; s.host[t] >= 0 && s.initial[t] >= 0 && h != s.initial[t] {
			return v
		}
	}
	return -1
}

// left is a host that v's pair was on at first and, where v is away, is not on now.
func (x *Search) left(v int32) int32 {
	s := x.s
	if t := x.twin[v]; s.host[t] == s.initial[v] {
		return s.initial[t]
	}
	return s.initial[v]
}

// tryPairs lets v and w change hosts, or v go to b where w is -1, and then pairs with a VM on one of the two hosts change places, if
// that may be and costs at most limit more.
func (x *Search) tryPairs(v, w, b int32, limit int64) {
	s := x.s
	a := s.host[v]
	if w >= 0 {
		b = s.host[w]
	}
	if a < 0 || b < 0 || a == b || s.pinned[v] || w >= 0 && s.pinned[w] {
		return
	}
	cost, ok := x.first(v, w, b)
	if !ok {
		return
	}
	x.mended = x.mended[:0]
	for cost > limit && len(x.mended) < pairMends {
		u, change := x.bestPair(v, w, a, b)
		if u < 0 {
			break
		}
		s.swap(u, x.twin[u])
		x.mended = append(x.mended, u)
		cost += change
	}
	if cost > limit {
		for i := len(x.mended) - 1; i >= 0; i-- {
			s.swap(x.mended[i], x.twin[x.mended[i]])
		}
		if w >= 0 {
			s.swap(v, w)
		} else {
			s.shift(v, a)
		}
		return
	}
	x.touch(v)
	if w >= 0 {
		x.touch(w)
	}
	for _, u := range x.mended {
		x.touch(u)
		x.touch(x.twin[u])
	}
	x.note()
}

// first is the exchange or the move that pairs are to mend, and what it costs; false: it may not be.
func (x *Search) first(v, w, b int32) (int64, bool) {
	s := x.s
	if w < 0 {
		if !s.shiftFits(v, b) {
			return 0, false
		}
		cost := s.shiftDelta(v, b, math.MaxInt64)
		s.shift(v, b)
		return cost, true
	}
	if !s.swapFits(v, w) {
		return 0, false
	}
	cost := s.swapDelta(v, w, math.MaxInt64)
	s.swap(v, w)
	return cost, true
}

// bestPair is the VM that had best change places with its twin, of v, w (-1: none) and some of hosts a and b, and what that changes;
// -1: nobody makes it cheaper.
func (x *Search) bestPair(v, w, a, b int32) (vm int32, change int64) {
	s := x.s
	vm = -1
	try := func(u int32) {
		t := x.twin[u]
		if s.host[t] < 0 || s.host[t] == s.host[u] || s.pinned[u] || s.pinned[t] || !s.swapFits(u, t) {
			return
		}
		if d := s.swapDelta(u, t, change-1); d < change {
			vm, change = u, d
		}
	}
	try(v)
	if w >= 0 {
		try(w)
	}
	for range pairLooks {
		for _, h := range [...]int32{a, b} {
			if at := s.vms[h]; len(at) > 0 {
				try(at[x.rnd.below(len(at))])
			}
		}
	}
	return vm, change
}
