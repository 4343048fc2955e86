// Package audit finds what a single look at a disk's label cannot: that it is older than it was, that it is gone, that
// two disks have one and the same.
//
// It judges the label of each disk by what was recorded of it when it was last seen (Judge), and merges the record with the
// disks of a walk, which come in the same order, so that neither has to fit into memory (Merge). The record is a file of
// JSON lines with a checksum over all of it (Reader, Writer); where it lies, its lock and its atomic replacement are the
// caller's.
//
// Invariants: a record is used whole or not at all; only a label that verifies raises what is recorded of a disk, so that
// nobody who can write to an image can spoil its record; what was recorded of a label stays until a person accepts that
// it is gone or older.
package audit
