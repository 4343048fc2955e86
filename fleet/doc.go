// Package fleet holds the nouns of Berth: hosts, NICs, pools, VMs, disks, and the Snapshot that joins what
// was seen of them with the Gaps that were not.
//
// A Snapshot is an inventory: it says what is, never what is wanted (package policy) or intended (package
// plan). It is data only: it is built by internal/inventory or driver/sim, serialised as JSON (berth fleet
// export), and everything after it is a pure function of it.
//
// Invariants, checked by Snapshot.Validate: identifiers are unique, non-empty and free of control
// characters; every reference names something in the snapshot; amounts are not negative; slices are sorted
// by identifier, so that equal fleets are equal bytes.
//
// The package is pure: no I/O, no clock, no goroutine, no randomness.
package fleet
