package libvirt

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// An image keeps its name through a move, unless somebody has it in the target pool: another VM's disk, a file that nobody is
// known to use, or a move that is made at the same time. Then it gets a number: "disk.qcow2" becomes "disk-1.qcow2". Nothing in the world
// tells later which name that was, while nothing stands on the copy yet, so the caller keeps it.

// maxNumber bounds the numbers that are tried for a name.
const maxNumber = 1000

// maxName is how long a file name may be, in bytes.
const maxName = 255

// ChooseFiles chooses a name in its target pool for each image that moves, and returns those that are not as the plan has
// them. It changes nothing (pools are refreshed). The names are the VM's until a Relocate of it ends.
func (d *Driver) ChooseFiles(ctx context.Context, r fleet.Relocation) ([]fleet.DiskFile, error) {
	r.Files = nil
	m, err := d.resolve(ctx, "name the disks of", r)
	if err != nil {
		return nil, err
	}
	s, t, err := m.look(ctx)
	if err != nil {
		return nil, err
	}
	e := s
	if !s.found {
		e = t
	}
	d.claims.drop(r.VM.ID)
	var files []fleet.DiskFile
	own := map[string]bool{}
	for i, dm := range m.disks {
		if !dm.moves || !e.found {
			continue
		}
		name, err := m.chooseName(ctx, e, dm, own)
		if err != nil {
			d.claims.drop(r.VM.ID)
			return nil, err
		}
		if name != path.Base(dm.disk.Path) || r.VM.Disks[i].Path == "" {
			files = append(files, fleet.DiskFile{Disk: dm.disk.ID, Path: dm.disk.Path, Name: name})
		}
	}
	return files, nil
}

// chooseName is the name of a disk's image at the target; of a disk that is there already, the one that it has. own are the
// paths that other disks of the VM get.
func (m *move) chooseName(ctx context.Context, e *end, dm diskMove, own map[string]bool) (string, error) {
	base := path.Base(dm.disk.Path)
	now := e.guest.path(dm.disk.ID)
	if e.h != m.src || now != path.Clean(dm.disk.Path) {
		if e.h == m.dst && path.Dir(now) == dm.to.path {
			return path.Base(now), nil
		}
		return base, nil
	}
	set, err := m.files(ctx, dm, true)
	if err != nil {
		return "", err
	}
	if err := m.dst.refresh(ctx, dm.to.name); err != nil {
		return "", wrap(m.op, err, false)
	}
	for n := range maxNumber {
		name := base
		if n > 0 {
			name = insert(base, fmt.Sprintf("-%d", n))
		}
		free, err := m.nameIsFree(ctx, dm.named(name), set, own)
		if err != nil || free {
			return name, err
		}
	}
	return "", permanentf(m.op, "pool %s has %s and %d more names like it", dm.to.id, base, maxNumber-1)
}

// nameIsFree says whether nobody has the names that the disk's files would get. They are claimed first: between a look and
// a claim another move could make its file, and end.
func (m *move) nameIsFree(ctx context.Context, dm diskMove, set *fileSet, own map[string]bool) (bool, error) {
	for _, name := range dm.names(set) {
		if len(name) > maxName {
			return false, permanentf(m.op, "%s is taken in pool %s, and a number makes it longer than a file name can be", path.Base(dm.disk.Path), dm.to.id)
		}
		file := path.Join(dm.to.path, name)
		if own[file] || m.d.claims.take(m.dst, file, m.r.VM.ID) != "" {
			return false, nil
		}
		v, err := m.dst.volume(ctx, dm.to.name, name)
		switch {
		case fleetNotFound(err):
		case err != nil:
			return false, wrap(m.op, err, false)
		case !m.sameHost() && sameFile(v, set.files[0]):
			return true, nil // one pool by two ways: Precheck refuses that
		default:
			return false, nil
		}
	}
	for _, name := range dm.names(set) {
		own[path.Join(dm.to.path, name)] = true
	}
	return true, nil
}

// named is dm with an image of that name at the target.
func (dm diskMove) named(name string) diskMove {
	dm.target = path.Join(dm.to.path, name)
	return dm
}

// names are those of the disk's files at the target, and that of a sidecar: a foreign one would become the disk's label.
func (dm diskMove) names(set *fileSet) []string {
	var names []string
	for _, f := range set.files {
		names = append(names, dm.nameOf(path.Base(f.path)))
	}
	return append(names, sidecarName(dm.target))
}

// nameOf is what the file is called at the target: the parts of an image that gets a number get the same one.
func (dm diskMove) nameOf(file string) string {
	base, target := path.Base(dm.disk.Path), path.Base(dm.target)
	switch file {
	case base:
		return target
	case sidecarName(base):
		return sidecarName(target)
	}
	stem, ext := splitName(base)
	number, ok := strings.CutPrefix(target, stem)
	if number, found := strings.CutSuffix(number, ext); ok && found && number != "" {
		return insert(file, number)
	}
	return file
}

// insert puts text before the name's ending: "disk-1.qcow2".
func insert(name, text string) string {
	stem, ext := splitName(name)
	return stem + text + ext
}

// splitName cuts off the ending of a file name. What is a number is none: "debian-12.5".
func splitName(name string) (stem, ext string) {
	ext = path.Ext(name)
	if ext == name || strings.Trim(ext, ".0123456789") == "" {
		return name, ""
	}
	return strings.TrimSuffix(name, ext), ext
}

// checkName refuses what is no name of a file in a pool.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || name != path.Base(name) || len(name) > maxName || strings.ContainsAny(name, "\x00\n\r") {
		return fmt.Errorf("%q is no file name", name)
	}
	return nil
}

// descriptor is the text that a VMDK whose data is in files of their own has at the target, where these may have other
// names; nil when its bytes are copied as they are.
func (dm diskMove) descriptor(set *fileSet) []byte {
	if set.vmdk == nil || set.vmdk.embedded || path.Base(dm.target) == path.Base(set.files[0].path) {
		return nil
	}
	var b strings.Builder
	for line := range strings.Lines(set.vmdk.text) {
		if e, ok, err := parseExtent(strings.TrimSpace(line)); err == nil && ok && e.name != "" {
			line = strings.Replace(line, `"`+e.name+`"`, `"`+dm.nameOf(e.name)+`"`, 1)
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}

// writeWhole writes p to a file as long, and reads it back.
func (m *move) writeWhole(ctx context.Context, to *volume, p []byte) error {
	op := m.op + ": write " + to.path
	if err := m.dst.upload(ctx, to.vol, 0, p); err != nil {
		return m.uploadFailed(ctx, op, to, err)
	}
	got, err := m.dst.download(ctx, to.vol, 0, len(p)+1)
	if err != nil {
		return wrap(op, err, false)
	}
	if string(got) != string(p) { // libvirtd may lose an ENOSPC at the end of a short stream
		return m.uploadFailed(ctx, op, to, errVerify)
	}
	return nil
}

// copyTo makes the file at the target, of the size that it has there, and fills it.
func (m *move) copyTo(ctx context.Context, dm diskMove, set *fileSet, f *volume) error {
	name := dm.nameOf(path.Base(f.path))
	text, size := []byte(nil), f.physical
	if f == set.files[0] {
		if text = dm.descriptor(set); text != nil {
			size = fleet.Bytes(len(text))
		}
	}
	v, err := m.dst.create(ctx, dm.to.name, name, "raw", f.mode, size)
	if err != nil {
		return err
	}
	if err := m.at("created " + name); err != nil {
		return err
	}
	if text != nil {
		return m.writeWhole(ctx, v, text)
	}
	return m.copyFile(ctx, f, v)
}
