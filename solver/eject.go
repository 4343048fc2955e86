package solver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Bounds of the search for room: hosts looked at and tried, successes compared, units that leave one host, and
// units asked for each that leaves.
const (
	maxEjectScan   = 512
	maxEjectHosts  = 16
	maxEjectWins   = 4
	maxEjectUnits  = 8
	maxEjectAsked  = 24
	maxEjectOnPool = 4096 // VMs looked at on a shared pool
)

// eviction is a unit that makes room, and where it goes.
type eviction struct {
	unit unitIx
	to   place
}

// eject makes room for u on one host by moving others away, each to a legal place: those of lower priority,
// and of equal priority those that are wrong or above their need where they are. The cheapest of a few hosts
// is taken, if it costs less than below. It says whether u was placed.
func (x *search) eject(u *unit, avoid hostIx, why func(vmIx, place) string, below points) bool {
	x.refused = x.refused[:0]
	var best []eviction
	var to place
	wins := 0
	var cost points
	for _, h := range x.ejectable(u, avoid) {
		mark := len(x.log)
		out, p, ok := x.tryEject(u, h)
		x.undo(mark)
		if !ok {
			continue
		}
		c := p.cost
		for _, e := range out {
			c += e.to.cost - x.present(&x.units[e.unit])
		}
		if wins == 0 || c < cost {
			best, to, cost = out, p, c
		}
		if wins++; wins == maxEjectWins {
			break
		}
	}
	if wins == 0 || cost >= below {
		return false
	}
	if len(x.log)+x.movesOf(best)+len(u.vms) > x.opts.MaxSteps {
		x.stopped = true
		return false
	}
	for _, e := range best {
		x.commit(&x.units[e.unit], e.to, x.whyRoom(u))
	}
	return x.commit(u, to, why)
}

func (x *search) movesOf(list []eviction) int {
	n := 0
	for _, e := range list {
		n += len(x.units[e.unit].vms)
	}
	return n
}

// ejectable lists hosts that could take u if those gave way who may.
func (x *search) ejectable(u *unit, avoid hostIx) []hostIx {
	return x.hostsFor(u, avoid, maxEjectScan, func(h hostIx) bool { return x.holds(u, h) })
}

// holds says whether h has the CPU and memory for u once all are gone from it who yield to u.
func (x *search) holds(u *unit, h hostIx) bool {
	host := &x.hosts[h]
	cpu, memory := host.freeCPU(), host.freeMemory()
	for _, i := range host.vms {
		if cpu >= u.cpu && memory >= u.memory {
			return true
		}
		v := &x.vms[i]
		if v.unit != none && &x.units[v.unit] != u && x.yields(&x.units[v.unit], u) || slices.Contains(u.vms, i) {
			cpu += v.snap.CPU
			memory += v.snap.Memory
		}
	}
	return cpu >= u.cpu && memory >= u.memory
}

// hostsFor lists the first maxEjectHosts of so many hosts, none of them avoid, that could take u by themselves and that could be made
// to, as may says: its own first, then in the order of what they cost at least.
func (x *search) hostsFor(u *unit, avoid hostIx, scan int, may func(hostIx) bool) []hostIx {
	var out []hostIx
	consider := func(h hostIx) {
		if h != avoid && x.fixedRefusal(u, h) == "" && !slices.Contains(out, h) && may(h) {
			out = append(out, h)
		}
	}
	switch {
	case u.torn:
		return nil
	case u.anchor != none:
		consider(u.anchor)
		return out
	}
	for _, h := range x.ownHosts(u) {
		consider(h)
	}
	seen := 0
	all := amount{cpu: -maxTotal, memory: -maxTotal}
	x.ranked(u, all, func(b *bucket, _ points) bool {
		x.queue = b.walk(all, x.queue, func(h hostIx) bool {
			consider(h)
			seen++
			return seen >= scan || len(out) >= maxEjectHosts
		})
		return seen >= scan || len(out) >= maxEjectHosts
	})
	return out
}

// yields says whether v gives way to u: never to one of lower priority.
func (x *search) yields(v, u *unit) bool {
	return v.priority < u.priority || v.priority == u.priority && (x.wrong(v) != "" || x.wasteful(v))
}

// tryEject moves units off h, or off its pools, until u fits. The moves stay in the log for the caller to undo.
func (x *search) tryEject(u *unit, h hostIx) ([]eviction, place, bool) {
	var out []eviction
	for {
		p, refused := x.fit(u, h, anywhere)
		if refused == "" {
			return out, p, true
		}
		if len(out) == maxEjectUnits {
			return nil, place{}, false
		}
		e, ok := x.evict(u, h, refused)
		if !ok {
			return nil, place{}, false
		}
		out = append(out, e)
		x.shiftUnit(&x.units[e.unit], e.to)
	}
}

// evict finds one unit whose leaving helps against the constraint that refuses u on h, and its place.
func (x *search) evict(u *unit, h hostIx, refused string) (eviction, bool) {
	q := anywhere
	switch refused {
	case plan.ConstraintCPU, plan.ConstraintMemory, plan.ConstraintNICQueues, plan.ConstraintNICRate:
		q.host = h
		return x.firstToGo(u, x.usersOf(h, refused, func(v *unit) bool { return x.yields(v, u) }), x.shortage(u, h, refused), q)
	case plan.ConstraintSpread:
		q.host = h
		return x.firstToGo(u, x.rivals(u, h), func(*unit) int64 { return 0 }, q)
	case plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput:
		return x.evictDisk(u, h, refused)
	default:
		return eviction{}, false
	}
}

// shortage measures how far a unit's leaving falls short of what u lacks on h; 0 or less suffices.
func (x *search) shortage(u *unit, h hostIx, refused string) func(*unit) int64 {
	amount := func(v *unit) int64 {
		var n int64
		for _, i := range v.vms {
			vm := &x.vms[i]
			switch {
			case (v == u) == (vm.host == h):
			case refused == plan.ConstraintCPU:
				n += int64(vm.snap.CPU)
			case refused == plan.ConstraintMemory:
				n += int64(vm.snap.Memory)
			case refused == plan.ConstraintNICRate:
				for _, need := range vm.nics {
					n += int64(need.Rate)
				}
			default:
				n += int64(vm.need.Queues)
			}
		}
		return n
	}
	lack := amount(u)
	switch refused {
	case plan.ConstraintCPU:
		lack -= int64(x.hosts[h].freeCPU())
	case plan.ConstraintMemory:
		lack -= int64(x.hosts[h].freeMemory())
	default: // which NIC is short the packing does not tell: as much as u asks for is a guess that suffices
	}
	return func(v *unit) int64 { return lack - amount(v) }
}

// firstToGo asks those who yield to u: lowest priority first, then those who suffice alone, the smallest of
// them first, then the largest of the rest.
func (x *search) firstToGo(u *unit, list []unitIx, short func(*unit) int64, q query) (eviction, bool) {
	list = slices.DeleteFunc(list, func(i unitIx) bool { return &x.units[i] == u || !x.yields(&x.units[i], u) })
	slices.SortFunc(list, func(a, b unitIx) int {
		v, w := &x.units[a], &x.units[b]
		m, n := short(v), short(w)
		if c := cmp.Compare(v.priority, w.priority); c != 0 {
			return c
		}
		if (m <= 0) != (n <= 0) {
			return cmp.Compare(max(m, 0), max(n, 0))
		}
		if m <= 0 {
			m, n = n, m
		}
		return cmp.Or(cmp.Compare(m, n), cmp.Compare(a, b))
	})
	for _, i := range list[:min(len(list), maxEjectAsked)] {
		v := &x.units[i]
		mine := x.shape(v)
		if slices.ContainsFunc(x.refused, mine.needsAll) {
			continue
		}
		if p, ok := x.find(v, q, x.opts.Seed); ok {
			return eviction{i, p}, true
		}
		x.refused = append(x.refused, mine)
	}
	return eviction{}, false
}

// shape is what makes a unit hard to place. While room is made for one unit, another that needs as much as
// one that found no place is not asked.
type shape struct {
	server, pool policy.Rank
	security     int
	cpu          fleet.MilliCPU
	memory, used fleet.Bytes
	class, fast  fleet.NICClass
	queues       fleet.Queues
	rate         fleet.Mbps
	io           ioUse
	kind         string // of hypervisor, guest and processor; "": any
}

func (s *state) shape(u *unit) shape {
	out := shape{server: u.server, security: u.security, cpu: u.cpu, memory: u.memory, class: u.class, queues: u.queues, fast: u.fast, rate: u.rate}
	for _, i := range u.vms {
		v := &s.vms[i]
		for n := range v.disks {
			out.pool = max(out.pool, v.need.Disks[n].Tier)
			out.used += v.snap.Disks[n].Used
			out.io = out.io.plus(v.io(n))
		}
		if u.picky {
			out.kind += fmt.Sprintf("%q %q %q,", v.need.Hypervisors, v.snap.Guest, v.snap.CPUBaseline)
		}
	}
	return out
}

// needsAll says whether a needs of everything at least what b does.
func (a shape) needsAll(b shape) bool {
	return a.server >= b.server && a.pool >= b.pool && a.security >= b.security && a.cpu >= b.cpu && a.memory >= b.memory &&
		a.used >= b.used && a.class >= b.class && a.queues >= b.queues &&
		a.fast >= b.fast && a.rate >= b.rate && a.io.iops >= b.io.iops && a.io.rate >= b.io.rate && (b.kind == "" || a.kind == b.kind)
}

// rivals lists the units of u's spread groups that are in the way on h.
func (x *search) rivals(u *unit, h hostIx) []unitIx {
	var out []unitIx
	for _, i := range u.vms {
		v := &x.vms[i]
		if v.spread == none {
			continue
		}
		for _, j := range x.members[v.spread] {
			w := &x.vms[j]
			if w.unit == none || w.unit == v.unit || slices.Contains(out, w.unit) {
				continue
			}
			a, b := x.hosts[h].domains, x.hosts[w.host].domains
			if a[v.kind] == b[v.kind] || a[w.kind] == b[w.kind] {
				out = append(out, w.unit)
			}
		}
	}
	return out
}

// evictDisk moves a disk off a pool that a disk of u could take, were there more of what refused is about.
func (x *search) evictDisk(u *unit, h hostIx, refused string) (eviction, bool) {
	for _, i := range u.vms {
		v := &x.vms[i]
		for n, need := range v.need.Disks {
			for _, p := range x.hosts[h].pools {
				pool := &x.pools[p]
				if pool.facts.Tier < max(need.Tier, 0) || pool.snap.Source != v.snap.Source || v.disks[n] == p {
					continue
				}
				lack := int64(v.snap.Disks[n].Used - x.room(p))
				short := func(w *unit) int64 { return lack - int64(x.onPool(w, p)) }
				if refused != plan.ConstraintPoolSpace {
					lack = promised(refused, pool.io.plus(v.io(n))) - offered(refused, pool.snap)
					short = func(w *unit) int64 { return lack - promised(refused, x.ioOnPool(w, p)) }
				}
				q := anywhere
				q.pool = p
				if e, ok := x.firstToGo(u, x.unitsOnPool(p, refused), short, q); ok {
					return e, true
				}
			}
		}
	}
	return eviction{}, false
}

// onPool is what p gets back when u leaves it.
func (s *state) onPool(u *unit, p poolIx) fleet.Bytes {
	var n fleet.Bytes
	for _, i := range u.vms {
		v := &s.vms[i]
		for j, d := range v.disks {
			if d == p {
				n += plan.Freed(&v.snap.Disks[j], v.flat[j])
			}
		}
	}
	return n
}

// unitsOnPool lists the units whose leaving p helps against the constraint c.
func (s *state) unitsOnPool(p poolIx, c string) []unitIx {
	var out []unitIx
	seen := map[unitIx]bool{}
	looked := 0
	helps := func(u *unit) bool {
		if c == plan.ConstraintPoolSpace {
			return s.onPool(u, p) > 0
		}
		return promised(c, s.ioOnPool(u, p)) > 0
	}
	for _, h := range s.pools[p].hosts {
		for _, i := range s.hosts[h].vms {
			if looked++; looked > maxEjectOnPool {
				return out
			}
			v := &s.vms[i]
			if v.unit != none && !seen[v.unit] && slices.Contains(v.disks, p) && helps(&s.units[v.unit]) {
				seen[v.unit] = true
				out = append(out, v.unit)
			}
		}
	}
	return out
}
