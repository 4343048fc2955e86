package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// world is the state of a fleet between two steps.
type world struct {
	p      *policy.Problem
	hosts  map[fleet.HostID]*hostAt
	free   map[fleet.PoolID]fleet.Bytes
	used   map[fleet.PoolID]ioUse // reserved in each pool
	list   []vmAt                 // in the order of the snapshot
	vms    map[fleet.VMID]*vmAt
	on     map[fleet.ModuleID]fleet.HostID // where each I/O module is attached
	spread map[string][]fleet.VMID         // members by group, sorted
	affine map[string][]fleet.VMID
}

// ioUse is what disks have reserved in a pool.
type ioUse struct {
	iops fleet.IOPS
	rate fleet.MBps
}

type hostAt struct {
	load   Load        // scratch of cost
	host   *fleet.Host // its NICs and pools as the modules attached now make them
	facts  policy.HostFacts
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	vms    []*vmAt
	queued map[fleet.VMID][]QueueNeed
}

type vmAt struct {
	home  *hostAt // of at
	vm    *fleet.VM
	need  policy.Requirement
	nics  []QueueNeed
	at    fleet.Placement
	moved int    // steps of this VM so far
	flat  []bool // disks that moved: a copy has no backing chain
}

// maxTotal bounds the sum of any resource over the fleet, so that no sum in a step overflows.
const maxTotal = math.MaxInt64 / 4

// maxDiskRate bounds what one disk reserves of a pool.
const maxDiskRate = 1 << 40

// newWorld refuses a problem that cannot be reasoned about: an invalid snapshot, facts that are missing, amounts
// whose sum overflows.
func newWorld(p *policy.Problem) (*world, error) {
	if p == nil || p.Snapshot == nil {
		return nil, errors.New("no snapshot")
	}
	s := p.Snapshot
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("snapshot.%w", err)
	}
	w := &world{
		p: p, hosts: make(map[fleet.HostID]*hostAt, len(s.Hosts)), free: make(map[fleet.PoolID]fleet.Bytes, len(s.Pools)),
		vms: make(map[fleet.VMID]*vmAt, len(s.VMs)), spread: map[string][]fleet.VMID{}, affine: map[string][]fleet.VMID{},
		used: make(map[fleet.PoolID]ioUse, len(s.Pools)), on: make(map[fleet.ModuleID]fleet.HostID, len(s.Modules)),
	}
	for i := range s.Modules {
		w.on[s.Modules[i].ID] = s.Modules[i].Host
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		facts, ok := p.Hosts[h.ID]
		if !ok {
			return nil, fmt.Errorf("host %s: the problem has no facts of it", h.ID)
		}
		w.hosts[h.ID] = &hostAt{host: h, facts: facts, queued: map[fleet.VMID][]QueueNeed{}}
	}
	for i := range s.Pools {
		if _, ok := p.Pools[s.Pools[i].ID]; !ok {
			return nil, fmt.Errorf("pool %s: the problem has no facts of it", s.Pools[i].ID)
		}
		w.free[s.Pools[i].ID] = s.Pools[i].Free
	}
	return w, w.addVMs()
}

func (w *world) addVMs() error {
	var total [5]int64
	s := w.p.Snapshot
	w.list = make([]vmAt, len(s.VMs))
	for i := range s.VMs {
		v := &s.VMs[i]
		need, ok := w.p.VMs[v.ID]
		if !ok || len(need.Disks) != len(v.Disks) {
			return fmt.Errorf("vm %s: the problem has no requirement for it and each of its %d disks", v.ID, len(v.Disks))
		}
		used := int64(0)
		for _, d := range v.Disks {
			if used += int64(d.Used); d.Used > maxTotal || used > maxTotal {
				return fmt.Errorf("vm %s: its disks are too large to count", v.ID)
			}
		}
		iops, rate := int64(0), int64(0)
		for j, d := range need.Disks {
			if iops, rate = iops+int64(d.IOPS), rate+int64(d.Throughput); d.IOPS < 0 || d.Throughput < 0 || max(d.IOPS, fleet.IOPS(d.Throughput)) > maxDiskRate {
				return fmt.Errorf("vm %s: disk %s reserves %d IOPS and %d MB/s, expected 0 to %d", v.ID, v.Disks[j].ID, d.IOPS, d.Throughput, int64(maxDiskRate))
			}
		}
		for j, n := range []int64{int64(v.CPU), int64(v.Memory), used, iops, rate} {
			if n > maxTotal || total[j]+n > maxTotal {
				return fmt.Errorf("vm %s: the sum over the fleet is too large to count", v.ID)
			}
			total[j] += n
		}
		w.list[i] = vmAt{vm: v, need: need, nics: NICNeeds(v, &need), at: v.Place(), flat: make([]bool, len(v.Disks))}
		w.vms[v.ID] = &w.list[i]
		w.enter(&w.list[i], v.Host)
		for j, d := range need.Disks {
			w.reserve(v.Disks[j].Pool, d)
		}
		if g := need.SpreadGroup; g != "" {
			w.spread[g] = append(w.spread[g], v.ID)
		}
		if g := need.AffinityGroup; g != "" {
			w.affine[g] = append(w.affine[g], v.ID)
		}
	}
	return nil
}

func (w *world) enter(v *vmAt, host fleet.HostID) {
	h := w.hosts[host]
	v.home = h
	h.cpu += v.vm.CPU
	h.memory += v.vm.Memory
	h.vms = append(h.vms, v)
	if len(v.nics) > 0 {
		h.queued[v.vm.ID] = v.nics
	}
}

// reserve enters what a disk reserves in a pool, release takes it back.
func (w *world) reserve(p fleet.PoolID, d policy.DiskRequirement) {
	u := w.used[p]
	w.used[p] = ioUse{u.iops + d.IOPS, u.rate + d.Throughput}
}

func (w *world) release(p fleet.PoolID, d policy.DiskRequirement) {
	u := w.used[p]
	w.used[p] = ioUse{u.iops - d.IOPS, u.rate - d.Throughput}
}

// ioRefusal is the constraint by which the pool p cannot promise more beside what it has promised; "" when it can.
func (w *world) ioRefusal(p fleet.PoolID, more ioUse) string {
	pool, u := w.p.Snapshot.Pool(p), w.used[p]
	switch {
	case pool.IOPS > 0 && more.iops > 0 && u.iops+more.iops > pool.IOPS:
		return ConstraintPoolIOPS
	case pool.Throughput > 0 && more.rate > 0 && u.rate+more.rate > pool.Throughput:
		return ConstraintPoolThroughput
	}
	return ""
}

func (w *world) leave(v *vmAt, host fleet.HostID) {
	h := w.hosts[host]
	h.cpu -= v.vm.CPU
	h.memory -= v.vm.Memory
	delete(h.queued, v.vm.ID)
	at := slices.Index(h.vms, v)
	h.vms = slices.Delete(h.vms, at, at+1)
}

// hostOf is the host id, for most of those asked for the one that v is on.
func (w *world) hostOf(v *vmAt, id fleet.HostID) *hostAt {
	if v.home != nil && v.home.host.ID == id {
		return v.home
	}
	return w.hosts[id]
}

// move makes a step whose hosts and pools exist, legal or not.
func (w *world) move(v *vmAt, to fleet.Placement) {
	if v.at.Host != to.Host {
		w.leave(v, v.at.Host)
		w.enter(v, to.Host)
	}
	for i := range to.Disks {
		from, pool, d := v.at.Disks[i].Pool, to.Disks[i].Pool, &v.vm.Disks[i]
		if from != pool {
			w.free[pool] -= d.Used
			w.free[from] = refund(w.free[from], Freed(d, v.flat[i]), w.p.Snapshot.Pool(from).Capacity)
			v.flat[i] = true
			w.release(from, v.need.Disks[i])
			w.reserve(pool, v.need.Disks[i])
		}
	}
	v.at = to.Clone()
	v.moved++
}

// refund is what is free in a pool of the capacity when back has left it: no more than the capacity, also where the sum would not fit.
func refund(free, back, capacity fleet.Bytes) fleet.Bytes {
	if free > capacity-back {
		return capacity
	}
	return free + back
}

// class is the NIC's class by the rules, or else as detected.
func (h *hostAt) class(n *fleet.NIC) fleet.NICClass {
	if c, ok := h.facts.NICClass[n.ID]; ok {
		return c
	}
	return n.Class
}

// hasClass says whether a NIC of h is of the class c at least; class 0 asks for nothing.
func (h *hostAt) hasClass(c fleet.NICClass) bool {
	return c <= 0 || slices.ContainsFunc(h.host.NICs, func(n fleet.NIC) bool { return h.class(&n) >= c })
}

// packs says whether what all VMs on h, and more, reserve on NICs can be given.
func (h *hostAt) packs(more ...QueueNeed) bool { return h.nicRefusal(more...) == "" }

// nicRefusal is the constraint by which it cannot; "" when it can.
func (h *hostAt) nicRefusal(more ...QueueNeed) string {
	needs := slices.Clone(more)
	for _, n := range h.queued {
		needs = append(needs, n...)
	}
	if len(needs) == 0 {
		return ""
	}
	rooms := make([]QueueRoom, 0, len(h.host.NICs))
	for i := range h.host.NICs {
		n := &h.host.NICs[i]
		rooms = append(rooms, QueueRoom{Class: h.class(n), Free: n.Queues, Rate: n.Guarantee})
	}
	return NICRefusal(rooms, needs)
}

// conflict says whether u and v, of one spread group, would sit in one failure domain if v were on host.
func (w *world) conflict(u, v *vmAt, host fleet.HostID) bool {
	a, b := w.hosts[u.at.Host].host, w.hosts[host].host
	for _, k := range []policy.Domain{u.need.SpreadDomain, v.need.SpreadDomain} {
		if DomainOf(k, a) == DomainOf(k, b) {
			return true
		}
	}
	return false
}

// parts counts the hosts that the VMs of an affinity group sit on.
func (w *world) parts(members []fleet.VMID) int {
	on := map[fleet.HostID]bool{}
	for _, id := range members {
		on[w.vms[id].at.Host] = true
	}
	return len(on)
}
