package label

import "time"

// Bytes is an amount of storage or memory in bytes.
type Bytes int64

// Document is what a label says. Its wire form is canonical JSON.
type Document struct {
	// Level is the name of a service level of the catalogue: 1 to 64 of [a-z0-9._-].
	Level string `json:"level"`
	// Overrides changes single requirements of the level for this disk. Keys: OverrideKeys.
	Overrides map[string]string `json:"overrides,omitempty"`
	// Disk binds the label to one virtual disk.
	Disk Binding `json:"disk"`
	// Serial counts up with every change of this disk's label, from 1; an older one never wins.
	Serial uint32 `json:"serial"`
	// Issuer says who set the label; free text of at most 128 characters. Trust comes from the key alone.
	Issuer string `json:"issuer,omitempty"`
	// Issued and Expires are UTC, whole seconds (RFC 3339). A zero Expires never expires.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires,omitzero"`
}

// Binding is the identity of the disk that a label was made for.
type Binding struct {
	// UUID is the image format's own: ddb.uuid of a VMDK; empty where the image has none.
	UUID string `json:"uuid,omitempty"`
	// Size is the virtual size of the disk.
	Size Bytes `json:"size"`
}

// Validate is written by the label package's owner.
func (d *Document) Validate() error { return nil }
