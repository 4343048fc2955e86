// Package whatif asks what would become of a fleet that is changed: hosts, chassis, racks, sites, I/O modules or pools that are
// lost, hosts that are added, NICs that get faster, hosts that are patched.
//
// It is a pure function of a snapshot, a catalogue and the changes: the snapshot is copied, the copy changed and planned by the
// same solver as every other plan, and both ends compared. Nothing is written and no hypervisor asked.
//
// A VM on a host that is lost has no host that it could move away from. It is started anew elsewhere, from the disks that a host
// which is left can reach. One with a disk, or a backing file, in a pool that no such host reaches is lost with it.
package whatif
