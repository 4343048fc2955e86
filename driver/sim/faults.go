package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// Op is one operation of the simulated hypervisors. Each is one place where a fault can strike.
type Op string

// The operations: those that ask, then the phases of a relocation in the order in which they come.
const (
	OpObserve  Op = "observe"
	OpOpen     Op = "open"
	OpLocate   Op = "locate"
	OpPrecheck Op = "precheck"
	OpBegin    Op = "begin"    // Relocate was called
	OpShutdown Op = "shutdown" // the guest, for an offline move
	OpCreate   Op = "create"   // an empty volume at the target
	OpCopy     Op = "copy"     // its content, kept in step with a running guest
	OpPivot    Op = "pivot"    // a running guest's disk to its copy
	OpDefine   Op = "define"   // the VM at the target, or its disks anew on the same host
	OpSwitch   Op = "switch"   // the running guest to the target host
	OpUndefine Op = "undefine" // the VM at the source
	OpStart    Op = "start"
	OpStop     Op = "stop"
	OpClean    Op = "clean" // one volume that is left at the source
	OpEnd      Op = "end"   // Relocate is about to return success
)

// Action is what a fault does.
type Action int

// The actions.
const (
	// Fail returns an error of the fault's Kind.
	Fail Action = iota
	// Hang blocks until the caller's context ends; the outcome is then unknown.
	Hang
	// Lose cuts the caller off with an unknown outcome. The relocation goes on without it: after Polls more
	// calls of Locate it has come to its end (Completes) or has died where it was.
	Lose
	// Crash panics with a Crash value: the process of the caller dies here.
	Crash
)

// Fault is one rule. It strikes at the operations that match all of At, Op and VM.
type Fault struct {
	At     int        // the number of the operation, from 1, over the life of the fleet; 0: any
	Op     Op         // empty: any
	VM     fleet.VMID // empty: any
	Times  int        // how often it strikes; 0 is once
	Action Action
	After  bool            // the operation has its effect first
	Kind   fleet.ErrorKind // of Fail
	// Polls and Completes belong to Lose.
	Polls     int
	Completes bool
}

// Crashed is what a Crash panics with.
type Crashed struct {
	N  int
	Op Op
}

func (c Crashed) String() string {
	return fmt.Sprintf("simulated crash at operation %d (%s)", c.N, c.Op)
}

// errInjected is the cause of every error that a fault rule makes.
var errInjected = errors.New("injected fault")

// Inject adds a fault rule.
func (f *Fleet) Inject(rule Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rule.Times = max(rule.Times, 1)
	f.rules = append(f.rules, &rule)
}

// ClearFaults removes every fault rule.
func (f *Fleet) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Operations is how many operations there were.
func (f *Fleet) Operations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// operate makes one operation: it counts it, lets faults strike, and makes the effect, all under the lock.
// errLost says that a Lose struck.
func (f *Fleet) operate(ctx context.Context, op Op, vm fleet.VMID, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return &fleet.DriverError{Kind: fleet.Unknown, Op: string(op) + " vm " + string(vm), Err: err}
	}
	rule, err := f.effect(op, vm, effect)
	if rule == nil || err != nil {
		return err
	}
	fail := func(kind fleet.ErrorKind, err error) error {
		return &fleet.DriverError{Kind: kind, Op: string(op) + " vm " + string(vm), Err: err}
	}
	switch rule.Action {
	case Hang:
		<-ctx.Done()
		return fail(fleet.Unknown, ctx.Err())
	case Lose:
		return fail(fleet.Unknown, &lostError{polls: rule.Polls, completes: rule.Completes})
	default:
		return fail(rule.Kind, errInjected)
	}
}

func (f *Fleet) effect(op Op, vm fleet.VMID, effect func() error) (*Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops++
	rule := f.match(op, vm)
	if rule != nil && !rule.After {
		return f.strike(rule, op), nil
	}
	err := effect()
	f.tick()
	f.inspect()
	if rule != nil {
		f.strike(rule, op)
	}
	return rule, err
}

func (f *Fleet) strike(rule *Fault, op Op) *Fault {
	if rule.Action == Crash {
		panic(Crashed{f.ops, op})
	}
	return rule
}

func (f *Fleet) match(op Op, vm fleet.VMID) *Fault {
	for _, r := range f.rules {
		if r.Times > 0 && (r.At == 0 || r.At == f.ops) && (r.Op == "" || r.Op == op) && (r.VM == "" || r.VM == vm) {
			r.Times--
			return r
		}
	}
	return nil
}

// lostError tells Relocate that its caller was cut off.
type lostError struct {
	polls     int
	completes bool
}

func (e *lostError) Error() string { return "the connection was lost" }

// Violations is every breach of what no driver may ever do, in the order in which they came: a VM running
// twice, defined nowhere, on volumes that are missing or older than what its guest wrote, or a full pool.
func (f *Fleet) Violations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.violations...)
}

func (f *Fleet) violate(format string, args ...any) {
	const most = 100
	if len(f.violations) < most {
		f.violations = append(f.violations, fmt.Sprintf("operation %d: ", f.ops)+fmt.Sprintf(format, args...))
	}
}

// inspect checks the invariants of the VM that the last operation touched.
func (f *Fleet) inspect() {
	g := f.touched
	if g == nil {
		return
	}
	f.touched = nil
	if len(g.defs) == 0 {
		f.violate("vm %s is defined nowhere", g.vm.ID)
	}
	running := 0
	for _, host := range g.hosts() {
		def := g.defs[host]
		if def.power == fleet.Running {
			running++
		}
		for i, at := range def.disks {
			v := f.volumes[at]
			switch {
			case def.power != fleet.Running && len(g.defs) > 1: // the half of a move that does not count
			case v == nil || v.owner != g || !v.whole:
				f.violate("vm %s disk %s: no whole volume %s on pool %s", g.vm.ID, g.vm.Disks[i].ID, at.path, at.pool)
			case v.writes != g.writes:
				f.violate("vm %s disk %s: %d writes of its guest are lost", g.vm.ID, g.vm.Disks[i].ID, g.writes-v.writes)
			}
		}
	}
	if running > 1 {
		f.violate("vm %s runs %d times", g.vm.ID, running)
	}
	for at := range g.files {
		if f.pools[at.pool].Free < 0 {
			f.violate("pool %s is over-full while vm %s moves", at.pool, g.vm.ID)
		}
	}
}
