// Package label is the service label that a disk image carries: the document, the stored frame, the
// signature, and the trust that a key is given.
//
// A label states a need ("gold"), never a piece of hardware; package policy maps needs to hardware. The
// format is normative in docs/formats/label.md; package diskimage knows where in an image a frame lives.
//
// On disk a label is one frame (all integers little endian):
//
//	"BLB1" | version u8 | flags u8 | serial u32 | length u16 | key id 8 B | signature 64 B | payload | CRC-32C
//
// The payload is the document as canonical JSON (RFC 8785). The signature is Ed25519 over the DSSE
// pre-authentication encoding of the payload, so that a label exports as a DSSE envelope unchanged.
//
// Invariants: a frame decodes only when its CRC, length and version are right; encoding a decoded frame
// gives the same bytes; a document that decodes is valid (Document.Validate). The package is pure and part
// of the public API.
package label
