package online

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// maxPackNodes bounds the search for a packing of one host's NICs; beyond, the host counts as full.
const maxPackNodes = 20_000

// packNICs finds a NIC for each need of a VM that comes to h. Needs of VMs that run there keep theirs if possible. Not
// exact: only that is tried.
func (x *Placer) packNICs(h model.HostIx, v *model.VM, exact bool) (nics []int8, repack, ok bool) {
	if len(v.NICs) == 0 {
		return nil, false, true
	}
	k := packer{rooms: slices.Clone(x.hosts[h].nics), needs: v.NICs, left: maxPackNodes}
	k.prepare()
	if k.pack(0) {
		return k.at, false, true
	}
	if !exact || !x.enoughNICs(h, v) {
		return nil, false, false
	}
	all := packer{rooms: slices.Clone(x.p.Hosts[h].NICs), needs: x.needsOf(h), left: maxPackNodes}
	first := len(all.needs)
	all.needs = append(all.needs, v.NICs...)
	all.prepare()
	if !all.pack(0) {
		return nil, false, false
	}
	return all.at[first:], true, true
}

// needsOf lists the needs of the VMs on a host, in their order there.
func (x *Placer) needsOf(h model.HostIx) []model.NICNeed {
	var needs []model.NICNeed
	for _, i := range x.hosts[h].vms {
		needs = append(needs, x.p.VMs[i].NICs...)
	}
	return needs
}

// enoughNICs compares sums.
func (x *Placer) enoughNICs(h model.HostIx, v *model.VM) bool {
	var q, r int64
	for _, n := range x.hosts[h].nics {
		q += int64(n.Queues)
		r += n.Rate
	}
	for _, n := range v.NICs {
		q -= int64(n.Queues)
		r -= n.Rate
	}
	return q >= 0 && r >= 0
}

// putNICs takes what the VM needs of its host's NICs. A repacking moves the needs of the others first.
func (x *Placer) putNICs(i int, d *Decision) {
	s := &x.hosts[d.Host]
	v := &x.p.VMs[i]
	if d.Repack {
		all := packer{rooms: slices.Clone(x.p.Hosts[d.Host].NICs), left: maxPackNodes}
		all.needs = x.needsOf(d.Host) // with i, which is last
		all.prepare()
		if all.pack(0) {
			s.nics = all.rooms
			n := 0
			for _, w := range s.vms {
				k := len(x.p.VMs[w].NICs)
				x.nics[w] = slices.Clone(all.at[n : n+k])
				n += k
			}
			return
		}
	}
	x.nics[i] = slices.Clone(d.NICs)
	useNICs(s.nics, v.NICs, x.nics[i], -1)
}

func (x *Placer) takeNICs(i int) {
	useNICs(x.hosts[x.a.Host[i]].nics, x.p.VMs[i].NICs, x.nics[i], 1)
	x.nics[i] = nil
}

func useNICs(rooms []model.NIC, needs []model.NICNeed, at []int8, sign int64) {
	for k, n := range needs {
		if at[k] < 0 {
			continue
		}
		r := &rooms[at[k]]
		r.Queues += int32(sign) * n.Queues //nolint:gosec // 1 or -1
		r.Rate += sign * n.Rate
	}
}

// packer gives needs their NICs: a search in depth, the greatest need first, each on the NIC with least room.
type packer struct {
	rooms []model.NIC
	needs []model.NICNeed
	order []int // of needs that ask for anything
	at    []int8
	left  int
}

func (k *packer) prepare() {
	k.at = make([]int8, len(k.needs))
	for i, n := range k.needs {
		k.at[i] = model.None
		if n != (model.NICNeed{}) {
			k.order = append(k.order, i)
		}
	}
	slices.SortStableFunc(k.order, func(a, b int) int {
		x, y := k.needs[a], k.needs[b]
		return cmp.Or(cmp.Compare(y.Class, x.Class), cmp.Compare(y.Rate, x.Rate), cmp.Compare(y.Queues, x.Queues))
	})
}

func (k *packer) pack(n int) bool {
	if n == len(k.order) {
		return true
	}
	if k.left--; k.left < 0 {
		return false
	}
	need := k.needs[k.order[n]]
	var tried [model.MaxNICs]bool
	for {
		best := -1
		for j := range k.rooms {
			r := &k.rooms[j]
			if tried[j] || r.Class < need.Class || r.Queues < need.Queues || r.Rate < need.Rate {
				continue
			}
			if best < 0 || roomLess(r, &k.rooms[best]) {
				best = j
			}
		}
		if best < 0 {
			return false
		}
		for j := range k.rooms { // equal NICs are one choice
			tried[j] = tried[j] || k.rooms[j] == k.rooms[best]
		}
		r := &k.rooms[best]
		r.Queues -= need.Queues
		r.Rate -= need.Rate
		k.at[k.order[n]] = int8(best) //nolint:gosec // MaxNICs
		if k.pack(n + 1) {
			return true
		}
		r.Queues += need.Queues
		r.Rate += need.Rate
	}
}

func roomLess(a, b *model.NIC) bool {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rate, b.Rate), cmp.Compare(a.Queues, b.Queues)) < 0
}
