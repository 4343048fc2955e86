package search

import "github.com/berth-project/berth/plan/model"

// state is one assignment with everything that a delta needs. A VM without a host has host None and is in no sum.
type state struct {
	*tables
	host     []int32
	at       []int32   // position in vms[host]
	vms      [][]int32 // by host
	slack    []int64   // [host*nr+r]: capacity minus use minus what moved away and still counts
	over     []int64   // [host*nk+k]: x of the dims
	hostCost []int64
	vmCost   []int64
	counts   []int32 // of the counters
	flags    []uint8 // beside counts: what a step asks of them, in a byte
	distinct []int32 // by group: domains of the spread level in use
	moved    []int32 // by group: VMs whose host is not the initial one
	movedBy  []int32 // number of groups by moved count
	mostMove int32
	total    int64
	nothing  []int64 // the demand of no VM
	lost     []int32 // VMs that have no host and should
	// relaxed search lets hosts be overfull at a price, by resource; short is what is missing, at that price.
	price      []int64
	short      []int64 // by host
	shortTotal int64
	rule       int64  // price of a broken rule about groups; 0: they are kept
	broken     int64  // how many are, while they have a price
	dear       int64  // what the prices of moves are multiplied by
	disks      *disks // nil: no VM has disks
	nics       *nics  // nil: no VM has NICs
}

func newState(t *tables) *state {
	s := &state{
		tables: t, host: make([]int32, t.nv), at: make([]int32, t.nv), vms: make([][]int32, t.nh),
		slack: make([]int64, t.nh*t.nr), over: make([]int64, t.nh*t.nk), hostCost: make([]int64, t.nh),
		vmCost: make([]int64, t.nv), distinct: make([]int32, t.ng+1), moved: make([]int32, t.ng),
	}
	for g := range t.ng {
		if n := len(t.of(g)); n >= len(s.movedBy) {
			s.movedBy = append(s.movedBy, make([]int32, n+1-len(s.movedBy))...)
		}
	}
	s.counts, s.flags = make([]int32, t.runs), make([]uint8, t.runs)
	s.dear = 1
	if len(s.movedBy) == 0 {
		s.movedBy = make([]int32, 1)
	}
	s.nothing = make([]int64, max(t.nr, t.nk))
	s.disks, s.nics = newDisks(t), newNICs(t)
	return s
}

// load makes the state that of a.
func (s *state) load(a *model.Assignment) {
	for h := range s.nh {
		s.vms[h] = s.vms[h][:0]
		copy(s.slack[h*s.nr:(h+1)*s.nr], s.p.Hosts[h].Capacity)
		s.emptyHost(h)
	}
	s.clearCounts()
	clear(s.distinct)
	clear(s.moved)
	clear(s.movedBy)
	s.movedBy[0] = int32(s.ng)
	s.mostMove, s.total = 0, 0
	for h := range s.nh {
		s.hostCost[h] = s.costOf(h)
		s.total += s.hostCost[h]
	}
	if s.disks != nil {
		s.disks.load(s, a)
	}
	for i := range s.nv {
		v := &s.p.VMs[i]
		s.host[i] = model.None
		c, _ := s.poolPrice(int32(i), false)
		s.vmCost[i] = v.Drop + c
		s.total += s.vmCost[i]
		if in := s.initial[i]; in >= 0 { // its transient part counts there wherever it is; see need
			for r := range s.nr {
				s.slack[int(in)*s.nr+r] -= s.dem[i*s.nr+r] - s.demBack[i*s.nr+r]
			}
		}
	}
	for i := range s.nv {
		if a.Host[i] != model.None {
			s.enter(int32(i), int32(a.Host[i]))
		}
	}
}

// emptyHost sets the dims of host h to those of no VM.
func (s *state) emptyHost(h int) {
	k := h * s.nk
	host := &s.p.Hosts[h]
	for r := range s.p.Resources {
		if s.p.Resources[r].Load != 0 {
			s.over[k] = -host.Soft[r]
			k++
		}
	}
	for b := range s.p.Balances {
		q := &s.p.Balances[b]
		s.over[k] = q.Target*host.Capacity[q.A] - host.Capacity[q.B]
		k++
	}
}

// costOf sums the cost of host h anew.
func (s *state) costOf(h int) int64 {
	c := int64(0)
	for k := range s.nk {
		c += s.weight[k] * max(0, s.over[h*s.nk+k])
	}
	if len(s.vms[h]) > 0 {
		c += s.hostVM[h]
	}
	return c
}

// hostPrice is what VM v costs on host h by itself: fit, move and hop.
func (s *state) hostPrice(v, h int32) int64 {
	m := &s.movers[v]
	if m.slow {
		return s.slowPrice(v, h)
	}
	c := int64(0)
	if s.fitAny {
		c = max(0, s.fit[m.fit+s.hostClass[h]])
	}
	if m.initial != h && m.initial >= 0 {
		move := m.move
		if s.hop != nil {
			move += s.hop[int(m.place)*s.places+int(s.place[h])]
		}
		c += s.dear * move
	}
	return c
}

// need is what v takes of the slack of h: at its initial host the transient part is counted whether it is there or not.
func (s *state) need(v, h int32) []int64 {
	if s.initial[v] == h {
		return s.demBack[int(v)*s.nr : int(v+1)*s.nr]
	}
	return s.dem[int(v)*s.nr : int(v+1)*s.nr]
}

// enter puts v, which has no host, on h, and brings all sums up to date.
func (s *state) enter(v, h int32) {
	s.total -= s.vmCost[v] + s.hostCost[h]
	s.host[v] = h
	s.enlist(v, h)
	s.exchange(h, s.nothing, s.need(v, h), s.nothing, s.dimDem[int(v)*s.nk:][:s.nk])
	s.vmCost[v] = s.hostPrice(v, h)
	s.total += s.vmCost[v] + s.hostCost[h]
	if g := s.group[v]; g >= 0 {
		if s.ruled[g] {
			s.count(g, h, 1)
		}
		if in := s.initial[v]; in >= 0 && in != h {
			s.countMove(g, 1)
		}
	}
}

// countMove adds n (1 or -1) to the moved VMs of g.
func (s *state) countMove(g, n int32) {
	was := s.mostMove
	s.movedBy[s.moved[g]]--
	s.moved[g] += n
	s.movedBy[s.moved[g]]++
	if s.moved[g] > s.mostMove {
		s.mostMove = s.moved[g]
	}
	for s.mostMove > 0 && s.movedBy[s.mostMove] == 0 {
		s.mostMove--
	}
	s.total += int64(s.mostMove-was) * s.dear * s.p.GroupMove
}

// reprice brings what host h is short of up to date.
func (s *state) reprice(h int32) {
	c := int64(0)
	slack := s.slack[int(h)*s.nr:][:len(s.price)]
	for r, w := range s.price {
		c += w * max(0, -slack[r])
	}
	s.shortTotal += c - s.short[h]
	s.short[h] = c
}

// setPrice makes the search relaxed with the price of each missing unit, or strict with nil.
func (s *state) setPrice(price []int64) {
	s.price = price
	if s.short == nil {
		s.short = make([]int64, s.nh)
	}
	clear(s.short)
	s.shortTotal = 0
	if price != nil {
		for h := range s.nh {
			s.reprice(int32(h))
		}
	}
}

// put gives v the places that it has in a; v has a host, and keeps one.
func (s *state) put(v int32, a *model.Assignment) {
	h := int32(a.Host[v])
	if pools := a.Pool[v]; len(pools) > 0 {
		to := make([]int32, len(pools))
		for j, q := range pools {
			to[j] = int32(q)
		}
		s.setPools(v, to)
		if h == s.host[v] && h >= 0 {
			s.repriceVM(v)
		}
	}
	if h != s.host[v] {
		s.shift(v, h)
	}
}
