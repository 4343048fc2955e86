package convert

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
)

// stage is a folder beside the destination, under a name of temporary files, in which all files of the destination are made
// under their final names: the parts of a split image are named in its descriptor.
type stage struct {
	path   string // of the folder
	folder string // that the destination is going to be in
	name   string // of the destination
	force  bool
	inputs []string  // files that must not be replaced
	target *dir.File // what is being replaced, locked; nil: nothing
	moved  []move    // what was done of publishing, in order
	stuck  bool      // what was replaced could not be brought back: the folder holds it, and stays
}

type move struct{ from, to string }

// asideFolder is where replaced files wait in the stage.
const asideFolder = ".berth-replaced"

// newStage makes the folder. inputs are files that must not be replaced.
func newStage(destination string, force bool, inputs []string) (*stage, error) {
	dst, err := filepath.Abs(destination)
	if err != nil {
		return nil, fmt.Errorf("make destination %s: %w", destination, err)
	}
	st, err := os.Lstat(dst)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("make destination: %w", err)
	default:
		if target, err := filepath.EvalSymlinks(dst); err == nil {
			dst = target // a link stays, and leads to the new image
			if st, err = os.Stat(dst); err != nil {
				return nil, fmt.Errorf("make destination: %w", err)
			}
		}
		if err := replaceable(destination, dst, st, force, inputs); err != nil {
			return nil, err
		}
	}
	s := &stage{folder: filepath.Dir(dst), name: filepath.Base(dst), force: force, inputs: inputs}
	if err := s.named(destination); err != nil {
		return nil, err
	}
	if err := s.free(); err != nil {
		return nil, err
	}
	s.path = filepath.Join(s.folder, ".berth-"+rand.Text()+".tmp")
	if err := os.Mkdir(s.path, 0o700); err != nil {
		return nil, fmt.Errorf("make destination %s: %w", destination, errOf(err))
	}
	return s, nil
}

// named refuses names that mean something else than an image.
func (s *stage) named(destination string) error {
	var what string
	switch {
	case dir.IsTemp(s.name) || s.name == asideFolder:
		what = "the name is that of a temporary file"
	case strings.HasSuffix(s.name, diskimage.SidecarSuffix):
		what = "the name is that of a sidecar"
	case strings.HasSuffix(destination, "/"):
		what = "there is no such folder, expected the name of a file"
	default:
		return nil
	}
	return fmt.Errorf("make destination %s: %w: %s", destination, ErrRequest, what)
}

// errOf takes the temporary name out of an error.
func errOf(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// isInput reports whether the file is one that is being read.
func isInput(given string, st os.FileInfo, inputs []string) error {
	for _, p := range inputs {
		if is, err := os.Stat(p); err == nil && os.SameFile(is, st) {
			return fmt.Errorf("make destination %s: %w: %s", given, ErrSame, p)
		}
	}
	return nil
}

// replaceable reports why what stands at dst must stay.
func replaceable(given, dst string, st os.FileInfo, force bool, inputs []string) error {
	if err := isInput(given, st, inputs); err != nil {
		return err
	}
	switch {
	case st.IsDir():
		return fmt.Errorf("make destination %s: %w: it is a folder, expected the name of a file", given, ErrRequest)
	case !force:
		return fmt.Errorf("make destination %s: %w", dst, ErrExists)
	case st.Mode()&os.ModeSymlink == 0 && !st.Mode().IsRegular():
		return fmt.Errorf("make destination %s: %w: it is no regular file", given, ErrRequest)
	}
	return nil
}

// image is the path of the destination while it is being made.
func (s *stage) image() string { return filepath.Join(s.path, s.name) }

// discard removes all that was made and was not published.
func (s *stage) discard() error {
	if s.target != nil {
		_ = s.target.Close() // it was replaced or left alone
	}
	if s.stuck {
		return fmt.Errorf("what was replaced is still in %s", s.path)
	}
	if err := os.RemoveAll(s.path); err != nil {
		return fmt.Errorf("remove temporary folder: %w", err)
	}
	return nil
}

// take locks what is to be replaced, so that no hypervisor opens it meanwhile.
func (s *stage) take() error {
	dst := filepath.Join(s.folder, s.name)
	st, err := os.Lstat(dst)
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return nil //nolint:nilerr // nothing that anybody could have open as an image
	}
	s.target, err = dir.OpenWrite(dst)
	return err
}

// free looks whether what is to be replaced is in use, before the long copy: take looks again.
func (s *stage) free() error {
	if err := s.take(); err != nil || s.target == nil {
		return err
	}
	target := s.target
	s.target = nil
	return target.Close()
}

// files are the names of what was made, in the order in which it has to appear: sidecar and parts first, the image last.
func (s *stage) files() ([]string, error) {
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return nil, fmt.Errorf("publish destination: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != s.name && e.Name() != asideFolder {
			names = append(names, e.Name())
		}
	}
	return append(names, s.name), nil
}

// mode gives every file at most the permissions of the source's file, and no more than the umask lets a new file have. It comes last:
// a source that nobody may write to makes such a destination, and its label has to get in first.
func (s *stage) mode(source os.FileInfo) error {
	probe := filepath.Join(s.path, asideFolder)
	f, err := os.OpenFile(probe, os.O_CREATE|os.O_EXCL|os.O_WRONLY, source.Mode().Perm())
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	st, err := f.Stat()
	if err := errors.Join(err, f.Close(), os.Remove(probe)); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	names, err := s.files()
	for _, n := range names {
		err = errors.Join(err, s.chmod(n, st.Mode().Perm()))
	}
	return err
}

// chmod gives one file its permissions. A sidecar is not for everybody to write to, whatever its image is.
func (s *stage) chmod(name string, perm os.FileMode) error {
	if name == s.name+diskimage.SidecarSuffix {
		perm &= 0o644
	}
	return os.Chmod(filepath.Join(s.path, name), perm)
}

// publish makes everything durable and gives it its final names, the image last. When one cannot be given, those before it
// are taken back.
func (s *stage) publish() ([]string, error) {
	names, err := s.files()
	if err != nil {
		return nil, err
	}
	if err := s.sync(names); err != nil {
		return nil, err
	}
	unlock, err := lockFolder(s.folder, publishWait)
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := s.present(names)
	if err != nil {
		return nil, err
	}
	if len(old) > 0 && s.force {
		if err := s.take(); err != nil {
			return nil, err
		}
	}
	if err := s.rename(names, old); err != nil {
		return nil, errors.Join(fmt.Errorf("publish destination: %w", err), s.takeBack())
	}
	slices.Reverse(names)
	for i := range names {
		names[i] = filepath.Join(s.folder, names[i])
	}
	return names, nil
}

// sync makes the content of all files durable, and their names in the temporary folder.
func (s *stage) sync(names []string) error {
	for _, n := range names {
		if err := syncPath(filepath.Join(s.path, n)); err != nil {
			return err
		}
	}
	return syncPath(s.path)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	err = f.Sync()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// present are the names in the destination's folder that are going to be replaced. A sidecar that belongs to what is replaced
// must not stay beside the new image.
func (s *stage) present(names []string) ([]string, error) {
	var old []string
	for _, n := range append(slices.Clone(names), s.name+diskimage.SidecarSuffix) {
		p := filepath.Join(s.folder, n)
		st, err := os.Lstat(p)
		if errors.Is(err, os.ErrNotExist) || slices.Contains(old, n) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("publish destination: %w", err)
		}
		if err := isInput(p, st, s.inputs); err != nil {
			return nil, err
		}
		if !s.force {
			return nil, fmt.Errorf("publish destination: %s: %w", p, ErrExists)
		}
		if st.IsDir() {
			return nil, fmt.Errorf("publish destination: %s: %w: it is a folder", p, ErrRequest)
		}
		old = append(old, n)
	}
	return old, nil
}

// rename publishes. One file that replaces one is a single rename. Several cannot be exchanged at once: the old ones then go
// out of the way first, the image before its parts, so that a power cut leaves no image with parts or with a sidecar that are
// not its own.
func (s *stage) rename(names, old []string) error {
	last := len(names) - 1
	if len(names) == 1 && len(old) == 1 && old[0] == s.name {
		if err := os.Rename(s.image(), filepath.Join(s.folder, s.name)); err != nil {
			return err
		}
		return syncPath(s.folder)
	}
	if len(old) > 0 {
		if err := s.setAside(old); err != nil {
			return err
		}
	}
	for i, n := range names {
		if i == last {
			if err := syncPath(s.folder); err != nil {
				return err
			}
		}
		if err := s.move(filepath.Join(s.path, n), filepath.Join(s.folder, n)); err != nil {
			return err
		}
	}
	return syncPath(s.folder)
}

func (s *stage) setAside(old []string) error {
	aside := filepath.Join(s.path, asideFolder)
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	slices.SortStableFunc(old, func(a, b string) int {
		switch s.name {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	for _, n := range old {
		if err := s.move(filepath.Join(s.folder, n), filepath.Join(aside, n)); err != nil {
			return err
		}
		if err := syncPath(s.folder); err != nil {
			return err
		}
	}
	return nil
}

// move renames and never replaces.
func (s *stage) move(from, to string) error {
	err := retry(func() error { return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot: NFS
		err = renameByLink(from, to)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %w", to, ErrExists)
	case err != nil:
		return fmt.Errorf("rename to %s: %w", to, err)
	}
	s.moved = append(s.moved, move{from, to})
	return nil
}

// renameByLink does it where the kernel's own call cannot: a second name is never given to what is there. Where there are no
// second names either, nothing but a look is left.
func renameByLink(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, unix.EEXIST):
		return err
	}
	if _, serr := os.Lstat(to); serr == nil {
		return unix.EEXIST
	}
	return os.Rename(from, to)
}

func (s *stage) takeBack() error {
	var err error
	for _, m := range slices.Backward(s.moved) {
		if rerr := os.Rename(m.to, m.from); rerr != nil {
			s.stuck = true
			err = errors.Join(err, fmt.Errorf("take back: %w", rerr))
		}
	}
	if len(s.moved) == 0 {
		return nil
	}
	s.moved = nil
	return errors.Join(err, syncPath(s.folder))
}
