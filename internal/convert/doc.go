// Package convert makes another image of a disk: in another format, with the work done by qemu-img, or as a copy of
// its bytes. Either carries the label.
//
// Invariants: the destination appears under its name as a whole, with its label in it and read back, or not at all; what
// stood there before is touched only when the caller asked for that and all else has been done. The source is only
// read, under the locks that keep writers away. Whatever ends the work, the temporary folder goes with it; after a kill or a
// power cut it is left under a name that dir.IsTemp knows. A label that would not count at the destination is never
// written there: the conversion is refused, before the long copy where that can be known.
package convert
