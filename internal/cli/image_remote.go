package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/internal/inventory"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// remoteImage is an image in a pool of a configured source.
type remoteImage struct {
	world  *world
	source inventory.Source
	pool   fleet.Pool
	path   string // in the driver's own notation
	disk   *fleet.Disk
	users  []fleet.VMID // which have it, and are switched off
}

// isRemote says whether src is SOURCE:POOL/PATH of a source of the configuration: a local file of that name comes first.
func (a *app) isRemote(src, configFlag string) (fleet.SourceID, *config, error) {
	id, rest, ok := strings.Cut(src, ":")
	if _, err := os.Lstat(src); err == nil || !ok || !strings.Contains(rest, "/") || strings.Contains(id, "/") {
		return "", nil, nil
	}
	if a.findConfig(configFlag) == "" {
		return "", nil, nil
	}
	c, err := a.loadConfig(configFlag)
	if err != nil {
		return "", nil, err
	}
	for _, s := range c.sources {
		if string(s.id) == id {
			return s.id, c, nil
		}
	}
	return "", nil, nil
}

// openRemote finds the image of src in its source, which stays open until close.
func (a *app) openRemote(ctx context.Context, id fleet.SourceID, c *config, src string) (_ *remoteImage, err error) {
	w, err := a.openWorld(ctx, c, func(s fleet.SourceID) bool { return s == id })
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeQuietly(w)
		}
	}()
	snapshot, err := w.observe(ctx, a, nil)
	if err != nil {
		return nil, err
	}
	for _, g := range snapshot.Gaps {
		if g.What == "everything" {
			return nil, fmt.Errorf("%s was not seen: %s", g.Object, g.Cause)
		}
	}
	_, rest, _ := strings.Cut(src, ":")
	r, err := findRemote(ctx, w.conns[0], snapshot, id, rest)
	if err != nil {
		return nil, err
	}
	r.world = w
	return r, nil
}

func (r *remoteImage) close() { closeQuietly(r.world) }

// declared is the format that the hypervisor declares, where that has to be believed.
func (r *remoteImage) declared() diskimage.Format {
	if r.disk != nil && r.disk.Format == string(diskimage.FormatRaw) {
		return diskimage.FormatRaw
	}
	return ""
}

// open opens a file of the image's folder.
func (r *remoteImage) open(ctx context.Context) convert.Remote {
	return func(name string) (convert.RemoteFile, error) {
		return r.source.OpenImage(ctx, r.pool, strings.TrimSuffix(r.path, path.Base(r.path))+name)
	}
}

// fetchRemote copies the image into a temporary folder inside folder.
func (a *app) fetchRemote(ctx context.Context, r *remoteImage, src, folder string) (*convert.Fetched, error) {
	p := a.newTransfer("fetch " + cleanLine(src))
	f, err := convert.Fetch(ctx, r.open(ctx), path.Base(r.path), r.declared(), folder, p.update)
	p.finish(err == nil)
	if err != nil {
		return nil, err
	}
	if err := r.settled(f.Label); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// findRemote finds the pool, the driver's name of the image, and the disk that it is of, if it is one. An image that a VM which is
// not switched off has open is refused.
func findRemote(ctx context.Context, source inventory.Source, snapshot *fleet.Snapshot, id fleet.SourceID, rest string) (*remoteImage, error) {
	r := &remoteImage{source: source}
	var file string
	for _, p := range snapshot.Pools {
		if f, ok := strings.CutPrefix(rest, string(p.ID)+"/"); ok && p.Source == id && len(p.ID) > len(r.pool.ID) {
			r.pool, file = p, f
		}
	}
	if r.pool.ID == "" || file == "" {
		return nil, &cliError{code: codeNothing, err: fmt.Errorf("source %s has no pool for %q", id, rest), hint: "'berth fleet show' lists the pools; SOURCE:POOL/PATH"}
	}
	r.path = "[" + string(r.pool.ID) + "] " + file
	if strings.Contains(r.pool.Ref, "#") { // libvirt: its pools hold files of a folder
		r.path = file
		if !path.IsAbs(file) {
			folder, err := poolFolder(ctx, source, r.pool)
			if err != nil {
				return nil, err
			}
			r.path = path.Join(folder, file)
		}
	}
	for i := range snapshot.VMs {
		v := &snapshot.VMs[i]
		for j := range v.Disks {
			if !uses(&v.Disks[j], r) {
				continue
			}
			if v.Power != fleet.Stopped {
				return nil, refusedf("shut the VM down first", "%s: vm %s has it open, and is %s", r.path, v.ID, v.Power)
			}
			r.users = append(r.users, v.ID)
			if v.Disks[j].Path == r.path {
				r.disk = &v.Disks[j]
			}
		}
	}
	return r, nil
}

// uses reports whether the disk or what lies under it is the image.
func uses(d *fleet.Disk, r *remoteImage) bool {
	if d.Pool == r.pool.ID && d.Path == r.path {
		return true
	}
	for _, l := range d.Chain {
		if l.Pool == r.pool.ID && l.Path == r.path {
			return true
		}
	}
	return false
}

// settled refuses an image whose newer label is still with the hypervisor.
func (r *remoteImage) settled(image *label.Frame) error {
	if r.disk == nil || r.disk.Metadata == "" {
		return nil
	}
	kept, err := label.ParseEnvelope([]byte(r.disk.Metadata))
	if err != nil || image != nil && image.Serial >= kept.Serial {
		return nil //nolint:nilerr // what does not parse does not count
	}
	return refusedf("'berth label settle --vm VM' brings it into the image", "the hypervisor has a newer label of this disk than the image")
}
