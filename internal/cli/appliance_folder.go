package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/label/ovf"
)

// applianceFolder is where the files of an OVF lie: the descriptor's folder and those below it.
type applianceFolder struct {
	folder string
	open   func(path string) (*dir.File, error)
	files  map[string]*dir.File
}

// Open gives a file of the package. A symbolic link must not lead out of the folder.
func (s *applianceFolder) Open(name string) (diskimage.Reader, error) {
	f, err := s.file(name)
	if err != nil {
		return nil, err // not f: a nil *dir.File is no nil Reader
	}
	return f, nil
}

func (s *applianceFolder) file(name string) (*dir.File, error) {
	if f := s.files[name]; f != nil {
		return f, nil
	}
	path, err := filepath.EvalSymlinks(filepath.Join(s.folder, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ovf.ErrNoFile, name)
	}
	if err != nil {
		return nil, err
	}
	if below, err := filepath.Rel(s.folder, path); err != nil || !filepath.IsLocal(below) {
		return nil, fmt.Errorf("%w: %s leads to %s, out of the package's folder", diskimage.ErrCorrupt, name, path)
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is a %s", diskimage.ErrCorrupt, name, fileKind(st.Mode()))
	}
	f, err := s.open(path)
	if err != nil {
		return nil, err
	}
	s.files[name] = f
	return f, nil
}

func (s *applianceFolder) close() error {
	var all []error
	for _, f := range s.files {
		all = append(all, f.Close())
	}
	clear(s.files)
	return errors.Join(all...)
}

// The files of an OVF change one after another. Before the first one does, all that is to be written is put into a file
// beside the descriptor; a run that finds it there brings the change to its end before it does anything else.
const (
	redoPrefix = "."
	redoSuffix = ".berth-redo"
	// maxRedo holds descriptor, manifest and certificate, each in base64, and the writes into the disks.
	maxRedo = 64 << 20
)

// redoFile is the content of the file.
type redoFile struct {
	Version int         `json:"version"` // 1
	Files   []redoEntry `json:"files"`
}

type redoEntry struct {
	Name    string            `json:"name"`
	Content []byte            `json:"content,omitempty"` // the whole new content
	Old     []byte            `json:"old,omitempty"`     // SHA-256 of the content that it takes the place of
	Size    int64             `json:"size,omitempty"`    // before the change, in bytes; a disk's file keeps it
	Writes  []diskimage.Write `json:"writes,omitempty"`
}

func (s *applianceFolder) redoPath(descriptor string) string {
	return filepath.Join(s.folder, redoPrefix+descriptor+redoSuffix)
}

// apply makes the changes of edit: disks first, then descriptor, manifest and certificate. What fails after the
// first one leaves the rest to the next run.
func (s *applianceFolder) apply(descriptor string, edit *ovf.Edit) error {
	path := s.redoPath(descriptor)
	if err := s.writeRedo(path, edit); err != nil {
		return fmt.Errorf("write label: %w", err)
	}
	for i := range edit.Files {
		f := &edit.Files[i]
		file, err := s.file(f.Name)
		switch {
		case err != nil:
		case f.Disk != nil:
			err = diskimage.Apply(file, f.Disk)
		default:
			err = replaceContent(file, f.Content)
		}
		if err != nil && i == 0 { // Apply and Replace have touched nothing, or taken it back
			return errors.Join(fmt.Errorf("%s: %w", f.Name, err), s.removeRedo(path))
		}
		if err != nil {
			return &cliError{code: codeFailed, err: fmt.Errorf("%s: %w", f.Name, err),
				hint: "the package is between two states; run the same command again when the cause is gone: it completes the change"}
		}
	}
	return s.removeRedo(path)
}

func (s *applianceFolder) writeRedo(path string, edit *ovf.Edit) error {
	r := redoFile{Version: 1}
	for _, f := range edit.Files {
		e := redoEntry{Name: f.Name, Content: f.Content, Writes: f.Writes}
		file, err := s.file(f.Name)
		if err != nil {
			return err
		}
		e.Size = file.Size()
		if f.Disk == nil {
			if e.Old, err = contentSum(file); err != nil {
				return err
			}
		}
		r.Files = append(r.Files, e)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(text) > maxRedo {
		return fmt.Errorf("%w: the change is longer than %d bytes", diskimage.ErrUnsupported, maxRedo)
	}
	return writeFileAtomic(path, text, 0o600, false)
}

func (s *applianceFolder) removeRedo(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(s.folder)
}

// redo completes the change that a run before this one did not. The caller holds the descriptor's lock.
func (s *applianceFolder) redo(descriptor string, file *dir.File) error {
	path := s.redoPath(descriptor)
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Others may write into the folder: what they leave there is not ours to carry out.
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.Mode().IsRegular() || st.Mode().Perm()&0o022 != 0 || int(sys.Uid) != os.Geteuid() {
		return refusedf("remove it, or let its owner run the same command", "%s is there, a change that another user began", path)
	}
	text, err := readFile(path, maxRedo)
	if err != nil {
		return inputError(err, "")
	}
	var r redoFile
	if err := json.Unmarshal(text, &r); err != nil || r.Version != 1 {
		return inputError(fmt.Errorf("%s: is no change of this version that was begun", path), "look at it, and move it away")
	}
	s.files[descriptor] = file
	defer delete(s.files, descriptor)
	for _, step := range []func(*redoEntry) error{s.checkRedo, s.redoOne} { // nothing is written before all was checked
		for i := range r.Files {
			if err := step(&r.Files[i]); err != nil {
				return &cliError{code: codeOf(err), err: fmt.Errorf("complete the change begun in %s: %s: %w", path, r.Files[i].Name, err),
					hint: "if the package was exchanged meanwhile, remove " + path}
			}
		}
	}
	return errors.Join(s.removeRedo(path), s.closeOthers(descriptor))
}

// checkRedo says whether a file is the one that the change was begun on, changed already or not.
func (s *applianceFolder) checkRedo(e *redoEntry) error {
	if !filepath.IsLocal(e.Name) || strings.ContainsRune(e.Name, '\\') {
		return fmt.Errorf("%w: no name inside the package", diskimage.ErrCorrupt)
	}
	f, err := s.file(e.Name)
	if err != nil {
		return err
	}
	if e.Content == nil {
		for _, w := range e.Writes {
			if w.Offset < 0 || int64(len(w.Data)) > e.Size-w.Offset {
				return fmt.Errorf("%w: a write beyond the file", diskimage.ErrCorrupt)
			}
		}
		if f.Size() != e.Size {
			return fmt.Errorf("%w: it has %d bytes, it had %d", diskimage.ErrChanged, f.Size(), e.Size)
		}
		return nil
	}
	now, err := contentSum(f)
	if err != nil {
		return err
	}
	if done := sha256.Sum256(e.Content); !bytes.Equal(now, e.Old) && !bytes.Equal(now, done[:]) {
		return fmt.Errorf("%w: it has neither the old content nor the new one", diskimage.ErrChanged)
	}
	return nil
}

func contentSum(f *dir.File) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

func (s *applianceFolder) redoOne(e *redoEntry) error {
	f, err := s.file(e.Name)
	if err != nil {
		return err
	}
	if e.Content != nil {
		return replaceContent(f, e.Content)
	}
	for _, w := range e.Writes {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
	}
	return f.Sync()
}

// closeOthers closes all files but the descriptor: the package is read anew.
func (s *applianceFolder) closeOthers(descriptor string) error {
	var all []error
	for name, f := range s.files {
		if name != descriptor {
			all = append(all, f.Close())
			delete(s.files, name)
		}
	}
	return errors.Join(all...)
}

// replaceContent exchanges a file's content; in place where it has several names, which the redo file makes safe.
func replaceContent(f *dir.File, content []byte) error {
	err := f.Replace(content)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(content))); err != nil {
		return err
	}
	return f.Sync()
}
