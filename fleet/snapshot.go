package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
		slices.SortFunc(h.NICs, func(a, b NIC) int { return cmp.Compare(a.ID, b.ID) })
		for j := range h.NICs {
			slices.Sort(h.NICs[j].Features)
		}
	}
	for i := range s.Pools {
		slices.Sort(s.Pools[i].Tags)
	}
	for i := range s.VMs {
		slices.Sort(s.VMs[i].Tags)
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

// Validate checks the invariants of the package on a sorted snapshot. The error names the first field at
// fault, as a path: "vms[3].disks[0].pool".
func (s *Snapshot) Validate() error {
	if s.Version != SnapshotVersion {
		return fmt.Errorf("version: is %d, expected %d", s.Version, SnapshotVersion)
	}
	if err := s.validateUnique(); err != nil {
		return err
	}
	for i := range s.Hosts {
		if err := s.validateHost(&s.Hosts[i]); err != nil {
			return fmt.Errorf("hosts[%d]%w", i, err)
		}
	}
	for i := range s.Pools {
		p := &s.Pools[i]
		if s.Source(p.Source) == nil {
			return fmt.Errorf("pools[%d].source: no source %q", i, p.Source)
		}
		if p.Capacity < 0 || p.Free < 0 || p.Free > p.Capacity {
			return fmt.Errorf("pools[%d].free: %d of %d, expected 0 to the capacity", i, p.Free, p.Capacity)
		}
	}
	for i := range s.VMs {
		if err := s.validateVM(&s.VMs[i]); err != nil {
			return fmt.Errorf("vms[%d]%w", i, err)
		}
	}
	return nil
}

func (s *Snapshot) validateUnique() error {
	if err := unique("sources", s.Sources, func(v *Source) string { return string(v.ID) }); err != nil {
		return err
	}
	if err := unique("hosts", s.Hosts, func(v *Host) string { return string(v.ID) }); err != nil {
		return err
	}
	if err := unique("pools", s.Pools, func(v *Pool) string { return string(v.ID) }); err != nil {
		return err
	}
	return unique("vms", s.VMs, func(v *VM) string { return string(v.ID) })
}

func unique[T any](name string, list []T, id func(*T) string) error {
	for i := range list {
		v := id(&list[i])
		if err := validID(v); err != nil {
			return fmt.Errorf("%s[%d].id: %w", name, i, err)
		}
		if i > 0 && id(&list[i-1]) >= v {
			return fmt.Errorf("%s[%d].id: %q comes after %q, expected sorted and unique", name, i, v, id(&list[i-1]))
		}
	}
	return nil
}

// maxID bounds an identifier; vCenter's longest object name is 80 characters, a libvirt path is longer.
const maxID = 512

func validID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%d bytes, expected 1 to %d", len(id), maxID)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("control character in %q", id)
		}
	}
	return nil
}

func (s *Snapshot) validateHost(h *Host) error {
	if s.Source(h.Source) == nil {
		return fmt.Errorf(".source: no source %q", h.Source)
	}
	if h.CPU < 0 || h.Memory < 0 {
		return fmt.Errorf(" (%s): cpu %d, memory %d, expected no negative amount", h.ID, h.CPU, h.Memory)
	}
	for j, p := range h.Pools {
		if s.Pool(p) == nil {
			return fmt.Errorf(".pools[%d]: no pool %q", j, p)
		}
	}
	for j, n := range h.NICs {
		if n.Class < 0 || n.Class > MaxNICClass || n.Queues < 0 || n.Speed < 0 {
			return fmt.Errorf(".nics[%d]: class %d, queues %d, speed %d, expected class 0 to 3 and no negative amount",
				j, n.Class, n.Queues, n.Speed)
		}
	}
	if i := repeated(h.NICs, func(n *NIC) NICID { return n.ID }); i >= 0 {
		return fmt.Errorf(".nics[%d].id: %q a second time, expected each once", i, h.NICs[i].ID)
	}
	return nil
}

// repeated is the index of the first element whose id an earlier one has, -1 when there is none.
func repeated[T any, K comparable](list []T, id func(*T) K) int {
	if len(list) < 2 {
		return -1
	}
	seen := make(map[K]bool, len(list))
	for i := range list {
		if seen[id(&list[i])] {
			return i
		}
		seen[id(&list[i])] = true
	}
	return -1
}

func (s *Snapshot) validateVM(v *VM) error {
	if s.Source(v.Source) == nil {
		return fmt.Errorf(".source: no source %q", v.Source)
	}
	if s.Host(v.Host) == nil {
		return fmt.Errorf(".host: no host %q", v.Host)
	}
	if v.CPU < 0 || v.Memory < 0 {
		return fmt.Errorf(" (%s): cpu %d, memory %d, expected no negative amount", v.ID, v.CPU, v.Memory)
	}
	if i := repeated(v.Disks, func(d *Disk) DiskID { return d.ID }); i >= 0 {
		return fmt.Errorf(".disks[%d].id: %q a second time, expected each once", i, v.Disks[i].ID)
	}
	for j, d := range v.Disks {
		if s.Pool(d.Pool) == nil {
			return fmt.Errorf(".disks[%d].pool: no pool %q", j, d.Pool)
		}
		if d.Size < 0 || d.Used < 0 {
			return fmt.Errorf(".disks[%d]: size %d, used %d, expected no negative amount", j, d.Size, d.Used)
		}
		if len(d.Chain) > MaxChain {
			return fmt.Errorf(".disks[%d].chain: %d links, expected at most %d", j, len(d.Chain), MaxChain)
		}
		if d.Label.Document != nil {
			if err := d.Label.Document.Validate(); err != nil {
				return fmt.Errorf(".disks[%d].label.document: %w", j, err)
			}
		}
	}
	return nil
}
