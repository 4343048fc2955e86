package fleet

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
