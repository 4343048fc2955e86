package convert

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"

	"github.com/berth-project/berth/label/diskimage"
)

// maxDescriptor is the longest text that QEMU does not cut off, in bytes: 20 sectors, the last byte NUL.
const maxDescriptor = 20*512 - 1

// extentLine is `RW 4192256 SPARSE "disk-s001.vmdk"` (Virtual Disk Format 5.0, "The Extent Description").
var extentLine = regexp.MustCompile(`(?m)^([ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+\d+[ \t]+[A-Za-z]+[ \t]+")([^"\n]*)(")`)

// renameInText exchanges the names of extents, and nothing else.
func renameInText(text []byte, names map[string]string) ([]byte, error) {
	for _, to := range names {
		if strings.ContainsFunc(to, func(r rune) bool { return r == '"' || unicode.IsControl(r) || r == unicode.ReplacementChar }) {
			return nil, fmt.Errorf("%w: %q cannot be the name of a part", ErrRequest, to)
		}
	}
	out := extentLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := extentLine.FindSubmatch(line)
		to, ok := names[string(m[2])]
		if !ok {
			return line
		}
		return bytes.Join([][]byte{m[1], []byte(to), m[3]}, nil)
	})
	if len(out) > maxDescriptor {
		return nil, fmt.Errorf("%w: with the new names the descriptor has %d bytes, QEMU keeps %d", diskimage.ErrNoRoom, len(out), maxDescriptor)
	}
	return out, nil
}

// rewriteDescriptor does it in the descriptor file at path, which nobody else knows of yet.
func rewriteDescriptor(path string, names map[string]string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Size() > 2*(maxDescriptor+1) {
		return fmt.Errorf("%w: a descriptor of %d bytes", diskimage.ErrCorrupt, st.Size())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, _, padded := bytes.Cut(content, []byte{0})
	out, err := renameInText(text, names)
	if err != nil {
		return err
	}
	if padded { // to whole sectors, as QEMU does
		out = append(out, make([]byte, 512-len(out)%512)...)
	}
	return os.WriteFile(path, out, st.Mode().Perm()) // it is there: its mode stays
}
