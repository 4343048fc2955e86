package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// place is a legal place of a unit: the host of all its VMs, and the pools of their disks one after another.
type place struct {
	host  hostIx
	disks []poolIx
	cost  points // of being there, and of the moves that lead there
	score int64  // headroom of the host before
	parts int64  // of a point, that hosts come to cost more; where hosts have a price and only of a place that find gives
}

// query is a search for the cheapest place of a unit.
type query struct {
	host  hostIx // not there
	apart hostIx // in no failure domain of that host of these kinds, a bit each
	kinds uint8
	pool  poolIx // no disk there, or with spare none that reserves of that constraint, or with of the one disk n of it
	spare string
	of    *vmState
	n     int
	limit points // cheaper than this
	since int    // where nothing has left since that time of the state's clock, there is no place; 0: not known
}

// avoids says whether the n-th disk of v may not lie in p.
func (q *query) avoids(v *vmState, n int, p poolIx) bool {
	switch {
	case p != q.pool:
		return false
	case q.of != nil:
		return q.of == v && q.n == n
	case q.spare != "":
		return promised(q.spare, v.io(n)) > 0
	}
	return true
}

// together says whether h shares a failure domain with the host that the search is to be apart from.
func (q *query) together(s *state, h hostIx) bool {
	if q.apart == none {
		return false
	}
	for k := range kinds {
		if q.kinds>>k&1 == 1 && s.hosts[h].domains[k] == s.hosts[q.apart].domains[k] {
			return true
		}
	}
	return false
}

// anywhere searches the whole fleet.
var anywhere = query{host: none, apart: none, pool: none, limit: 1 << 62}

// hostRefusal is the first constraint by which h is no place for u, in the order of package plan, pools and
// mode apart; "" when there is none. VMs of u that are on h already take no more room there.
func (s *state) hostRefusal(u *unit, h hostIx) string {
	if c := s.fixedRefusal(u, h); c != "" {
		return c
	}
	if u.torn || u.anchor != none && u.anchor != h {
		return plan.ConstraintAffinity
	}
	host := &s.hosts[h]
	var cpu fleet.MilliCPU
	var memory fleet.Bytes
	nics := false
	for n, i := range u.vms {
		v := &s.vms[i]
		if v.host == h {
			continue
		}
		cpu += v.snap.CPU
		memory += v.snap.Memory
		nics = nics || len(v.nics) > 0
		if s.conflicts(u, n, h) {
			return plan.ConstraintSpread
		}
	}
	switch {
	case cpu > 0 && cpu > host.freeCPU():
		return plan.ConstraintCPU
	case memory > 0 && memory > host.freeMemory():
		return plan.ConstraintMemory
	case nics:
		if r := s.nicRefusal(host, h, u); r != "" {
			return r
		}
	}
	if s.spoils(u, h) {
		return plan.ConstraintReserve
	}
	return ""
}

// fixedRefusal is the part of hostRefusal that no move can change.
func (s *state) fixedRefusal(u *unit, h hostIx) string {
	host := &s.hosts[h]
	switch {
	case host.source != u.source:
		return plan.ConstraintSource
	case !host.open && host.snap.Maintenance && !host.snap.Unreachable:
		return plan.ConstraintMaintenance
	case !host.open:
		return plan.ConstraintUnreachable
	}
	if r := s.kindRefusal(u, host.snap); r != "" {
		return r
	}
	switch {
	case host.facts.Tier < max(u.server, 0):
		return plan.ConstraintServerTier
	case host.facts.Security < u.security:
		return plan.ConstraintSecurity
	}
	if u.mixed || u.wired {
		for _, i := range u.vms {
			if s.vms[i].source != host.source {
				return plan.ConstraintSource
			}
			if !host.hasNetworks(s.vms[i].snap) {
				return plan.ConstraintNetwork
			}
		}
	}
	if !host.hasClass(u.nicClass) {
		return plan.ConstraintNICClass
	}
	return ""
}

// kindRefusal is the constraint by which no VM of u, or not every one, can run on a hypervisor and processor like host's.
func (s *state) kindRefusal(u *unit, host *fleet.Host) string {
	if !u.picky {
		return ""
	}
	refused := ""
	for _, i := range u.vms {
		v := &s.vms[i]
		switch {
		case len(v.need.Hypervisors) > 0 && !slices.Contains(v.need.Hypervisors, host.Hypervisor):
			return plan.ConstraintHypervisor
		case v.snap.Guest != "" && len(host.Guests) > 0 && !slices.Contains(host.Guests, v.snap.Guest):
			refused = plan.ConstraintGuest
		case refused == "" && v.snap.CPUBaseline != "" && len(host.CPUBaselines) > 0 && !slices.Contains(host.CPUBaselines, v.snap.CPUBaseline):
			refused = plan.ConstraintCPUModel
		}
	}
	return refused
}

func (h *hostState) hasNetworks(v *fleet.VM) bool {
	if len(h.snap.Networks) == 0 {
		return true // the driver could not tell
	}
	for _, n := range v.VNICs {
		if n.Network != "" && !slices.Contains(h.snap.Networks, n.Network) {
			return false
		}
	}
	return true
}

func (h *hostState) hasClass(c fleet.NICClass) bool {
	if c <= 0 {
		return true
	}
	h.read()
	return h.nics.best >= c
}

// conflicts says whether the n-th VM of u on h would share a failure domain with another of its spread group.
func (s *state) conflicts(u *unit, n int, h hostIx) bool {
	v := &s.vms[u.vms[n]]
	if v.spread == none {
		return false
	}
	for m, i := range u.vms {
		if m != n && s.vms[i].spread == v.spread {
			return true // one host for both is what affinity asks and spread forbids
		}
	}
	for k := range kinds {
		if s.asked[v.spread]>>k&1 == 0 {
			continue // nobody asks for it
		}
		d := s.hosts[h].domains[k]
		c := s.spread[domainKey{v.spread, k, d}]
		if v.kind == k {
			if s.hosts[v.host].domains[k] == d {
				c.all--
			}
			if c.all > 0 {
				return true
			}
		} else if c.asking > 0 {
			return true
		}
	}
	return false
}

// fit gives the cheapest way to place u on h, or the first constraint that refuses it.
func (s *state) fit(u *unit, h hostIx, q query) (place, string) {
	if c := s.hostRefusal(u, h); c != "" {
		return place{}, c
	}
	best, refused := s.settle(u, h, q, staying)
	if refused == plan.ConstraintPoolReach || refused == plan.ConstraintPoolTier {
		return place{}, refused // in whatever order they are tried
	}
	if !s.stays {
		return best, refused // in every order the same, and no other mode
	}
	if other, r := s.settle(u, h, q, cheapest); r == "" && (refused != "" || other.cost < best.cost) {
		best, refused = other, ""
	}
	if refused == plan.ConstraintMode { // a source may be able to change host and pool at once, and not the host alone
		if other, r := s.settle(u, h, q, moving); r == "" {
			best, refused = other, ""
		}
	}
	return best, refused
}

// preference orders the pools that a disk may lie on: first the one where it is, first the cheapest, or last the one
// where it is.
type preference int

const (
	staying preference = iota
	cheapest
	moving
)

// settle chooses pools for u on h as pref orders them. Several are tried, since a VM whose disks stay may move live.
func (s *state) settle(u *unit, h hostIx, q query, pref preference) (place, string) {
	disks, refused := s.assign(u, h, &q, pref)
	if refused != "" {
		return place{}, refused
	}
	p := place{host: h, disks: disks, score: s.hosts[h].headroom()}
	at := 0
	for _, i := range u.vms {
		v := &s.vms[i]
		mine := disks[at : at+len(v.disks)]
		at += len(mine)
		p.cost += s.softCost(v, h, mine)
		if v.host == h && slices.Equal(v.disks, mine) {
			continue
		}
		mode := s.mode(v, h, mine)
		if mode == "" {
			return place{}, plan.ConstraintMode
		}
		p.cost += points(plan.MoveCost(s.p.Weights, v.copied(mine), mode == fleet.Offline && v.snap.Power == fleet.Running) +
			plan.LinkCost(s.p.Weights, v.snap, mode, v.host != h))
	}
	return p, ""
}

// mode is how v can be moved to h and disks: live where that is possible; "" when it cannot.
func (s *state) mode(v *vmState, h hostIx, disks []poolIx) fleet.Mode {
	caps := s.p.Snapshot.Sources[v.source].Capabilities
	host, storage := v.host != h, !slices.Equal(v.disks, disks)
	for _, m := range []fleet.Mode{fleet.Live, fleet.Offline} {
		if plan.ModeRefusal(caps, v.snap, m, host, storage) == "" {
			return m
		}
	}
	return ""
}

func (v *vmState) copied(disks []poolIx) fleet.Bytes {
	var n fleet.Bytes
	for i, p := range disks {
		if v.disks[i] != p {
			n += v.snap.Disks[i].Used
		}
	}
	return n
}

func (s *state) softCost(v *vmState, h hostIx, disks []poolIx) points {
	w := s.p.Weights
	c := plan.TierCost(w, s.hosts[h].facts.Tier, v.need.Server, v.snap.CPU)
	for i, p := range disks {
		c += plan.PoolCost(w, s.pools[p].facts.Tier, v.need.Disks[i].Tier, v.snap.Disks[i].Used)
	}
	return points(c)
}

// enoughPlaces is how many legal places a search compares before it takes the best of them.
const enoughPlaces = 16

// find gives the cheapest legal place of u, or says that there is none. Buckets are looked at in the order
// of what they cost at least; among equal costs the host with most headroom wins, then the seed, then the
// name. Only once enoughPlaces are found does it stop short of all, so a no is always true.
func (s *state) find(u *unit, q query, seed uint64) (place, bool) {
	if s.reserve != nil {
		defer s.bounded()()
	}
	var best place
	found, priced := 0, s.pricesHosts()
	consider := func(h hostIx) {
		if h == q.host || q.together(s, h) {
			return
		}
		lax := s.lax
		s.lax = true // the reserve, which is dear to ask, only of a place that would be taken
		p, refused := s.fit(u, h, q)
		s.lax = lax
		if refused != "" || p.cost >= q.limit {
			return
		}
		if priced {
			p.parts = s.partsAt(u, h)
		}
		if found == 0 || s.better(p, best, seed) {
			if s.spoils(u, h) {
				return
			}
			best = p
		}
		found++
	}
	own := s.ownHosts(u)
	for _, h := range own {
		consider(h)
	}
	if u.torn || u.anchor != none {
		if u.anchor != none && !slices.Contains(own, u.anchor) {
			consider(u.anchor)
		}
		return best, found > 0
	}
	least := u.least()
	s.ranked(u, least, func(b *bucket, floor points) bool {
		if floor >= q.limit || found > 0 && (floor > best.cost || found >= enoughPlaces && floor == best.cost) {
			return true
		}
		if q.since > 0 && b.freed <= q.since || !s.stores(u, b) {
			return false
		}
		before := found
		s.queue = b.walk(least, s.queue, func(h hostIx) bool {
			if !slices.Contains(own, h) {
				consider(h)
			}
			return found-before >= enoughPlaces
		})
		return false
	})
	return best, found > 0
}

// least is what a host must have free; a need of nothing is met by an over-full host.
func (u *unit) least() amount {
	a := amount{cpu: u.cpu, memory: u.memory, class: u.class, queues: u.queues, fast: u.fast, rate: u.rate}
	if u.cpu == 0 {
		a.cpu = -maxTotal
	}
	if u.memory == 0 {
		a.memory = -maxTotal
	}
	return a
}

// stores says whether each disk of u could lie in a pool of b, as far as that is alike for all its hosts.
func (s *state) stores(u *unit, b *bucket) bool {
	for _, i := range u.vms {
		v := &s.vms[i]
		for n, at := range v.disks {
			need, used := max(v.need.Disks[n].Tier, 0), v.snap.Disks[n].Used
			if b.local < need && !slices.ContainsFunc(b.shared, func(p poolIx) bool {
				return s.pools[p].facts.Tier >= need && (p == at || s.room(p) >= used)
			}) {
				return false
			}
		}
	}
	return true
}

func (s *state) better(a, b place, seed uint64) bool {
	whole := func(p *place) points { return p.cost + points(p.parts/s.prices.Scale()) }
	return cmp.Or(cmp.Compare(whole(&a), whole(&b)), cmp.Compare(a.parts, b.parts), cmp.Compare(b.score, a.score),
		cmp.Compare(mix(seed, a.host), mix(seed, b.host)), cmp.Compare(a.host, b.host)) < 0
}

// mix orders hosts by a seed; 0 orders them by name.
func mix(seed uint64, h hostIx) uint64 {
	if seed == 0 {
		return 0
	}
	x := seed ^ uint64(h)*0x9e3779b97f4a7c15 // an index is not negative
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return x ^ x>>32
}

func (s *state) ownHosts(u *unit) []hostIx {
	hosts := make([]hostIx, 0, len(u.vms))
	for _, i := range u.vms {
		if h := s.vms[i].host; !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// ranked calls visit with the buckets that may hold u, those that cost least at least first, until visit
// says stop. Where none of u's disks can stay the tier alone makes the difference, so that only the buckets
// that share a pool with u have to be sorted in. Buckets without a host that has the CPU, memory and queues of a free may be left out.
func (s *state) ranked(u *unit, a amount, visit func(b *bucket, floor points) (stop bool)) {
	source := s.vms[u.vms[0]].snap.Source
	near := s.near(u, source)
	usable := func(b *bucket) bool {
		return b.source == source && b.tier >= max(u.server, 0) && b.security >= u.security &&
			(!u.picky || s.kindRefusal(u, s.hosts[b.hosts[0]].snap) == "")
	}
	next := func(floor points) bool {
		for len(near) > 0 && near[0].floor <= floor {
			n := near[0]
			near = near[1:]
			if b := &s.index.buckets[n.at]; usable(b) && visit(b, n.floor) {
				return true
			}
		}
		return false
	}
	sorted := slices.Clone(near)
	tops := s.index.tops[source]
	for n, i := range s.index.bySrc[source] {
		if t := &tops[n]; t.tier < u.server || t.lacks(&a) {
			continue
		}
		b := &s.index.buckets[i]
		if !usable(b) || slices.ContainsFunc(sorted, func(n ranking) bool { return n.at == i }) {
			continue
		}
		floor := s.least(u, b)
		if next(floor) || visit(b, floor) {
			return
		}
	}
	next(1 << 62)
}

// ranking is a bucket and what a place in it costs at least, hosts that VMs of the unit are on apart.
type ranking struct {
	at    int
	floor points
}

// near ranks the buckets whose hosts reach a pool that u is on.
func (s *state) near(u *unit, source fleet.SourceID) []ranking {
	var out []ranking
	for _, i := range u.vms {
		for _, p := range s.vms[i].disks {
			for _, at := range s.index.byPool[p] {
				b := &s.index.buckets[at]
				if b.source == source && !slices.ContainsFunc(out, func(n ranking) bool { return n.at == at }) {
					out = append(out, ranking{at, s.least(u, b)})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b ranking) int { return cmp.Or(cmp.Compare(a.floor, b.floor), cmp.Compare(a.at, b.at)) })
	return out
}

func (s *state) least(u *unit, b *bucket) points {
	var c int64
	for _, i := range u.vms {
		v := &s.vms[i]
		c += plan.TierCost(s.p.Weights, b.tier, v.need.Server, v.snap.CPU)
		var copied fleet.Bytes
		for j, p := range v.disks {
			if _, ok := slices.BinarySearch(b.shared, p); !ok {
				copied += v.snap.Disks[j].Used
			}
		}
		c += plan.MoveCost(s.p.Weights, copied, false)
	}
	return points(c)
}
