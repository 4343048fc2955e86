// Package vsphere drives a vCenter (or one ESXi host) through its own API: it observes hosts, datastores and
// VMs, reads disk images through the datastores' file access, and moves VMs by RelocateVM_Task.
//
// # Invariants
//
// Observe makes one round trip for each type of object, never one for each object. State is asked of the
// vCenter every time: a Driver keeps a session and nothing else, so that after a crash the same call on a new
// Driver goes on where the world is. Every wait has a deadline. Every error of a Mover's method is a
// *fleet.DriverError. Credentials are never printed: Credentials formats as "[redacted]" under every verb.
//
// # Identifiers
//
// A host, datastore and VM go by their names. Where two objects of a kind share one name, each gets its
// inventory path appended: "vm-db (/dc-1/vm/team-a/vm-db)". A disk goes by its device key ("2000"), an image
// by its datastore path ("[nvme-1] vm-db/vm-db.vmdk").
package vsphere
