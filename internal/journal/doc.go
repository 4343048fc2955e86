// Package journal is an append-only log of opaque records that survives a crash at any point: a record whose
// Append returned nil is returned by every later Open, and a record is returned whole or not at all.
//
// # On disk
//
// One file, integers little endian:
//
//	header   "BERTHJNL" | version u32 (1) | CRC-32C u32 of the 12 bytes before
//	record   length u32 (1 to MaxRecord) | CRC-32C u32 of the length field and the payload | payload
//	record   ...
//
// The folder has mode 0700, the file 0600, both only when this package creates them. The file grows by one
// record at each Append and is never rewritten, so that it can be watched from outside.
//
// # Rules
//
// One writer: the file is held under an exclusive flock from Open to Close, a second opener gets ErrLocked.
// Append returns after fsync; creation syncs the folder too. Since there is never more than one record that
// is not synced, a crash can damage only the last one: Open cuts such a torn tail off. Damage that is
// followed by a valid record, or that is longer than a record can be, is no torn tail but corruption, and Open
// refuses it with a *CorruptError that names the offset. A damaged last record looks like a torn one and is
// cut off; a caller that asks the world and not the journal what happened is safe from that.
//
// A write or fsync that failed poisons the journal: what is on disk is then not known, so every later Append
// fails with ErrPoisoned until the file is opened anew.
package journal
