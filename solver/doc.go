// Package solver makes plans: a problem in, an ordered plan with reasons out.
//
// It places VMs whose hard needs are broken (priority first, then size), makes room for them by moving VMs of
// lower priority that get a legal place elsewhere, then moves VMs off hardware above their need where that
// pays for the move. Where the policy lets a level give way, VMs of it are displaced last, below their tiers, for a higher
// priority that has no right place otherwise. Every move is made on a state that is legal before and after it, so the order in which
// moves are found is an order in which they can run.
//
// Invariants: the same problem and options give the same plan on every machine; solving the state that a
// plan leads to gives no step; nothing is planned that a driver cannot do; a VM never gives way to one of
// lower priority. The package is pure: no I/O, clock, goroutine, global randomness or order of a map.
package solver
