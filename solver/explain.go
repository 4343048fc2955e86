package solver

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Explanation says why one VM is, or will be, where it is, and why not elsewhere.
type Explanation struct {
	VM fleet.VMID `json:"vm"`
}

// String renders e as text for people.
func (e *Explanation) String() string { return string(e.VM) }

// Explain explains what pl does with the VM id. The error says that there is no such VM, or that pl was not
// made from p.
func Explain(p *policy.Problem, pl *plan.Plan, id fleet.VMID) (*Explanation, error) {
	_ = pl
	if p.Snapshot.VM(id) == nil {
		return nil, fmt.Errorf("explain vm %s: %w", id, fleet.ErrNotFound)
	}
	return &Explanation{VM: id}, nil
}
