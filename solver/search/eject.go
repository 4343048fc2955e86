package search

import "math"

// An ejection is how a large VM comes to where only small ones would have to make room: it goes there whatever the room,
// and up to maxEjected VMs leave, the cheapest of some, for its old host, their own initial one, which always has room for
// what is transient in them, or any. The whole is judged as one move.
const (
	maxEjected = 4
	ejectLooks = 8 // candidates for each one that leaves
)

// ejected is a VM of an ejection and the host that it left, to be taken back.
type ejected struct{ v, from int32 }

// tryEject moves v to b and others off b, if that may be and costs at most limit more.
func (x *Search) tryEject(v, b int32, limit int64) {
	s := x.s
	if s.slow[v] || !s.mayPlace(v, b) || s.initial[v] >= 0 && s.initial[v] != b && s.moveCost[v] < 0 {
		return
	}
	if g := s.group[v]; g >= 0 && s.ruled[g] && s.keeps(g) && !s.rulesAllow(g, v, b) {
		return
	}
	a := s.host[v]
	before := s.total + s.penalty()
	x.slackWas = append(x.slackWas[:0], s.slack[int(b)*s.nr:int(b+1)*s.nr]...)
	x.chain = append(x.chain[:0], ejected{v, a})
	s.shift(v, b)
	for range maxEjected {
		w, c := x.bestLeaver(v, a, b)
		if w < 0 {
			break
		}
		x.chain = append(x.chain, ejected{w, b})
		s.shift(w, c)
		if s.total+s.penalty()-before <= limit && x.kept(b) {
			break
		}
	}
	if s.total+s.penalty()-before > limit || !x.kept(b) {
		for i := len(x.chain) - 1; i >= 0; i-- {
			s.shift(x.chain[i].v, x.chain[i].from)
		}
		return
	}
	for _, m := range x.chain {
		x.touch(m.v)
	}
	x.note()
}

// kept says whether host b is no more overfull than it was.
func (x *Search) kept(b int32) bool {
	s := x.s
	if s.price != nil {
		return true
	}
	for r, was := range x.slackWas {
		if now := s.slack[int(b)*s.nr+r]; now < 0 && now < was {
			return false
		}
	}
	return true
}

// bestLeaver is a VM of host b, but not v, and where it would go: the cheapest of some that relieve b.
func (x *Search) bestLeaver(v, a, b int32) (vm, to int32) {
	s := x.s
	vm, to = -1, -1
	best := int64(math.MaxInt64 / 2)
	for n := range ejectLooks {
		w := s.vms[b][x.rnd.below(len(s.vms[b]))]
		if w == v || s.slow[w] || s.pinned[w] {
			continue
		}
		c := a
		switch {
		case n&1 == 1:
			c = x.anyHost(w)
		case n&2 == 2 && s.initial[w] >= 0:
			c = s.initial[w]
		}
		if c == b || !s.shiftFits(w, c) || s.initial[w] >= 0 && s.initial[w] != c && s.moveCost[w] < 0 {
			continue
		}
		worth := x.relief(w, b)
		d := s.shiftDelta(w, c, best+worth-1) - worth
		if d < best {
			vm, to, best = w, c, d
		}
	}
	return vm, to
}

// relief is what it is worth that w leaves an overfull host: the price of load for each missing unit, where that is kept
// and has no price of its own.
func (x *Search) relief(w, b int32) int64 {
	s := x.s
	if s.price != nil {
		return 0
	}
	sum := int64(0)
	for r, d := range s.need(w, b) {
		if free := s.slack[int(b)*s.nr+r]; free < 0 {
			sum += x.reliefPrice[r] * min(-free, d)
		}
	}
	return sum
}
