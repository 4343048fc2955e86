package dir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrOutside says that a reference leads out of the folders that may be read.
var ErrOutside = errors.New("outside the folders allowed")

// Bounds of what is looked at for one reference.
const (
	maxSearch = 4096 // files of a folder that Search looks at
	maxLinks  = 40   // symbolic links followed to the file of a sidecar, as many as Linux follows
)

// Tree opens the images that other images refer to, inside allowed folders and nowhere else: it never asks the file
// system for anything outside, and a symbolic link that leads out is refused (os.Root). It is for one goroutine.
type Tree struct {
	top   *Node
	roots []treeRoot
}

type treeRoot struct {
	path, real string // absolute; real without symbolic links
	root       *os.Root
}

// Node is an image in a Tree. But for the top, which somebody else has open, it is a File open for reading.
type Node struct {
	*File
	root *treeRoot
	name string // below root
}

// OpenTree allows the folder of the image top, and the folders given.
func OpenTree(top string, folders ...string) (*Tree, error) {
	t := &Tree{}
	for _, f := range append([]string{filepath.Dir(top)}, folders...) {
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("allow folder %s: %w", f, err), t.Close())
		}
		resolved, err := filepath.EvalSymlinks(abs)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("allow folder: %w", err), t.Close())
		}
		root, err := os.OpenRoot(resolved)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("allow folder: %w", err), t.Close())
		}
		t.roots = append(t.roots, treeRoot{path: abs, real: resolved, root: root})
	}
	t.top = &Node{root: &t.roots[0], name: filepath.Base(top)}
	return t, nil
}

// Top is the image that the tree was opened for. It is not open as a File.
func (t *Tree) Top() *Node { return t.top }

// Close closes the folders. Nodes stay open, but their sidecars cannot be read any more.
func (t *Tree) Close() error {
	var err error
	for _, r := range t.roots {
		err = errors.Join(err, r.root.Close())
	}
	return err
}

// Open opens what child refers to by ref, a path that is absolute or begins in child's folder. ErrOutside: it may not be
// followed. What is no regular file with content is refused.
func (t *Tree) Open(child *Node, ref string) (*Node, error) {
	if ref == "" || strings.ContainsRune(ref, 0) || len(ref) > unix.PathMax {
		return nil, fmt.Errorf("open parent: %q is no path", ref[:min(len(ref), 64)])
	}
	abs := ref
	if !path.IsAbs(ref) {
		// Not cleaned: what "link/.." means, the file system says.
		name := folderOf(child.name) + "/" + ref
		if len(name) > unix.PathMax {
			return nil, fmt.Errorf("open parent %s...: a path of %d bytes", name[:64], len(name))
		}
		if filepath.IsLocal(name) {
			return t.openAt(child.root, name)
		}
		abs = child.root.real + "/" + name
	}
	abs = path.Clean(abs)
	for i := range t.roots {
		r := &t.roots[i]
		for _, base := range []string{r.path, r.real} {
			if name, ok := strings.CutPrefix(abs, strings.TrimRight(base, "/")+"/"); ok {
				return t.openAt(r, name)
			}
		}
	}
	return nil, fmt.Errorf("open parent %s: %w", abs, ErrOutside)
}

// folderOf is path.Dir, which does not clean what it gives.
func folderOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

// openAt looks before it opens: opening a device or a fifo can have effects.
func (t *Tree) openAt(r *treeRoot, name string) (*Node, error) {
	full := path.Join(r.path, name)
	st, err := r.root.Stat(name)
	if err != nil {
		return nil, treeError(full, err)
	}
	if err := regularInfo(full, st); err != nil {
		return nil, err
	}
	f, err := r.root.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, treeError(full, err)
	}
	if st, err = f.Stat(); err == nil {
		err = regularInfo(full, st)
	}
	if err != nil {
		_ = f.Close() // the first error says it all
		return nil, err
	}
	return &Node{File: &File{f: f, path: full, size: st.Size()}, root: r, name: name}, nil
}

func regularInfo(full string, st os.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("open image %s: of an unknown kind", full)
	}
	return regular(full, &unix.Stat_t{Mode: sys.Mode, Size: sys.Size})
}

// treeError says what os.Root means. Its own error for a link that leads out is not exported.
func treeError(full string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if err.Error() == "path escapes from parent" {
		return fmt.Errorf("open parent %s: %w: a symbolic link leads out, or is absolute", full, ErrOutside)
	}
	return fmt.Errorf("open parent %s: %w", full, err)
}

// Search gives the one image in child's folder that match knows; of a format that names its parent by an identity alone.
// It looks at regular files that are neither sidecars nor left by a killed berth.
func (t *Tree) Search(child *Node, match func(*Node) bool) (*Node, error) {
	folder := folderOf(child.name)
	d, err := child.root.root.Open(folder)
	if err != nil {
		return nil, treeError(folder, err)
	}
	names, err := d.Readdirnames(maxSearch + 1)
	if cerr := d.Close(); err == nil || errors.Is(err, io.EOF) {
		err = cerr
	}
	if err != nil {
		return nil, treeError(folder, err)
	}
	if len(names) > maxSearch {
		return nil, fmt.Errorf("search parent in %s: more than %d files", path.Join(child.root.path, folder), maxSearch)
	}
	slices.Sort(names)
	var found *Node
	for _, n := range names {
		if IsTemp(n) || strings.HasSuffix(n, sidecarSuffix) {
			continue
		}
		node, err := t.openAt(child.root, folder+"/"+n)
		if err != nil {
			continue // a folder, or nothing that can be read: not the one
		}
		switch {
		case !match(node):
			_ = node.Close() // only read
		case found != nil:
			err := fmt.Errorf("search parent: %s and %s are both it", found.path, node.path)
			return nil, errors.Join(err, found.Close(), node.Close())
		default:
			found = node
		}
	}
	if found == nil {
		return nil, fmt.Errorf("search parent in %s: %w", path.Join(child.root.path, folder), os.ErrNotExist)
	}
	return found, nil
}

// ID is the same for the same file under any name; empty: not known.
func (n *Node) ID() string {
	var st os.FileInfo
	var err error
	if n.File == nil {
		st, err = n.root.root.Stat(n.name)
	} else {
		st, err = n.f.Stat()
	}
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
}

// Sidecar is File.Sidecar, read inside the allowed folder as the image was.
func (n *Node) Sidecar() ([]byte, error) {
	name := n.name
	for range maxLinks {
		target, err := n.root.root.Readlink(name)
		if err != nil {
			break // no link
		}
		name = folderOf(name) + "/" + target
	}
	name += sidecarSuffix
	full := path.Join(n.root.path, name)
	st, err := n.root.root.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, unix.ENAMETOOLONG):
		return nil, tooLong(full)
	case err != nil:
		return nil, fmt.Errorf("read sidecar: %w", treeError(full, err))
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("read sidecar %s: %w: not a regular file", full, ErrBeside)
	}
	f, err := n.root.root.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("read sidecar: %w", treeError(full, err))
	}
	defer func() { _ = f.Close() }() // it was only read
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read sidecar %s: %w: not a regular file", full, ErrBeside)
	}
	return readSidecar(int(f.Fd()), full)
}
