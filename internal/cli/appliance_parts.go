package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/ovf"
)

// applianceParts knows which files are disks of an OVF in their folder, as far as folders were looked at: a disk that is
// labelled alone no longer matches its appliance's manifest.
type applianceParts struct {
	mu      sync.Mutex
	folders map[string]map[string]appliancePart // by folder, then by file
}

type appliancePart struct {
	descriptor string // its path
	listed     bool   // by a manifest
}

// maxFolders bounds the folders that are remembered.
const maxFolders = 1 << 12

// of says which OVF a file is a disk of. Found is false when it is of none.
func (ap *applianceParts) of(path string) (appliancePart, bool) {
	folder, name := filepath.Split(path)
	ap.mu.Lock()
	defer ap.mu.Unlock()
	parts, ok := ap.folders[folder]
	if !ok {
		if ap.folders == nil || len(ap.folders) >= maxFolders {
			ap.folders = map[string]map[string]appliancePart{}
		}
		parts = applianceDisks(folder)
		ap.folders[folder] = parts
	}
	part, ok := parts[name]
	return part, ok
}

// applianceDisks looks through the descriptors of a folder. What cannot be read has no disks.
func applianceDisks(folder string) map[string]appliancePart {
	parts := map[string]appliancePart{}
	d, err := os.Open(cmp.Or(folder, "."))
	if err != nil {
		return parts
	}
	defer closeQuietly(d)
	for looked := 0; looked < maxDescriptors; {
		names, err := d.Readdirnames(4096)
		for _, n := range names {
			if strings.EqualFold(filepath.Ext(n), ".ovf") && looked < maxDescriptors {
				looked++
				addDisks(parts, folder, n)
			}
		}
		if err != nil {
			break
		}
	}
	return parts
}

func addDisks(parts map[string]appliancePart, folder, name string) {
	read := func(name string, limit int64) []byte {
		f, err := dir.Open(folder + name)
		if err != nil {
			return nil
		}
		defer closeQuietly(f)
		if f.Size() > limit {
			return nil
		}
		text := make([]byte, f.Size())
		if n, _ := f.ReadAt(text, 0); n < len(text) {
			return nil
		}
		return text
	}
	d, err := ovf.ParseDescriptor(read(name, ovf.MaxDescriptor))
	if err != nil {
		return
	}
	m, err := ovf.ParseManifest(read(name[:len(name)-len(".ovf")]+".mf", ovf.MaxManifest))
	for _, file := range d.DiskFiles() {
		// A descriptor is never another's disk: two that name each other would both be passed over.
		if len(parts) < maxParts && !strings.EqualFold(filepath.Ext(file), ".ovf") {
			parts[file] = appliancePart{descriptor: folder + name, listed: err != nil || m.Lists(file)}
		}
	}
}

// checkPart refuses to change a disk of an OVF by itself where a manifest lists it, and passes it over where the OVF is
// worked on as well. done is false when e may be changed.
func (s *selection) checkPart(e entry) (o outcome, done bool) {
	part, ok := s.ovfs.of(e.path)
	switch {
	case !ok || e.disk != nil:
		return outcome{}, false
	case e.found || slices.Contains(s.args, part.descriptor):
		return outcome{skip: true, note: "disk of " + part.descriptor}, true
	case part.listed:
		return outcome{err: refusedf("name "+part.descriptor+": its disks, descriptor and manifest then stay in step",
			"it is a disk of %s, whose manifest lists it", part.descriptor)}, true
	}
	return outcome{}, false
}
