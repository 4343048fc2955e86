// Package sim is a fleet that exists in memory only: a seeded generator of snapshots of any size, and a driver
// over a snapshot with rules that make its calls fail, for tests, benchmarks and trying out a policy.
//
// Generate makes a fleet as it is met before Berth comes: hosts of three tiers in chassis and clusters, shared
// and local pools, NICs of classes 0 to 3, VMs with labels of every kind of trust, and a share of VMs in the
// wrong place. The built-in catalogue recognises its tiers.
//
// Invariants of a generated snapshot: fleet.Snapshot.Validate accepts it; one set of Options gives the same bytes
// on every machine; a placement exists that breaks no requirement of the built-in catalogue (each VM is first given
// a right place, capacity follows from those places, and only then are VMs misplaced); VMs that may not be moved
// are in their right place. The generator has no clock and no state.
package sim
