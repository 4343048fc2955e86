// Package replay plays a trace of arrivals and departures against a fleet: each arrival is placed at once and without
// knowledge of how long it will live, and now and then the planner improves what runs, within a budget of moves.
// It reports what became of every VM, what it cost in moves and host-hours, and how many hard constraints were
// broken, counted without a line of the solver: package plan judges every state that is looked at.
//
// Time is that of the trace, in seconds. Nothing here reads a clock: the caller may time the placer's answers and
// hand over the figures, and all else is a function of the trace, the fleet, the policy and the options alone.
//
// A trace is CSV with a header, plain or gzip; see Read for its two forms and the limits of both.
package replay
