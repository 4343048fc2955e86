package solver

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Hosts, pools, VMs, sources and units are known by their index in the sorted snapshot, which is also the
// last resort of every comparison: no order of a map ever decides.
type (
	hostIx int32
	poolIx int32
	vmIx   int32
	unitIx int32
	modIx  int32
)

const none = -1

// points is a soft cost in the unit of policy.Weights.
type points int64

// state is a fleet between two moves, indexed for search. Moves are logged, so that they can be undone.
type state struct {
	p     *policy.Problem
	hosts []hostState
	pools []poolState
	vms   []vmState
	units []unit
	mods  []modState
	index index
	// spread counts the VMs of a group by failure domain; members lists them.
	spread  map[domainKey]domainCount
	members [][]vmIx
	asked   []uint8 // by group: the kinds of domain that a member has asked for, a bit each
	epoch   int32   // counts changes of what hosts are
	clock   int     // counts what has left a host or a pool
	log     []move
	added   []fleet.Bytes // scratch of assign, by pool; zero between calls
	addedIO []ioUse       // the same of operations and bandwidth
	disks   []disk        // scratch of assign
	options []option
	stays   bool             // of the last assign: a disk may stay where it is
	alone   []*unit          // by VM: the VM as a unit of its own, made when first asked for
	needs   []plan.QueueNeed // scratch of packs
	queue   []int32          // scratch of bucket.walk
	reserve *plan.Reserve    // nil: nothing is protected
	lax     bool             // the reserve is no bar now
	strand  bool             // nor is it one to pools
	spoilt  int              // hosts that the present search found to be spared for the reserve; -1 outside of one

	prices   plan.Prices
	restored restoring
}

type hostState struct {
	source  int32       // of the snapshot's
	snap    *fleet.Host // its NICs and pools as the modules attached now make them
	facts   policy.HostFacts
	cpu     fleet.MilliCPU // promised
	memory  fleet.Bytes    // promised
	load    plan.Load      // the same as prices count it
	vms     []vmIx         // sorted
	queued  []vmIx         // those of them that reserve a part of a NIC, sorted
	nics    nicBook        // of queued
	pools   []poolIx       // sorted
	domains [5]int32       // by kind
	open    bool           // reachable and not in maintenance
	bucket  int            // of the index; none when not open
	slot    int            // in its bucket
}

type poolState struct {
	source int32
	snap   *fleet.Pool
	facts  policy.PoolFacts
	free   fleet.Bytes
	io     ioUse    // reserved
	hosts  []hostIx // that reach it
}

// ioUse is what disks reserve in a pool.
type ioUse struct {
	iops fleet.IOPS
	rate fleet.MBps
}

func (a ioUse) plus(b ioUse) ioUse  { return ioUse{a.iops + b.iops, a.rate + b.rate} }
func (a ioUse) minus(b ioUse) ioUse { return ioUse{a.iops - b.iops, a.rate - b.rate} }

// io is what the n-th disk of v reserves.
func (v *vmState) io(n int) ioUse { return ioUse{v.need.Disks[n].IOPS, v.need.Disks[n].Throughput} }

type vmState struct {
	source int32
	snap   *fleet.VM
	need   policy.Requirement
	nics   []plan.QueueNeed // reserved on NICs of its host
	host   hostIx
	disks  []poolIx
	flat   []bool // disks that moved: a copy has no backing chain
	hold   string // why it stays; empty: it may move
	unit   unitIx // none when held
	spread int    // index of its group in members, or none
	kind   int    // of its spread's domain
	moves  int
	load   plan.Load // on its host
}

// unit is what is placed as one: a VM, or the VMs of an affinity group that may move.
type unit struct {
	vms      []vmIx
	priority policy.Priority
	cpu      fleet.MilliCPU
	memory   fleet.Bytes
	server   policy.Rank // the highest need of its VMs, as security
	security int
	queues   fleet.Queues // the largest need of its VMs, and the class of that one
	class    fleet.NICClass
	rate     fleet.Mbps // the same of bandwidth
	fast     fleet.NICClass
	source   int32          // of the first
	mixed    bool           // they have several
	wired    bool           // a VM of it asks for a network
	nicClass fleet.NICClass // the highest that a VM asks for
	picky    bool           // a VM of it cannot run on every hypervisor, or on every processor
	// anchor is the host where held VMs of the group are, or none; torn says that they are on several, so that
	// the group cannot be together anywhere.
	anchor hostIx
	torn   bool
	// What wrong and wasteful found last: it holds until a VM of the unit moves or, of a host or pool, the state's epoch passes.
	epoch int32
	fault string
	waste bool
}

type domainKey struct {
	group, kind int
	domain      int32
}

type domainCount struct{ all, asking int32 }

// kinds of failure domains, by the index that hostState.domains uses.
var kinds = policy.Domains()

// move is one logged change of place of one VM.
type move struct {
	vm         vmIx
	from, to   hostIx
	was, is    []poolIx
	wasFlat    []bool
	gained     []fleet.Bytes // by disk: what the pool it left got back
	why, where string        // the reason's halves; empty while tried only
	wave       int           // from 1 once ordered; 0: one of its own
	attach     *attaching    // of an I/O module; vm is none then, from may be
	below      bool          // it displaces the VM: takes it below its need
	winner     vmIx          // for whom; of any use where below is set
}

// maxTotal bounds the sum of a resource over the fleet, so that no sum overflows.
const maxTotal = math.MaxInt64 / 4

// MaxOnHost bounds the VMs on one host, far above what any hypervisor runs, so that a plan ends in bounded time.
const MaxOnHost = 8192

// maxDiskRate bounds what one disk reserves of a pool.
const maxDiskRate = 1 << 40

func newState(p *policy.Problem) (*state, error) {
	if p == nil || p.Snapshot == nil {
		return nil, fmt.Errorf("read problem: no snapshot")
	}
	snap := p.Snapshot
	if err := snap.Validate(); err != nil {
		return nil, fmt.Errorf("read problem: snapshot.%w", err)
	}
	s := &state{p: p, spread: map[domainKey]domainCount{}, epoch: 1, clock: 1, prices: plan.NewPrices(p)}
	if err := s.addPools(); err != nil {
		return nil, err
	}
	if err := s.addHosts(); err != nil {
		return nil, err
	}
	if err := s.addVMs(); err != nil {
		return nil, err
	}
	s.addUnits()
	s.addModules()
	s.index = newIndex(s)
	var err error
	s.spoilt = -1
	if s.reserve, err = plan.NewReserve(p); err != nil {
		return nil, fmt.Errorf("read problem: %w", err)
	}
	return s, nil
}

func (s *state) addPools() error {
	s.pools = make([]poolState, len(s.p.Snapshot.Pools))
	s.added, s.addedIO = make([]fleet.Bytes, len(s.pools)), make([]ioUse, len(s.pools))
	for i := range s.pools {
		pool := &s.p.Snapshot.Pools[i]
		facts, ok := s.p.Pools[pool.ID]
		if !ok {
			return fmt.Errorf("read problem: pool %s: no facts of it", pool.ID)
		}
		s.pools[i] = poolState{source: s.source(pool.Source), snap: pool, facts: facts, free: pool.Free}
	}
	return nil
}

func (s *state) pool(id fleet.PoolID) poolIx {
	i, ok := slices.BinarySearchFunc(s.pools, id, func(p poolState, id fleet.PoolID) int { return cmp.Compare(p.snap.ID, id) })
	if !ok {
		return none
	}
	return poolIx(i)
}

func (s *state) host(id fleet.HostID) hostIx {
	i, ok := slices.BinarySearchFunc(s.hosts, id, func(h hostState, id fleet.HostID) int { return cmp.Compare(h.snap.ID, id) })
	if !ok {
		return none
	}
	return hostIx(i)
}

func (s *state) addHosts() error {
	s.hosts = make([]hostState, len(s.p.Snapshot.Hosts))
	domains := map[string]int32{}
	for i := range s.hosts {
		snap := &s.p.Snapshot.Hosts[i]
		facts, ok := s.p.Hosts[snap.ID]
		if !ok {
			return fmt.Errorf("read problem: host %s: no facts of it", snap.ID)
		}
		src := s.p.Snapshot.Source(snap.Source)
		h := hostState{source: s.source(snap.Source), snap: snap, facts: facts, open: src.Reachable && !snap.Unreachable && !snap.Maintenance}
		for _, id := range snap.Pools {
			p := s.pool(id)
			h.pools = append(h.pools, p)
			s.pools[p].hosts = append(s.pools[p].hosts, hostIx(i))
		}
		slices.Sort(h.pools)
		h.pools = slices.Compact(h.pools)
		for k, kind := range kinds {
			name := plan.DomainOf(kind, snap)
			d, ok := domains[name]
			if !ok {
				d = int32(len(domains)) // a snapshot has fewer hosts than 2^31
				domains[name] = d
			}
			h.domains[k] = d
		}
		s.hosts[i] = h
	}
	return nil
}

func (s *state) addVMs() error {
	snap := s.p.Snapshot
	s.vms = make([]vmState, len(snap.VMs))
	s.alone = make([]*unit, len(snap.VMs))
	groups := map[string]int{}
	var total [3]int64
	for i := range s.vms {
		v := &snap.VMs[i]
		need, ok := s.p.VMs[v.ID]
		if !ok || len(need.Disks) != len(v.Disks) {
			return fmt.Errorf("read problem: vm %s: no requirement for it and each of its %d disks", v.ID, len(v.Disks))
		}
		st := vmState{source: s.source(v.Source), snap: v, need: need, nics: plan.NICNeeds(v, &need), host: s.host(v.Host), hold: plan.HoldReason(s.p, v), unit: none, spread: none}
		st.load = s.prices.Of(v)
		st.disks, st.flat = make([]poolIx, len(v.Disks)), make([]bool, len(v.Disks))
		used := int64(0)
		for j, d := range v.Disks {
			st.disks[j] = s.pool(d.Pool)
			if used += int64(d.Used); d.Used > maxTotal || used > maxTotal {
				return fmt.Errorf("read problem: vm %s: its disks are too large to count", v.ID)
			}
		}
		for j, n := range []int64{int64(v.CPU), int64(v.Memory), used} {
			if n > maxTotal || total[j]+n > maxTotal {
				return fmt.Errorf("read problem: vm %s: the sum over the fleet is too large to count", v.ID)
			}
			total[j] += n
		}
		if need.SpreadGroup != "" {
			g, ok := groups[need.SpreadGroup]
			if !ok {
				g = len(s.members)
				groups[need.SpreadGroup] = g
				s.members, s.asked = append(s.members, nil), append(s.asked, 0)
			}
			s.members[g] = append(s.members[g], vmIx(i))
			st.spread, st.kind = g, max(slices.Index(kinds[:], need.SpreadDomain), 0)
		}
		for j, p := range st.disks {
			if n := need.Disks[j]; n.IOPS < 0 || n.Throughput < 0 || max(int64(n.IOPS), int64(n.Throughput)) > maxDiskRate {
				return fmt.Errorf("read problem: vm %s: disk %s reserves %d IOPS and %d MB/s, expected 0 to %d", v.ID, v.Disks[j].ID, n.IOPS, n.Throughput, int64(maxDiskRate))
			}
			if s.pools[p].io = s.pools[p].io.plus(st.io(j)); max(int64(s.pools[p].io.iops), int64(s.pools[p].io.rate)) > maxTotal {
				return fmt.Errorf("read problem: vm %s: the sum over pool %s is too large to count", v.ID, s.pools[p].snap.ID)
			}
		}
		s.vms[i] = st
		if s.enter(vmIx(i), st.host); len(s.hosts[st.host].vms) > MaxOnHost {
			return fmt.Errorf("read problem: host %s: more than %d VMs are on it", v.Host, MaxOnHost)
		}
	}
	return nil
}

// addUnits joins the VMs of an affinity group that may move; the held ones anchor it.
func (s *state) addUnits() {
	groups := map[string]unitIx{}
	for i := range s.vms {
		v := &s.vms[i]
		if v.hold != "" {
			continue
		}
		u, ok := unitIx(len(s.units)), false
		if g := v.need.AffinityGroup; g != "" {
			if u, ok = groups[g]; !ok {
				u = unitIx(len(s.units))
				groups[g] = u
			}
		}
		if !ok {
			s.units = append(s.units, unit{anchor: none})
		}
		v.unit = u
		s.units[u].add(vmIx(i), v)
	}
	for i := range s.vms {
		v := &s.vms[i]
		g, ok := groups[v.need.AffinityGroup]
		if v.hold == "" || !ok {
			continue
		}
		u := &s.units[g]
		u.torn = u.torn || u.anchor != none && u.anchor != v.host
		u.anchor = v.host
	}
}

func (u *unit) add(i vmIx, v *vmState) {
	u.mixed = u.mixed || len(u.vms) > 0 && u.source != v.source
	if len(u.vms) == 0 {
		u.source = v.source
	}
	u.wired = u.wired || slices.ContainsFunc(v.snap.VNICs, func(n fleet.VNIC) bool { return n.Network != "" })
	u.nicClass = max(u.nicClass, v.need.NICClass)
	u.vms = append(u.vms, i)
	u.priority = max(u.priority, v.need.Priority)
	u.cpu += v.snap.CPU
	u.memory += v.snap.Memory
	u.server = max(u.server, v.need.Server)
	u.security = max(u.security, v.need.Security)
	for _, n := range v.nics {
		if n.Queues > u.queues {
			u.queues, u.class = n.Queues, n.Class
		}
		if n.Rate > u.rate {
			u.rate, u.fast = n.Rate, n.Class
		}
	}
	u.picky = u.picky || len(v.need.Hypervisors) > 0 || v.snap.Guest != "" || v.snap.CPUBaseline != ""
}

// enter and leave keep a host's sums and the domains' counts; the index is touched by shift alone.
func (s *state) enter(i vmIx, h hostIx) {
	v, host := &s.vms[i], &s.hosts[h]
	host.cpu += v.snap.CPU
	host.memory += v.snap.Memory
	host.load.Add(v.load, 1)
	host.vms = insert(host.vms, i)
	if len(v.nics) > 0 {
		host.queued = insert(host.queued, i)
		host.nics.reserve(v.nics)
	}
	s.count(v, host, 1)
}

func (s *state) leave(i vmIx, h hostIx) {
	v, host := &s.vms[i], &s.hosts[h]
	host.cpu -= v.snap.CPU
	host.memory -= v.snap.Memory
	host.load.Add(v.load, -1)
	host.vms = remove(host.vms, i)
	if len(v.nics) > 0 {
		host.queued = remove(host.queued, i)
		host.nics.release(v.nics)
	}
	s.count(v, host, -1)
}

func insert(list []vmIx, i vmIx) []vmIx {
	at, _ := slices.BinarySearch(list, i)
	return slices.Insert(list, at, i)
}

func remove(list []vmIx, i vmIx) []vmIx {
	at, _ := slices.BinarySearch(list, i)
	return slices.Delete(list, at, at+1)
}

func (s *state) count(v *vmState, h *hostState, by int32) {
	if v.spread == none {
		return
	}
	s.asked[v.spread] |= 1 << v.kind
	for k := range kinds {
		key := domainKey{v.spread, k, h.domains[k]}
		c := s.spread[key]
		c.all += by
		if v.kind == k {
			c.asking += by
		}
		s.spread[key] = c
	}
}

func (s *state) placement(v *vmState, h hostIx, disks []poolIx) fleet.Placement {
	p := fleet.Placement{Host: s.hosts[h].snap.ID, Disks: make([]fleet.DiskPlace, len(disks))}
	for i, d := range disks {
		p.Disks[i] = fleet.DiskPlace{Disk: v.snap.Disks[i].ID, Pool: s.pools[d].snap.ID}
	}
	return p
}

// class is the NIC's class by the rules, or else as detected.
func (h *hostState) class(n *fleet.NIC) fleet.NICClass {
	if c, ok := h.facts.NICClass[n.ID]; ok {
		return c
	}
	return n.Class
}

func (h *hostState) freeCPU() fleet.MilliCPU { return h.facts.CPU - h.cpu }

func (h *hostState) freeMemory() fleet.Bytes { return h.facts.Memory - h.memory }

// headroom is what is free of the scarcer of CPU and memory, in thousandths; negative when over-promised.
func (h *hostState) headroom() int64 {
	part := func(free, all int64) int64 {
		if all <= 0 {
			return 0
		}
		return int64(float64(free) / float64(all) * 1000)
	}
	return min(part(int64(h.freeCPU()), int64(h.facts.CPU)), part(int64(h.freeMemory()), int64(h.facts.Memory)))
}

// names joins the ids of VMs for a reason, at most three of them.
func (s *state) names(vms []vmIx) string {
	var b strings.Builder
	for i, v := range vms {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(vms)-3)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(s.vms[v].snap.ID))
	}
	return b.String()
}
