package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
)

// extentName is how the parts of a split VMDK are called beside their descriptor NAME.vmdk, or with whatever ending QEMU was given
// for that. Their content does not always tell: QEMU writes each sparse part as a complete image of its own.
var extentName = regexp.MustCompile(`^(.+)-(?:flat|delta|rdmp?|sesparse|[fs]\d{3,6})(\.[^.]*)?$`)

// Bounds of what is kept of a folder: files looked at as descriptors, and parts that they name.
const (
	maxDescriptors = 4096
	maxParts       = 1 << 16
	maxNamed       = 1 << 18 // names of images that parts may belong to
)

// folderParts are the parts that the descriptors of each folder name, as far as folders were looked at.
type folderParts struct {
	mu      sync.Mutex
	folders map[string]map[string]string // folder, part, path of the descriptor
}

// descriptorOf is the path of the descriptor that names path as one of its parts; empty when there is none. It is
// NAME.vmdk where nobody renamed it; else any other in the folder.
func (fp *folderParts) descriptorOf(path string) string {
	folder, name := filepath.Split(path)
	// Most names, for much less than the expression.
	if at := strings.LastIndexByte(name, '-'); at < 1 || at+1 == len(name) || !strings.ContainsRune("fdrs", rune(name[at+1])) {
		return ""
	}
	m := extentName.FindStringSubmatch(name)
	if m == nil {
		return ""
	}
	if descriptor := folder + m[1] + m[2]; slices.Contains(partsOf(descriptor), name) {
		return descriptor
	}
	if m[2] != ".vmdk" { // those are looked for no further: any file could be the descriptor
		return ""
	}
	fp.mu.Lock()
	defer fp.mu.Unlock()
	parts, ok := fp.folders[folder]
	if !ok {
		if fp.folders == nil {
			fp.folders = map[string]map[string]string{}
		}
		parts = partsIn(folder)
		fp.folders[folder] = parts
	}
	return parts[name]
}

// partsOf are the names of the parts of a split image; none when path is no descriptor.
func partsOf(path string) []string {
	f, err := dir.Open(path)
	if err != nil {
		return nil
	}
	defer closeQuietly(f)
	info, err := diskimage.Inspect(f)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range info.Extents {
		names = append(names, e.Name)
	}
	return names
}

// partsIn looks through the descriptors of a folder.
func partsIn(folder string) map[string]string {
	parts := map[string]string{}
	d, err := os.Open(cmp.Or(folder, "."))
	if err != nil {
		return parts
	}
	defer closeQuietly(d)
	names, _ := d.Readdirnames(maxDescriptors) // what could not be read names nothing
	for _, n := range names {
		if filepath.Ext(n) != ".vmdk" || extentName.MatchString(n) {
			continue
		}
		for _, part := range partsOf(folder + n) {
			if part != n && len(parts) < maxParts {
				parts[part] = folder + n
			}
		}
	}
	return parts
}

// checkExtent refuses a part of a split image, since the label belongs to the descriptor, and a sidecar. done is false when e is
// no part. A part is passed over when its descriptor is worked on as well (it was met in a folder, or
// "*.vmdk" named both, see wait): then nobody misses it.
func (s *selection) checkExtent(e entry) (o outcome, done bool) {
	if image, ok := strings.CutSuffix(e.path, diskimage.SidecarSuffix); ok && !e.found && exists(image) {
		return outcome{part: image, err: &cliError{code: codeInput, err: fmt.Errorf("%w: the sidecar of %s", diskimage.ErrNotImage, image),
			hint: "it holds the label of " + image + ": name that file"}}, true
	}
	descriptor := s.parts.descriptorOf(e.path)
	if descriptor == "" {
		return outcome{}, false
	}
	if e.found {
		return outcome{skip: true, note: "part of " + descriptor}, true
	}
	return outcome{part: descriptor, err: &cliError{code: codeInput, err: fmt.Errorf("%w: part of %s", diskimage.ErrExtent, descriptor),
		hint: "the label belongs to " + descriptor + ": name that file"}}, true
}

// wait keeps the parts that were named until all names are known: the descriptor may come later. What is beyond the bounds
// is an error at once.
func (s *selection) wait(o *outcome) bool {
	switch {
	case o.part != "" && len(s.waiting) < maxParts:
		s.waiting = append(s.waiting, *o)
		return true
	case o.named && len(s.named) < maxNamed:
		if s.named == nil {
			s.named = map[string]bool{}
		}
		s.named[filepath.Clean(o.line.Path)] = true
	}
	return false
}

// waited are the outcomes that wait kept, judged.
func (s *selection) waited() []outcome {
	for i := range s.waiting {
		o := &s.waiting[i]
		if s.named[filepath.Clean(o.part)] {
			o.skip, o.note = true, "it belongs to "+o.part
		}
		o.part = ""
	}
	return s.waiting
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
