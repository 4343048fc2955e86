package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/label/ovf"
	"github.com/spf13/cobra"
)

// applianceFormats are what label find --format takes besides formatNames.
func applianceFormats() []string { return []string{string(ovf.FormatOVA), string(ovf.FormatOVF)} }

// errAppliance: the file is no image, it is an appliance. Whoever gets it works on its disks instead.
var errAppliance = errors.New("is an appliance, expected an image")

// maxPEM bounds key and certificate files of --ovf-key and --ovf-cert, in bytes.
const maxPEM = 64 << 10

// applianceChoice is what the command line says of appliances among its images.
type applianceChoice struct {
	disks             []string // only these; none: all
	keyFile, certFile string
	signer            *ovf.Signer
	changes           bool // the verb changes what it works on
}

// flags adds what verbs that change appliances need besides.
func (c *applianceChoice) flags(cmd *cobra.Command) {
	c.changes = true
	f := cmd.Flags()
	f.StringVar(&c.keyFile, "ovf-key", "", "sign the manifest of a signed OVF or OVA again with the RSA or ECDSA key in `FILE` (PEM)")
	f.StringVar(&c.certFile, "ovf-cert", "", "the certificate in `FILE` (PEM) for --ovf-key")
}

// diskFlag adds --disk to a verb that has none of its own.
func (c *applianceChoice) diskFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&c.disks, "disk", nil, "of an OVF or OVA only the `DISK` of that name, such as vmdisk1")
}

// prepare reads the signing key, before any file is touched.
func (c *applianceChoice) prepare(a *app) error {
	if c.keyFile == "" && c.certFile == "" {
		return nil
	}
	if c.keyFile == "" || c.certFile == "" {
		return usagef("--ovf-key and --ovf-cert go together")
	}
	key, err := readSecret(c.keyFile, maxPEM)
	if err != nil {
		return err
	}
	cert, err := readFile(c.certFile, maxPEM)
	if err != nil {
		return inputError(fmt.Errorf("read certificate: %w", err), "")
	}
	if c.signer, err = ovf.NewSigner(key, cert); err == nil {
		err = c.signer.Check(a.env.Now())
	}
	if err != nil {
		return inputError(fmt.Errorf("--ovf-key %s, --ovf-cert %s: %w", c.keyFile, c.certFile, err), "")
	}
	return nil
}

// applianceDisk is one disk of an appliance that is worked on: what an entry has besides the path.
type applianceDisk struct {
	appliance *appliance
	disk      *ovf.Disk
}

// appliance is an OVF or OVA while its disks are worked on, one after another.
type appliance struct {
	path    string
	format  diskimage.Format
	pkg     *ovf.Package
	file    *dir.File // the OVA, or the descriptor
	archive *ovf.Archive
	folder  *applianceFolder // of an OVF
	locked  bool
	changed bool
}

// appliances works on e as an image, or on each disk of e where it is an appliance.
func (a *app) appliances(ctx context.Context, s *selection, e entry, work func(entry) outcome) outcome {
	if s.appliance.changes {
		if o, done := s.checkPart(e); done {
			return o
		}
	}
	if e.found { // there are many of them: work looks, when it finds no image
		o := work(e)
		if errors.Is(o.err, errAppliance) {
			return a.eachDisk(ctx, s, e, work)
		}
		return o
	}
	if e.opts.Format == "" && applianceFormat(e.path) != "" {
		return a.eachDisk(ctx, s, e, work)
	}
	if len(s.appliance.disks) > 0 {
		return outcome{err: inputError(errors.New("--disk: it is no OVF or OVA, and has no disks by name"), "")}
	}
	return work(e)
}

// applianceFormat looks into a file; "" also when it cannot be read: whoever opens it next will say why.
func applianceFormat(path string) diskimage.Format {
	f, err := dir.Open(path)
	if err != nil {
		return ""
	}
	defer closeQuietly(f)
	return ovf.Detect(f)
}

// eachDisk runs work on the chosen disks, and then makes the changes that it planned, all at once.
func (a *app) eachDisk(ctx context.Context, s *selection, e entry, work func(entry) outcome) (all outcome) {
	ap, err := openAppliance(e.path)
	if err != nil {
		return outcome{err: err}
	}
	defer closeQuietly(ap)
	for _, id := range s.appliance.disks {
		if _, err := ap.pkg.Disk(id); err != nil {
			return outcome{err: err}
		}
	}
	for _, d := range slices.Clone(ap.pkg.Disks) { // a lock reads the package again
		if len(s.appliance.disks) > 0 && !slices.Contains(s.appliance.disks, d.ID) {
			continue
		}
		o := work(entry{path: e.path, found: e.found, disk: &applianceDisk{appliance: ap, disk: d}})
		o.line.Disk, o.line.DiskFile = d.ID, d.File
		all.more = append(all.more, o)
	}
	if len(all.more) == 0 {
		return outcome{skip: e.found, note: "it has no disks", err: inputError(errors.New("the appliance has no disks"), "")}
	}
	if !ap.changed {
		return all
	}
	err = ap.commit(s.appliance.signer, func(int) error { return ctx.Err() })
	for i := range all.more {
		o := &all.more[i]
		if err != nil && o.err == nil && !o.skip {
			*o = outcome{err: err, line: imageLine{Disk: o.line.Disk, DiskFile: o.line.DiskFile}}
		}
		d, derr := ap.pkg.Disk(o.line.Disk)
		switch {
		case derr != nil || o.err != nil || o.skip:
		case d.SectionOnly != "" && o.line.Labelled:
			o.note += "; in the descriptor only: " + d.SectionOnly
		case d.Remains != "":
			o.note += "; what other tools still see: " + d.Remains
		}
	}
	return all
}

func openAppliance(path string) (*appliance, error) {
	ap := &appliance{path: path}
	err := ap.open(dir.Open, false)
	if errors.Is(err, diskimage.ErrUnsupported) {
		return nil, inputError(err, "take its disks out with tar, or name one of the files beside the descriptor")
	}
	if err != nil {
		return nil, err
	}
	return ap, nil
}

// open reads the appliance with files as open gives them, locked for writing or not.
func (ap *appliance) open(open func(path string) (*dir.File, error), locked bool) (err error) {
	path, err := filepath.EvalSymlinks(ap.path) // the folder of the descriptor is that of its files
	if err != nil {
		return err
	}
	if ap.file, err = open(path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ap.Close())
		}
	}()
	switch ap.format = ovf.Detect(ap.file); ap.format {
	case ovf.FormatOVA:
		ap.pkg, ap.archive, err = ovf.OpenArchive(ap.file)
	case ovf.FormatOVF:
		ap.folder = &applianceFolder{folder: filepath.Dir(path), open: open, files: map[string]*dir.File{}}
		if locked {
			if err = ap.folder.redo(filepath.Base(path), ap.file); err != nil {
				return err
			}
		}
		ap.folder.files[filepath.Base(path)] = ap.file
		ap.pkg, err = ovf.Read(ovf.FormatOVF, filepath.Base(path), ap.folder)
	default:
		err = fmt.Errorf("%w: it is no appliance any more", diskimage.ErrChanged)
	}
	return err
}

// lock opens the appliance for writing and reads it again, unless it has been done.
func (ap *appliance) lock() error {
	if ap.locked {
		return nil
	}
	if err := ap.Close(); err != nil {
		return err
	}
	err := ap.open(dir.OpenWrite, true)
	ap.locked = err == nil
	return err
}

// Close closes all files and releases the locks.
func (ap *appliance) Close() error {
	var err error
	if ap.folder != nil {
		delete(ap.folder.files, filepath.Base(ap.file.Path()))
		err = ap.folder.close()
		ap.folder = nil
	}
	if ap.file != nil {
		err = errors.Join(err, ap.file.Close())
		ap.file = nil
	}
	return err
}

// commit makes the planned changes and reads them back.
func (ap *appliance) commit(signer *ovf.Signer, proceed func(n int) error) error {
	edit, err := ap.pkg.Plan(signer, proceed)
	if err != nil {
		return err
	}
	if ap.archive == nil {
		err = ap.folder.apply(ap.pkg.Name, edit)
	} else {
		err = ap.rebuild(edit, proceed)
	}
	if err != nil {
		return err
	}
	return ap.verify()
}

func (ap *appliance) rebuild(edit *ovf.Edit, proceed func(n int) error) error {
	pieces, err := ap.archive.Rewrite(edit)
	if err != nil {
		return err
	}
	parts := make([]dir.Part, len(pieces))
	for i, p := range pieces {
		parts[i] = dir.Part{Data: p.Data, From: p.From, Len: p.Len}
	}
	err = ap.file.Rebuild(parts, proceed)
	if errors.Is(err, errors.ErrUnsupported) {
		return refusedf("label a copy of it: an OVA is replaced as a whole, and here that would lose something", "%w", err)
	}
	return err
}

// verify reads the appliance as it is now.
func (ap *appliance) verify() error {
	var now *ovf.Package
	var err error
	if ap.archive == nil {
		now, err = ovf.Read(ovf.FormatOVF, ap.pkg.Name, ap.folder)
	} else {
		now, ap.archive, err = ovf.OpenArchive(ap.file)
	}
	if err == nil {
		err = ap.pkg.Verify(now)
	}
	if err != nil {
		return fmt.Errorf("verify label: %w", err)
	}
	return nil
}

// image is the disk as an image for commands that only look. Its File is nil.
func (d *applianceDisk) image() (*image, outcome) {
	var o outcome
	info := d.disk.Info
	o.line.describe(d.disk.Frame, &info)
	if d.disk.SectionOnly != "" && d.disk.Frame != nil {
		o.note = "in the descriptor only: " + d.disk.SectionOnly
	}
	return &image{frame: d.disk.Frame, info: &info}, o
}

// Close closes the file, where there is one.
func (i *image) Close() error {
	if i.File == nil {
		return nil
	}
	return i.File.Close()
}

// set plans the label that choose gives for the disk, under the appliance's lock.
func (d *applianceDisk) set(choose func(present *label.Frame, info *diskimage.Info) (label.Frame, error)) (o outcome) {
	if err := d.relock(); err != nil {
		return outcome{err: err}
	}
	if d.disk.Info.Damaged {
		return outcome{err: diskimage.ErrDamaged}
	}
	frame, err := choose(d.disk.Frame, &d.disk.Info)
	if err != nil {
		return outcome{err: err}
	}
	if d.disk.Frame == nil || !sameLabel(frame, *d.disk.Frame) {
		if err := d.appliance.pkg.Set(d.disk.ID, frame); err != nil {
			return outcome{err: err}
		}
		d.appliance.changed = true
	}
	o.line.describe(&frame, &d.disk.Info)
	o.note = "labelled " + o.line.summary()
	return o
}

// remove plans the removal of the disk's label.
func (d *applianceDisk) remove(strip, found bool) (o outcome) {
	if found && d.disk.Frame == nil && !d.disk.Info.Damaged {
		return outcome{skip: true, note: "no label"} // do not lock what has none
	}
	if err := d.relock(); err != nil {
		return outcome{err: err}
	}
	if d.disk.Info.Damaged && !strip {
		return outcome{err: diskimage.ErrDamaged}
	}
	o.line.describe(nil, &d.disk.Info)
	err := d.appliance.pkg.Remove(d.disk.ID)
	if errors.Is(err, diskimage.ErrNoLabel) && strip {
		o.note = "no label"
		return o
	}
	if err != nil {
		return outcome{err: err}
	}
	d.appliance.changed = true
	o.note = "label removed"
	return o
}

// relock makes sure that the disk is what it is under the lock.
func (d *applianceDisk) relock() error {
	if err := d.appliance.lock(); err != nil {
		return err
	}
	now, err := d.appliance.pkg.Disk(d.disk.ID)
	if err != nil {
		return fmt.Errorf("%w: %w", diskimage.ErrChanged, err)
	}
	d.disk = now
	return nil
}

// name is what the line is about, for people: of an appliance the disk as well.
func (l *imageLine) name() string {
	switch {
	case l.Disk == "":
		return l.Path
	case l.DiskFile == "":
		return l.Path + ": " + l.Disk
	}
	return l.Path + ": " + l.Disk + " (" + l.DiskFile + ")"
}
