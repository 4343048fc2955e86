// Package vmlabel reads, sets and removes the labels of a VM's disks through its hypervisor: in the image while it is
// closed, and in the hypervisor's own metadata while a running VM keeps it open, since QEMU would overwrite a label that
// is written under it and ESXi locks the file.
//
// Invariants: of the two labels of a disk the one with the higher serial counts, the image's when they are equal; a new
// label's serial is above both; a label in the metadata is removed only after the same or a newer one was read back from
// the image. So whatever is cut off, the label that counts is the old one or the new one.
package vmlabel
