package executor

import "github.com/berth-project/berth/fleet"

// EventKind says what an Event reports.
type EventKind string

// The kinds of events, in the order in which a step can have them.
const (
	StepStarted  EventKind = "started"  // about to act
	StepResumed  EventKind = "resumed"  // about to act again on an intent of an earlier run
	StepProgress EventKind = "progress" // Done of Total bytes
	StepWaiting  EventKind = "waiting"  // not settled yet: Err and Detail say why
	StepRetried  EventKind = "retried"  // about to act again after Err
	StepFinished EventKind = "finished" // at its target
	StepSkipped  EventKind = "skipped"  // was at its target already
	StepStopped  EventKind = "stopped"  // failed, or cut short: Err says why, and no other step is begun any more
)

// Event is one report of progress. Those of one step come in order; steps of one wave mix.
type Event struct {
	Kind        EventKind
	Step, Steps int // the step's number and how many there are
	VM          fleet.VMID
	Module      fleet.ModuleID // instead of VM, in a step that moves a module
	Done, Total fleet.Bytes
	Attempt     int // of StepRetried, from 2
	Detail      string
	Err         error
}
