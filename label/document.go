package label

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bytes is an amount of storage or memory in bytes.
type Bytes int64

// Limits of a document. MaxSize is the largest integer that every JSON reader keeps exact (RFC 7493, 2.2).
const (
	MaxOverrides       = 16
	MaxIssuer          = 128 // characters
	MaxSize      Bytes = 1<<53 - 1
)

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
	// UUID is the image format's own: ddb.uuid of a VMDK; empty where the image has none. At most 64
	// of [A-Za-z0-9-]; package diskimage gives it as 8-4-4-4-12 lower-case hexadecimal digits.
	UUID string `json:"uuid,omitempty"`
	// Size is the virtual size of the disk.
	Size Bytes `json:"size"`
}

// OverrideKeys are the requirements that a document may override, sorted. What a value means is package
// policy's matter.
func OverrideKeys() []string {
	return []string{
		"affinity.group", "hypervisor", "nic.class", "nic.queues", "nic.rate", "priority", "security.class",
		"server.tier", "spread.domain", "spread.group", "storage.iops", "storage.tier",
	}
}

// isWord says whether s is 1 to 64 letters without an accent, digits and characters of more; lower: no capital letters.
func isWord(s string, lower bool, more string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' && !lower {
			continue
		}
		if strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// Validate reports the first field that breaks a rule of the document. The wire form of a valid document is
// at most MaxPayload bytes.
func (d *Document) Validate() error {
	if !isWord(d.Level, true, "._-") {
		return fmt.Errorf("check label: level %q, expected 1 to 64 of [a-z0-9._-]", clip(d.Level))
	}
	if len(d.Overrides) > MaxOverrides {
		return fmt.Errorf("check label: %d overrides, expected at most %d", len(d.Overrides), MaxOverrides)
	}
	for _, k := range slices.Sorted(maps.Keys(d.Overrides)) {
		if !slices.Contains(OverrideKeys(), k) {
			return fmt.Errorf("check label: override %q is not known, expected one of %s", clip(k), strings.Join(OverrideKeys(), ", "))
		}
		if v := d.Overrides[k]; !isWord(v, false, "._/-") {
			return fmt.Errorf("check label: override %s is %q, expected 1 to 64 of [A-Za-z0-9._/-]", k, clip(v))
		}
	}
	if d.Disk.Size <= 0 || d.Disk.Size > MaxSize {
		return fmt.Errorf("check label: disk size %d, expected 1 to %d bytes", d.Disk.Size, MaxSize)
	}
	if u := d.Disk.UUID; u != "" && !isWord(u, false, "-") {
		return fmt.Errorf("check label: disk uuid %q, expected at most 64 of [A-Za-z0-9-]", clip(u))
	}
	if d.Serial == 0 {
		return fmt.Errorf("check label: serial 0, expected 1 or more")
	}
	if err := checkIssuer(d.Issuer); err != nil {
		return err
	}
	if err := checkTime("issued", d.Issued); err != nil {
		return err
	}
	if !d.Expires.IsZero() {
		return checkTime("expires", d.Expires)
	}
	return nil
}

func checkIssuer(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxIssuer {
		return fmt.Errorf("check label: issuer %q, expected at most %d characters of UTF-8", clip(s), MaxIssuer)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return fmt.Errorf("check label: issuer %q holds %U, expected printable characters", clip(s), r)
		}
	}
	return nil
}

func checkTime(field string, t time.Time) error {
	if t.Location() != time.UTC || t.Nanosecond() != 0 || t.Year() < 1970 || t.Year() > 9999 {
		return fmt.Errorf("check label: %s %s, expected whole seconds of UTC in the years 1970 to 9999", field, t.Format(time.RFC3339Nano))
	}
	return nil
}

// clip bounds what an error message repeats of bad input.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
