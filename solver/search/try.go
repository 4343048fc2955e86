package search

// tryShift moves v to b if that may be and costs at most limit more.
func (x *Search) tryShift(v, b int32, limit int64) {
	s := x.s
	if !s.shiftFits(v, b) {
		return
	}
	if s.slow[v] && (!s.nicsAllow(v, -1, b) || !s.tryPools(v, b, &x.rnd)) {
		return
	}
	d := s.shiftDelta(v, b, limit)
	if d > limit {
		if s.slow[v] {
			s.undoPools(v)
		}
		return
	}
	s.shift(v, b)
	x.touch(v)
	x.note()
}

// trySwap lets v and w change hosts if that may be and costs at most limit more.
func (x *Search) trySwap(v, w int32, limit int64) {
	s := x.s
	if !s.swapFits(v, w) {
		return
	}
	if s.slow[v] || s.slow[w] {
		x.trySlowSwap(v, w, limit)
		return
	}
	d := s.swapDelta(v, w, limit)
	if d > limit {
		return
	}
	s.swap(v, w)
	x.touch(v)
	x.touch(w)
	x.note()
}

// trySlowSwap is trySwap where one has disks or NICs: the pools are chosen first, and given back if it does not pay.
func (x *Search) trySlowSwap(v, w int32, limit int64) {
	s := x.s
	a, b := s.host[v], s.host[w]
	if !s.nicsAllow(v, w, b) || !s.nicsAllow(w, v, a) || !s.tryPools(v, b, &x.rnd) {
		return
	}
	if s.disks != nil {
		x.swapSaved = append(x.swapSaved[:0], s.disks.saved...)
	}
	back := func() {
		if len(s.p.VMs[v].Disks) > 0 {
			s.setPools(v, x.swapSaved)
		}
	}
	if !s.tryPools(w, a, &x.rnd) {
		back()
		return
	}
	d := s.swapDelta(v, w, limit)
	if d > limit {
		s.undoPools(w)
		back()
		return
	}
	s.swap(v, w)
	x.touch(v)
	x.touch(w)
	x.note()
}

// tryDisks moves disks of v, which stays on its host, if that costs at most limit more.
func (x *Search) tryDisks(v int32, limit int64) {
	s := x.s
	h := s.host[v]
	if h < 0 || !s.tryPools(v, h, &x.rnd) {
		return
	}
	if s.slowPrice(v, h)-s.vmCost[v] > limit {
		s.undoPools(v)
		return
	}
	s.repriceVM(v)
	x.touch(v)
	x.note()
}
