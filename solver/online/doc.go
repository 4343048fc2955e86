// Package online places one VM at a time into a model.Problem that lives: VMs come and go, hosts open, close and are
// added. A decision takes microseconds, because the hosts are the leaves of one tree whose nodes know what the hosts
// under them have free at most and would cost at least; only the branches that can hold a cheaper place are looked at.
//
// Place says where, Commit makes it so, Remove takes a VM away, Preempt says who of lower priority would have to give way.
// All hard constraints of the model hold after every Commit. A "no" is true: the search ends early only when it has a
// place in hand (Options.Candidates). What is cheapest is the model's soft costs; ties go by a packing score.
//
// Lifetimes learns how long VMs of a class stay from those that left and those that still run, and Rater lets a
// placement use it; Consolidate frees hosts at few moves. The package is pure: the clock is a number that the caller
// gives, and the same calls give the same decisions on every machine.
package online
