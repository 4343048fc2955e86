package search

// Most moves that a search tries are refused by a rule about a group, so that a refusal has to cost next to nothing. What a
// move asks of the counters is kept beside them, in one byte each, and brought up to date when a move is made: whether an
// apart domain is taken, whether a zone lacks what a group needs, and whether the group has its last VM there while it is
// needed.

// ruling is what a step asks about the rules of one group, half a cache line. Where there is no such rule, the run is one in
// which nothing is ever counted, so that no step asks.
type ruling struct {
	apart, spread, near int32 // runs of the state's counts
	apartDom, spreadDom int32 // first host of the level in dom
	min                 int32 // of spread
	quick               bool  // all rules of the group have runs, and this says all of them
	sole                bool  // no two hosts share an apart domain
	needy               bool  // it needs another, or another it
}

// Flags. In a run of apart there is taken alone, in one of near there are the others.
const (
	taken  = 4 // some VM of the group is in the domain
	lacks  = 1 // the group needs another that is not in the zone
	wanted = 2 // the group has one VM in the zone, where a group is that needs it
)

// zoneRuns is how many numbers a group has of each zone in its run of near: its VMs there, how many of the groups that it needs
// are not, and how many are that need it. The flags of all zones are the first in the run.
const zoneRuns = 3

// addRulings lays out what the counters say, when all of them are; words is what they come to.
func (t *tables) addRulings(words int32) {
	empty := max(t.zones, 1)
	for _, n := range t.domains {
		empty = max(empty, n)
	}
	t.none, t.runs = words, words+int32(empty)
	if len(t.dom) == 0 {
		t.dom = make([]int32, t.nh)
	}
	none := ruling{apart: words, spread: words, near: words, min: -1, quick: true, sole: true}
	t.rulings = make([]ruling, t.ng+1)
	t.rulings[t.ng] = none
	for g := range t.ng {
		r := none
		if c := &t.apart[g]; c.on {
			r.apart, r.apartDom = c.off, int32(int(c.level)*t.nh)
			r.sole = t.domains[c.level] == t.nh
			r.quick = c.off >= 0 && !c.mixed
		}
		if c := &t.spread[g]; c.on {
			r.spread, r.spreadDom, r.min = c.off, int32(int(c.level)*t.nh), c.min
			r.quick = r.quick && c.off >= 0
		}
		if c := &t.near[g]; c.on {
			r.near = c.off
			r.quick, r.needy = r.quick && c.off >= 0, true
		}
		t.rulings[g] = r
	}
}

// allows is rulesAllow for a VM on host a, of a group g that is quick, or of none.
func (s *state) allows(g, a, b int32) bool {
	r := &s.rulings[g]
	there := s.dom[r.apartDom+b]
	from, to := s.zone[a], s.zone[b]
	apart, near := s.flags[r.apart+there], s.flags[r.near+to]&lacks|s.flags[r.near+from]&wanted
	if apart|near != 0 {
		if near != 0 && from != to || apart != 0 && (r.sole || s.dom[r.apartDom+a] != there || s.counts[r.apart+there] != 1) {
			return false
		}
	}
	return s.distinct[g] > r.min || s.staysSpread(r, a, b)
}

// staysSpread says whether a group that is no more spread than it has to be may let a VM go from host a to b.
func (s *state) staysSpread(r *ruling, a, b int32) bool {
	from, to := s.dom[r.spreadDom+a], s.dom[r.spreadDom+b]
	return from == to || s.counts[r.spread+from] != 1 || s.counts[r.spread+to] == 0
}

// swapAllowed says whether v and w, of groups that are quick or of none, may change their hosts a and b.
func (s *state) swapAllowed(v, w, a, b int32) bool {
	g, f := s.movers[v].ruling, s.movers[w].ruling
	if g == f { // who of a group sits where changes no count
		return true
	}
	r, q := &s.rulings[g], &s.rulings[f]
	za, zb := s.zone[a], s.zone[b]
	apart := s.flags[r.apart+s.dom[r.apartDom+b]] | s.flags[q.apart+s.dom[q.apartDom+a]]
	near := s.flags[r.near+zb]&lacks | s.flags[r.near+za]&wanted
	late := s.flags[q.near+za]&lacks | s.flags[q.near+zb]&wanted
	needy := r.needy && q.needy && za != zb
	switch {
	case apart|near|late == 0:
		return (s.distinct[g] > r.min || s.staysSpread(r, a, b)) && (s.distinct[f] > q.min || s.staysSpread(q, b, a)) &&
			(!needy || !s.tied(g, f, za, zb) || s.swapNear(v, w))
	case apart != 0 && r.sole && q.sole || near != 0 && za != zb:
		return false
	case needy:
		return s.swapNear(v, w)
	}
	return s.allows(g, a, b) && s.allows(f, b, a)
}

// clearCounts makes the counters those of no VM anywhere.
func (s *state) clearCounts() {
	clear(s.counts)
	clear(s.flags)
	for g := range s.ng {
		off := s.near[g].off
		if !s.near[g].on || off < 0 {
			continue
		}
		lacking := int32(0)
		for _, n := range s.p.Groups[g].Needs {
			if int(n) != g {
				lacking++
			}
		}
		for z := range int32(s.zones) {
			s.counts[off+zoneRuns*z+1] = lacking
			s.flagZone(off, z)
		}
	}
}

// countZone adds n to the VMs of group g in zone z. When it comes to be there, or is there no more, those that it needs and
// those that need it are told.
func (s *state) countZone(g, z, n int32) {
	var now int32
	if off := s.near[g].off; off >= 0 {
		now = s.counts[off+zoneRuns*z] + n
		s.counts[off+zoneRuns*z] = now
		s.flagZone(off, z)
	} else {
		now = s.inZone(g, z) // host of the VM itself is set in enter, and unset in recount, before this
	}
	if n > 0 && now != 1 || n < 0 && now != 0 {
		return
	}
	for _, w := range s.neededBy[g] {
		if off := s.near[w].off; off >= 0 {
			s.counts[off+zoneRuns*z+1] -= n
			s.flagZone(off, z)
		}
	}
	for _, w := range s.p.Groups[g].Needs {
		if off := s.near[w].off; int32(w) != g && off >= 0 {
			s.counts[off+zoneRuns*z+2] += n
			s.flagZone(off, z)
		}
	}
}

// flagZone makes the flags of zone z those of the counts, in the run of near at off.
func (s *state) flagZone(off, z int32) {
	c := s.counts[off+zoneRuns*z:][:zoneRuns]
	f := uint8(0)
	if c[1] > 0 {
		f = lacks
	}
	if c[0] == 1 && c[2] > 0 {
		f |= wanted
	}
	s.flags[off+z] = f
}

// takenBy is the flag of an apart domain with n VMs.
func takenBy(n int32) uint8 {
	if n > 0 {
		return taken
	}
	return 0
}

// carry makes the counters of v's group those of v on host b, not a.
func (s *state) carry(v, a, b int32) {
	g := s.movers[v].ruling
	r := &s.rulings[g]
	if !r.quick {
		s.recount(v, a, b)
		return
	}
	if from, to := s.dom[r.apartDom+a], s.dom[r.apartDom+b]; r.apart != s.none && from != to {
		left := s.counts[r.apart+from] - 1
		s.counts[r.apart+from] = left
		s.flags[r.apart+from] = takenBy(left)
		s.counts[r.apart+to]++
		s.flags[r.apart+to] = taken
	}
	if from, to := s.dom[r.spreadDom+a], s.dom[r.spreadDom+b]; r.spread != s.none && from != to {
		s.counts[r.spread+from]--
		if s.counts[r.spread+from] == 0 {
			s.distinct[g]--
		}
		if s.counts[r.spread+to] == 0 {
			s.distinct[g]++
		}
		s.counts[r.spread+to]++
	}
	if from, to := s.zone[a], s.zone[b]; r.needy && from != to {
		s.countZone(g, from, -1)
		s.countZone(g, to, 1)
	}
}

// lacking counts the groups that g needs and that have no VM in zone z.
func (s *state) lacking(g, z int32) int32 {
	if off := s.near[g].off; off >= 0 {
		return s.counts[off+zoneRuns*z+1]
	}
	n := int32(0)
	for _, w := range s.p.Groups[g].Needs {
		if int32(w) != g && s.inZone(int32(w), z) == 0 {
			n++
		}
	}
	return n
}

// needing counts the groups that need g and have a VM in zone z.
func (s *state) needing(g, z int32) int32 {
	if off := s.near[g].off; off >= 0 {
		return s.counts[off+zoneRuns*z+2]
	}
	n := int32(0)
	for _, w := range s.neededBy[g] {
		if s.inZone(w, z) > 0 {
			n++
		}
	}
	return n
}

// tied says whether a VM of g that goes from zone a to b changes what a VM of f may do: one of the groups needs the other,
// and g comes to be in one of the zones, or is there no more.
func (s *state) tied(g, f, a, b int32) bool {
	if s.inZone(g, a) != 1 && s.inZone(g, b) != 0 {
		return false
	}
	for _, w := range s.p.Groups[g].Needs {
		if int32(w) == f {
			return true
		}
	}
	for _, w := range s.p.Groups[f].Needs {
		if int32(w) == g {
			return true
		}
	}
	return false
}
