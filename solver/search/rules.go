package search

// count adds n to the counters of group g for a VM on host h.
func (s *state) count(g, h, n int32) {
	if c := &s.apart[g]; c.on && c.off >= 0 {
		i := c.off + s.domain[c.level][h]
		s.counts[i] += n
		s.flags[i] = takenBy(s.counts[i])
	}
	if c := &s.spread[g]; c.on {
		d := s.domain[c.level][h]
		if c.off >= 0 {
			s.counts[c.off+d] += n
			if now := s.counts[c.off+d]; now == 0 || now == 1 && n > 0 {
				s.distinct[g] += n
			}
		} else if others := s.inDomain(g, c.level, d); n > 0 && others == 1 || n < 0 && others == 0 {
			s.distinct[g] += n // host of the VM itself is set in enter, and unset in leave, before this
		}
	}
	if s.near[g].on {
		s.countZone(g, s.zone[h], n)
	}
}

// inDomain counts the VMs of group g in a domain, one by one.
func (s *state) inDomain(g int32, level int8, d int32) int32 {
	n := int32(0)
	for _, w := range s.of(int(g)) {
		if h := s.host[w]; h >= 0 && s.domain[level][h] == d {
			n++
		}
	}
	return n
}

// inZone counts the VMs of group g in zone z.
func (s *state) inZone(g, z int32) int32 {
	if c := &s.near[g]; c.off >= 0 {
		return s.counts[c.off+zoneRuns*z]
	}
	n := int32(0)
	for _, w := range s.of(int(g)) {
		if h := s.host[w]; h >= 0 && s.zone[h] == z {
			n++
		}
	}
	return n
}

// mayPlace says whether host h admits v at all, and where that is known, whether it could ever have room.
func (t *tables) mayPlace(v, h int32) bool {
	if t.never != nil {
		i := int(v)*t.nh + int(h)
		return t.never[i>>6]>>(i&63)&1 == 0
	}
	return t.admits(int(v), int(h))
}

// admits says whether host h is open to v and of a class that fits.
func (t *tables) admits(v, h int) bool {
	if !t.open[h] && int(t.initial[v]) != h {
		return false
	}
	return !t.fitAny || t.fit[int(t.class[v])*t.classes+int(t.hostClass[h])] >= 0
}

// roomFor says whether h has room for v; what is short already does not matter for a VM that takes none of it.
func (s *state) roomFor(v, h int32) bool {
	need := s.need(v, h)
	slack := s.slack[int(h)*s.nr : int(h)*s.nr+len(need)]
	for r, d := range need {
		if d > slack[r] && d > 0 {
			return false
		}
	}
	return true
}

// rulesAllow says whether v of a ruled group may go from its host (or none) to b without a rule broken that was not.
func (s *state) rulesAllow(g, v, b int32) bool {
	a := s.host[v]
	if r := &s.rulings[g]; r.quick && a >= 0 {
		return s.allows(g, a, b)
	}
	if c := &s.apart[g]; c.on && !s.apartAllows(c, g, v, a, b) {
		return false
	}
	if c := &s.spread[g]; c.on && (a >= 0 && !s.spreadAllows(c, g, a, b) || a < 0 && !s.spreadAdmits(c, g, b)) {
		return false
	}
	if !s.near[g].on {
		return true
	}
	return s.nearAllows(g, a, b)
}

func (s *state) apartAllows(c *counter, g, v, a, b int32) bool {
	if c.mixed {
		return s.apartMixed(g, v, b)
	}
	dom := s.domain[c.level]
	d := dom[b]
	own := int32(0)
	if a >= 0 && dom[a] == d {
		own = 1
	}
	if c.off >= 0 {
		return s.counts[c.off+d] == own
	}
	return s.inDomain(g, c.level, d) == own
}

// apartMixed is for groups whose VMs ask for different levels.
func (s *state) apartMixed(g, v, b int32) bool {
	mine := s.p.VMs[v].Apart
	for _, w := range s.of(int(g)) {
		h := s.host[w]
		if w == v || h < 0 {
			continue
		}
		if mine >= 0 && s.domain[mine][h] == s.domain[mine][b] {
			return false
		}
		if l := s.p.VMs[w].Apart; l >= 0 && s.domain[l][h] == s.domain[l][b] {
			return false
		}
	}
	return true
}

func (s *state) spreadAllows(c *counter, g, a, b int32) bool {
	next := s.spreadAfter(c, g, a, b)
	return next >= c.min || next >= s.distinct[g]
}

// spreadAfter is how many domains group g is in once a VM of it has gone from host a to b.
func (s *state) spreadAfter(c *counter, g, a, b int32) int32 {
	next := s.distinct[g]
	from, to := s.domain[c.level][a], s.domain[c.level][b]
	if from == to {
		return next
	}
	var nf, nt int32
	if c.off >= 0 {
		nf, nt = s.counts[c.off+from], s.counts[c.off+to]
	} else {
		nf, nt = s.inDomain(g, c.level, from), s.inDomain(g, c.level, to)
	}
	if nf == 1 {
		next--
	}
	if nt == 0 {
		next++
	}
	return next
}

// spreadAdmits judges a VM that has no host yet: until the group is spread enough each one takes a new domain, and the last
// one may only come when it then is.
func (s *state) spreadAdmits(c *counter, g, b int32) bool {
	if s.distinct[g] >= c.min {
		return true
	}
	left := 0
	for _, w := range s.of(int(g)) {
		if s.host[w] < 0 {
			left++
		}
	}
	return s.inDomain(g, c.level, s.domain[c.level][b]) == 0 && (left > 1 || s.distinct[g]+1 >= c.min)
}

func (s *state) nearAllows(g, a, b int32) bool {
	from, to := int32(-1), s.zone[b]
	if a >= 0 {
		from = s.zone[a]
	}
	if from == to {
		return true
	}
	return s.lacking(g, to) == 0 && (from < 0 || s.inZone(g, from) != 1 || s.needing(g, from) == 0)
}
