// Package executor runs a plan wave after wave, the steps of one wave at once, and can be killed at any point: a second run
// with the same journal goes on where the first one stopped.
//
// # Rules
//
// The journal says what was intended, only the hypervisors say what is. Before a step acts, its intent is
// journalled and on disk, with the power state that the VM then had; after a crash the steps with an open
// intent are asked for (Mover.Locate) and brought to their end by the same call (Mover.Relocate), whatever state
// they are in. A VM that is where no step can have put it makes the plan stale: nothing is done to it.
//
// A plan does not know which file names are taken in a pool. A driver that can give an image another name is asked for free
// ones before the look at the VM (Namer), and they are journalled with the intent: while nothing stands on a copy yet, the hypervisors
// cannot tell whose it is.
//
// An outcome that is not known is never taken as settled: the hypervisors are polled until they agree that the
// VM is at its target. When they agree on another place of this move, or cannot agree in time, Relocate is called
// once more, which goes on from any state; after that the run stops with an *UnknownError and the intent stays
// open.
//
// # Waves
//
// The steps of one wave are legal at once and in any order (plan.Check); how many of them may share a host, a link or a
// pool is the planner's business. At most Deps.Parallel are under way. The next wave begins when every step of this one is
// done. A step is under way from its intent on: once another has failed, or the context has ended, no intent is written any
// more, and a step whose VM was only asked for is not begun; those under way are brought to their end. One that failed does
// not keep those of an earlier run from being brought to theirs.
//
// A run that goes on does so in this order: the open steps, all of them; then a look whether what was done still holds; then
// Deps.Resumed; then the waves that are left.
//
// # Journal records
//
// One JSON object each, see Record. The first names the plan and the digest of its content; a journal of
// another plan, or a plan that was altered since, is refused. For each step there follow, in order: intent,
// then done, failed or unknown; failed closes the intent, unknown leaves it open. The records of steps of one wave mix; one of a
// step before every step of the earlier waves is done is refused. A journal that was written one step after another keeps
// to that as well.
//
// # Goroutines and locks
//
// A group of steps has at most Deps.Parallel goroutines, the caller's included, and Run returns after the last of them. A step
// belongs to one of them. run.mu guards history, skipped and halt, and is held while a record is appended, so that the
// journal and the history have one order; run.reporting is held while Report is called; group.mu guards the queue. None of the
// three is taken while another is held. A driver may hold locks of its own when it calls progress; Report is then called
// within them.
package executor
