// Package executor runs a plan one step after another and can be killed at any point: a second run with the
// same journal goes on where the first one stopped.
//
// # Rules
//
// The journal says what was intended, only the hypervisors say what is. Before a step acts, its intent is
// journalled and on disk, with the power state that the VM then had; after a crash the step with an open
// intent is asked for (Mover.Locate) and brought to its end by the same call (Mover.Relocate), whatever state
// it is in. A VM that is where no step can have put it makes the plan stale: nothing is done to it.
//
// An outcome that is not known is never taken as settled: the hypervisors are polled until they agree that the
// VM is at its target. When they agree on another place of this move, or cannot agree in time, Relocate is called
// once more, which goes on from any state; after that the run stops with an *UnknownError and the intent stays
// open.
//
// # Journal records
//
// One JSON object each, see Record. The first names the plan and the digest of its content; a journal of
// another plan, or a plan that was altered since, is refused. For each step there follow, in order: intent,
// then done, failed or unknown; failed closes the intent, unknown leaves it open.
package executor
