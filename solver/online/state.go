package online

import (
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// hostState is what a host has running.
type hostState struct {
	use []int64 // by resource
	// extra is what VMs hold of transient resources that had this host at first and are elsewhere now.
	extra []int64
	vms   []int32
	nics  []model.NIC // what each NIC has left
	leaf  int32       // in the tree of its class
	reach int32       // which set of pools it reaches
}

type poolState struct {
	use []int64 // with the base, and what moved disks still hold
}

// groupState is where a group's VMs are.
type groupState struct {
	// seats counts, by level and domain, the VMs there; strict those of them that are to be apart on that level.
	seats, strict [model.MaxLevels]map[int32]int32
	zones         map[int32]int32 // by zone
	neededBy      []model.GroupIx
}

func (x *Placer) newHost(h *model.Host) hostState {
	n := len(x.p.Resources)
	both := make([]int64, 2*n)
	return hostState{use: both[:n:n], extra: both[n:], nics: slices.Clone(h.NICs)}
}

// slot gives a new VM an index; it waits for a place.
func (x *Placer) slot(vm model.VM) int {
	i := len(x.p.VMs)
	if n := len(x.spare); n > 0 {
		i = x.spare[n-1]
		x.spare = x.spare[:n-1]
		x.p.VMs[i] = vm
		x.gone[i] = false
		x.since[i] = x.now
	} else {
		x.p.VMs = append(x.p.VMs, vm)
		x.a.Host = append(x.a.Host, model.None)
		x.a.Pool = append(x.a.Pool, nil)
		x.nics = append(x.nics, nil)
		x.at = append(x.at, 0)
		x.gone = append(x.gone, false)
		x.since = append(x.since, x.now)
	}
	x.park(i)
	return i
}

// park puts the disks of a VM without a host where they were at first.
func (x *Placer) park(i int) {
	v := &x.p.VMs[i]
	if len(v.Disks) == 0 {
		return
	}
	x.a.Pool[i] = make([]model.PoolIx, len(v.Disks))
	for j := range v.Disks {
		x.setPool(i, j, v.Disks[j].Initial, true)
	}
}

// unpark takes the disks of a VM that has no host away.
func (x *Placer) unpark(i int) {
	for j := range x.a.Pool[i] {
		x.unsetPool(i, j)
	}
}

// setPool puts disk j in a pool. Fresh: it was in none before.
func (x *Placer) setPool(i, j int, at model.PoolIx, fresh bool) {
	if !fresh {
		x.unsetPool(i, j)
	}
	d := &x.p.VMs[i].Disks[j]
	x.a.Pool[i][j] = at
	x.countDisk(d, at, 1)
}

func (x *Placer) unsetPool(i, j int) {
	x.countDisk(&x.p.VMs[i].Disks[j], x.a.Pool[i][j], -1)
	x.a.Pool[i][j] = model.None
}

// countDisk adds or takes what a disk uses in its pool, and what it holds in the one it left.
func (x *Placer) countDisk(d *model.Disk, at model.PoolIx, sign int64) {
	if at != model.None {
		for r, n := range d.Demand {
			x.pools[at].use[r] += sign * n
		}
	}
	if d.Initial == model.None || d.Initial == at {
		return
	}
	for r, n := range d.Demand {
		if d.Sticky || x.p.PoolResources[r].Transient {
			x.pools[d.Initial].use[r] += sign * n
		}
	}
}

// put gives a waiting VM its place.
func (x *Placer) put(i int, d *Decision) {
	v := &x.p.VMs[i]
	h := d.Host
	s := &x.hosts[h]
	x.a.Host[i] = h
	x.at[i] = int32(len(s.vms))     //nolint:gosec // MaxVMs
	s.vms = append(s.vms, int32(i)) //nolint:gosec // MaxVMs
	x.count(i, h, 1)
	for j := range v.Disks {
		x.setPool(i, j, d.Pools[j], false)
	}
	if len(v.NICs) > 0 {
		x.putNICs(i, d)
	}
	x.seat(i, h, 1)
	x.tree.update(x, h)
}

// take takes a VM off its host, if it has one: it waits then.
func (x *Placer) take(i int) {
	h := x.a.Host[i]
	if h == model.None {
		return
	}
	v := &x.p.VMs[i]
	s := &x.hosts[h]
	last := s.vms[len(s.vms)-1]
	s.vms[x.at[i]] = last
	x.at[last] = x.at[i]
	s.vms = s.vms[:len(s.vms)-1]
	x.count(i, h, -1)
	for j := range v.Disks {
		x.setPool(i, j, v.Disks[j].Initial, false)
	}
	if len(v.NICs) > 0 {
		x.takeNICs(i)
	}
	x.seat(i, h, -1)
	x.a.Host[i] = model.None
	x.tree.update(x, h)
}

// count adds or takes what a VM uses of its host, and holds of the one it left.
func (x *Placer) count(i int, h model.HostIx, sign int64) {
	v := &x.p.VMs[i]
	for r, n := range v.Demand {
		x.hosts[h].use[r] += sign * n
	}
	if v.Initial == model.None || v.Initial == h {
		return
	}
	for r, n := range v.Demand {
		if x.p.Resources[r].Transient {
			x.hosts[v.Initial].extra[r] += sign * n
		}
	}
	x.tree.update(x, v.Initial)
}

// seat counts the VM in its group.
func (x *Placer) seat(i int, h model.HostIx, sign int32) {
	v := &x.p.VMs[i]
	if v.Group == model.None {
		return
	}
	g := &x.group[v.Group]
	host := &x.p.Hosts[h]
	for l, d := range host.Domain {
		bump(&g.seats[l], d, sign)
	}
	if v.Apart >= 0 {
		bump(&g.strict[v.Apart], host.Domain[v.Apart], sign)
	}
	bump(&g.zones, host.Zone, sign)
}

// bump keeps no zero entries, so that the length of the map is the number of domains.
func bump(m *map[int32]int32, key, sign int32) {
	if *m == nil {
		*m = map[int32]int32{}
	}
	if n := (*m)[key] + sign; n == 0 {
		delete(*m, key)
	} else {
		(*m)[key] = n
	}
}

// groupAllows says whether the rules of the VM's group allow a host.
func (x *Placer) groupAllows(v *model.VM, h model.HostIx) bool {
	if v.Group == model.None {
		return true
	}
	g, rules, host := &x.group[v.Group], &x.p.Groups[v.Group], &x.p.Hosts[h]
	if v.Apart >= 0 && g.seats[v.Apart][host.Domain[v.Apart]] > 0 {
		return false
	}
	for l, d := range host.Domain {
		if len(g.strict[l]) > 0 && g.strict[l][d] > 0 {
			return false
		}
	}
	if rules.Min > 1 {
		// Until there are enough domains, each VM goes to a new one.
		seats := g.seats[rules.Level]
		if len(seats) < int(rules.Min) && seats[host.Domain[rules.Level]] > 0 {
			return false
		}
	}
	for _, n := range rules.Needs {
		if n != v.Group && x.group[n].zones[host.Zone] == 0 {
			return false
		}
	}
	return true
}

func (x *Placer) zero() []int64 { return make([]int64, len(x.p.Resources)) }
