package convert

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// member is an image of the source's chain.
type member struct {
	path   string // absolute
	format diskimage.Format
	info   *diskimage.Info
	frame  *label.Frame // its own; nil: none
	parts  []string     // paths of the files that it consists of besides path
	states int          // internal snapshots, which no conversion carries
}

// source is the image to read, and what lies under it.
type source struct {
	chain []member // the image itself first
	held  []held
}

// held is a file that is being read, locked, and what it was when its lock was taken.
type held struct {
	*os.File
	st os.FileInfo
}

// openSource reads the headers of the image and of all that lies under it, and keeps writers away from them until close. Nothing
// outside the allowed folders is opened.
// Without chain what lies under the image is left alone.
func openSource(path string, declared diskimage.Format, chain bool, roots []string) (*source, error) {
	if !utf8.ValidString(path) {
		return nil, fmt.Errorf("open image %q: %w: qemu-img takes names in UTF-8 only", path, diskimage.ErrUnsupported)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", path, err)
	}
	s := &source{}
	f, err := dir.Open(abs)
	if err != nil {
		return nil, err
	}
	if chain {
		err = s.follow(f, abs, declared, roots)
	} else {
		_, err = s.add(diskimage.Link{Reader: f, Name: abs}, abs, declared)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	for _, h := range s.held {
		release(h.File)
	}
}

// same reports files that others have taken the place of, and those that somebody has written to whatever the lock.
func (s *source) same() error {
	for _, h := range s.held {
		now, err := os.Stat(h.Name())
		if err != nil {
			return fmt.Errorf("read image: %w", err)
		}
		if !os.SameFile(now, h.st) || now.Size() != h.st.Size() || !now.ModTime().Equal(h.st.ModTime()) {
			return fmt.Errorf("read image %s: %w", h.Name(), diskimage.ErrChanged)
		}
	}
	return nil
}

// sameLabel holds the image to the label that was read of it before it was locked.
func (m *member) sameLabel() error {
	f, err := dir.Open(m.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	now, _, err := diskimage.Options{Format: m.format}.ReadLabel(f)
	if err != nil {
		return fmt.Errorf("read label of %s again: %w", m.path, err)
	}
	if !sameLabel(now, m.frame) {
		return fmt.Errorf("read label of %s again: %w", m.path, diskimage.ErrChanged)
	}
	return nil
}

// top is the image that was asked for.
func (s *source) top() *member { return &s.chain[0] }

// follow adds the image and its ancestors.
func (s *source) follow(f *dir.File, path string, declared diskimage.Format, roots []string) error {
	tree, err := dir.OpenTree(path, roots...)
	if err != nil {
		return errors.Join(fmt.Errorf("follow chain: %w", err), f.Close())
	}
	defer func() { _ = tree.Close() }() // it was only read
	link := diskimage.Link{Reader: f, Name: path, ID: tree.Top().ID()}
	seen := map[string]bool{}
	for {
		m, err := s.add(link, path, declared)
		if err != nil {
			return errors.Join(err, closeLink(link))
		}
		err = m.whole()
		if seen[link.ID] {
			err = fmt.Errorf("follow chain: %w: %s is its own ancestor", diskimage.ErrChain, path)
		}
		seen[link.ID] = true
		parent := m.info.Parent
		if err == nil && parent.Exists() && len(s.chain) > diskimage.MaxChain {
			err = fmt.Errorf("follow chain: %w: more than %d images below %s", diskimage.ErrChain, diskimage.MaxChain, s.top().path)
		}
		if err != nil || !parent.Exists() {
			return errors.Join(err, closeLink(link))
		}
		if !stackable(m.format) {
			return errors.Join(fmt.Errorf("follow chain of %s: %w: qemu-img reads no %s image that has a parent",
				path, diskimage.ErrUnsupported, m.format), closeLink(link))
		}
		next, err := openParent(tree, link, m)
		if err = errors.Join(err, closeLink(link)); err != nil {
			return fmt.Errorf("follow chain: %w: parent of %s: %w", diskimage.ErrChain, path, err)
		}
		link, path, declared = next, next.Name, parent.Format
		if !utf8.ValidString(path) {
			return errors.Join(fmt.Errorf("follow chain: %w: %q: qemu-img takes names in UTF-8 only", diskimage.ErrChain, path), closeLink(link))
		}
	}
}

// openParent opens what m says that it is based on, if it lies in the tree.
func openParent(tree *dir.Tree, child diskimage.Link, m *member) (diskimage.Link, error) {
	ref, err := m.info.Parent.Path(m.format)
	if err != nil {
		return diskimage.Link{}, err
	}
	at, ok := child.Reader.(*dir.Node)
	if !ok {
		at = tree.Top()
	}
	node, err := tree.Open(at, ref)
	if err != nil {
		return diskimage.Link{}, err
	}
	return diskimage.Link{Reader: node, Name: node.Path(), ID: node.ID()}, nil
}

func closeLink(l diskimage.Link) error {
	if c, ok := l.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// stackable says which formats QEMU stacks.
func stackable(f diskimage.Format) bool {
	return f == diskimage.FormatQcow2 || f == diskimage.FormatVMDK
}

// add reads one image of the chain and locks what it consists of.
func (s *source) add(link diskimage.Link, path string, declared diskimage.Format) (*member, error) {
	frame, info, err := diskimage.Options{Format: declared}.ReadLabel(link.Reader)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	if frame == nil && info.Damaged {
		return nil, fmt.Errorf("read label of %s: %w", path, diskimage.ErrDamaged)
	}
	m := member{path: path, format: info.Format, info: info, frame: frame}
	if m.states, err = qcow2Header(link.Reader, info); err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	if err := s.hold(path, link.ID); err != nil {
		return nil, err
	}
	if m.parts, err = partsOf(path, info); err != nil {
		return nil, err
	}
	for _, p := range m.parts {
		if err := s.hold(p, ""); err != nil {
			return nil, err
		}
	}
	s.chain = append(s.chain, m)
	return &s.chain[len(s.chain)-1], nil
}

// hold locks the file at path, which has to be the one with that id (dir.Node.ID): a path from a header means what the file
// system makes of it when it is opened.
func (s *source) hold(path, id string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("lock image: %w", err)
	}
	if id != "" {
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err == nil && fmt.Sprintf("%d:%d", st.Dev, st.Ino) != id {
			err = fmt.Errorf("lock image %s: %w: another file has its name now", path, diskimage.ErrChanged)
		}
	}
	if err == nil {
		err = holdShared(f)
	}
	h := held{File: f}
	if err == nil {
		h.st, err = f.Stat()
	}
	if err != nil {
		release(f)
		return err
	}
	s.held = append(s.held, h)
	return nil
}

// Of a qcow2 header (QEMU docs/interop/qcow2.txt, "Header"): the number of internal snapshots, and of version 3 the incompatible
// features, of which bit 2 is "external data file".
const (
	snapshotsAt      = 60
	incompatAt       = 72
	incompatDataFile = 1 << 2
)

// qcow2Header counts the internal snapshots, and refuses an image whose data are in another file, which could be any.
func qcow2Header(r diskimage.Reader, info *diskimage.Info) (snapshots int, err error) {
	if info.Format != diskimage.FormatQcow2 {
		return 0, nil
	}
	var b [incompatAt + 8]byte
	if _, err := r.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if binary.BigEndian.Uint32(b[4:]) >= 3 && binary.BigEndian.Uint64(b[incompatAt:])&incompatDataFile != 0 {
		return 0, fmt.Errorf("%w: its data are in another file; 'qemu-img convert' can bring them together", diskimage.ErrUnsupported)
	}
	return int(binary.BigEndian.Uint32(b[snapshotsAt:])), nil
}

func unique(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// spec names the image and all below it to qemu-img: each with its format, and with nothing under it but
// what was looked at. What the headers say is then followed by nobody.
func (s *source) spec() string { return jsonName(s.node(0, false)) }

// alone names the image without what lies under it, for 'qemu-img info', which opens nothing else.
func (s *source) alone() string {
	n := s.node(0, false)
	if _, ok := n["backing"]; ok {
		n["backing"] = nil
	}
	return jsonName(n)
}

func jsonName(n map[string]any) string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings alone, and valid UTF-8
	}
	return "json:" + string(text)
}

func (s *source) node(i int, withDriver bool) map[string]any {
	m := &s.chain[i]
	n := map[string]any{"file": map[string]any{"driver": "file", "filename": m.path}}
	if withDriver { // of the first one qemu-img is told with -f
		n["driver"] = driver(m.format)
	}
	switch {
	case !stackable(m.format):
	case i+1 < len(s.chain):
		n["backing"] = s.node(i+1, true)
	default:
		n["backing"] = nil
	}
	return n
}

// label is the label that counts for the image and the number of the image that has it; with inherit set that may be the
// nearest ancestor.
func (s *source) label(inherit bool) (*label.Frame, int) {
	for i := range s.chain {
		if f := s.chain[i].frame; f != nil {
			return f, i
		}
		if !inherit {
			break
		}
	}
	return nil, 0
}

// files are all paths that the source consists of.
func (s *source) files() []string {
	var out []string
	for i := range s.chain {
		out = append(append(out, s.chain[i].path), s.chain[i].parts...)
	}
	return out
}

// under are the files below an image of which nothing is read, as far as they lie beside it or in folder.
func (s *source) under(folder string) []string {
	m := s.top()
	tree, err := dir.OpenTree(m.path, folder)
	if err != nil {
		return nil
	}
	defer func() { _ = tree.Close() }() // it was only read
	var out []string
	var link diskimage.Link // of the image itself: nothing that is to be closed
	for range diskimage.MaxChain {
		if !m.info.Parent.Exists() {
			break
		}
		next, err := openParent(tree, link, m)
		_ = closeLink(link)
		if err != nil {
			return out
		}
		link = next
		_, info, err := diskimage.Options{Format: m.info.Parent.Format}.ReadLabel(link.Reader)
		out = append(out, link.Name)
		if err != nil {
			break
		}
		parts, _ := partsOf(link.Name, info) // what is no part of it cannot be lost
		out = append(out, parts...)
		m = &member{path: link.Name, format: info.Format, info: info}
	}
	_ = closeLink(link)
	return out
}
