package diskimage

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-project/berth/label"
)

// What the comment of a VDI holds when it is ours. The short form is the whole label in text, since VirtualBox takes the
// comment for UTF-8 that people read: the magic, the seal (key id, signature and CRC of the frame; of an unsigned label the CRC
// alone) in base64url, the disk's UUID in base64url or a hyphen, its size, and the document without its disk. A label that
// is too long is only named: the magic, level, serial and the SHA-256 of the frame.
const (
	shortMagic = "berth1 "
	hintMagic  = "berth0 "
	sealSize   = 8 + 64 + 4
)

// shortForm is the comment that holds frame; empty: it would be too long, or the label's disk has a UUID of another form.
func shortForm(frame label.Frame) string {
	encoded, err := frame.Encode()
	if err != nil {
		return ""
	}
	doc, err := frame.Document()
	if err != nil {
		return ""
	}
	seal := encoded[len(encoded)-4:]
	if frame.KeyID != (label.KeyID{}) || frame.Signature != [64]byte{} {
		seal = append(append(append([]byte{}, frame.KeyID[:]...), frame.Signature[:]...), seal...)
	}
	uuid := "-"
	if doc.Disk.UUID != "" {
		raw, err := hex.DecodeString(strings.ReplaceAll(doc.Disk.UUID, "-", ""))
		if err != nil || normalUUID(doc.Disk.UUID) != doc.Disk.UUID {
			return ""
		}
		uuid = base64.RawURLEncoding.EncodeToString(raw)
	}
	rest, ok := strings.CutPrefix(string(frame.Payload), diskMember(doc.Disk))
	text := fmt.Sprintf("%s%s %s %d {%s", shortMagic, base64.RawURLEncoding.EncodeToString(seal), uuid, doc.Disk.Size, rest)
	if !ok || len(text) >= vdiCommentSize {
		return ""
	}
	return text
}

// diskMember is what the canonical document begins with: the disk comes first by its name.
func diskMember(disk label.Binding) string {
	if disk.UUID == "" {
		return fmt.Sprintf(`{"disk":{"size":%d},`, disk.Size)
	}
	return fmt.Sprintf(`{"disk":{"size":%d,"uuid":"%s"},`, disk.Size, disk.UUID)
}

// parseShort is the label in the short form, or nil. It takes nothing that shortForm would not write.
func parseShort(text string) *label.Frame {
	rest, _ := strings.CutPrefix(text, shortMagic)
	part := strings.SplitN(rest, " ", 4)
	if len(part) != 4 || !strings.HasPrefix(part[3], "{") {
		return nil
	}
	seal, err := base64.RawURLEncoding.DecodeString(part[0])
	if err != nil || len(seal) != sealSize && len(seal) != 4 {
		return nil
	}
	var disk label.Binding
	size, err := strconv.ParseInt(part[2], 10, 64)
	if err != nil {
		return nil
	}
	disk.Size = label.Bytes(size)
	if part[1] != "-" {
		raw, err := base64.RawURLEncoding.DecodeString(part[1])
		if err != nil {
			return nil
		}
		disk.UUID = normalUUID(hex.EncodeToString(raw))
	}
	payload := []byte(diskMember(disk) + part[3][1:])
	doc, err := label.ParseDocument(payload)
	if err != nil {
		return nil
	}
	frame := label.Frame{Serial: doc.Serial, Payload: payload}
	if len(seal) == sealSize {
		copy(frame.KeyID[:], seal)
		copy(frame.Signature[:], seal[8:])
	}
	encoded, err := frame.Encode()
	if err != nil || binary.BigEndian.Uint32(encoded[len(encoded)-4:]) != binary.BigEndian.Uint32(seal[len(seal)-4:]) || shortForm(frame) != text {
		return nil
	}
	return &frame
}

// hintForm is the comment that names frame when it is too long for it. It holds at most 155 bytes.
func hintForm(frame label.Frame) (string, error) {
	doc, err := frame.Document()
	if err != nil {
		return "", err
	}
	encoded, err := frame.Encode()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%s serial %d sha256:%x", hintMagic, doc.Level, doc.Serial, sha256.Sum256(encoded)), nil
}

// commentBytes is a text as the whole field.
func commentBytes(text string) []byte {
	return append([]byte(text), make([]byte, vdiCommentSize-len(text))...)
}
