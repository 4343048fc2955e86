package fleet

import (
	"cmp"
	"slices"
)

// ModuleKind is what an I/O module brings.
type ModuleKind string

// The kinds of I/O modules.
const (
	ModuleNIC ModuleKind = "nic" // NICs
	ModuleHBA ModuleKind = "hba" // reach of pools
)

// IOModule is an I/O module of a composable chassis or a switched PCIe fabric: what it brings is there on the host that it
// is attached to, and nowhere else.
//
// While it is attached its NICs are in the host's NICs too, each with Module set, and its Pools in the host's Pools. A
// pool of an attached module counts as reached through modules alone.
type IOModule struct {
	ID     ModuleID   `json:"id"`
	Source SourceID   `json:"source"`
	Ref    string     `json:"ref"` // the driver's own handle
	Kind   ModuleKind `json:"kind"`
	NICs   []NIC      `json:"nics,omitempty"`
	Pools  []PoolID   `json:"pools,omitempty"`
	// AttachableTo are the hosts that it can be attached to, sorted; Host is one of them, or empty: it is attached nowhere.
	AttachableTo []HostID `json:"attachableTo"`
	Host         HostID   `json:"host,omitempty"`
}

// Attachment moves one I/O module, complete: what a driver needs and all it may do.
type Attachment struct {
	Module IOModule `json:"module"` // as it is before
	From   HostID   `json:"from,omitempty"`
	To     HostID   `json:"to,omitempty"`
	// FromHost and ToHost describe the hosts, as in the snapshot; nil where there is none.
	FromHost *Host `json:"fromHost,omitempty"`
	ToHost   *Host `json:"toHost,omitempty"`
}

// With gives the NICs and pools of h once m is attached to it, sorted.
func (m *IOModule) With(h *Host) ([]NIC, []PoolID) {
	nics := slices.Clone(h.NICs)
	for _, n := range m.NICs {
		n.Module = m.ID
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b NIC) int { return cmp.Compare(a.ID, b.ID) })
	pools := slices.Concat(h.Pools, m.Pools)
	slices.Sort(pools)
	return nics, slices.Compact(pools)
}

// Without gives the NICs and pools of h once m is attached to it no more. others are the modules that stay: a pool
// that one of them brings is still reached.
func (m *IOModule) Without(h *Host, others []*IOModule) ([]NIC, []PoolID) {
	nics := slices.DeleteFunc(slices.Clone(h.NICs), func(n NIC) bool { return n.Module == m.ID })
	pools := slices.DeleteFunc(slices.Clone(h.Pools), func(p PoolID) bool {
		return slices.Contains(m.Pools, p) && !slices.ContainsFunc(others, func(o *IOModule) bool { return slices.Contains(o.Pools, p) })
	})
	return nics, pools
}
