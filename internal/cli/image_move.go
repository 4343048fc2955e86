package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/libvirt"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/internal/inventory"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// importer is a source that takes images into its pools.
type importer interface {
	PoolPath(ctx context.Context, pool fleet.Pool) (string, error)
	Import(ctx context.Context, pool fleet.Pool, files []libvirt.ImportFile, progress func(done, total fleet.Bytes)) (string, error)
}

// remover is a source that deletes images which nothing refers to.
type remover interface {
	RemoveImage(ctx context.Context, pool fleet.Pool, path string) ([]string, error)
}

// poolFolder is where the files of a libvirt pool lie.
func poolFolder(ctx context.Context, source inventory.Source, pool fleet.Pool) (string, error) {
	i, ok := source.(importer)
	if !ok {
		return "", usagef("source %s does not say where pool %s lies", pool.Source, pool.ID)
	}
	return i.PoolPath(ctx, pool)
}

// delivery brings a converted image into a pool of a source: it is made in a temporary folder here, and uploaded.
type delivery struct {
	a      *app
	world  *world
	into   importer
	pool   fleet.Pool
	dst    string // as given
	name   string // of the volume
	file   string // where the volume lies
	folder string // temporary
}

// openDelivery finds the pool of dst, refuses a volume that is there, and makes the temporary folder in work.
func (a *app) openDelivery(ctx context.Context, id fleet.SourceID, c *config, dst, work string) (_ *delivery, err error) {
	w, err := a.openWorld(ctx, c, func(s fleet.SourceID) bool { return s == id })
	if err != nil {
		return nil, err
	}
	d := &delivery{a: a, world: w, dst: dst}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	snapshot, err := w.conns[0].Observe(ctx)
	if err != nil {
		return nil, err
	}
	var ok bool
	if d.into, ok = w.conns[0].(importer); !ok {
		return nil, usagef("%s: images can be put into the pools of a libvirt source only", dst)
	}
	_, rest, _ := strings.Cut(dst, ":")
	for _, p := range snapshot.Pools {
		if f, ok := strings.CutPrefix(rest, string(p.ID)+"/"); ok && len(p.ID) > len(d.pool.ID) {
			d.pool, d.name = p, f
		}
	}
	if d.pool.ID == "" {
		return nil, &cliError{code: codeNothing, err: fmt.Errorf("source %s has no pool for %q", id, rest), hint: "'berth fleet show' lists the pools; SOURCE:POOL/NAME"}
	}
	where, err := d.into.PoolPath(ctx, d.pool)
	if err != nil {
		return nil, err
	}
	if dir, name := path.Split(d.name); path.IsAbs(dir) && path.Clean(dir) == path.Clean(where) {
		d.name = name
	}
	if !filepath.IsLocal(d.name) || path.Base(d.name) != d.name {
		return nil, usagef("%s: %q is no name of a volume", dst, d.name)
	}
	d.file = path.Join(where, d.name)
	if err := d.vacant(ctx); err != nil {
		return nil, err
	}
	d.folder = filepath.Join(work, ".berth-"+rand.Text()+".tmp")
	if err := os.Mkdir(d.folder, 0o700); err != nil {
		d.folder = ""
		return nil, fmt.Errorf("make temporary folder in %s: %w", work, bare(err))
	}
	return d, nil
}

// vacant refuses a volume that is there, before anything is fetched or converted. Import makes sure again.
func (d *delivery) vacant(ctx context.Context) error {
	f, err := d.world.conns[0].OpenImage(ctx, d.pool, d.file)
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	defer closeQuietly(f)
	var head [1 << 16]byte
	_, err = f.ReadAt(head[:], 0)
	if err == nil && head == [1 << 16]byte{} {
		err = errors.New("its beginning is empty: an upload that was cut short leaves such a volume")
	}
	return d.exists(errors.Join(fs.ErrExist, err))
}

func (d *delivery) exists(err error) error {
	return refusedf("no volume is ever replaced: another name, or 'virsh vol-delete' when nothing needs it", "%s: %w", d.dst, err)
}

// close removes the temporary folder.
func (d *delivery) close() error {
	closeQuietly(d.world)
	if d.folder == "" {
		return nil
	}
	if err := os.RemoveAll(d.folder); err != nil {
		return fmt.Errorf("remove temporary folder: %w", err)
	}
	return nil
}

// room refuses when the work folder or the pool cannot hold what the source takes.
func (d *delivery) room(copies int, used fleet.Bytes) error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.folder, &st); err != nil {
		return fmt.Errorf("look at free space of %s: %w", filepath.Dir(d.folder), err)
	}
	free := fleet.Bytes(min(st.Bavail, 1<<40) * uint64(max(st.Bsize, 1)))
	if need := fleet.Bytes(copies) * used; free < need {
		return refusedf("--work-dir DIR names another folder", "%s has %s free, the conversion needs some %s",
			filepath.Dir(d.folder), fleet.FormatBytes(free), fleet.FormatBytes(need))
	}
	if d.pool.Free < used {
		return refusedf("", "pool %s has %s free, the image takes some %s", d.pool.ID, fleet.FormatBytes(d.pool.Free), fleet.FormatBytes(used))
	}
	return nil
}

// usedBy is what local files take without their holes; what cannot be looked at counts as nothing.
func usedBy(files ...string) (sum fleet.Bytes) {
	for _, f := range files {
		var st unix.Stat_t
		if unix.Stat(f, &st) == nil {
			sum += fleet.Bytes(st.Blocks * 512)
		}
	}
	return sum
}

// deliver uploads what was made, sidecar and parts before the image, and reads the pool's copy and its label back.
func (d *delivery) deliver(ctx context.Context, res *convert.Result) error {
	var files []libvirt.ImportFile
	for _, name := range slices.Backward(res.Files) {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		defer closeQuietly(f)
		st, err := f.Stat()
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		files = append(files, libvirt.ImportFile{Name: filepath.Base(name), Content: f, Size: fleet.Bytes(st.Size()), Used: usedBy(name)})
	}
	p := d.a.newTransfer("upload " + cleanLine(d.dst))
	file, err := d.into.Import(ctx, d.pool, files, p.update)
	p.finish(err == nil)
	var left *libvirt.LeftError
	switch {
	case errors.Is(err, fs.ErrExist):
		return d.exists(err)
	case errors.As(err, &left):
		return &cliError{code: codeFailed, err: err, hint: "'virsh vol-delete' removes what is left"}
	case err != nil:
		return err
	}
	if err := d.verify(ctx, file, res); err != nil {
		return fmt.Errorf("read %s back: %w", d.dst, err)
	}
	return nil
}

// rename gives the result the names that its files have in the source.
func (d *delivery) rename(res *convert.Result) {
	folder := strings.TrimSuffix(d.dst, d.name)
	for i, name := range res.Files {
		res.Files[i] = folder + filepath.Base(name)
	}
}

// verify holds what the source now says of the image to what was made: its label, and the disk that the label is bound to.
func (d *delivery) verify(ctx context.Context, file string, res *convert.Result) error {
	f, err := d.world.conns[0].OpenImage(ctx, d.pool, file)
	if err != nil {
		return err
	}
	defer closeQuietly(f)
	opts := diskimage.Options{}
	if res.Destination.Format == diskimage.FormatRaw {
		opts.Format = diskimage.FormatRaw
	}
	frame, info, err := opts.ReadLabel(f)
	if err != nil {
		return err
	}
	if info.Format != res.Destination.Format || info.Binding() != res.Destination.Binding() {
		return fmt.Errorf("%w: it is another disk", convert.ErrDiffers)
	}
	if (frame == nil) != (res.Label == nil) {
		return fmt.Errorf("%w: its label", convert.ErrDiffers)
	}
	if frame == nil {
		return nil
	}
	return sameAndBound(*frame, *res.Label, info)
}

// sameAndBound holds the label that was read to the one that was written, and to the disk that it is in.
func sameAndBound(got, want label.Frame, info *diskimage.Info) error {
	g, err := got.Envelope()
	if err != nil {
		return err
	}
	w, err := want.Envelope()
	if err != nil {
		return err
	}
	doc, err := got.Document()
	if err != nil {
		return err
	}
	if string(g) != string(w) {
		return fmt.Errorf("%w: its label", convert.ErrDiffers)
	}
	if disk := info.Binding(); doc.Disk.Size != disk.Size || doc.Disk.UUID != "" && doc.Disk.UUID != disk.UUID {
		return fmt.Errorf("read label: %w", diskimage.ErrBinding)
	}
	return nil
}

const removeHint = "detach the disk, or unregister the VM; or convert without --remove-source"

// removable refuses a source image that a VM still has, whether that runs or not.
func (r *remoteImage) removable() error {
	if _, ok := r.source.(remover); !ok {
		return usagef("--remove-source: source %s cannot remove images", r.source.ID())
	}
	if len(r.users) > 0 {
		return refusedf(removeHint, "--remove-source: vm %s refers to %s", r.users[0], r.path)
	}
	return nil
}

// removeRemote removes the source image when it still is, byte for byte, what was fetched, and no VM refers to it. The
// destination has been read back before.
func (a *app) removeRemote(ctx context.Context, r *remoteImage, f *convert.Fetched, src string) error {
	p := a.newTransfer("compare " + cleanLine(src))
	err := f.Same(ctx, r.open(ctx), r.declared(), p.update)
	p.finish(err == nil)
	if err != nil {
		return err
	}
	snapshot, err := r.source.Observe(ctx)
	if err != nil {
		return err
	}
	for _, g := range snapshot.Gaps {
		if hidesUse(g.What) {
			return refusedf("", "%s: %s is not known (%s): it could use %s", g.Object, g.What, g.Cause, r.path)
		}
	}
	for i := range snapshot.VMs {
		for j := range snapshot.VMs[i].Disks {
			if uses(&snapshot.VMs[i].Disks[j], r) {
				return refusedf(removeHint, "vm %s refers to %s since it was fetched", snapshot.VMs[i].ID, r.path)
			}
		}
	}
	gone, err := r.source.(remover).RemoveImage(ctx, r.pool, r.path) // removable has made sure that it is one
	for _, g := range gone {
		a.detail("%s: removed %s", src, g)
	}
	return err
}

// hidesUse says whether what is not known could be that a VM has an image. The drivers look for users themselves too.
func hidesUse(what string) bool {
	switch what {
	case "everything", "vms", "pools", "place", "a disk", "pool", "backing chain":
		return true
	}
	return false
}
