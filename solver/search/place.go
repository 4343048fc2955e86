package search

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// place gives the VMs that have no host one where there is room, the highest priority first and the largest of those
// first, each where it costs least. It is part of New and Restart, so that what follows only has to improve.
func (x *Search) place() {
	s := x.s
	var lost []int32
	for i := range s.p.VMs {
		if v := &s.p.VMs[i]; s.host[i] < 0 && !v.Fixed && (v.Drop > 0 || v.Initial != model.None) {
			lost = append(lost, int32(i))
		}
	}
	slices.SortFunc(lost, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.p.VMs[b].Priority, s.p.VMs[a].Priority), cmp.Compare(s.size[b], s.size[a]), cmp.Compare(a, b))
	})
	for again := true; again; { // a group whose rules wait for another's VM gets a second chance
		again = false
		left := lost[:0]
		for _, v := range lost {
			if x.placeOne(v) {
				again = true
			} else {
				left = append(left, v)
			}
		}
		lost = left
	}
	s.lost = lost
}

// placeOne gives v the host where it costs least.
func (x *Search) placeOne(v int32) bool {
	s := x.s
	best, bestCost := int32(model.None), int64(0)
	for h := range int32(s.nh) {
		if !s.shiftFits(v, h) || !s.nicsAllow(v, -1, h) || !s.tryPools(v, h, nil) {
			continue
		}
		c := s.enterDelta(v, h)
		s.undoPools(v)
		if best < 0 || c < bestCost {
			best, bestCost = h, c
		}
	}
	if best < 0 || !s.tryPools(v, best, nil) {
		return false
	}
	s.enter(v, best)
	x.touch(v)
	return true
}

// enterDelta is what hosts and v cost more, or less, when v, which has no host, goes to h; the price of the group apart.
func (s *state) enterDelta(v, h int32) int64 {
	x := s.dimDem[int(v)*s.nk : int(v+1)*s.nk]
	over := s.over[int(h)*s.nk:][:len(x)]
	c := s.hostPrice(v, h) - s.hostCost[h]
	for k, d := range x {
		c += s.weight[k] * max(0, over[k]+d)
	}
	return c + s.hostVM[h]
}
