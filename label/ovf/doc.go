// Package ovf reads and changes the labels of virtual appliances: OVF packages (a descriptor with its files beside it)
// and OVA archives (the same files in one tar), after DMTF DSP0243 1.1 and 2.1. Package diskimage knows single disks;
// this one knows which disks an appliance has, keeps their labels in a section of the descriptor and in the disks
// themselves, and keeps manifest and signature true.
//
// The package makes no call of the operating system. A change is worked out as an Edit, which is data: what each file
// of the package becomes. The descriptor is edited as text: bytes outside our own section stay as they are, and
// removing the labels gives back the very descriptor.
//
// Every package is taken for hostile: counts, sizes, depths and names are bounded before they are used, no document type
// is read, no entity expanded, and nothing outside the package is opened.
package ovf
