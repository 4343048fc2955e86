package plan

import (
	"slices"
	"sort"

	"github.com/berth-project/berth/fleet"
)

// refuge is the first host, from the failed one on, that could take v in the case k beside what the case brings there already;
// -1 when there is none. With empty, what is on the hosts does not count.
func (r *Reserve) refuge(k, v int32, empty bool) int32 {
	f := &r.cases[k]
	list := r.near(v)
	start := r.after(k, list)
	for n := range list {
		if h := list[(start+n)%len(list)]; empty && r.takes(f, v, h) || !empty && r.fits(k, v, h) {
			return h
		}
	}
	return -1
}

// near lists the hosts that reach the pool of v that fewest hosts do.
func (r *Reserve) near(v int32) []int32 {
	list := r.open
	for _, p := range r.vms[v].pools {
		if near := r.reach[p]; len(near) < len(list) {
			list = near
		}
	}
	return list
}

// after is where list goes on behind the failed host of the case k: so that not every failure counts on the same hosts.
func (r *Reserve) after(k int32, list []int32) int {
	return sort.Search(len(list), func(i int) bool { return list[i] > r.cases[k].hosts[0] })
}

// fits says whether h could take v in the case k beside what the case brings there already.
func (r *Reserve) fits(k, v, h int32) bool {
	return r.room(k, v, h) && r.takes(&r.cases[k], v, h) && r.queues(k, v, h)
}

// room says whether h has CPU and memory for v beside what the case k brings there.
func (r *Reserve) room(k, v, h int32) bool {
	host, vm := &r.hosts[h], r.vms[v].at.vm
	c := host.charge(k)
	cpu, memory := host.cpu+c.cpu, host.memory+c.memory
	if !slices.Contains(r.vms[v].on, h) {
		cpu, memory = cpu+vm.CPU, memory+vm.Memory
	}
	facts := &host.at.facts
	return (vm.CPU == 0 || cpu <= facts.CPU) && (vm.Memory == 0 || memory <= facts.Memory)
}

func (r *Reserve) evicted(v int32) bool { return r.evict && !r.vms[v].at.need.Protect }

// takes says whether h could take v were nothing on it: it is not lost, and no constraint that does not depend on others
// refuses it.
func (r *Reserve) takes(f *failure, v, h int32) bool {
	if slices.Contains(f.hosts, h) {
		return false
	}
	vm, host := &r.vms[v], &r.hosts[h]
	facts := &host.at.facts
	if vm.at.vm.CPU > facts.CPU || vm.at.vm.Memory > facts.Memory || !r.admits(vm, host) {
		return false
	}
	for _, p := range vm.pools {
		if !slices.Contains(host.at.host.Pools, p) {
			return false
		}
	}
	return true
}

// queues says whether h could reserve what v needs of NICs beside what the case k brings there.
func (r *Reserve) queues(k, v, h int32) bool {
	if len(r.vms[v].nics) == 0 || slices.Contains(r.hosts[h].queued, v) {
		return true
	}
	return r.packs(h, "", r.coming(k, h), r.vms[v].nics)
}

// coming lists the VMs with a share of a NIC that the case k brings to h.
func (r *Reserve) coming(k, h int32) []int32 {
	if r.hosts[h].charge(k).nics == 0 {
		return nil
	}
	var out []int32
	for _, g := range r.cases[k].plan {
		if g.host == h && len(r.vms[g.vm].nics) > 0 && !slices.Contains(r.hosts[h].queued, g.vm) {
			out = append(out, g.vm)
		}
	}
	return out
}

// charge is what the case k brings to h; zero for nothing.
func (h *reserveHost) charge(k int32) charge {
	for i := range h.charges {
		if h.charges[i].of == k {
			return h.charges[i]
		}
	}
	return charge{of: k}
}

// charge adds v on h to the witness of the case k.
func (r *Reserve) charge(k, v, h int32) {
	g := refuge{v, h, slices.Contains(r.vms[v].on, h)}
	r.cases[k].plan = append(r.cases[k].plan, g)
	r.book(k, g, 1)
}

// unbook takes v out of the witness of the case k, if it is in it.
func (r *Reserve) unbook(k, v int32) {
	f := &r.cases[k]
	if i := slices.IndexFunc(f.plan, func(g refuge) bool { return g.vm == v }); i >= 0 {
		r.book(k, f.plan[i], -1)
		f.plan = slices.Delete(f.plan, i, i+1)
	}
}

func (r *Reserve) book(k int32, g refuge, sign int) {
	host, vm := &r.hosts[g.host], &r.vms[g.vm]
	i := slices.IndexFunc(host.charges, func(c charge) bool { return c.of == k })
	if i < 0 {
		i = len(host.charges)
		host.charges = append(host.charges, charge{of: k})
	}
	c := &host.charges[i]
	c.vms += sign
	if !g.free {
		c.cpu += fleet.MilliCPU(sign) * vm.at.vm.CPU
		c.memory += fleet.Bytes(sign) * vm.at.vm.Memory
	}
	if !g.free && len(vm.nics) > 0 {
		c.nics += sign
	}
	if c.vms == 0 {
		host.charges[i] = host.charges[len(host.charges)-1]
		host.charges = host.charges[:len(host.charges)-1]
	}
}

// release drops the witness of the case k.
func (r *Reserve) release(k int32) {
	f := &r.cases[k]
	for _, g := range f.plan {
		r.book(k, g, -1)
	}
	f.plan = nil
}

// Enter counts the VM v on the host h too, its disks also on the pools at. Failures that this leaves without a witness
// are those of Broken.
func (r *Reserve) Enter(v, h int, at fleet.Placement) {
	vm, host := int32(v), int32(h) // bounded by newReserve
	r.vms[vm].stuck = r.stuckAt(vm)
	pools := r.vms[vm].pools
	more := poolsOf(r.vms[vm].at, at)
	r.vms[vm].pools = union(pools, more)
	came := !slices.Contains(r.vms[vm].on, host)
	if came {
		var here []int32 // cases in which it would come to this very host
		for _, on := range r.vms[vm].on {
			for _, k := range r.hosts[on].cases {
				if slices.Contains(r.cases[k].plan, refuge{vm, host, false}) {
					r.unbook(k, vm)
					here = append(here, k)
				}
			}
		}
		r.add(vm, host)
		for _, k := range here {
			r.charge(k, vm, host)
		}
		r.press(vm, host)
	}
	if r.vms[vm].at.need.Protect && (came || len(r.vms[vm].pools) > len(pools)) {
		for _, on := range slices.Clone(r.vms[vm].on) {
			for _, k := range r.hosts[on].cases {
				r.cover(k, vm)
			}
		}
	}
}

func union(a, b []fleet.PoolID) []fleet.PoolID {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// press finds other witnesses for the cases that count on room on h which v has taken.
func (r *Reserve) press(v, h int32) {
	if r.evicted(v) {
		return
	}
	host := &r.hosts[h]
	facts := &host.at.facts
	var tight []int32
	for i := range host.charges {
		c := &host.charges[i]
		if c.cpu > 0 && host.cpu+c.cpu > facts.CPU || c.memory > 0 && host.memory+c.memory > facts.Memory ||
			c.nics > 0 && len(r.vms[v].nics) > 0 && !r.packs(h, "", r.coming(c.of, h), nil) {
			tight = append(tight, c.of)
		}
	}
	slices.Sort(tight)
	for _, k := range tight {
		if !r.relocate(k, h) {
			r.settle(k)
		}
		if r.probe && len(r.failed) > 0 {
			return
		}
	}
	for _, k := range host.cases { // what hits a module's VMs depends on who shares the NICs
		if r.cases[k].module != nil && r.cases[k].survived {
			r.settle(k)
		}
	}
}

// cover gives v a place in the case k, which hits a host that it is on.
func (r *Reserve) cover(k, v int32) {
	f := &r.cases[k]
	if !f.survived || !r.hits(f, v) || slices.Contains(f.stuck, v) {
		return
	}
	if i := slices.IndexFunc(f.plan, func(g refuge) bool { return g.vm == v }); i >= 0 && r.takes(f, v, f.plan[i].host) {
		return
	}
	r.unbook(k, v)
	switch h := r.refuge(k, v, false); {
	case h >= 0:
		r.charge(k, v, h)
	case r.refuge(k, v, true) < 0:
		f.stuck = append(f.stuck, v)
	default:
		r.settle(k)
	}
}

// Leave counts the VM v no longer on the host h, its disks on those of at alone.
func (r *Reserve) Leave(v, h int, at fleet.Placement) {
	r.vms[v].pools = poolsOf(r.vms[v].at, at)
	r.leave(int32(v), int32(h)) // bounded by newReserve
	r.unstick(int32(v))
}

// unstick looks anew at the cases in which nothing could help v, whose disks lie elsewhere now. That one of them is not survived any
// more is no fault of the move where v had no place before it either.
func (r *Reserve) unstick(v int32) {
	for _, on := range r.vms[v].on {
		for _, k := range r.hosts[on].cases {
			f := &r.cases[k]
			if !slices.Contains(f.stuck, v) || r.refuge(k, v, true) < 0 {
				continue
			}
			f.stuck = drop(f.stuck, v)
			if !f.survived {
				continue
			}
			n := len(r.failed)
			if r.cover(k, v); len(r.failed) > n && r.vms[v].stuck {
				r.failed, r.waived = r.failed[:n], append(r.waived, k)
			}
		}
	}
}

func (r *Reserve) leave(vm, host int32) {
	if !slices.Contains(r.vms[vm].on, host) {
		return
	}
	r.remove(vm, host)
	for _, k := range r.hosts[host].cases {
		if f := &r.cases[k]; !slices.ContainsFunc(r.vms[vm].on, func(on int32) bool { return slices.Contains(f.hosts, on) }) {
			f.stuck = drop(f.stuck, vm)
			r.unbook(k, vm)
		}
	}
	for _, on := range r.vms[vm].on { // it may have been a refuge because it was under way there
		for _, k := range r.hosts[on].cases {
			if slices.Contains(r.cases[k].plan, refuge{vm, host, true}) {
				r.unbook(k, vm)
				r.cover(k, vm)
			}
		}
	}
}

// Mark forgets which failures broke until now.
func (r *Reserve) Mark() { r.failed, r.waived = r.failed[:0], r.waived[:0] }

// Broke says whether a failure that was survived at the last Mark is not any more.
func (r *Reserve) Broke() bool {
	return slices.ContainsFunc(r.failed, func(k int32) bool { return !r.cases[k].survived })
}

// Revive looks for witnesses of the failures that broke since the last Mark, moves having been taken back: first those
// that they had.
func (r *Reserve) Revive() {
	list := slices.Concat(r.failed, r.waived)
	r.Mark()
	for _, k := range list {
		f := &r.cases[k]
		if f.survived {
			continue
		}
		old := f.old
		f.survived, f.unsaved, f.stuck = true, f.unsaved[:0], f.stuck[:0]
		for _, g := range old {
			if slices.ContainsFunc(r.vms[g.vm].on, func(on int32) bool { return slices.Contains(f.hosts, on) }) && r.takes(f, g.vm, g.host) &&
				r.room(k, g.vm, g.host) && r.queues(k, g.vm, g.host) {
				r.charge(k, g.vm, g.host)
			}
		}
		for _, h := range f.hosts {
			for _, v := range r.hosts[h].guests {
				r.cover(k, v)
			}
		}
	}
}

// Breaks says whether bringing the VMs to the host h, where they are not yet, breaks a failure that is survived. Their disks count where
// they are. Nothing is changed but the witnesses.
func (r *Reserve) Breaks(vms []int, h int) bool {
	vms = slices.DeleteFunc(slices.Clone(vms), func(v int) bool { return slices.Contains(r.vms[v].on, int32(h)) }) // bounded by newReserve
	before, waived := r.failed, r.waived
	r.failed, r.waived = nil, nil
	r.probe = true
	for _, v := range vms {
		r.Enter(v, h, fleet.Placement{})
	}
	r.probe = false
	broke := r.Broke()
	for _, v := range vms {
		r.leave(int32(v), int32(h))
	}
	if broke {
		r.Revive()
	}
	r.failed, r.waived = before, waived
	return broke
}
