package ovf

import (
	"bytes"
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Edit is a planned change of a package: what becomes of each of its files that changes.
type Edit struct{ Files []FileEdit }

// FileEdit is the change of one file: its new content, or writes into it that leave its length alone.
type FileEdit struct {
	Name    string
	Content []byte
	// Writes are what the file holds afterwards, in order of their offsets, none overlapping.
	Writes []diskimage.Write
	// Disk is the same change with the steps that survive a power cut, for a file that is written in place.
	Disk *diskimage.Edit
}

func (e *Edit) file(name string) *FileEdit {
	for i := range e.Files {
		if e.Files[i].Name == name {
			return &e.Files[i]
		}
	}
	return nil
}

// Plan works out the changes of Set and Remove. It reads every disk that changes and that the manifest lists, to
// compute its digest anew; the old digests, and the signature, have to be right before (ErrManifest). A signed manifest
// needs a signer (ErrSigned). proceed is asked between reads, with the bytes read, and ends the work with its error.
func (p *Package) Plan(signer *Signer, proceed func(n int) error) (*Edit, error) {
	if p.Signed {
		if p.manifest == nil {
			return nil, fmt.Errorf("plan change: %w: there is a certificate %s, and no manifest %s", diskimage.ErrCorrupt, clip(p.certName), clip(p.mfName))
		}
		if err := p.cert.verify(p.manifest.text); err != nil {
			return nil, fmt.Errorf("plan change: %s: %w", clip(p.certName), err)
		}
		if signer == nil {
			return nil, fmt.Errorf("plan change: %w: %s", ErrSigned, clip(p.certName))
		}
	}
	e := &Edit{}
	labels := map[string]string{}
	for _, d := range p.Disks {
		if err := p.planDisk(d, e, labels); err != nil {
			return nil, fmt.Errorf("disk %s: %w", clip(d.ID), err)
		}
	}
	text, err := p.desc.withLabels(labels)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, p.desc.text) {
		e.Files = append(e.Files, FileEdit{Name: p.Name, Content: text})
	}
	if p.manifest == nil || len(e.Files) == 0 {
		return e, nil
	}
	return e, p.planManifest(e, signer, proceed)
}

// planDisk adds the disk's own change to e, and its label to those of the section.
func (p *Package) planDisk(d *Disk, e *Edit, labels map[string]string) error {
	if !d.changed {
		labels[d.ID] = d.declared.label
		return nil
	}
	if d.want != nil {
		text, err := encodeLabel(*d.want)
		if err != nil {
			return err
		}
		labels[d.ID] = text
	}
	if d.SectionOnly != "" || d.want == nil && !d.hasBytes {
		return nil
	}
	r, err := p.src.Open(d.File)
	if err != nil {
		return fmt.Errorf("open %s: %w", clip(d.File), err)
	}
	var de *diskimage.Edit
	if d.want != nil {
		de, err = d.options().PlanSet(r, *d.want)
	} else {
		de, err = d.options().PlanRemove(r)
	}
	if d.want != nil && (errors.Is(err, diskimage.ErrNoRoom) || errors.Is(err, diskimage.ErrUnsupported)) {
		d.SectionOnly = bareReason(err)
		return nil
	}
	if err != nil {
		return err
	}
	writes, ok := flatten(r.Size(), de)
	if p.Format == FormatOVA && slices.ContainsFunc(de.Beside, func(c diskimage.BesideChange) bool { return !c.Optional }) {
		ok = false
	}
	if !ok {
		if d.want == nil {
			return fmt.Errorf("%w: the label of %s cannot be removed in place", diskimage.ErrUnsupported, clip(d.File))
		}
		d.SectionOnly = "its file would have to change its length, or to have another one beside it"
		return nil
	}
	d.Remains = de.Remains
	e.Files = append(e.Files, FileEdit{Name: d.File, Writes: writes, Disk: de})
	return nil
}

// maxPatch bounds the bytes that the change of one disk may write.
const maxPatch = 4 << 20

// flatten is what a file of size bytes holds after all steps, where they write. ok is false when they are not all inside
// the file.
func flatten(size int64, e *diskimage.Edit) (writes []diskimage.Write, ok bool) {
	var all []diskimage.Write
	total := 0
	for _, s := range e.Steps {
		for _, w := range s.Writes {
			if total += len(w.Data); w.Offset < 0 || int64(len(w.Data)) > size-w.Offset || total > maxPatch {
				return nil, false
			}
			all = append(all, w)
		}
	}
	ranges := slices.Clone(all)
	slices.SortStableFunc(ranges, func(a, b diskimage.Write) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, w := range ranges {
		end := w.Offset + int64(len(w.Data))
		if n := len(writes); n > 0 && w.Offset <= writes[n-1].Offset+int64(len(writes[n-1].Data)) {
			last := &writes[n-1]
			if grow := end - last.Offset - int64(len(last.Data)); grow > 0 {
				last.Data = append(last.Data, make([]byte, grow)...)
			}
			continue
		}
		writes = append(writes, diskimage.Write{Offset: w.Offset, Data: make([]byte, len(w.Data))})
	}
	for _, w := range all { // in the order of the steps: a later one wins
		for _, to := range writes {
			if w.Offset >= to.Offset && w.Offset < to.Offset+int64(len(to.Data)) {
				copy(to.Data[w.Offset-to.Offset:], w.Data)
			}
		}
	}
	return writes, true
}

// planManifest adds manifest and certificate to e.
func (p *Package) planManifest(e *Edit, signer *Signer, proceed func(n int) error) error {
	sums := map[string]map[crypto.Hash]hash.Hash{}
	for i := range e.Files {
		f := &e.Files[i]
		before, after := p.manifest.hashes(f.Name), p.manifest.hashes(f.Name)
		if len(before) == 0 {
			continue // not listed
		}
		r, err := p.src.Open(f.Name)
		if err != nil {
			return fmt.Errorf("open %s: %w", clip(f.Name), err)
		}
		if err := digestBoth(r, f, before, after, proceed); err != nil {
			return fmt.Errorf("read %s: %w", clip(f.Name), err)
		}
		if err := p.manifest.check(f.Name, before); err != nil {
			return err
		}
		sums[f.Name] = after
	}
	text := p.manifest.with(sums)
	if bytes.Equal(text, p.manifest.text) {
		return nil
	}
	e.Files = append(e.Files, FileEdit{Name: p.mfName, Content: text})
	if !p.Signed {
		return nil
	}
	cert, err := signer.sign(p.cert, text)
	if err != nil {
		return err
	}
	e.Files = append(e.Files, FileEdit{Name: p.certName, Content: cert})
	return nil
}

// digestBoth computes the digests of a file as it is and as it will be, in one pass where it is long.
func digestBoth(r diskimage.Reader, f *FileEdit, before, after map[crypto.Hash]hash.Hash, proceed func(n int) error) error {
	if f.Content != nil {
		for _, h := range after {
			h.Write(f.Content)
		}
	}
	buf := make([]byte, 1<<20)
	next := 0 // of f.Writes
	for off := int64(0); off < r.Size(); {
		b := buf[:min(int64(len(buf)), r.Size()-off)]
		n, err := r.ReadAt(b, off)
		if n < len(b) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		for _, h := range before {
			h.Write(b)
		}
		if f.Content == nil {
			next = patch(b, off, f.Writes, next)
			for _, h := range after {
				h.Write(b)
			}
		}
		off += int64(len(b))
		if err := proceed(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// patch puts into b, which stands at off, what the writes from next on say; it returns the first that is not done.
func patch(b []byte, off int64, writes []diskimage.Write, next int) int {
	end := off + int64(len(b))
	for ; next < len(writes) && writes[next].Offset < end; next++ {
		w := writes[next]
		from := max(w.Offset, off)
		copy(b[from-off:], w.Data[from-w.Offset:])
		if w.Offset+int64(len(w.Data)) > end {
			return next
		}
	}
	return next
}

// Verify says whether now, the package read again after a change, has the labels that were planned.
func (p *Package) Verify(now *Package) error {
	for _, d := range p.Disks {
		if !d.changed {
			continue
		}
		got, err := now.Disk(d.ID)
		if err != nil {
			return err
		}
		if !equalFrames(got.Frame, d.want) {
			return fmt.Errorf("disk %s does not hold what was written", clip(d.ID))
		}
	}
	return nil
}

// Want is the label that the disk has after the planned change; the present one when none is planned. Nil: none.
func (d *Disk) Want() *label.Frame {
	if d.changed {
		return d.want
	}
	return d.Frame
}
