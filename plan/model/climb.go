package model

import "slices"

// prices are the multipliers of the bound by host, or a direction in which they go, or what they are the prices of.
type prices struct {
	s, c, g, a []float64 // load and capacity by host and resource, balance by host and balance, apart by rule and domain
}

func (x prices) clone() prices {
	return prices{slices.Clone(x.s), slices.Clone(x.c), slices.Clone(x.g), slices.Clone(x.a)}
}

func (x prices) set(y prices) {
	copy(x.s, y.s)
	copy(x.c, y.c)
	copy(x.g, y.g)
	copy(x.a, y.a)
}

// climb makes rounds of the volume algorithm (Barahona and Anbil, 2000) and returns the best bound, in 1/scale points:
// steps go from the best prices yet along the slope at the average of the choices of past rounds, in which the newest
// counts a little more than the rest. Their length aims at a bound that is higher by gap, which shrinks when rounds
// bring nothing. How they go decides how good the bound is, never whether it is one, so that floats may be used.
func (l *lagrange) climb(rounds int, gap float64) (best int64, made int) {
	best = l.round()
	center := l.clone()
	s := newStep(l)
	s.average(1)
	idle, least := 0, gap*1e-9
	for made = 1; made < rounds && gap > least && s.move(center, gap); made++ {
		now := l.round()
		s.average(0.1)
		if now <= best {
			if idle++; idle >= 10 {
				idle, gap = 0, gap*0.66
			}
			continue
		}
		idle, gap = 0, gap*1.1
		best = now
		center.set(l.prices)
	}
	return best, made
}

// step is the direction in which prices go, in units of each resource's mean capacity, so that one length suits all.
type step struct {
	l     *lagrange
	slope prices    // averaged, in those units
	way   prices    // the same without what is against its limit
	size  []float64 // by resource
	sizeG []float64 // by balance
	sizeA float64   // of apart: VMs to a host
}

func newStep(l *lagrange) *step {
	p := l.p
	s := &step{l: l, slope: l.clone(), way: l.clone(), size: make([]float64, l.n)}
	for r := range l.n {
		room := float64(1)
		for h := range p.Hosts {
			room += float64(p.Hosts[h].Capacity[r])
		}
		s.size[r] = room / float64(len(p.Hosts))
	}
	for _, w := range p.Balances {
		s.sizeG = append(s.sizeG, float64(w.Target)*s.size[w.A]+s.size[w.B]+1)
	}
	s.sizeA = max(1, float64(len(p.VMs))/float64(len(p.Hosts)))
	return s
}

// average mixes the slopes of the latest round in.
func (s *step) average(share float64) {
	l := s.l
	mix := func(old *float64, now float64) { *old = float64((1-share)**old) + float64(share*now) }
	for h := range l.hosts {
		for r := range l.n {
			load, room := s.slopes(h, r)
			mix(&s.slope.s[h*l.n+r], load/s.size[r])
			mix(&s.slope.c[h*l.n+r], room/s.size[r])
		}
		for b := range l.p.Balances {
			mix(&s.slope.g[h*len(l.p.Balances)+b], s.slopeG(h, b)/s.sizeG[b])
		}
	}
	for k := range l.a {
		mix(&s.slope.a[k], float64(l.in[k]-1)/s.sizeA)
	}
}

// move sets the prices one step from center, towards a bound that is higher by want; false where none can go anywhere.
func (s *step) move(center prices, want float64) bool {
	l := s.l
	norm := float64(0)
	part := func(way, slope, at []float64, top func(int) float64) {
		for k, d := range slope {
			if at[k] <= 0 && d < 0 || d > 0 && at[k] >= top(k) {
				d = 0
			}
			way[k] = d
			norm += float64(d * d)
		}
	}
	topS := func(k int) float64 { return float64(l.p.Resources[k%l.n].Load) }
	topC := func(k int) float64 { return l.top[k%l.n] }
	topG := func(k int) float64 { return float64(l.p.Balances[k%len(l.p.Balances)].Weight) }
	topA := func(int) float64 { return l.topA }
	part(s.way.s, s.slope.s, center.s, topS)
	part(s.way.c, s.slope.c, center.c, topC)
	part(s.way.g, s.slope.g, center.g, topG)
	part(s.way.a, s.slope.a, center.a, topA)
	if norm == 0 {
		return false
	}
	length := want / norm
	walk := func(x, from, way []float64, size, top func(int) float64) {
		for k, d := range way {
			x[k] = min(max(0, from[k]+float64(length*d)/size(k)), top(k))
		}
	}
	sizeT := func(k int) float64 { return s.size[k%l.n] }
	walk(l.s, center.s, s.way.s, sizeT, topS)
	walk(l.c, center.c, s.way.c, sizeT, topC)
	walk(l.g, center.g, s.way.g, func(k int) float64 { return s.sizeG[k%len(s.sizeG)] }, topG)
	walk(l.a, center.a, s.way.a, func(int) float64 { return s.sizeA }, topA)
	return true
}

// slopes is how the bound changes with the prices of load and of capacity of host h and resource r.
func (s *step) slopes(h, r int) (load, room float64) {
	l, k := s.l, h*s.l.n+r
	host, use := &l.p.Hosts[h], l.use[k]
	load = float64(use - host.Soft[r])
	if l.holds(h, r) {
		use += l.held[k]
	}
	if l.on[h] {
		use -= host.Capacity[r]
	}
	return load, float64(use)
}

func (s *step) slopeG(h, b int) float64 {
	l, w := s.l, s.l.p.Balances[b]
	host, use := &l.p.Hosts[h], l.use[h*l.n:]
	return float64(w.Target*(host.Capacity[w.A]-use[w.A]) - (host.Capacity[w.B] - use[w.B]))
}
