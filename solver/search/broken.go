package search

import "math"

// Rules as prices. Where most moves are refused by a rule about groups, whoever keeps all of them is shut in as one who keeps
// capacity is; so a relaxed cooling may break them too, each at one price. Broken are: each VM of a group too many in a failure
// domain, each domain that a spread lacks, and for each zone and each group in it each group that it needs and that is not
// there. Groups whose VMs ask for different levels to be apart keep their rules.

// The price of a broken rule: as a share of what an average move changes the cost by, and from ruleSqueeze of the time on what
// it grows to while anything is broken. From ruleStrict on the first state that breaks nothing is the last that might have.
const (
	ruleShare    = 1
	ruleSqueeze  = 0.5
	ruleSqueezed = 100
	ruleStrict   = 0.75
	ruleMost     = 1000 // times the share
)

// rulePrice is the price of a broken rule in one cooling.
type rulePrice struct {
	base, grown float64
	strict      bool // rules are kept from here on
}

// laxable says whether rules may be priced: there are some that can be, and none is broken.
func (s *state) laxable() bool {
	for g := range s.ng {
		if s.ruled[g] && !s.apart[g].mixed {
			return len(s.lost) == 0 && s.countBroken() == 0
		}
	}
	return false
}

// follow makes the price that of the time `at`, d after the last, both as shares of the cooling.
func (r *rulePrice) follow(s *state, at, d float64) {
	if r.base == 0 || r.strict {
		return
	}
	if at > ruleSqueeze {
		d *= math.Log(ruleSqueezed) / (1 - ruleSqueeze)
		if s.broken > 0 {
			r.grown = min(r.grown*math.Exp(d*rise), ruleMost)
		} else {
			r.grown = max(r.grown*math.Exp(-d*fall), 1)
		}
	}
	if r.strict = at > ruleStrict && s.broken == 0; r.strict {
		s.setRule(0)
		return
	}
	s.setRule(max(1, min(int64(r.base*r.grown), s.mostRule)))
}

// setRule makes each broken rule cost price; 0: none may be broken that was kept.
func (s *state) setRule(price int64) {
	switch {
	case price == 0:
		s.broken = 0
	case s.rule == 0:
		s.broken = s.countBroken()
	}
	s.rule = price
}

// keeps says whether the rules of group g are kept rather than priced.
func (s *state) keeps(g int32) bool { return s.rule == 0 || s.apart[g].mixed }

// penalty is what everything costs that no answer may have: missing room and broken rules.
func (s *state) penalty() int64 { return s.shortTotal + s.rule*s.broken }

// countBroken counts anew what is broken.
func (s *state) countBroken() int64 {
	n := int64(0)
	for g := range int32(s.ng) {
		if !s.ruled[g] {
			continue
		}
		if c := &s.apart[g]; c.on && !c.mixed {
			for d := range int32(s.domains[c.level]) {
				n += int64(max(0, s.inApart(g, d)-1))
			}
		}
		if c := &s.spread[g]; c.on {
			n += int64(max(0, c.min-s.distinct[g]))
		}
		if !s.near[g].on {
			continue
		}
		for z := range int32(s.zones) {
			if s.inZone(g, z) > 0 {
				n += int64(s.lacking(g, z))
			}
		}
	}
	return n
}

// inApart counts the VMs of g in a domain of the level that they are apart on.
func (s *state) inApart(g, d int32) int32 {
	c := &s.apart[g]
	if c.off >= 0 {
		return s.counts[c.off+d]
	}
	return s.inDomain(g, c.level, d)
}

// breaks is by how many more rules are broken when a VM of group g goes from host a to b.
func (s *state) breaks(g, a, b int32) int64 {
	r := &s.rulings[g]
	if !r.quick {
		return s.breaksSlow(g, a, b)
	}
	n := int32(0)
	if from, to := s.dom[r.apartDom+a], s.dom[r.apartDom+b]; from != to {
		if s.counts[r.apart+from] > 1 {
			n--
		}
		if s.flags[r.apart+to] != 0 {
			n++
		}
	}
	if s.distinct[g] <= r.min {
		c := &s.spread[g]
		n += max(0, c.min-s.spreadAfter(c, g, a, b)) - max(0, c.min-s.distinct[g])
	}
	from, to := s.zone[a], s.zone[b]
	if !r.needy || from == to {
		return int64(n)
	}
	if c := s.counts[r.near+zoneRuns*from:][:zoneRuns]; c[0] == 1 {
		n -= c[1] - c[2]
	}
	if c := s.counts[r.near+zoneRuns*to:][:zoneRuns]; c[0] == 0 {
		n += c[1] - c[2]
	}
	return int64(n)
}

// breaksSlow is breaks for groups that are not all counted by table.
func (s *state) breaksSlow(g, a, b int32) int64 {
	n := int64(0)
	if c := &s.apart[g]; c.on && !c.mixed {
		if from, to := s.domain[c.level][a], s.domain[c.level][b]; from != to {
			if s.inApart(g, from) > 1 {
				n--
			}
			if s.inApart(g, to) > 0 {
				n++
			}
		}
	}
	if c := &s.spread[g]; c.on {
		now := s.distinct[g]
		n += int64(max(0, c.min-s.spreadAfter(c, g, a, b)) - max(0, c.min-now))
	}
	if !s.near[g].on || s.zone[a] == s.zone[b] {
		return n
	}
	if from := s.zone[a]; s.inZone(g, from) == 1 {
		n -= s.presence(g, from)
	}
	if to := s.zone[b]; s.inZone(g, to) == 0 {
		n += s.presence(g, to)
	}
	return n
}

// presence is by how many more rules are broken while group g is in zone z than while it is not.
func (s *state) presence(g, z int32) int64 {
	return int64(s.lacking(g, z) - s.needing(g, z))
}

// breaksSwap is by how many more rules are broken when v and w change hosts.
func (s *state) breaksSwap(v, w int32) int64 {
	g, f := s.movers[v].ruling, s.movers[w].ruling
	if g == f {
		return 0
	}
	a, b := s.host[v], s.host[w]
	n := s.breaks(g, a, b)
	if from, to := s.zone[a], s.zone[b]; !s.rulings[g].needy || !s.rulings[f].needy || from == to || !s.tied(g, f, from, to) {
		return n + s.breaks(f, b, a)
	}
	s.recount(v, a, b)
	n += s.breaks(f, b, a)
	s.recount(v, b, a)
	return n
}
