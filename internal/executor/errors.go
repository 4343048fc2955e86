package executor

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// StaleError refuses a step because the world is not as the plan needs it. Nothing was done in this run to
// the VM.
type StaleError struct {
	Step     int
	VM       fleet.VMID
	Module   fleet.ModuleID // instead of VM, in a step that moves a module
	Expected string         // "host-a (pool-1), running"
	Found    string         // the same of what is, or "nowhere: " and the driver's error
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("apply step %d: plan is stale: %s: expected %s, found %s", e.Step, who(e.VM, e.Module), e.Expected, e.Found)
}

// UnknownError says that it could not be established what became of a step. Its intent stays open in the journal:
// another run asks again.
type UnknownError struct {
	Step   int
	VM     fleet.VMID
	Module fleet.ModuleID // instead of VM, in a step that moves a module
	Found  string         // what was seen last
	Err    error          // what made the outcome unknown; nil when the driver reported success
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("apply step %d: outcome unknown: %s: last seen: %s", e.Step, who(e.VM, e.Module), e.Found)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *UnknownError) Unwrap() error { return e.Err }

// StepError says that a step failed and its VM is where it was. The same plan can be applied again when the cause is
// gone.
type StepError struct {
	Step   int
	VM     fleet.VMID
	Module fleet.ModuleID // instead of VM, in a step that moves a module
	Err    error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("apply step %d: %s is where it was: %v", e.Step, who(e.VM, e.Module), e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// RiskError refuses a plan before anything is done because a step needs a risk accepted.
type RiskError struct {
	Step int
	VM   fleet.VMID
	Risk plan.Risk
}

func (e *RiskError) Error() string {
	return fmt.Sprintf("apply step %d: vm %s: risk %q is not accepted", e.Step, e.VM, e.Risk)
}

// JournalError refuses a journal that does not belong to the plan as it is, or makes no sense.
type JournalError struct {
	Record int // from 1; 0 for the journal as a whole
	Reason string
}

func (e *JournalError) Error() string {
	if e.Record == 0 {
		return "read journal: " + e.Reason
	}
	return fmt.Sprintf("read journal: record %d: %s", e.Record, e.Reason)
}

// StepsError is what several steps of one wave ended with, in the order of the steps. It reads as the first, with the next few
// behind it.
type StepsError struct {
	Errs []error // at least two, at most MaxParallel
}

// maxToldErrors bounds the errors that the text of a StepsError tells.
const maxToldErrors = 4

func (e *StepsError) Error() string {
	var b strings.Builder
	for i, err := range e.Errs {
		switch i {
		case 0:
		case maxToldErrors:
			fmt.Fprintf(&b, "; and %d more", len(e.Errs)-i)
			return b.String()
		default:
			b.WriteString("; also: ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap gives all of them: the worst decides the exit code.
func (e *StepsError) Unwrap() []error { return e.Errs }

// describe prints a place and a power state for people: "host-a (vda: nvme-1), running".
func describe(p fleet.Placement, power fleet.PowerState) string {
	disks := make([]string, len(p.Disks))
	for i, d := range p.Disks {
		disks[i] = fmt.Sprintf("%s: %s", d.Disk, d.Pool)
	}
	return fmt.Sprintf("%s (%s), %s", p.Host, strings.Join(disks, ", "), power)
}
