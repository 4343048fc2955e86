package cli

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label/ovf"
)

// lookAppliance looks at the disks of an appliance. To the audit it is a folder, with a file for each disk.
func (w *folderAudit) lookAppliance(e entry) looked {
	l := looked{path: e.path, line: imageLine{Path: e.path}}
	ap, err := openAppliance(e.path)
	if err != nil {
		l.present = audit.Present{Kind: audit.NotRead, Reason: reason(err, e.path)}
		return l
	}
	defer closeQuietly(ap)
	l.other = true // when it has no disks
	names := map[*ovf.Disk]string{}
	for _, d := range ap.pkg.Disks {
		names[d] = e.path + "/" + strings.NewReplacer("%", "%25", "/", "%2F").Replace(d.ID)
	}
	slices.SortFunc(ap.pkg.Disks, func(a, b *ovf.Disk) int { return audit.Compare(names[a], names[b]) })
	for _, d := range ap.pkg.Disks {
		of := w.look(entry{path: e.path, found: e.found, disk: &applianceDisk{appliance: ap, disk: d}})
		of.path, of.line.Path, of.line.DiskFile = names[d], names[d], d.File
		l.more = append(l.more, of)
	}
	return l
}

// checkAudited passes over a file that is looked at as a disk of an OVF: its label is there once, not twice.
func (s *selection) checkAudited(e entry) (o outcome, done bool) {
	if e.disk != nil {
		return outcome{}, false
	}
	part, ok := s.ovfs.of(e.path)
	return outcome{skip: true, note: "disk of " + part.descriptor}, ok
}
