// Package inventory takes a Snapshot of all sources: what is, with the Gaps of what could not be seen.
//
// Rules: a source that fails, an image that cannot be read and a format that carries no label are each a Gap,
// never an error and never silence; a disk whose label could not be read is "unread", not "unlabelled". A
// label is looked for only in an image that the hypervisor itself runs as a format with labels: the first
// bytes of a raw disk belong to its guest, who could write a label there.
//
// A label is read from the top image of a disk or, where that has none, from its nearest labelled ancestor,
// and is verified against the identity of the image that holds it.
//
// Identifiers stay as the drivers give them unless two sources use the same one: then each of these gets
// "source/" before it.
package inventory
