// Package plan is exact intent: which VM moves from where to where, in which order, in which mode, and why.
//
// A Plan is immutable, names the snapshot and the policy that it was made from, and leaves no meaningful
// choice to execution. A File joins a plan with that snapshot and policy, so that one file shows, explains,
// checks and applies it anywhere.
//
// Check is an independent verifier: it imports nothing of the solver and walks the steps one by one, holding
// each intermediate state against every hard constraint.
//
// The JSON is versioned (Version) and canonical: equal plans are equal bytes. The package is pure.
package plan
