package online

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// Eviction is VMs that would give way to another, and the place that it would get.
type Eviction struct {
	VMs      []int // by index
	Decision Decision
	// Priority is the sum of the priorities of those that give way, Size that of the shares of a host that they take.
	Priority, Size int64
}

// maxEvictNodes bounds the sets of VMs that Preempt tries on one host; maxEvictHosts the hosts that it looks at closely.
const (
	maxEvictNodes = 4000
	maxEvictHosts = 64
)

// Preempt finds who has to give way so that the VM gets a place: VMs of strictly lower priority on one host, none of
// them in vain, with the least sum of priorities, and of these the least size. An equal or higher priority never
// gives way, nor does a VM that is fixed or that others need where it is. Nothing is changed. Nil and true: the VM has a
// place already. The search is exact while the hosts that can help and the sets of VMs on each are few (maxEvictHosts,
// maxEvictNodes); beyond, it is a good answer, or none.
// O(VMs + hosts log hosts + sets tried times a placement on one host).
func (x *Placer) Preempt(vm model.VM) (*Eviction, bool) {
	if x.Check(&vm) != nil {
		return nil, false
	}
	if _, ok := x.Place(vm); ok {
		return nil, true
	}
	s := &evictSearch{x: x, i: x.slot(vm)}
	defer func() {
		if err := x.Remove(s.i); err != nil {
			panic(err) // it was added above
		}
	}()
	for _, c := range s.candidates() {
		s.host(c)
	}
	return s.best, s.best != nil
}

// evictSearch looks for an eviction. The VM waits in a slot meanwhile.
type evictSearch struct {
	x     *Placer
	i     int
	vms   []int // of the host at hand that may give way, the lowest priority and then the smallest first
	out   []left
	tries int
	best  *Eviction
}

// left is a VM that gave way, and the place that it had.
type left struct {
	vm  int
	was Decision
}

// evictHost is a host that would have room without its VMs of lower priority.
type evictHost struct {
	h model.HostIx
	// least is the least priority sum that an eviction there can have.
	least int64
}

// candidates lists the hosts that can help, the cheapest first.
func (s *evictSearch) candidates() []evictHost {
	x, v := s.x, &s.x.p.VMs[s.i]
	var list []evictHost
	need := make([]int64, len(v.Demand))
	for h := range x.hosts {
		host, state := &x.p.Hosts[h], &x.hosts[h]
		if !host.Open && v.Initial != model.HostIx(h) || x.p.Fit[v.Class][host.Class] == model.Forbidden { //nolint:gosec // MaxHosts
			continue
		}
		for r, d := range v.Demand {
			need[r] = d - (host.Capacity[r] - state.use[r] - state.extra[r])
			if d == 0 {
				need[r] = 0
			}
		}
		least, some := int64(0), false
		for _, k := range state.vms {
			if o := &x.p.VMs[k]; o.Priority < v.Priority && !o.Fixed {
				for r, d := range o.Demand {
					need[r] -= d
				}
				if p := int64(o.Priority); p < 0 {
					least += p
				} else if !some || least > p {
					least = min(least, p)
				}
				some = true
			}
		}
		if some && slices.Max(append(need[:len(need):len(need)], 0)) <= 0 {
			list = append(list, evictHost{model.HostIx(h), least}) //nolint:gosec // MaxHosts
		}
	}
	slices.SortStableFunc(list, func(a, b evictHost) int { return cmp.Compare(a.least, b.least) })
	if len(list) > maxEvictHosts {
		list = list[:maxEvictHosts]
	}
	return list
}

// host looks for the best set on one host.
func (s *evictSearch) host(c evictHost) {
	x := s.x
	v := &x.p.VMs[s.i]
	s.vms, s.out, s.tries = s.vms[:0], s.out[:0], maxEvictNodes
	for _, k := range x.hosts[c.h].vms {
		if o := &x.p.VMs[k]; o.Priority < v.Priority && !o.Fixed && !x.isNeeded(int(k)) {
			s.vms = append(s.vms, int(k))
		}
	}
	slices.SortFunc(s.vms, func(a, b int) int {
		p, q := &x.p.VMs[a], &x.p.VMs[b]
		return cmp.Or(cmp.Compare(p.Priority, q.Priority), cmp.Compare(x.size(p), x.size(q)), cmp.Compare(a, b))
	})
	s.greedy(c.h)
	negative := int64(0)
	for _, i := range s.vms {
		negative += min(0, int64(x.p.VMs[i].Priority))
	}
	s.dive(c.h, 0, 0, 0, negative)
}

// greedy takes VMs away, the lowest priority first, until there is room: a bound for the search.
func (s *evictSearch) greedy(h model.HostIx) {
	for _, i := range s.vms {
		if s.room(h) {
			break
		}
		s.leave(i)
	}
	if s.room(h) {
		s.thin(h)
		s.keep(h)
	}
	for len(s.out) > 0 {
		s.back(len(s.out) - 1)
	}
}

// thin puts back those that went in vain, the highest priority first.
func (s *evictSearch) thin(h model.HostIx) {
	for k := len(s.out) - 1; k >= 0; k-- {
		i := s.out[k].vm
		s.back(k)
		if !s.room(h) {
			s.leave(i)
		}
	}
}

func (s *evictSearch) leave(i int) {
	s.out = append(s.out, left{i, s.x.decisionOf(i)})
	s.x.take(i)
}

// back puts the k-th of those that left where it was.
func (s *evictSearch) back(k int) {
	o := s.out[k]
	s.x.put(o.vm, &o.was)
	s.out = slices.Delete(s.out, k, k+1)
}

// room says whether the VM has a place on the host as it is now.
func (s *evictSearch) room(h model.HostIx) bool {
	_, ok := s.x.onHost(s.i, h)
	return ok
}

// dive tries the sets of VMs from a position on, with those that have left already. Negative is the sum of the negative
// priorities from there on.
func (s *evictSearch) dive(h model.HostIx, from int, priority, size, negative int64) {
	if b := s.best; b != nil && (priority+negative > b.Priority || priority+negative == b.Priority && size >= b.Size) {
		return
	}
	if s.tries--; s.tries < 0 {
		return
	}
	if s.room(h) {
		if !s.vain(h) {
			s.keep(h)
		}
		return
	}
	for k := from; k < len(s.vms); k++ {
		i := s.vms[k]
		v := &s.x.p.VMs[i]
		p := int64(v.Priority)
		negative -= min(0, p)
		s.leave(i)
		s.dive(h, k+1, priority+p, size+s.x.size(v), negative)
		s.back(len(s.out) - 1)
	}
}

// vain says whether one of those that left could have stayed.
func (s *evictSearch) vain(h model.HostIx) bool {
	for k := range s.out {
		o := s.out[k]
		s.x.put(o.vm, &o.was)
		room := s.room(h)
		s.x.take(o.vm)
		if room {
			return true
		}
	}
	return false
}

// keep keeps the set that has left, if it is the best so far.
func (s *evictSearch) keep(h model.HostIx) {
	d, ok := s.x.onHost(s.i, h)
	if !ok || s.together() {
		return
	}
	e := &Eviction{Decision: d}
	for _, o := range s.out {
		v := &s.x.p.VMs[o.vm]
		e.VMs = append(e.VMs, o.vm)
		e.Priority += int64(v.Priority)
		e.Size += s.x.size(v)
	}
	if b := s.best; b == nil || e.Priority < b.Priority || e.Priority == b.Priority && e.Size < b.Size {
		slices.Sort(e.VMs)
		s.best = e
	}
}

// together says whether VMs elsewhere miss those that left, of which each alone was not missed.
func (s *evictSearch) together() bool {
	x := s.x
	for _, o := range s.out {
		g := x.p.VMs[o.vm].Group
		if g == model.None {
			continue
		}
		zone := x.p.Hosts[o.was.Host].Zone
		if x.group[g].zones[zone] > 0 {
			continue
		}
		for _, n := range x.group[g].neededBy {
			if x.group[n].zones[zone] > 0 {
				return true
			}
		}
	}
	return false
}
