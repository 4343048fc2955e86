package dir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	direntHead  = 8 + 8 + 2 + 1 // linux_dirent64: inode, offset, length of the record, type; then the name, NUL
	entryHead   = 2             // of an entry in a listing: type, length of the name
	maxFileName = unix.NAME_MAX // of one name, in bytes
	openFolder  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NONBLOCK
)

// Walk yields the path of every regular file under folder, in the order of filepath.WalkDir: lexical, folder by folder.
// What a killed berth left (IsTemp) and sidecars of labels are passed over; symbolic links are not followed, but
// folder may be one. Paths begin with folder as it was given, "." too. What cannot be read is yielded with its path and the error, and the walk goes on.
//
// It is made for very large folders: it keeps of the folders on the way down the names alone, each in its length and 6 bytes
// more, and holds no file open.
func Walk(folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		w := walker{yield: yield, buf: make([]byte, 64<<10)}
		w.folder(folder, []byte(strings.TrimRight(folder, "/")+"/"), 0)
	}
}

type walker struct {
	yield func(string, error) bool
	buf   []byte
	spare []*listing // used again by the next folder of any depth
}

// folder walks one folder; prefix is what the paths of its files begin with. It returns false when yield did.
func (w *walker) folder(path string, prefix []byte, flags int) bool {
	l := w.take()
	defer w.give(l)
	if err := l.read(path, flags, w.buf); err != nil && !w.yield(path, err) {
		return false
	}
	l.sort()
	for _, at := range l.entries() {
		kind, name := l.at(at)
		full := append(prefix, name...) //nolint:gocritic // prefix is kept, what is behind it is written anew each time
		prefix = full[:len(prefix)]
		if kind == unix.DT_DIR {
			if !w.folder(string(full), append(full, '/'), unix.O_NOFOLLOW) {
				return false
			}
		} else if !w.yield(string(full), nil) {
			return false
		}
	}
	return true
}

func (w *walker) take() *listing {
	if n := len(w.spare); n > 0 {
		l := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return l
	}
	return &listing{}
}

// give keeps what is small: the names of one huge folder are not to stay for the rest of the walk.
func (w *walker) give(l *listing) {
	names, starts := l.names.release(), l.starts.release()
	if names || starts {
		return
	}
	w.spare = append(w.spare, l)
}

// listing is the content of a folder: files and folders, nothing else.
type listing struct {
	names  region // type, length and name of each entry, one behind the other
	starts region // where each begins in names, as uint32
}

// read fills l with what the folder holds. What was read before an error counts.
func (l *listing) read(path string, flags int, buf []byte) error {
	l.names.n, l.starts.n = 0, 0
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, openFolder|flags, 0)
		return err
	})
	if err != nil {
		return &os.PathError{Op: "open folder", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if err != nil {
			return &os.PathError{Op: "read folder", Path: path, Err: err}
		}
		if n <= 0 {
			return nil
		}
		if err := l.addAll(fd, buf[:n]); err != nil {
			return &os.PathError{Op: "read folder", Path: path, Err: err}
		}
	}
}

// addAll adds the records of one getdents64 call.
func (l *listing) addAll(fd int, records []byte) error {
	for len(records) > direntHead {
		size := int(binary.NativeEndian.Uint16(records[16:]))
		if size <= direntHead || size > len(records) {
			return errors.New("the kernel's answer cannot be read")
		}
		kind, name := records[18], records[direntHead:size]
		records = records[size:]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if len(name) == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		if kind == unix.DT_UNKNOWN { // some file systems do not say
			kind = kindAt(fd, string(name))
		}
		if kind != unix.DT_DIR && (kind != unix.DT_REG || skipped(name)) || kind == unix.DT_DIR && name[0] == '.' && IsTemp(string(name)) {
			continue
		}
		if err := l.add(kind, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) add(kind byte, name []byte) error {
	if len(name) > maxFileName {
		return unix.ENAMETOOLONG
	}
	at := uint64(l.names.n)
	if at > math.MaxUint32 {
		return errors.New("too many names for one folder")
	}
	b, err := l.names.extend(entryHead + len(name))
	if err != nil {
		return err
	}
	b[0], b[1] = kind, byte(len(name))
	copy(b[entryHead:], name)
	if b, err = l.starts.extend(4); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(b, uint32(at))
	return nil
}

func (l *listing) entries() []uint32 { return l.starts.uint32s() }

func (l *listing) at(pos uint32) (kind byte, name []byte) {
	b := l.names.b[pos:]
	return b[0], b[entryHead : entryHead+int(b[1])]
}

func (l *listing) sort() {
	slices.SortFunc(l.entries(), func(a, b uint32) int {
		_, x := l.at(a)
		_, y := l.at(b)
		return bytes.Compare(x, y)
	})
}

// skipped knows by its name what no walk is to meet: a sidecar, or what a killed berth left.
func skipped(name []byte) bool {
	return bytes.HasSuffix(name, []byte(sidecarSuffix)) || name[0] == '.' && IsTemp(string(name))
}

// kindAt asks for the type of a file; one that is gone already has none.
func kindAt(fd int, name string) byte {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return unix.DT_UNKNOWN
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return unix.DT_REG
	case unix.S_IFDIR:
		return unix.DT_DIR
	default:
		return unix.DT_UNKNOWN
	}
}
