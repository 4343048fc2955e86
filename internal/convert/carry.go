package convert

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// luggage is the label to carry, and what the destination has to become for it.
type luggage struct {
	frame label.Frame
	fate  Fate
	uuid  string // identity that the destination gets, if its format has one; empty: it keeps its own
}

// carried works out the label of a destination whose headers say to. The label was found on a disk bound as from.
func (r *Request) carried(frame label.Frame, from label.Binding, to *diskimage.Info) (luggage, error) {
	doc, err := frame.Document()
	if err != nil {
		return luggage{}, fmt.Errorf("carry label: %w: %w", diskimage.ErrDamaged, err)
	}
	if doc.Disk.Size != from.Size || doc.Disk.UUID != "" && from.UUID != "" && doc.Disk.UUID != from.UUID {
		return luggage{}, fmt.Errorf("carry label: %w: made for %s, the disk that has it is %s", diskimage.ErrBinding, bound(doc.Disk), bound(from))
	}
	if r.Signer != nil {
		if err := r.Vouch(frame, from); err != nil {
			return luggage{}, fmt.Errorf("sign label anew: %w", err)
		}
		disk := to.Binding()
		if r.Bind != nil {
			if disk, err = r.Bind(to); err != nil {
				return luggage{}, err
			}
		}
		return r.anew(doc, disk, FateSigned)
	}
	if doc.Disk.Size == to.VirtualSize {
		l := luggage{frame: frame, fate: FateCarried}
		if doc.Disk.UUID != to.UUID {
			l.uuid = doc.Disk.UUID
		}
		return l, nil
	}
	if frame.KeyID != (label.KeyID{}) {
		return luggage{}, &SizeError{Label: doc.Disk.Size, Disk: to.VirtualSize}
	}
	disk := to.Binding()
	if disk.UUID == "" {
		disk.UUID = doc.Disk.UUID
	}
	return r.anew(doc, disk, FateRebound)
}

func bound(b label.Binding) string {
	if b.UUID == "" {
		return fmt.Sprintf("%d bytes", b.Size)
	}
	return fmt.Sprintf("%s of %d bytes", b.UUID, b.Size)
}

// anew makes the label again, for another binding.
func (r *Request) anew(doc label.Document, to label.Binding, fate Fate) (luggage, error) {
	if doc.Serial == math.MaxUint32 {
		return luggage{}, errors.New("carry label: its serial is at its end; remove it, convert, and set it again")
	}
	doc.Disk = to
	doc.Serial++
	doc.Issued = r.Now.UTC().Truncate(time.Second)
	frame, err := label.Seal(doc, r.Signer)
	return luggage{frame: frame, fate: fate}, err
}

// deliver gives the image at path its identity and the label.
func (r *Request) deliver(path string, frame label.Frame, from label.Binding) (_ luggage, err error) {
	f, err := dir.OpenWrite(path)
	if err != nil {
		return luggage{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	opts := diskimage.Options{Format: r.Format, VHDFooter: r.VHDFooter}
	present, info, err := opts.ReadLabel(f)
	if err != nil {
		return luggage{}, fmt.Errorf("read destination: %w", err)
	}
	if present != nil {
		return luggage{}, errors.New("read destination: it has a label already")
	}
	l, err := r.carried(frame, from, info)
	if err != nil {
		return luggage{}, err
	}
	if l.uuid != "" {
		if err := identify(opts, f, l.uuid); err != nil {
			return luggage{}, err
		}
	}
	edit, err := opts.PlanSet(f, l.frame)
	if err == nil {
		err = diskimage.Apply(f, edit)
	}
	if err != nil {
		return luggage{}, fmt.Errorf("label destination: %w", err)
	}
	return l, nil
}

// identify gives the image the identity that its label is bound to. A format without one is no fault: the label is then
// bound by the size.
func identify(opts diskimage.Options, f *dir.File, uuid string) error {
	edit, err := opts.PlanIdentity(f, uuid)
	if errors.Is(err, diskimage.ErrUnsupported) {
		return nil
	}
	if err == nil {
		err = diskimage.Apply(f, edit)
	}
	if err != nil {
		return fmt.Errorf("identify destination: %w", err)
	}
	return nil
}

// readBack holds the image at path to be labelled with want, as anybody else would read it.
func readBack(path string, format diskimage.Format, want *label.Frame) (*diskimage.Info, error) {
	f, err := dir.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	opts := diskimage.Options{}
	if format == diskimage.FormatRaw {
		opts.Format = format
	}
	got, info, err := opts.ReadLabel(f)
	if err != nil {
		return nil, fmt.Errorf("read destination back: %w", err)
	}
	if !sameLabel(got, want) || info.Format != format {
		return nil, fmt.Errorf("read destination back: %w: its label is not the one that was written", ErrDiffers)
	}
	return info, nil
}

func sameLabel(a, b *label.Frame) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, xerr := a.Encode()
	y, yerr := b.Encode()
	return xerr == nil && yerr == nil && string(x) == string(y)
}
