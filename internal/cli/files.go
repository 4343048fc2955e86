package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// readFile reads a regular file of at most limit bytes. A fifo or a device is refused without waiting for it.
func readFile(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is a %s, expected a file", path, fileKind(st.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	defer closeQuietly(f)
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is longer than %d bytes", path, limit)
	}
	return data, nil
}

// readInput is readFile, and standard input for "-".
func (a *app) readInput(path string, limit int64) ([]byte, error) {
	if path != "-" {
		return readFile(path, limit)
	}
	data, err := io.ReadAll(io.LimitReader(a.env.In, limit+1))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("standard input: is longer than %d bytes", limit)
	}
	return data, nil
}

// inputName is how a file is called in messages.
func inputName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

func fileKind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&os.ModeNamedPipe != 0:
		return "fifo"
	case m&os.ModeSocket != 0:
		return "socket"
	case m&os.ModeDevice != 0:
		return "device"
	case m&os.ModeSymlink != 0:
		return "symbolic link"
	default:
		return "special file"
	}
}

// writeFileAtomic writes data to path through a temporary file beside it: path has the old content or the
// whole new one. With exclusive set, an existing path is left alone and is an error.
func writeFileAtomic(path string, data []byte, mode os.FileMode, exclusive bool) (err error) {
	if st, serr := os.Stat(path); serr == nil && !exclusive && !st.Mode().IsRegular() {
		return writeSpecial(path, data) // -o /dev/stdout, -o >(process)
	}
	dir := filepath.Dir(path)
	name := filepath.Join(dir, fmt.Sprintf(".berth-%d-%d.tmp", os.Getpid(), rand.Uint64()))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) // the umask counts
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, bytes.NewReader(data))
	err = errors.Join(err, f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if exclusive {
		if err = os.Link(f.Name(), path); err != nil { // unlike rename, it never replaces
			return err
		}
		err = os.Remove(f.Name())
	} else {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// canWrite says what stands against a file that is to be written after long work, before that begins: no folder, no right to
// write there, or a folder in its place.
func canWrite(path string) error {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		if st.IsDir() {
			return fmt.Errorf("%s: is a folder, expected a file", path)
		}
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".berth-*.tmp")
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func writeSpecial(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
