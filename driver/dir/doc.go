// Package dir is the driver for disk images in local folders: it opens an image for reading, or for writing
// under the locks that hypervisors respect.
//
// Invariants: what is not a regular file with content is refused before anything is opened for writing; an
// image that a hypervisor has open is refused (*LockedError) and not touched; while an image is open for writing
// QEMU refuses to open it (OFD write locks on bytes 100 to 203, the range that QEMU locks); a replaced file
// keeps its mode, owner, extended attributes and ACL, and is the old one or the new one at every moment.
package dir
