package convert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"unicode/utf8"

	"github.com/berth-project/berth/label/diskimage"
)

// Bounds of QEMU's reader of descriptors (block/vmdk.c, vmdk_read_desc and vmdk_parse_extents), in bytes. A longer name it cuts
// off, and opens what is left of it.
const (
	maxText = 1<<20 - 1
	maxName = 511
)

// blanks are what QEMU's sscanf takes for the space between two words, line ends among them.
const blanks = " \t\n\v\f\r"

// plainExtent is the one spelling of an extent that QEMU and we cannot read differently: all on one line, and with a name if there
// is a file.
var plainExtent = regexp.MustCompile(`^[ \t]*RW +[0-9]+ +(?:ZERO|[A-Z]+ +"[^"\r]*"(?: +[0-9]+(?: [^\r]*)?)?)[ \t]*\r?$`)

// partsOf are the files that the descriptor at path names, none of which may lie outside its folder. QEMU opens whatever is
// written there, and is given nothing that it might read as another name.
func partsOf(path string, info *diskimage.Info) ([]string, error) {
	if info.Format != diskimage.FormatVMDK {
		return nil, nil
	}
	text, err := descriptorText(path)
	if err == nil && text != nil {
		err = plainExtents(text, info.Extents)
	}
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	if text == nil {
		return nil, nil
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	defer func() { _ = root.Close() }() // it was only read
	var parts []string
	for _, e := range info.Extents {
		if e.Name == "" {
			continue
		}
		p, err := partOf(root, e)
		if err != nil {
			return nil, fmt.Errorf("read image %s: extent %q: %w", path, e.Name, err)
		}
		parts = append(parts, filepath.Join(filepath.Dir(path), p))
	}
	return unique(parts), nil
}

// descriptorText is what QEMU reads of a VMDK that is a descriptor alone; nil when it is a sparse file.
func descriptorText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var head [sparseHead]byte
	if n, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if bytes.HasPrefix(head[:n], []byte(sparseMagic)) {
		return nil, hasCapacity(head[:n])
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxText))
	if err != nil {
		return nil, err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	return text, nil
}

// A sparse extent's header (Virtual Disk Format 5.0, "Hosted Sparse Extents") as far as its capacity.
const (
	sparseMagic = "KDMV"
	capacityAt  = 12
	sparseHead  = capacityAt + 8
)

// hasCapacity refuses a sparse file without a capacity: QEMU takes it for a descriptor, and opens what that names.
func hasCapacity(head []byte) error {
	if len(head) < sparseHead || binary.LittleEndian.Uint64(head[capacityAt:]) == 0 {
		return fmt.Errorf("%w: a sparse extent without a capacity", diskimage.ErrCorrupt)
	}
	return nil
}

// plainExtents holds the text to consist of the extents that we have read in it, and of none that somebody else sees or does
// not see.
func plainExtents(text []byte, extents []diskimage.Extent) error {
	seen := 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		word := bytes.TrimLeft(line, blanks)
		if i := bytes.IndexAny(word, blanks); i >= 0 {
			word = word[:i]
		}
		if string(word) != "RW" {
			continue
		}
		if !plainExtent.Match(line) {
			return fmt.Errorf("%w: extent %.80q, expected `RW SECTORS TYPE \"NAME\" OFFSET`", diskimage.ErrUnsupported, line)
		}
		seen++
	}
	for _, e := range extents {
		if len(e.Name) > maxName {
			return fmt.Errorf("%w: extent %.80q has a name of %d bytes, QEMU reads %d", diskimage.ErrUnsupported, e.Name, len(e.Name), maxName)
		}
		if e.Access == "RW" {
			seen--
		}
	}
	if seen != 0 {
		return fmt.Errorf("%w: its descriptor can be read in two ways", diskimage.ErrCorrupt)
	}
	return nil
}

// whole refuses an image of which QEMU leaves a piece out, and moves what comes after it: it knows no extents but those that can be written to.
func (m *member) whole() error {
	for _, e := range m.info.Extents {
		if len(m.parts) > 0 && (e.Access != "RW" || e.Name == "") {
			return fmt.Errorf("read image %s: %w: qemu-img leaves out its extent %s %s", m.path, diskimage.ErrUnsupported, e.Access, e.Type)
		}
	}
	return nil
}

func partOf(root *os.Root, e diskimage.Extent) (string, error) {
	if !filepath.IsLocal(e.Name) || !utf8.ValidString(e.Name) {
		return "", fmt.Errorf("%w: not in the image's own folder", diskimage.ErrUnsupported)
	}
	f, err := root.Open(e.Name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%w: no regular file", diskimage.ErrCorrupt)
	}
	var head [sparseHead]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if bytes.HasPrefix(head[:n], []byte(sparseMagic)) {
		return e.Name, hasCapacity(head[:n])
	}
	return e.Name, nil
}
