package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
)

// opener opens the parents of the image at top, as far as they lie in its folder or in one of roots.
func opener(top string, roots []string) diskimage.Opener {
	allowed := append([]string{filepath.Dir(top)}, roots...)
	return func(child diskimage.Link, p diskimage.Parent) (diskimage.Link, error) {
		ref := strings.TrimPrefix(p.Ref, "file:")
		if ref == "" || strings.Contains(strings.SplitN(ref, "/", 2)[0], ":") {
			return diskimage.Link{}, fmt.Errorf("%q is no path of a file", p.Ref)
		}
		if !filepath.IsAbs(ref) {
			ref = filepath.Join(filepath.Dir(child.Name), ref)
		}
		real, err := filepath.EvalSymlinks(ref)
		if err != nil {
			return diskimage.Link{}, err
		}
		for _, a := range allowed {
			root, err := filepath.EvalSymlinks(a)
			if err != nil {
				continue
			}
			if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
				continue
			}
			f, err := dir.Open(ref)
			if err != nil {
				return diskimage.Link{}, err
			}
			return diskimage.Link{Reader: f, Name: ref}, nil
		}
		return diskimage.Link{}, fmt.Errorf("%s: %w: %w", ref, ErrOutside, os.ErrPermission)
	}
}
