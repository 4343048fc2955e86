package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
)

// extentName is how the parts of a split VMDK are called beside their descriptor NAME.vmdk. Their content
// does not always tell: QEMU writes each sparse part as a complete image of its own.
var extentName = regexp.MustCompile(`^(.+)-(?:flat|delta|rdmp?|sesparse|[fs]\d{3,6})\.vmdk$`)

// descriptorOf is the path of the descriptor that names path as one of its parts; empty when there is none.
func descriptorOf(path string) string {
	folder, name := filepath.Split(path)
	m := extentName.FindStringSubmatch(name)
	if m == nil {
		return ""
	}
	descriptor := folder + m[1] + ".vmdk"
	f, err := dir.Open(descriptor)
	if err != nil {
		return ""
	}
	defer closeQuietly(f)
	info, err := diskimage.Inspect(f)
	if err != nil || !slices.ContainsFunc(info.Extents, func(e diskimage.Extent) bool { return e.Name == name }) {
		return ""
	}
	return descriptor
}

// checkExtent refuses a part of a split image, since the label belongs to the descriptor. done is false when e is
// no part. A part is passed over when its descriptor is worked on as well (it was met in a folder, or
// "*.vmdk" named both): then nobody misses it.
func (s *selection) checkExtent(e entry) (o outcome, done bool) {
	descriptor := descriptorOf(e.path)
	if descriptor == "" {
		return outcome{}, false
	}
	if e.found || slices.Contains(s.args, descriptor) {
		return outcome{skip: true, note: "part of " + descriptor}, true
	}
	return outcome{err: &cliError{code: codeInput, err: fmt.Errorf("%w: part of %s", diskimage.ErrExtent, descriptor),
		hint: "the label belongs to " + descriptor + ": name that file"}}, true
}
