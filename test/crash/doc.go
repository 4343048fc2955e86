// Package crash constructs disk images and enumerates what a power cut can leave of an edit, for the tests of
// every layout that carries a label.
//
// The model: an edit is steps; all writes of a step are unsynced until its end, and of these any subset of
// 512-byte sectors may have reached the disk, in any order, with the file as long as before, as long as the last
// such sector needs, or as long as it was to be. A single sector is written whole or not at all.
//
// The images of VirtualBox and VMware are constructed here byte for byte after their makers' formats, since
// neither program is at hand; those of QEMU come from qemu-img.
package crash
