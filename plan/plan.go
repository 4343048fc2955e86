package plan

import (
	"github.com/berth-project/berth/fleet"
)

// Version is the version of the plan's JSON that this code reads and writes.
const Version = 2

// Plan is an ordered list of moves with the reason for each, and what could not be helped.
type Plan struct {
	Version    int    `json:"version"`
	ID         string `json:"id"`         // digest of everything below, "p-" and 16 hex digits
	SnapshotID string `json:"snapshotId"` // fleet.Snapshot.Digest of the snapshot it was made from
	PolicyID   string `json:"policyId"`
	// Steps are legal one after another in this order. Those of one wave may also run at once: each is legal whatever
	// others of its wave are done or under way, once all of the waves before are done.
	Steps []Step `json:"steps"`
	// Kept and Moved VMs are all that is not listed here. A VM may be moved and yet be unplaced: a disk of it
	// is mended, but its host has promised too much.
	Unplaced []Unplaced `json:"unplaced"` // need a place and get none, or one that breaks their need
	Held     []Held     `json:"held"`     // left alone
	// Unordered VMs would be better off elsewhere, but no legal order of moves leads there.
	Unordered []Unordered `json:"unordered"`
	Summary   Summary     `json:"summary"`
}

// Step is one move of a VM, or of an I/O module where Attach is set.
type Step struct {
	N int `json:"n"` // from 1
	// Wave is from 1 and never decreases from step to step.
	Wave int `json:"wave"`
	// Move.VM is as in the snapshot, but for what an earlier step of the same VM changes: its host and pools
	// are those at the start of this step, and the paths of disks that moved are empty, since only the
	// hypervisor knows them by then.
	Move fleet.Relocation `json:"move,omitzero"`
	// Attach moves an I/O module. Move, Level, Bytes and Risks are zero then.
	Attach *fleet.Attachment `json:"attach,omitempty"`
	Level  string            `json:"level"`
	Reason string            `json:"reason"` // one line: what was wrong, what the target has
	// Bytes is what has to be copied between pools.
	Bytes fleet.Bytes `json:"bytes"`
	// Risks that must be accepted by name to apply this step.
	Risks []Risk `json:"risks,omitempty"`
	// GivesWayTo, where RiskDisplaced is among the risks, is a VM of strictly higher priority that this plan brings from a
	// place that breaks its need to a right one, and that had none otherwise.
	GivesWayTo fleet.VMID `json:"givesWayTo,omitempty"`
}

// Risk names what an operator must accept: --accept-risk=NAME.
type Risk string

// The risks.
const (
	// RiskDowntime: a running guest is shut down, moved and started again.
	RiskDowntime Risk = "downtime"
	// RiskDisplaced: the VM gives way to one of higher priority, and gets a host or pool below what its label asks for.
	RiskDisplaced Risk = "displaced"
)

// Unplaced is a VM whose need cannot be met.
type Unplaced struct {
	VM      fleet.VMID    `json:"vm"`
	Level   string        `json:"level"`
	Reason  string        `json:"reason"`
	Refused []RefusedHost `json:"refused"` // counted over the fleet, most frequent first
	// Nearest is the smallest change that would give it a place, in words; empty: none was found, or looked for.
	Nearest string `json:"nearest,omitempty"`
}

// RefusedHost counts the hosts that one constraint refuses first.
type RefusedHost struct {
	Constraint string         `json:"constraint"`
	Count      int            `json:"count"`
	Hosts      []fleet.HostID `json:"hosts"` // at most 8 of them
}

// Held is a VM that the plan leaves alone, and why.
type Held struct {
	VM     fleet.VMID `json:"vm"`
	Reason string     `json:"reason"`
}

// Unordered is a VM that a better fleet has elsewhere, and why no move of it is in the plan.
type Unordered struct {
	VM     fleet.VMID      `json:"vm"`
	To     fleet.Placement `json:"to"` // where it would go
	Reason string          `json:"reason"`
}

// Summary counts.
type Summary struct {
	VMs         int         `json:"vms"`
	Right       int         `json:"right"` // already where their label asks
	Moves       int         `json:"moves"`
	Modules     int         `json:"modules,omitempty"` // I/O modules that move
	Unplaced    int         `json:"unplaced"`
	Displaced   int         `json:"displaced,omitempty"` // of Unplaced: VMs that the plan brings below their need
	Held        int         `json:"held"`
	Bytes       fleet.Bytes `json:"bytes"`
	CostBefore  int64       `json:"costBefore"` // points, of the soft costs without moves
	CostAfter   int64       `json:"costAfter"`
	CostOfMoves int64       `json:"costOfMoves"`
	Before      Cost        `json:"before"` // CostBefore by part
	After       Cost        `json:"after"`
	// Bound is what every plan that mends as much costs at least, moves included; GapPercent how far this one is above.
	Bound        int64   `json:"bound"`
	GapPercent   float64 `json:"gapPercent"`
	BrokenBefore int     `json:"brokenBefore"` // VMs with a broken hard constraint
	BrokenAfter  int     `json:"brokenAfter"`
	// Reserve is zero where nothing is protected.
	Reserve ReserveSummary `json:"reserve,omitzero"`
}

// File is what berth plan make writes: a plan with all that it was made from.
type File struct {
	Plan     Plan           `json:"plan"`
	Policy   string         `json:"policy"` // text of the catalogue
	Snapshot fleet.Snapshot `json:"snapshot"`
}
