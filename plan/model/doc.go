// Package model is the planner's problem in numbers, and the referee of its answers. Everything that decides a place
// (solver/search, solver/online) reads a Problem; a fleet, and each benchmark, is compiled into one. There is no second
// form of the problem, and nothing in it says where it came from.
//
// A Problem has hosts with resources, pools with resources, NICs, VMs with disks, and groups of VMs. An Assignment gives
// every VM a host (or None) and every disk a pool. Verify says which hard constraints an assignment breaks, Evaluate what
// it costs, Bound what every assignment costs at least. The three share no code with the search, so that they can
// judge it.
//
// Invariants. Amounts are non-negative int64; Validate refuses a problem in which any sum or product that Evaluate forms
// could overflow. Everything is an index into the problem's slices; equal problems are equal slices, so that no result
// depends on the order of a map. A Problem is read-only once validated and may be shared by several searches.
package model
