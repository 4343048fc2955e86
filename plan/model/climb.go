package model

import "slices"

// climb makes rounds of subgradient steps and returns the best bound, in 1/scale points. The steps are Polyak's, to
// a target that lies gap above the best: it halves when rounds bring nothing. They decide how good the bound is, never
// whether it is one, so that floats may be used.
func (l *lagrange) climb(rounds int, gap float64) (best int64, made int) {
	best = l.round()
	bestT, bestG, bestA := slices.Clone(l.t), slices.Clone(l.g), slices.Clone(l.a)
	s := newStep(l)
	idle, least := 0, gap*1e-7
	for made = 1; made < rounds && gap > least; made++ {
		if !s.move(gap + float64(best-s.at)/float64(l.scale)) {
			break
		}
		s.at = l.round()
		if s.at > best {
			if s.at-best > int64(gap*float64(l.scale)/64) {
				idle = 0
			}
			best = s.at
			copy(bestT, l.t)
			copy(bestG, l.g)
			copy(bestA, l.a)
		}
		if idle++; idle > 12 {
			idle = 0
			gap /= 2
			copy(l.t, bestT)
			copy(l.g, bestG)
			copy(l.a, bestA)
			clear(s.dirA)
			clear(s.dirT)
			clear(s.dirG)
			s.at = l.round()
		}
	}
	return best, made
}

// step is the direction in which prices go, in units of each resource's mean capacity, so that one length suits all.
type step struct {
	l          *lagrange
	at         int64 // the bound at the present prices
	dirT, dirG []float64
	dirA       []float64
	sizeA      float64   // of apart: VMs to a host
	size       []float64 // by resource
	sizeG      []float64 // by balance
}

// keep is how much of the last direction goes into the next: it keeps prices from swinging.
const keep = 0.6

func newStep(l *lagrange) *step {
	p := l.p
	s := &step{l: l, dirT: make([]float64, len(l.t)), dirG: make([]float64, len(l.g))}
	s.size = make([]float64, l.n)
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
	s.dirA, s.sizeA = make([]float64, len(l.a)), max(1, float64(len(p.VMs))/float64(len(p.Hosts)))
	s.at = l.round()
	return s
}

// move makes one step towards a bound that is higher by want; false where no price can go anywhere.
func (s *step) move(want float64) bool {
	l := s.l
	norm := float64(0)
	for h := range l.hosts {
		for r := range l.n {
			k := h*l.n + r
			d := s.slope(h, r)/s.size[r] + float64(keep*s.dirT[k])
			if l.t[k] <= 0 && d < 0 || l.t[k] >= l.top[r] && d > 0 {
				d = 0
			}
			s.dirT[k] = d
			norm += float64(d * d)
		}
		for b, w := range l.p.Balances {
			k := h*len(l.p.Balances) + b
			d := s.slopeG(h, b)/s.sizeG[b] + float64(keep*s.dirG[k])
			if l.g[k] <= 0 && d < 0 || l.g[k] >= float64(w.Weight) && d > 0 {
				d = 0
			}
			s.dirG[k] = d
			norm += float64(d * d)
		}
	}
	for k := range s.dirA {
		d := float64(l.in[k]-1)/s.sizeA + float64(keep*s.dirA[k])
		if l.a[k] <= 0 && d < 0 || l.a[k] >= l.topA && d > 0 {
			d = 0
		}
		s.dirA[k] = d
		norm += float64(d * d)
	}
	if norm == 0 {
		return false
	}
	length := want / norm
	for k, d := range s.dirT {
		r := k % l.n
		l.t[k] = min(max(0, l.t[k]+float64(length*d)/s.size[r]), l.top[r])
	}
	for k, d := range s.dirG {
		b := k % len(l.p.Balances)
		l.g[k] = min(max(0, l.g[k]+float64(length*d)/s.sizeG[b]), float64(l.p.Balances[b].Weight))
	}
	for k, d := range s.dirA {
		l.a[k] = min(max(0, l.a[k]+float64(length*d)/s.sizeA), l.topA)
	}
	return true
}

// slope is how the bound changes with t of host h and resource r.
func (s *step) slope(h, r int) float64 {
	l, k := s.l, h*s.l.n+r
	host := &l.p.Hosts[h]
	if host.Soft[r] <= host.Capacity[r] && l.t[k] < float64(l.p.Resources[r].Load) {
		return float64(l.use[k] - host.Soft[r])
	}
	use := l.use[k]
	if l.holds(h, r) {
		use += l.held[k]
	}
	if !l.on[h] {
		return float64(use)
	}
	return float64(use - host.Capacity[r])
}

func (s *step) slopeG(h, b int) float64 {
	l, w := s.l, s.l.p.Balances[b]
	host, use := &l.p.Hosts[h], l.use[h*l.n:]
	return float64(w.Target*(host.Capacity[w.A]-use[w.A]) - (host.Capacity[w.B] - use[w.B]))
}
