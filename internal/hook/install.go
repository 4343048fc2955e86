package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// Path is where libvirt looks for the script, below the root folder. Several scripts live side by side there, since libvirt
// 6.5.
const Path = "etc/libvirt/hooks/qemu.d/berth"

// mark is by what a script of ours is known.
const mark = "# Made by 'berth hook install libvirt'"

// maxScript bounds what is read of the file that is there.
const maxScript = 64 << 10

// ErrForeign says that the file that is there is not ours.
var ErrForeign = errors.New("not made by berth")

// Script is the hook, with the absolute path of berth in it. All that is not a release costs one comparison of a shell.
func Script(berth string) (string, error) {
	if !filepath.IsAbs(berth) || strings.ContainsFunc(berth, unicode.IsControl) {
		return "", fmt.Errorf("make hook: path of berth is %q, expected an absolute one", berth)
	}
	return `#!/bin/sh
` + mark + `; remove this file to be rid of it.
# When a guest has stopped, the labels that libvirt keeps of its disks go into the images. It never makes a stop fail.
[ "$2 $3" = "` + operation + " " + suboper + `" ] || exit 0
` + quote(berth) + ` hook libvirt -- "$@"
exit 0
`, nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Install writes script to Path below root, with mode 0755, whole or not at all. changed is false when it was there already.
// ErrForeign: something else is there.
func Install(root, script string) (path string, changed bool, err error) {
	path = filepath.Join(root, Path)
	old, err := present(path)
	if err != nil {
		return path, false, err
	}
	if string(old) == script {
		return path, false, os.Chmod(path, 0o755) //nolint:gosec // libvirt runs it
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as libvirt's packages have it
		return path, false, fmt.Errorf("install hook: %w", err)
	}
	return path, true, write(path, script)
}

// present is the script of ours that is there; nil: there is no file.
func present(path string) ([]byte, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("install hook: %w", err)
	case !st.Mode().IsRegular() || st.Size() > maxScript:
		return nil, fmt.Errorf("install hook: %s: %w", path, ErrForeign)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("install hook: %w", err)
	}
	if !bytes.Contains(old, []byte("\n"+mark)) {
		return nil, fmt.Errorf("install hook: %s: %w", path, ErrForeign)
	}
	return old, nil
}

// write goes by a temporary file in the folder above: libvirt runs whatever is in the script's own.
func write(path, script string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(filepath.Dir(path)), ".berth-*.tmp")
	if err != nil {
		return fmt.Errorf("install hook: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error says it all
			err = fmt.Errorf("install hook: %w", err)
		}
	}()
	_, err = f.WriteString(script)
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
