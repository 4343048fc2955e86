package search

// shiftFits says whether v may go from its host to b; v has no disks and no NICs.
func (s *state) shiftFits(v, b int32) bool {
	if !s.mayPlace(v, b) || s.price == nil && !s.roomFor(v, b) {
		return false
	}
	g, a := s.movers[v].ruling, s.host[v]
	if s.rulings[g].quick && a >= 0 {
		return s.rule > 0 || s.allows(g, a, b)
	}
	return int(g) == s.ng || !s.keeps(g) || s.rulesAllow(g, v, b)
}

// shiftDelta is what the total changes by when v goes from its host to b, with the price of missing room where it has one.
// Once that is sure to be over limit it may be any figure over limit: most moves are far from what is taken, and a look at
// the first resources tells.
func (s *state) shiftDelta(v, b int32, limit int64) int64 {
	a := s.host[v]
	nk := s.nk
	m := &s.movers[v]
	c := s.hostPrice(v, b) - s.vmCost[v] - s.hostCost[a] - s.hostCost[b]
	if s.onAny {
		c += s.hostVM[b]
		if len(s.vms[a]) > 1 {
			c += s.hostVM[a]
		}
	}
	if s.groupMove != 0 && m.group >= 0 {
		if dg := m.change(a, b); dg != 0 {
			c += s.groupDelta(m.group, dg, -1, 0)
		}
	}
	if s.rule > 0 && int(m.ruling) < s.ng {
		c += s.rule * s.breaks(m.ruling, a, b)
	}
	if s.price != nil { // nothing but sums of what is not negative from here
		if c = s.shiftShort(v, b, c, limit); c > limit {
			return c
		}
	}
	x := s.dimDem[int(v)*nk : int(v)*nk+nk]
	w := s.weight[:len(x)]
	ob := s.over[int(b)*nk:][:len(x)]
	for k, d := range x {
		c += w[k] * max(0, ob[k]+d)
	}
	if c > limit {
		return c
	}
	oa := s.over[int(a)*nk:][:len(x)]
	for k, d := range x {
		c += w[k] * max(0, oa[k]-d)
	}
	return c
}

// change is by how much the moved VMs of the group change when the VM goes from host a to b.
func (m *mover) change(a, b int32) int32 {
	switch {
	case m.initial < 0:
		return 0
	case m.initial == b:
		return -1
	case m.initial == a:
		return 1
	}
	return 0
}

// groupDelta is what the price of the most moved group changes by when g moves dg VMs more and f (or -1) df more.
func (s *state) groupDelta(g, dg, f, df int32) int64 {
	if g == f {
		dg, f, df = dg+df, -1, 0
	}
	if dg == 0 && df == 0 {
		return 0
	}
	top := s.movedBy[s.mostMove] // groups at the top, others than these two
	next := s.moved[g] + dg
	if s.moved[g] == s.mostMove {
		top--
	}
	if f >= 0 {
		next = max(next, s.moved[f]+df)
		if s.moved[f] == s.mostMove {
			top--
		}
	}
	if top > 0 {
		next = max(next, s.mostMove)
	}
	return int64(next-s.mostMove) * s.dear * s.p.GroupMove
}

// swapFits says whether v and w may change hosts; neither has disks or NICs.
func (s *state) swapFits(v, w int32) bool {
	a, b := s.host[v], s.host[w]
	if !s.mayPlace(v, b) || !s.mayPlace(w, a) ||
		s.price == nil && (!s.swapRoom(v, w, a) || !s.swapRoom(w, v, b)) {
		return false
	}
	g, f := s.movers[v].ruling, s.movers[w].ruling
	if s.rulings[g].quick && s.rulings[f].quick {
		return s.rule > 0 || s.swapAllowed(v, w, a, b)
	}
	rg, rf := int(g) < s.ng, int(f) < s.ng
	switch {
	case g == f:
		return !s.apart[g].mixed // who of a group sits where changes no count
	case (!rg || !s.keeps(g)) && (!rf || !s.keeps(f)):
		return true
	case rg && s.near[g].on && rf && s.near[f].on && s.zone[a] != s.zone[b]:
		return s.swapNear(v, w)
	}
	return (!rg || s.rulesAllow(g, v, b)) && (!rf || s.rulesAllow(f, w, a))
}

// swapNear judges two VMs whose groups depend on others: each in the state that the other's move leaves.
func (s *state) swapNear(v, w int32) bool {
	a, b := s.host[v], s.host[w]
	g, f := s.group[v], s.group[w]
	if !s.rulesAllow(g, v, b) {
		return false
	}
	if !s.tied(g, f, s.zone[a], s.zone[b]) {
		return s.rulesAllow(f, w, a)
	}
	s.recount(v, a, b)
	ok := s.rulesAllow(f, w, a)
	s.recount(v, b, a)
	return ok
}

// recount makes the counters of v's group those of v on host b, not a, and nothing else.
func (s *state) recount(v, a, b int32) {
	g := s.group[v]
	s.host[v] = -1 // count looks at hosts, so that v is nowhere in between
	s.count(g, a, -1)
	s.host[v] = b
	s.count(g, b, 1)
}

// swapGroups is groupDelta for the groups of two VMs, or None.
func (s *state) swapGroups(g, dg, f, df int32) int64 {
	switch {
	case g >= 0:
		return s.groupDelta(g, dg, f, df)
	case f >= 0:
		return s.groupDelta(f, df, -1, 0)
	}
	return 0
}

// swapRoom says whether host h has room for w once v has left it.
func (s *state) swapRoom(v, w, h int32) bool {
	out := s.need(v, h)
	in := s.need(w, h)[:len(out)]
	slack := s.slack[int(h)*s.nr:][:len(out)]
	for r, d := range in {
		if d > out[r]+slack[r] && d > out[r] {
			return false
		}
	}
	return true
}

// swapDelta is what the total changes by when v and w change hosts, with the price of missing room where it has one; over
// limit as shiftDelta.
func (s *state) swapDelta(v, w int32, limit int64) int64 {
	a, b := s.host[v], s.host[w]
	nk := s.nk
	c := s.hostPrice(v, b) + s.hostPrice(w, a) - s.vmCost[v] - s.vmCost[w] - s.hostCost[a] - s.hostCost[b]
	if s.onAny {
		c += s.hostVM[a] + s.hostVM[b]
	}
	if s.groupMove != 0 {
		m, n := &s.movers[v], &s.movers[w]
		if dg, df := m.change(a, b), n.change(b, a); dg|df != 0 {
			c += s.swapGroups(m.group, dg, n.group, df)
		}
	}
	if s.rule > 0 {
		c += s.rule * s.breaksSwap(v, w)
	}
	if s.price != nil {
		if c = s.swapShort(v, w, c, limit); c > limit {
			return c
		}
	}
	x := s.dimDem[int(v)*nk : int(v)*nk+nk]
	y := s.dimDem[int(w)*nk:][:len(x)]
	oa := s.over[int(a)*nk:][:len(x)]
	ob := s.over[int(b)*nk:][:len(x)]
	weight := s.weight[:len(x)]
	for k, d := range x {
		d -= y[k]
		c += weight[k] * (max(0, oa[k]-d) + max(0, ob[k]+d))
	}
	return c
}

// shiftShort adds to c what the price of missing room changes by when v goes to b; it stops once c is over limit.
func (s *state) shiftShort(v, b int32, c, limit int64) int64 {
	a := s.host[v]
	c -= s.short[a] + s.short[b]
	price := s.price
	in, sb := s.need(v, b)[:len(price)], s.slack[int(b)*s.nr:][:len(price)]
	for r, w := range price {
		c += w * max(0, in[r]-sb[r])
		if c > limit {
			return c
		}
	}
	if s.short[a] == 0 {
		return c
	}
	out, sa := s.need(v, a)[:len(price)], s.slack[int(a)*s.nr:][:len(price)]
	for r, w := range price {
		c += w * max(0, -sa[r]-out[r])
	}
	return c
}

// swapShort is shiftShort for v and w, which change hosts.
func (s *state) swapShort(v, w int32, c, limit int64) int64 {
	a, b := s.host[v], s.host[w]
	c -= s.short[a] + s.short[b]
	price := s.price
	vo, vi := s.need(v, a)[:len(price)], s.need(v, b)[:len(price)]
	wo, wi := s.need(w, b)[:len(price)], s.need(w, a)[:len(price)]
	sa, sb := s.slack[int(a)*s.nr:][:len(price)], s.slack[int(b)*s.nr:][:len(price)]
	for r, q := range price {
		c += q * (max(0, wi[r]-vo[r]-sa[r]) + max(0, vi[r]-wo[r]-sb[r]))
		if c > limit {
			return c
		}
	}
	return c
}
