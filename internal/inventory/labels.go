package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// reader reads the labels of one source's disks into its part of the snapshot.
type reader struct {
	source Source
	part   *fleet.Snapshot
	opts   Options
	hosts  map[fleet.HostID]*fleet.Host
	pools  map[fleet.PoolID]fleet.Pool // copies: a read that was given up on may still be under way
	// hung counts, for each pool, the disks whose reads got no answer in time.
	hung map[fleet.PoolID]*atomic.Int64
	// disks says whose disk a file is that has the name of a sidecar: its content is a guest's, and no label.
	disks map[fleet.ChainLink]string
}

func newReader(s Source, part *fleet.Snapshot, o Options) *reader {
	r := &reader{source: s, part: part, opts: o, hosts: map[fleet.HostID]*fleet.Host{}, pools: map[fleet.PoolID]fleet.Pool{}, hung: map[fleet.PoolID]*atomic.Int64{}, disks: map[fleet.ChainLink]string{}}
	for i := range part.Hosts {
		r.hosts[part.Hosts[i].ID] = &part.Hosts[i]
	}
	for _, p := range part.Pools {
		r.pools[p.ID], r.hung[p.ID] = p, new(atomic.Int64)
	}
	for i := range part.VMs {
		v := &part.VMs[i]
		for _, d := range v.Disks {
			if strings.HasSuffix(d.Path, diskimage.SidecarSuffix) {
				r.disks[fileOf(d.Pool, d.Path)] = fmt.Sprintf("disk %s of vm %s", d.ID, v.ID)
			}
		}
	}
	return r
}

func fileOf(pool fleet.PoolID, file string) fleet.ChainLink {
	return fleet.ChainLink{Pool: pool, Path: path.Clean(file)}
}

// readAll fills in the label of every disk. One that cannot be read, or whose format has no place for one, is
// a gap.
func (r *reader) readAll(ctx context.Context) {
	gaps := make([][]fleet.Gap, len(r.part.VMs))
	var group errgroup.Group
	group.SetLimit(r.opts.Parallel)
	for i := range r.part.VMs {
		v := &r.part.VMs[i]
		gaps[i] = make([]fleet.Gap, len(v.Disks))
		for j := range v.Disks {
			group.Go(func() error {
				found, cause := r.disk(ctx, v, &v.Disks[j])
				v.Disks[j].Label = found
				if cause != "" {
					gaps[i][j] = fleet.Gap{
						Source: r.source.ID(), Object: fmt.Sprintf("vm %s disk %s", v.ID, v.Disks[j].ID), What: "label", Cause: cause,
					}
				}
				return nil
			})
		}
	}
	_ = group.Wait() // no task returns an error: it is in the gaps
	for _, list := range gaps {
		for _, g := range list {
			if g.What != "" {
				r.part.Gaps = append(r.part.Gaps, g)
			}
		}
	}
}

// disk is the label of one disk; cause says why it is not known, or why there can be none.
func (r *reader) disk(ctx context.Context, v *fleet.VM, d *fleet.Disk) (found fleet.Label, cause string) {
	unread := fleet.Label{Trust: fleet.TrustUnknown}
	if h := r.hosts[v.Host]; h != nil && h.Unreachable {
		return unread, "host " + string(v.Host) + " is unreachable"
	}
	hung := r.hung[d.Pool] // there is one: the part is valid
	if n := hung.Load(); n >= int64(r.opts.Parallel) {
		return unread, fmt.Sprintf("not tried: %d reads from pool %s got no answer in time", n, d.Pool)
	}
	images := append([]fleet.ChainLink{{Pool: d.Pool, Path: d.Path, Format: d.Format}}, d.Chain...)
	var err error
	for range tries {
		if ctx.Err() != nil {
			return unread, ctx.Err().Error()
		}
		found, err = within(ctx, r.opts.ReadTimeout, func(ctx context.Context) (fleet.Label, error) { return r.counting(ctx, images, d) })
		if err == nil || !passing(err) {
			break
		}
	}
	var none *noLabelError
	var bad *metadataError
	var over *displacedError
	switch {
	case err == nil:
		return found, ""
	case errors.As(err, &bad), errors.As(err, &none), errors.As(err, &over):
		return found, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		hung.Add(1)
	}
	return unread, err.Error()
}

// tries is how often a label is read when it comes out damaged: a hypervisor may just be rewriting it.
const tries = 2

func passing(err error) bool {
	return errors.Is(err, diskimage.ErrDamaged) || errors.Is(err, diskimage.ErrCorrupt) || fleet.KindOf(err) == fleet.Retry
}

// noLabelError: the format of an image has no place for a label.
type noLabelError struct{ format string }

func (e *noLabelError) Error() string {
	return e.format + " images carry no label"
}

// metadataError: what the hypervisor keeps as the disk's label is none; the image's counts.
type metadataError struct{ err error }

func (e *metadataError) Error() string { return "label in the hypervisor's metadata: " + e.err.Error() }

func (e *metadataError) Unwrap() error { return e.err }

// displacedError: a label without a good signature counts over one that has it.
type displacedError struct{ kept, image uint32 }

func (e *displacedError) Error() string {
	return fmt.Sprintf("the label in the hypervisor's metadata (serial %d) is not signed as it should be, and counts over the signed one of the image (serial %d)", e.kept, e.image)
}

// counting is the one of the image's label and of that in the hypervisor's metadata that counts: the one with the higher
// serial, the image's when they are equal, and the disk's own rather than an ancestor's. With a *noLabelError, a
// *metadataError or a *displacedError the label is right nevertheless.
//
// The signature does not decide which one counts. Where it did, a label that somebody sets without a key would be without
// effect, and silently so, and the image's would come back whenever a key expires. What that leaves to those who may change
// a VM's configuration, and not its image, is to take a signed label's effect away: an unsigned one is worth the catalogue's
// unsigned_ceiling at most and an invalid one nothing, so that nobody is raised by it. They can as well detach the disk. The
// inventory shows it, and the audit remembers the signed one.
func (r *reader) counting(ctx context.Context, images []fleet.ChainLink, d *fleet.Disk) (fleet.Label, error) {
	in, err := r.nearest(ctx, images)
	if err != nil && !errors.As(err, new(*noLabelError)) || d.Metadata == "" {
		return in.label, err
	}
	kept, bad := label.ParseEnvelope([]byte(d.Metadata))
	if bad != nil {
		return in.label, &metadataError{bad}
	}
	if in.own() && in.label.Serial >= kept.Serial {
		return in.label, nil
	}
	disk := in.top
	if disk == (label.Binding{}) { // a device, say, whose bytes are all the guest's
		disk.Size = d.Size
	}
	out := r.verified(&kept, disk, fleet.LabelInMetadata, "")
	if in.own() && in.label.Trust == fleet.TrustSigned && out.Trust != fleet.TrustSigned {
		return out, &displacedError{kept.Serial, in.label.Serial}
	}
	return out, nil
}

// found is what a walk through a backing chain came to.
type found struct {
	label fleet.Label
	top   label.Binding // of the top image; zero when it could not be told
}

// own says that the label is the top image's.
func (f *found) own() bool { return f.label.Place != "" && f.label.From == "" }

// nearest walks from the top image down to the first one that holds a label.
func (r *reader) nearest(ctx context.Context, images []fleet.ChainLink) (found, error) {
	out := found{label: fleet.Label{Trust: fleet.TrustNone}}
	seen := map[fleet.ChainLink]bool{}
	var none *noLabelError
	for i, image := range images {
		key := fleet.ChainLink{Pool: image.Pool, Path: image.Path}
		if seen[key] {
			return found{}, fmt.Errorf("backing chain comes back to %s", image.Path)
		}
		seen[key] = true
		frame, info, err := r.image(ctx, image)
		if err == nil && i == 0 {
			out.top = info.Binding()
		}
		switch {
		case none == nil && errors.As(err, &none), errors.As(err, new(*noLabelError)):
			continue
		case err != nil:
			return found{}, err
		case frame != nil:
			from := ""
			if i > 0 {
				from = image.Path
			}
			out.label = r.verified(frame, info.Binding(), place(info.Place), from)
			return out, nil
		}
	}
	if none != nil {
		return out, none
	}
	return out, nil
}

func place(p diskimage.Place) fleet.LabelPlace {
	if p == diskimage.PlaceImage {
		return fleet.LabelInImage
	}
	return fleet.LabelInSidecar
}

// image reads the label of one image; a nil frame is none.
func (r *reader) image(ctx context.Context, image fleet.ChainLink) (frame *label.Frame, info *diskimage.Info, err error) {
	format, ok := diskimage.FormatNamed(image.Format)
	if !ok {
		return nil, nil, &noLabelError{image.Format}
	}
	pool, ok := r.pools[image.Pool]
	if !ok {
		return nil, nil, fmt.Errorf("open image %s: pool %q is not known", image.Path, image.Pool)
	}
	file, err := r.source.OpenImage(ctx, pool, image.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("open image %s: %w", image.Path, err)
	}
	defer func() {
		if closing := file.Close(); err == nil && closing != nil {
			frame, err = nil, fmt.Errorf("close image %s: %w", image.Path, closing)
		}
	}()
	frame, info, err = diskimage.Options{Format: format}.ReadLabel(&patient{ctx: ctx, file: file, sidecar: r.disks[fileOf(image.Pool, image.Path+diskimage.SidecarSuffix)]})
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read label of %s: %w", image.Path, err)
	case frame == nil && info.Damaged:
		return nil, nil, fmt.Errorf("read label of %s: %w", image.Path, diskimage.ErrDamaged)
	}
	return frame, info, nil
}

// patient stops reading when the context ends, whatever the driver does.
type patient struct {
	ctx     context.Context
	file    fleet.ImageFile
	sidecar string // whose disk the sidecar is; empty: nobody's
}

func (p *patient) ReadAt(b []byte, off int64) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.file.ReadAt(b, off)
	if n < len(b) && err == nil {
		err = io.ErrNoProgress // io.ReaderAt forbids it; the codec relies on that
	}
	return n, err
}

func (p *patient) Size() int64 { return max(p.file.Size(), 0) }

// beside gives the file as a diskimage.Beside where the driver has a place for a sidecar.
func (p *patient) beside() (diskimage.Beside, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, err
	}
	b, ok := p.file.(diskimage.Beside)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return b, nil
}

// Attribute says that there is none: what a remote file system keeps is not for labels to travel in.
func (p *patient) Attribute(string) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetAttribute is not for a reader.
func (p *patient) SetAttribute(string, []byte) error { return errors.ErrUnsupported }

// Sidecar reads the sidecar beside the image.
func (p *patient) Sidecar() ([]byte, error) {
	b, err := p.beside()
	if err != nil {
		return nil, err
	}
	if p.sidecar != "" {
		return nil, fmt.Errorf("it is %s", p.sidecar)
	}
	return b.Sidecar()
}

// SetSidecar is not for a reader.
func (p *patient) SetSidecar([]byte) error { return errors.ErrUnsupported }

// verified is a label as the snapshot has it, judged now and for the disk whose image holds it.
func (r *reader) verified(frame *label.Frame, disk label.Binding, at fleet.LabelPlace, from string) fleet.Label {
	v := r.opts.Trust.Verify(*frame, disk, r.opts.Now)
	out := fleet.Label{
		Trust: fleet.Trust(v.Trust), Serial: frame.Serial, Issuer: v.Issuer, Ceiling: v.Ceiling, Place: at, From: from, Reason: v.Reason,
	}
	if frame.KeyID != (label.KeyID{}) {
		out.KeyID = frame.KeyID.String()
	}
	if doc, err := frame.Document(); err == nil {
		out.Document = &doc
	}
	return out
}
