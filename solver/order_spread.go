package solver

// partings keeps spread groups apart in every state of a wave. In the log a VM comes to a domain only once its
// rivals have left it; so it comes in a later wave than they leave in. Where VMs share a domain from before the plan, and the log moved
// one of them all the same ("only worse is a fault"), what is legal depends on where each of the group is: then
// the group keeps the order of the log, one move a wave.
type partings struct {
	s     *state
	now   map[domainKey]domainCount // of the groups that move, at the present move of the log
	asked []uint8                   // by group: the kinds that a member asks for, as bits
	moves []bool                    // by group
	left  map[domainKey]int32       // the last wave in which one left
	last  []int32                   // by group: the last wave with a move of it
	after []int32                   // by group: all moves come in later waves
}

func newPartings(s *state) partings {
	n := len(s.members)
	p := partings{
		s: s, now: map[domainKey]domainCount{}, asked: make([]uint8, n), moves: make([]bool, n), left: map[domainKey]int32{},
		last: make([]int32, n), after: make([]int32, n),
	}
	for i := range s.log {
		if m := &s.log[i]; m.attach == nil && m.from != m.to && s.vms[m.vm].spread != none {
			p.moves[s.vms[m.vm].spread] = true
		}
	}
	first := firstPlaces(s)
	for g, members := range s.members {
		if !p.moves[g] {
			continue
		}
		for _, i := range members {
			p.asked[g] |= 1 << s.vms[i].kind
			p.count(i, first[i], 1)
		}
	}
	return p
}

func (p *partings) count(i vmIx, h hostIx, by int32) {
	v := &p.s.vms[i]
	for k := range kinds {
		key := domainKey{v.spread, k, p.s.hosts[h].domains[k]}
		c := p.now[key]
		c.all += by
		if v.kind == k {
			c.asking += by
		}
		p.now[key] = c
	}
}

// earliest is the first wave in which m may run, m being the present move of the log.
func (p *partings) earliest(m *move) int32 {
	v := &p.s.vms[m.vm]
	g := v.spread
	if g == none {
		return 1
	}
	at := p.after[g] + 1
	if p.shares(m) {
		return max(at, p.last[g]+1)
	}
	for k := range kinds {
		d := p.s.hosts[m.to].domains[k]
		if p.asked[g]&(1<<k) != 0 && d != p.s.hosts[m.from].domains[k] {
			at = max(at, p.left[domainKey{g, k, d}]+1)
		}
	}
	return at
}

// shares says whether m leads to a domain that a rival is in.
func (p *partings) shares(m *move) bool {
	v := &p.s.vms[m.vm]
	for k := range kinds {
		d := p.s.hosts[m.to].domains[k]
		c := p.now[domainKey{v.spread, k, d}]
		if v.kind != k {
			if c.asking > 0 {
				return true
			}
			continue
		}
		if p.s.hosts[m.from].domains[k] == d {
			c.all--
		}
		if c.all > 0 {
			return true
		}
	}
	return false
}

// charge enters m into the wave at.
func (p *partings) charge(m *move, at int32) {
	v := &p.s.vms[m.vm]
	g := v.spread
	if g == none {
		return
	}
	if p.shares(m) {
		p.after[g] = at
	}
	p.last[g] = max(p.last[g], at)
	for k := range kinds {
		d := p.s.hosts[m.from].domains[k]
		if d != p.s.hosts[m.to].domains[k] {
			key := domainKey{g, k, d}
			p.left[key] = max(p.left[key], at)
		}
	}
	p.count(m.vm, m.from, -1)
	p.count(m.vm, m.to, 1)
}
