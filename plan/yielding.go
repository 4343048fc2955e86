package plan

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// yielding tells who gave way to whom between the snapshot and the end of a plan. A VM that moved gave way to another that
// came to the host or the pool that it left, or near to that where the two are to be apart, and that would not fit there
// with the first one back, all else as at the end; or to one that was beside it on an over-full host, or in conflict with it, and stays. That one may have made room for a third in its turn, having a right place
// before and after. The VMs of an affinity group move as one, and are asked as one.
type yielding struct {
	start, end *world
	came       map[fleet.HostID][]fleet.VMID // who came to a host, sorted
	filled     map[fleet.PoolID][]fleet.VMID // who brought a disk to a pool, sorted
}

func newYielding(end *world) (*yielding, error) {
	start, err := newWorld(end.p)
	if err != nil {
		return nil, err
	}
	y := &yielding{start: start, end: end, came: map[fleet.HostID][]fleet.VMID{}, filled: map[fleet.PoolID][]fleet.VMID{}}
	for i := range end.p.Snapshot.VMs { // sorted
		v := end.vms[end.p.Snapshot.VMs[i].ID]
		if v.at.Host != v.vm.Host {
			y.came[v.at.Host] = append(y.came[v.at.Host], v.vm.ID)
		}
		for j, d := range v.at.Disks {
			list := y.filled[d.Pool]
			if d.Pool != v.vm.Disks[j].Pool && (len(list) == 0 || list[len(list)-1] != v.vm.ID) {
				y.filled[d.Pool] = append(list, v.vm.ID)
			}
		}
	}
	return y, nil
}

// group is v with the VMs of its affinity group that may move; v alone where there is none.
func (y *yielding) group(v *vmAt) []*vmAt {
	if v.need.AffinityGroup == "" {
		return []*vmAt{v}
	}
	var out []*vmAt
	for _, id := range y.end.affine[v.need.AffinityGroup] {
		if m := y.end.vms[id]; m == v || HoldReason(y.end.p, m.vm) == "" {
			out = append(out, m)
		}
	}
	return out
}

func (y *yielding) priority(v *vmAt) policy.Priority {
	p := v.need.Priority
	for _, m := range y.group(v) {
		p = max(p, m.need.Priority)
	}
	return p
}

// right says whether every VM of a group has in w a place that breaks nothing by itself, on a host that has not promised too much of
// what the VM takes, and in no failure domain with another of its spread group.
func (y *yielding) right(w *world, group []*vmAt) bool {
	if g := group[0].need.AffinityGroup; g != "" && w.parts(w.affine[g]) > 1 {
		return false
	}
	return !slices.ContainsFunc(group, func(v *vmAt) bool {
		now := w.vms[v.vm.ID]
		return w.brokenAlone(now) || w.crowded(now)
	})
}

// crowded says whether v's place is wrong by who else is there: its host has promised too much of what v takes, or another of its spread
// group is too near.
func (w *world) crowded(v *vmAt) bool {
	return v.home.overused(v) || w.tooNear(v)
}

// tooNear says whether v shares a failure domain with another of its spread group, where it may not.
func (w *world) tooNear(v *vmAt) bool {
	return slices.ContainsFunc(w.spread[v.need.SpreadGroup], func(id fleet.VMID) bool { // of VMs in no group there is no list
		u := w.vms[id]
		return u != v && w.conflict(u, v, v.at.Host)
	})
}

// overused says whether h has promised more than it has of what v takes.
func (h *hostAt) overused(v *vmAt) bool {
	return v.vm.CPU > 0 && h.cpu > h.facts.CPU || v.vm.Memory > 0 && h.memory > h.facts.Memory || len(v.nics) > 0 && !h.packs()
}

// winners lists the VMs that d may give way to, and does, the highest priority first: of strictly higher priority, wrong in the
// snapshot, right at the end. Those in between who only make room are right at the end too, and of lower priority than d
// only where their level does not give way.
func (y *yielding) winners(d *vmAt) []fleet.VMID {
	mine := y.priority(d)
	var out []fleet.VMID
	seen := map[fleet.VMID]bool{d.vm.ID: true}
	for queue := []*vmAt{d}; len(queue) > 0; queue = queue[1:] {
		for _, t := range y.takers(queue[0]) {
			if seen[t.vm.ID] {
				continue
			}
			seen[t.vm.ID] = true
			group := y.group(t)
			if !y.right(y.end, group) {
				continue
			}
			if y.priority(t) > mine && !y.right(y.start, group) {
				for _, m := range group {
					out = append(out, m.vm.ID)
				}
			}
			if y.priority(t) >= mine || !t.need.GiveWay {
				queue = append(queue, t)
			}
		}
	}
	slices.SortFunc(out, func(a, b fleet.VMID) int {
		return cmp.Or(cmp.Compare(y.end.vms[b].need.Priority, y.end.vms[a].need.Priority), cmp.Compare(a, b))
	})
	return slices.Compact(out)
}

// claim is what a group would take again of a host or a pool, were it back.
type claim struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	nics   []QueueNeed
	used   fleet.Bytes
	io     ioUse
}

// takers lists those who came to what the group of v left and would not fit there with it back.
func (y *yielding) takers(v *vmAt) []*vmAt {
	hosts, pools := map[fleet.HostID]claim{}, map[fleet.PoolID]claim{}
	group := y.group(v)
	for _, m := range group {
		if h := m.vm.Host; m.at.Host != h {
			c := hosts[h]
			hosts[h] = claim{cpu: c.cpu + m.vm.CPU, memory: c.memory + m.vm.Memory, nics: append(c.nics, m.nics...)}
		}
		for i, d := range m.vm.Disks {
			if n := m.need.Disks[i]; m.at.Disks[i].Pool != d.Pool {
				c := pools[d.Pool]
				pools[d.Pool] = claim{used: c.used + Freed(&d, false), io: ioUse{c.io.iops + n.IOPS, c.io.rate + n.Throughput}}
			}
		}
	}
	var out []fleet.VMID
	for h, c := range hosts { // sorted below, as the next
		out = append(out, y.onHost(h, c)...)
	}
	for p, c := range pools {
		out = append(out, y.inPool(p, c)...)
	}
	for _, m := range group {
		out = append(out, y.near(m)...)
	}
	slices.Sort(out)
	var list []*vmAt
	for _, id := range slices.Compact(out) {
		if t := y.end.vms[id]; !slices.Contains(group, t) {
			list = append(list, t)
		}
	}
	return list
}

// onHost lists those who came to the host id and take what is missing there for c, and those who stayed and take what was missing before.
func (y *yielding) onHost(id fleet.HostID, c claim) []fleet.VMID {
	h, was := y.end.hosts[id], y.start.hosts[id]
	cpu := c.cpu > 0 && h.cpu+c.cpu > h.facts.CPU
	memory := c.memory > 0 && h.memory+c.memory > h.facts.Memory
	nics := len(c.nics) > 0 && !h.packs(c.nics...)
	takes := func(t *vmAt) bool { return cpu && t.vm.CPU > 0 || memory && t.vm.Memory > 0 || nics && len(t.nics) > 0 }
	out := slices.DeleteFunc(slices.Clone(y.came[id]), func(id fleet.VMID) bool { return !takes(y.end.vms[id]) })
	cpu, memory, nics = cpu && was.cpu > was.facts.CPU, memory && was.memory > was.facts.Memory, nics && !was.packs()
	for _, t := range h.vms {
		if t.vm.Host == id && takes(t) {
			out = append(out, t.vm.ID)
		}
	}
	return out
}

// inPool does the same of a pool.
func (y *yielding) inPool(id fleet.PoolID, c claim) []fleet.VMID {
	space := c.used > 0 && y.end.free[id]-y.end.p.Pools[id].Reserve < c.used
	promised := y.end.ioRefusal(id, c.io)
	return slices.DeleteFunc(slices.Clone(y.filled[id]), func(vm fleet.VMID) bool {
		t := y.end.vms[vm]
		for i, d := range t.at.Disks {
			n := t.need.Disks[i]
			if d.Pool == id && d.Pool != t.vm.Disks[i].Pool && (space || promised == ConstraintPoolIOPS && n.IOPS > 0 ||
				promised == ConstraintPoolThroughput && n.Throughput > 0) {
				return false
			}
		}
		return true
	})
}

// near lists those of the spread group of m who are where they may not be with m back.
func (y *yielding) near(m *vmAt) []fleet.VMID {
	if m.need.SpreadGroup == "" || m.at.Host == m.vm.Host {
		return nil
	}
	var out []fleet.VMID
	for _, id := range y.end.spread[m.need.SpreadGroup] {
		if t := y.end.vms[id]; t != m && y.end.conflict(t, m, m.vm.Host) {
			out = append(out, id)
		}
	}
	return out
}

// crowds says whether d, were it still at the place from, would keep v from going to the place to.
func (w *world) crowds(d *vmAt, from fleet.Placement, v *vmAt, to fleet.Placement) bool {
	if v.at.Host != to.Host && d.at.Host != from.Host {
		if h := w.hosts[to.Host]; from.Host == to.Host && (d.vm.CPU > 0 && v.vm.CPU > 0 && h.cpu+d.vm.CPU+v.vm.CPU > h.facts.CPU ||
			d.vm.Memory > 0 && v.vm.Memory > 0 && h.memory+d.vm.Memory+v.vm.Memory > h.facts.Memory ||
			len(d.nics) > 0 && len(v.nics) > 0 && !h.packs(slices.Concat(d.nics, v.nics)...)) {
			return true
		}
		if there := *v; v.need.SpreadGroup != "" && v.need.SpreadGroup == d.need.SpreadGroup {
			if there.at = to; w.conflict(&there, d, from.Host) {
				return true
			}
		}
	}
	return slices.ContainsFunc(to.Disks, func(t fleet.DiskPlace) bool { return w.crowdsPool(d, from, v, to, t.Pool) })
}

// crowdsPool is crowds of one pool.
func (w *world) crowdsPool(d *vmAt, from fleet.Placement, v *vmAt, to fleet.Placement, pool fleet.PoolID) bool {
	var back, comes claim
	for i := range from.Disks {
		if n := d.need.Disks[i]; from.Disks[i].Pool == pool && d.at.Disks[i].Pool != pool {
			back = claim{used: back.used + Freed(&d.vm.Disks[i], false), io: ioUse{back.io.iops + n.IOPS, back.io.rate + n.Throughput}}
		}
	}
	for i := range to.Disks {
		if n := v.need.Disks[i]; to.Disks[i].Pool == pool && v.at.Disks[i].Pool != pool {
			comes = claim{used: comes.used + v.vm.Disks[i].Used, io: ioUse{comes.io.iops + n.IOPS, comes.io.rate + n.Throughput}}
		}
	}
	more := ioUse{}
	if back.io.iops > 0 && comes.io.iops > 0 {
		more.iops = back.io.iops + comes.io.iops
	}
	if back.io.rate > 0 && comes.io.rate > 0 {
		more.rate = back.io.rate + comes.io.rate
	}
	return back.used > 0 && comes.used > 0 && back.used+comes.used > w.free[pool]-w.p.Pools[pool].Reserve || w.ioRefusal(pool, more) != ""
}
