package convert

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
)

// removeSource removes the source's files, the image before its parts, when the destination is there under its name and has the
// label. The locks of the source are still held: nobody writes to it. What lies under an overlay stays.
func (c *conversion) removeSource(res *Result) error {
	if _, err := readBack(res.Files[0], c.Format, res.Label); err != nil {
		return fmt.Errorf("remove source: the destination is not as it was made: %w", err)
	}
	if err := c.src.same(); err != nil {
		return fmt.Errorf("remove source: %w", err)
	}
	top := c.src.top()
	path, err := filepath.EvalSymlinks(top.path)
	if err != nil {
		return fmt.Errorf("remove source: %w", err)
	}
	files := append([]string{path}, top.parts...)
	if sidecar := path + diskimage.SidecarSuffix; top.info.Place != diskimage.PlaceImage {
		files = append(files, sidecar)
	}
	for _, p := range files {
		if rerr := os.Remove(p); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove source: %w", rerr))
			break // better the whole rest than some of it
		}
	}
	return errors.Join(err, syncPath(filepath.Dir(path)))
}

// maxNeighbours bounds how many files of the source's folder are looked at for overlays on it.
const maxNeighbours = 4096

// needed refuses a source that an image in its folder is based on: that one would be lost with it. Overlays elsewhere nobody can
// know of.
func (s *source) needed() error {
	top, err := filepath.EvalSymlinks(s.top().path)
	if err != nil {
		return fmt.Errorf("look for overlays: %w", err)
	}
	d, err := os.Open(filepath.Dir(top))
	if err != nil {
		return fmt.Errorf("look for overlays: %w", err)
	}
	defer func() { _ = d.Close() }() // it was only read
	entries, err := d.ReadDir(maxNeighbours)
	if err != nil {
		return fmt.Errorf("look for overlays: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		p := filepath.Join(filepath.Dir(top), e.Name())
		if base := baseOf(p); base != nil && os.SameFile(base, s.held[0].st) {
			return fmt.Errorf("remove %s: %w: %s", s.top().path, ErrBase, p)
		}
	}
	return nil
}

// baseOf is the file that the image at path is based on; nil: none that can be found.
func baseOf(path string) os.FileInfo {
	f, err := dir.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	_, info, err := diskimage.ReadLabel(f)
	if err != nil || !info.Parent.Exists() {
		return nil
	}
	ref, err := info.Parent.Path(info.Format)
	if err != nil {
		return nil
	}
	if !filepath.IsAbs(ref) {
		ref = filepath.Join(filepath.Dir(path), ref)
	}
	st, err := os.Stat(ref)
	if err != nil {
		return nil
	}
	return st
}
