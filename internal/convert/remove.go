package convert

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
