package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sort"
)

// Place is where v is.
func (v *VM) Place() Placement {
	p := Placement{Host: v.Host, Disks: make([]DiskPlace, len(v.Disks))}
	for i, d := range v.Disks {
		p.Disks[i] = DiskPlace{Disk: d.ID, Pool: d.Pool}
	}
	return p
}

// BlockedBy is the reason why a live move that makes the change c is impossible, or "".
func (v *VM) BlockedBy(c Change) string {
	for _, b := range v.Blocked {
		if b.Change == c {
			return b.Reason
		}
	}
	return ""
}

// Equal says whether p and q are the same place.
func (p Placement) Equal(q Placement) bool {
	return p.Host == q.Host && slices.Equal(p.Disks, q.Disks)
}

// Clone copies p deeply.
func (p Placement) Clone() Placement {
	return Placement{Host: p.Host, Disks: slices.Clone(p.Disks)}
}

// Sort puts every list of s in the order of its identifiers, which makes equal snapshots equal bytes. The
// disks and VNICs of a VM keep the hypervisor's order: the first disk is the one that boots.
func (s *Snapshot) Sort() {
	slices.SortFunc(s.Sources, func(a, b Source) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Pools, func(a, b Pool) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.VMs, func(a, b VM) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Object, b.Object), cmp.Compare(a.What, b.What),
			cmp.Compare(a.Cause, b.Cause))
	})
	for i := range s.Hosts {
		h := &s.Hosts[i]
		slices.Sort(h.Pools)
		slices.Sort(h.Tags)
		slices.Sort(h.Networks)
		slices.Sort(h.CPUBaselines)
		slices.Sort(h.Guests)
		sortNICs(h.NICs)
	}
	slices.SortFunc(s.Modules, func(a, b IOModule) int { return cmp.Compare(a.ID, b.ID) })
	for i := range s.Modules {
		slices.Sort(s.Modules[i].Pools)
		slices.Sort(s.Modules[i].AttachableTo)
		sortNICs(s.Modules[i].NICs)
	}
	for i := range s.Pools {
		slices.Sort(s.Pools[i].Tags)
	}
	for i := range s.VMs {
		slices.Sort(s.VMs[i].Tags)
	}
}

func sortNICs(nics []NIC) {
	slices.SortFunc(nics, func(a, b NIC) int { return cmp.Compare(a.ID, b.ID) })
	for i := range nics {
		slices.Sort(nics[i].Features)
	}
}

// Digest names the content of s: "s-" and 16 hex digits of the SHA-256 of its JSON. Two snapshots of an
// unchanged fleet differ in Taken alone, and so in their digest.
func (s *Snapshot) Digest() string {
	b, err := json.Marshal(s)
	if err != nil { // no field of a snapshot can fail to marshal but a time out of range
		return "s-invalid"
	}
	sum := sha256.Sum256(b)
	return "s-" + hex.EncodeToString(sum[:8])
}

// Host finds a host in a sorted snapshot; nil when there is none.
func (s *Snapshot) Host(id HostID) *Host {
	return find(s.Hosts, id, func(h *Host) HostID { return h.ID })
}

// Pool finds a pool in a sorted snapshot; nil when there is none.
func (s *Snapshot) Pool(id PoolID) *Pool {
	return find(s.Pools, id, func(p *Pool) PoolID { return p.ID })
}

// VM finds a VM in a sorted snapshot; nil when there is none.
func (s *Snapshot) VM(id VMID) *VM {
	return find(s.VMs, id, func(v *VM) VMID { return v.ID })
}

// Module finds an I/O module in a sorted snapshot; nil when there is none.
func (s *Snapshot) Module(id ModuleID) *IOModule {
	return find(s.Modules, id, func(m *IOModule) ModuleID { return m.ID })
}

// Source finds a source in a sorted snapshot; nil when there is none.
func (s *Snapshot) Source(id SourceID) *Source {
	return find(s.Sources, id, func(v *Source) SourceID { return v.ID })
}

// find goes by index: handing elements of this size about by value costs more than the search.
func find[T any, K cmp.Ordered](list []T, key K, id func(*T) K) *T {
	i, ok := sort.Find(len(list), func(i int) int { return cmp.Compare(key, id(&list[i])) })
	if !ok {
		return nil
	}
	return &list[i]
}
