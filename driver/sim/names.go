package sim

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// ChooseFiles gives a disk whose name is taken at its target the next free one, as hypervisors do: "disk-1.qcow2". It is no
// operation: nothing changes.
func (f *Fleet) ChooseFiles(ctx context.Context, r fleet.Relocation) ([]fleet.DiskFile, error) {
	if err := ctx.Err(); err != nil {
		return nil, &fleet.DriverError{Kind: fleet.Retry, Op: "choose files of vm " + string(r.VM.ID), Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.guests[handle(r.VM.Ref, string(r.VM.ID))]
	if g == nil {
		return nil, refuse("find", r.VM.ID, "%w", fleet.ErrNotFound)
	}
	f.unchoose(g)
	r.Files = nil
	_, def := g.main("")
	var files []fleet.DiskFile
	for i, at := range f.targets(g, r) {
		was := def.disks[i]
		if at == was || at.pool == was.pool { // it stays, or is there already
			continue
		}
		name := base(at.path)
		for n := 1; f.volumes[at] != nil || f.chosen[at] != nil; n++ {
			ext := path.Ext(name)
			at.path = renamed(at.path, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), n, ext))
		}
		f.chosen[at] = g
		if r.VM.Disks[i].Path == "" || base(at.path) != name {
			files = append(files, fleet.DiskFile{Disk: r.VM.Disks[i].ID, Path: was.path, Name: base(at.path)})
		}
	}
	return files, nil
}

// unchoose gives back the names that g has not used.
func (f *Fleet) unchoose(g *guest) {
	for at, has := range f.chosen {
		if has == g {
			delete(f.chosen, at)
		}
	}
}

// base is the file name of a path: "disk.vmdk" of "[ssd] vm-db/disk.vmdk".
func base(p string) string { return p[strings.LastIndexAny(p, "/ ")+1:] }

// renamed is the path with another file name.
func renamed(p, name string) string { return strings.TrimSuffix(p, base(p)) + name }
