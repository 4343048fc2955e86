// Package search improves an assignment of model.Problem: an anytime local search over shifts, swaps and chains, with
// exact integer deltas. It keeps every hard constraint that holds and never adds a violation, so that it may be stopped
// after any step. The package is pure: a budget is a number of steps and a stop function, and the same problem, start,
// seed and steps give the same answer on every machine.
package search
