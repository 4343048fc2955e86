package model

// The second bound of Bound, by Lagrangian relaxation. Each rule and cost that couples VMs gets a price, by host or
// domain, and what would break the rule is charged instead of forbidden. For every assignment without violations:
//
//	load:     Load*max(0, use-soft) >= s*(use-soft)          0 <= s <= Load, by host and resource
//	balance:  Weight*max(0, target*A-B) >= g*(target*A-B)    0 <= g <= Weight, by host and balance; A, B free
//	capacity: 0 >= c*(use-capacity*y)                        0 <= c, by host and resource; y: the host is in use, at On*y
//	          0 >= c*(use+held-capacity)                     instead, for transient resources of hosts whose On is 0
//	apart:    0 >= a*(VMs of the group to be apart-1)        0 <= a, by group and domain of the level
//
// The right sides are linear in what is where, so that their sum, with what VMs pay for themselves, is a constant of
// the prices and a price of each VM on each host; every VM then takes its cheapest host, or is dropped, and every y the
// better of 0 and 1. That is at most what the assignment costs, whatever the prices, which subgradient steps improve. held
// is what left: a VM counts at its initial host unless it is dropped. It is what bounds an instance in which
// much should move and little can.
//
// Prices are rounded to whole numbers (of 1/scale points) before the bound is summed in int64, so that no rounding error
// lifts it above the truth.
type lagrange struct {
	b     *bounder
	p     *Problem
	hosts int
	n     int // resources
	scale int64
	own   []int64 // by VM and host: what it costs there by itself, never where it cannot be
	units []int64 // by VM and resource: demand

	apart []rule             // by group with two VMs or more that are to be apart on one level
	of    []int32            // by VM: its rule in apart, or None
	dom   [MaxLevels][]int32 // by host: its domain, numbered from 0

	// In points, as the steps change them, each at most top (by resource), the balance's Weight, and topA.
	prices
	top  []float64
	topA float64
	// The same in whole numbers of 1/scale points; price is what a unit of demand comes to.
	cWhole, aWhole, price []int64
	in                    []int32 // VMs by rule and domain
	// What the cheapest choices come to: use and held by host and resource, on by host (y).
	use, held []int64
	on        []bool
}

const (
	lagrangePairs = 8 << 20 // VM-host pairs held in memory
	lagrangeMin   = 20      // rounds below which it is not begun
	lagrangeMax   = 600
)

// lagrange improves prices for as many rounds as work allows and returns the best bound and the rounds made.
func (b *bounder) lagrange(from, work int64) (Points, int) {
	p := b.p
	pairs := int64(len(p.VMs)) * int64(len(p.Hosts))
	if pairs == 0 || pairs > lagrangePairs || len(p.Resources) == 0 {
		return 0, 0
	}
	rounds := min(work/(pairs*int64(len(p.Resources)+1)), lagrangeMax)
	if rounds < lagrangeMin {
		return 0, 0
	}
	m, n := len(p.Hosts), len(p.Resources)
	l := &lagrange{
		b: b, p: p, hosts: m, n: n, own: make([]int64, len(p.VMs)*m), units: make([]int64, len(p.VMs)*n),
		prices: prices{s: make([]float64, m*n), c: make([]float64, m*n), g: make([]float64, m*len(p.Balances))}, top: make([]float64, n),
		cWhole: make([]int64, m*n), price: make([]int64, m*n), use: make([]int64, m*n), held: make([]int64, m*n), on: make([]bool, m),
	}
	for i := range p.VMs {
		copy(l.units[i*n:], p.VMs[i].Demand)
		if !l.row(i, &p.VMs[i]) {
			return 0, 0
		}
	}
	l.rules()
	start, err := Evaluate(p, p.Start())
	if err != nil || !l.limits(max(from, start.Total(), 1)) {
		return 0, 0
	}
	for h := range m {
		for r := range n {
			l.s[h*n+r] = float64(b.alpha[r])
		}
		for k := range p.Balances {
			l.g[h*len(p.Balances)+k] = float64(b.gamma[k])
		}
	}
	best, made := l.climb(int(rounds), float64(max(start.Total()-from, from/10, 1)))
	return ceilDiv(best, l.scale), made
}

// row fills what VM i costs by itself on each host; false where it has no place.
func (l *lagrange) row(i int, v *VM) bool {
	o := l.b.of[i]
	stay, moved, _ := l.b.offer.disks(v)
	if v.Initial != None {
		moved = l.b.offer.moved(v, stay, moved)
	}
	some := o.drop != never
	for h := range l.p.Hosts {
		x, host := never, &l.p.Hosts[h]
		switch {
		case v.Initial == HostIx(h): //nolint:gosec // MaxHosts
			x = o.stay
		case v.Fixed || !host.Open || moved == never || !fits(v.Demand, host.Capacity):
		default:
			if x = plus(allowed(l.p.Fit[v.Class][host.Class]), moved); x != never && v.Initial != None {
				x += l.p.hop(v.Initial, HostIx(h)) //nolint:gosec // MaxHosts
			}
		}
		l.own[i*l.hosts+h] = x
		some = some || x != never
	}
	return some
}

// limits sets the highest prices, and the finest scale in which no sum of a round can overflow.
func (l *lagrange) limits(cost int64) bool {
	p := l.p
	room, need := make([]float64, l.n), make([]float64, l.n)
	most := float64(0)
	for i := range p.VMs {
		worst := max(0, p.VMs[i].Drop)
		for _, x := range l.own[i*l.hosts : (i+1)*l.hosts] {
			if x != never {
				worst = max(worst, x)
			}
		}
		if o := l.b.of[i]; o.drop != never {
			worst = max(worst, o.drop)
		}
		most += float64(worst)
		for r, d := range p.VMs[i].Demand {
			need[r] += float64(d)
		}
	}
	for h := range p.Hosts {
		most += float64(p.Hosts[h].On)
		for r := range l.n {
			room[r] += float64(p.Hosts[h].Capacity[r]) + float64(p.Hosts[h].Soft[r])
		}
	}
	// A price of apart is at most topA, and due once for each domain and for each VM.
	l.topA = 64 * float64(cost) / float64(len(p.VMs))
	most += (l.topA + 1) * float64(len(l.a)+len(p.VMs))
	for r := range l.n {
		l.top[r] = 4*float64(p.Resources[r].Load) + 64*float64(cost)/(need[r]+1)
		most += (l.top[r] + 1) * (room[r] + 2*need[r])
	}
	for _, w := range p.Balances {
		most += (float64(w.Weight) + 1) * (float64(w.Target)*(room[w.A]+need[w.A]) + room[w.B] + need[w.B])
	}
	l.scale = 1 << 20
	for l.scale > 1 && most*float64(l.scale) > float64(MaxSum/2) {
		l.scale /= 2
	}
	return most*float64(l.scale) <= float64(MaxSum/2)
}

// round sums the bound at the present prices, in 1/scale points, and what the cheapest choices use.
func (l *lagrange) round() int64 {
	total := l.constants()
	clear(l.use)
	clear(l.held)
	clear(l.in)
	for i := range l.p.VMs {
		v, n := &l.p.VMs[i], l.n
		d := l.units[i*n : (i+1)*n]
		held := int64(0) // what it costs to have left
		if v.Initial != None {
			for r := range d {
				if l.holds(int(v.Initial), r) {
					held += l.cWhole[int(v.Initial)*n+r] * d[r]
				}
			}
		}
		best, at := never, None
		var apart []int64
		var dom []int32
		if k := l.of[i]; k != None {
			apart, dom = l.aWhole[l.apart[k].off:], l.dom[l.apart[k].level]
		}
		for h, x := range l.own[i*l.hosts : (i+1)*l.hosts] {
			if x == never {
				continue
			}
			x *= l.scale
			for r, u := range l.price[h*n : (h+1)*n] {
				x += u * d[r]
			}
			if h != int(v.Initial) {
				x += held
			}
			if apart != nil {
				x += apart[dom[h]]
			}
			if x < best {
				best, at = x, h
			}
		}
		if o := l.b.of[i]; o.drop != never && o.drop*l.scale < best {
			total += o.drop * l.scale
			continue
		}
		total += best
		add(l.use[at*n:], d)
		if apart != nil {
			l.in[l.apart[l.of[i]].off+int(dom[at])]++
		}
		if v.Initial != None && at != int(v.Initial) {
			add(l.held[int(v.Initial)*n:], d)
		}
	}
	return total
}

// holds says whether resource r of host h is judged with what left.
func (l *lagrange) holds(h, r int) bool {
	return l.p.Resources[r].Transient && l.p.Hosts[h].On == 0
}

// constants rounds the prices and sums the part of the bound that no VM decides.
func (l *lagrange) constants() int64 {
	p, n := l.p, l.n
	total := int64(0)
	for k, x := range l.a {
		l.aWhole[k] = int64(x * float64(l.scale))
		total -= l.aWhole[k]
	}
	for h := range p.Hosts {
		host := &p.Hosts[h]
		y := host.On * l.scale
		for r := range n {
			k := h*n + r
			s := min(int64(l.s[k]*float64(l.scale)), p.Resources[r].Load*l.scale)
			l.cWhole[k] = int64(l.c[k] * float64(l.scale))
			l.price[k] = s + l.cWhole[k]
			total -= s * host.Soft[r]
			y -= l.cWhole[k] * host.Capacity[r]
		}
		l.on[h] = y <= 0
		total += min(0, y)
		for b, w := range p.Balances {
			g := min(int64(l.g[h*len(p.Balances)+b]*float64(l.scale)), w.Weight*l.scale)
			l.price[h*n+w.A] -= g * w.Target
			l.price[h*n+w.B] += g
			total += g * (w.Target*host.Capacity[w.A] - host.Capacity[w.B])
		}
	}
	return total
}

// rule is VMs of one group that are to be apart from each other on one level; its prices begin at off.
type rule struct{ level, off int }

// lagrangeApart bounds the prices of apart.
const lagrangeApart = 4 << 20

// rules finds the VMs that are to be apart. Of a group, those of its most frequent level count; a VM's level forbids the
// others of the group too, but only among these is it plain that a domain takes one.
func (l *lagrange) rules() {
	p := l.p
	var size [MaxLevels]int
	for level := range p.Hosts[0].Domain {
		index := map[int32]int32{}
		l.dom[level] = make([]int32, l.hosts)
		for h := range p.Hosts {
			d := p.Hosts[h].Domain[level]
			if _, ok := index[d]; !ok {
				index[d] = int32(len(index)) //nolint:gosec // MaxHosts
			}
			l.dom[level][h] = index[d]
		}
		size[level] = len(index)
	}
	l.of = make([]int32, len(p.VMs))
	for i := range l.of {
		l.of[i] = None
	}
	words := 0
	for g := range p.Groups {
		vms := l.b.list[l.b.off[g]:l.b.off[g+1]]
		var count [MaxLevels]int
		level := 0
		for _, i := range vms {
			if v := p.VMs[i].Apart; v >= 0 {
				count[v]++
				if count[v] > count[level] {
					level = int(v)
				}
			}
		}
		if count[level] < 2 || words+size[level] > lagrangeApart {
			continue
		}
		for _, i := range vms {
			if int(p.VMs[i].Apart) == level {
				l.of[i] = int32(len(l.apart)) //nolint:gosec // at most the groups
			}
		}
		l.apart = append(l.apart, rule{level, words})
		words += size[level]
	}
	l.a, l.aWhole, l.in = make([]float64, words), make([]int64, words), make([]int32, words)
}
