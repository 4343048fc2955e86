// Package diskimage finds, reads and replaces the label of a disk image. One file a format; no format is
// known by its name, all by content.
//
// The package makes no call of the operating system: an image is a File, and an image that consists of
// several files, or whose file has to be replaced as a whole, is a Folder. So one codec serves a local file,
// a libvirt volume and a vSphere datastore. A change is first worked out as an Edit, which is data: the
// bytes to write in steps with a sync after each, or a whole new content. Applying an Edit that is cut off
// after any subset of the writes of one step leaves the old label or the new one, and the guest's data as
// it was.
//
// Every image is taken for hostile: sizes, offsets and counts from it are bounded before they are used.
package diskimage
