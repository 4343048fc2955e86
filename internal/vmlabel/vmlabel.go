package vmlabel

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Source is what is needed of a driver.
type Source interface {
	OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error)
	// SetLabelMetadata keeps envelope as the label of one disk in the hypervisor's metadata; nil removes it.
	SetLabelMetadata(ctx context.Context, vm fleet.VM, disk fleet.DiskID, envelope []byte) error
}

// Disk is one disk of a VM as it was observed.
type Disk struct {
	Source Source
	VM     fleet.VM
	Pool   fleet.Pool
	Disk   fleet.Disk
}

// State is what there is of labels on one disk.
type State struct {
	Image    *label.Frame // in the image or its sidecar; nil: none of its own
	Metadata *label.Frame // in the hypervisor's metadata; nil: none
	// Info is what the image's headers say; of a format that carries no label the size alone.
	Info diskimage.Info
	// Reason says why the image cannot carry a label at all; empty: it can.
	Reason string
	// faults are what is there and is no label: of the metadata, of the image. A new label takes the place of the first, and
	// removing takes both away: whoever may change the VM can write nonsense into its metadata.
	badMetadata, badImage error
}

// Place says which label counts; empty: there is none.
func (s *State) Place() fleet.LabelPlace {
	switch {
	case s.Metadata != nil && (s.Image == nil || s.Metadata.Serial > s.Image.Serial):
		return fleet.LabelInMetadata
	case s.Image == nil:
		return ""
	case s.Info.Place == diskimage.PlaceImage:
		return fleet.LabelInImage
	default:
		return fleet.LabelInSidecar
	}
}

// Frame is the label that counts; nil: none.
func (s *State) Frame() *label.Frame {
	if s.Place() == fleet.LabelInMetadata {
		return s.Metadata
	}
	return s.Image
}

// highest is the highest serial of both.
func (s *State) highest() uint32 {
	var n uint32
	for _, f := range []*label.Frame{s.Image, s.Metadata} {
		if f != nil {
			n = max(n, f.Serial)
		}
	}
	return n
}

// closed says that no hypervisor has the image open.
func (d *Disk) closed() bool { return d.VM.Power == fleet.Stopped }

// open opens the image; nil with a reason when its format carries no label.
func (d *Disk) open(ctx context.Context) (fleet.ImageFile, diskimage.Options, string, error) {
	format, ok := diskimage.FormatNamed(d.Disk.Format)
	o := diskimage.Options{Format: format}
	if !ok {
		return nil, o, d.Disk.Format + " images carry no label", nil
	}
	f, err := d.Source.OpenImage(ctx, d.Pool, d.Disk.Path)
	if err != nil {
		return nil, o, "", fmt.Errorf("open image %s: %w", d.Disk.Path, err)
	}
	return f, o, "", nil
}

// Read looks at the image and at the metadata that was observed. Damaged labels are errors.
func (d *Disk) Read(ctx context.Context) (*State, error) {
	s, err := d.look(ctx)
	if err == nil {
		err = errors.Join(s.badMetadata, s.badImage)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// look is Read with the faults of labels in the State.
func (d *Disk) look(ctx context.Context) (*State, error) {
	s := &State{Info: diskimage.Info{VirtualSize: d.Disk.Size}}
	if d.Disk.Metadata != "" {
		kept, err := label.ParseEnvelope([]byte(d.Disk.Metadata))
		if err != nil {
			s.badMetadata = fmt.Errorf("read label in the metadata: %w", err)
		} else {
			s.Metadata = &kept
		}
	}
	f, o, reason, err := d.open(ctx)
	if err != nil || f == nil {
		s.Reason = reason
		return s, err
	}
	frame, info, err := o.ReadLabel(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read label of %s: %w", d.Disk.Path, err)
	}
	if frame == nil && info.Damaged {
		s.badImage = fmt.Errorf("read label of %s: %w", d.Disk.Path, diskimage.ErrDamaged)
	}
	s.Image, s.Info = frame, *info
	return s, nil
}

// ErrSerial says that the serial of a label is at its end; only removing the label and setting it anew helps.
var ErrSerial = errors.New("the label's serial is at its end")

// Set stores a new label: in the image when the VM is off, else, or where the image cannot hold one, in the metadata. seal
// makes it, with the serial given. It returns where the label is now.
func (d *Disk) Set(ctx context.Context, seal func(s *State, serial uint32) (label.Frame, error)) (fleet.LabelPlace, *label.Frame, error) {
	s, err := d.look(ctx)
	if err == nil {
		err = s.badImage // its serial is not known
	}
	if err != nil {
		return "", nil, err
	}
	serial := s.highest() + 1
	if serial == 0 {
		return "", nil, ErrSerial
	}
	frame, err := seal(s, serial)
	if err != nil {
		return "", nil, err
	}
	place, err := d.put(ctx, s, frame)
	return place, &frame, err
}

func (d *Disk) put(ctx context.Context, s *State, frame label.Frame) (fleet.LabelPlace, error) {
	if d.closed() && s.Reason == "" {
		place, err := d.write(ctx, frame)
		if err == nil {
			return place, d.forget(ctx, s)
		}
		if !errors.Is(err, diskimage.ErrUnsupported) && !errors.Is(err, errors.ErrUnsupported) {
			return "", err
		}
	}
	text, err := frame.Envelope()
	if err != nil {
		return "", err
	}
	return fleet.LabelInMetadata, d.Source.SetLabelMetadata(ctx, d.VM, d.Disk.ID, text)
}

// write puts frame into the image.
func (d *Disk) write(ctx context.Context, frame label.Frame) (fleet.LabelPlace, error) {
	return d.change(ctx, func(o diskimage.Options, f fleet.ImageFile) (*diskimage.Edit, error) { return o.PlanSet(f, frame) })
}

func (d *Disk) change(ctx context.Context, plan func(diskimage.Options, fleet.ImageFile) (*diskimage.Edit, error)) (fleet.LabelPlace, error) {
	f, o, reason, err := d.open(ctx)
	if err != nil {
		return "", err
	}
	if f == nil {
		return "", fmt.Errorf("%w: %s", diskimage.ErrUnsupported, reason)
	}
	edit, err := plan(o, f)
	if err == nil {
		err = diskimage.Apply(f, edit)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("change label of %s: %w", d.Disk.Path, err)
	}
	if len(edit.Beside) > 0 && edit.Steps == nil && edit.Replace == nil {
		return fleet.LabelInSidecar, nil
	}
	return fleet.LabelInImage, nil
}

// forget removes the label from the metadata, where there is one.
func (d *Disk) forget(ctx context.Context, s *State) error {
	if s.Metadata == nil && s.badMetadata == nil {
		return nil
	}
	if err := d.Source.SetLabelMetadata(ctx, d.VM, d.Disk.ID, nil); err != nil {
		return fmt.Errorf("remove label from the metadata: %w", err)
	}
	s.Metadata, s.badMetadata = nil, nil
	return nil
}

// ErrRunning says that the label in the image cannot be removed while the VM keeps it open.
var ErrRunning = errors.New("the image is open: its VM is not off")

// Remove removes both labels, the image's first: without it the metadata's would count until that is gone as well.
// diskimage.ErrNoLabel: there is none. ErrRunning: nothing was done. What is damaged, or no label at all, is an error but for
// strip, which removes it as well.
func (d *Disk) Remove(ctx context.Context, strip bool) error {
	s, err := d.look(ctx)
	if err == nil && !strip {
		err = errors.Join(s.badMetadata, s.badImage)
	}
	if err != nil {
		return err
	}
	if s.Place() == "" && s.badMetadata == nil && s.badImage == nil {
		return diskimage.ErrNoLabel
	}
	if s.Image != nil || s.badImage != nil {
		if !d.closed() {
			return ErrRunning
		}
		if _, err := d.change(ctx, func(o diskimage.Options, f fleet.ImageFile) (*diskimage.Edit, error) { return o.PlanRemove(f) }); err != nil {
			return err
		}
	}
	return d.forget(ctx, s)
}

// Settle brings a label from the metadata into the image of a VM that is off, and removes one that the image overtook. It
// returns the label that the disk has then, and where; nil when there was nothing to do: none is there, the VM runs, or the
// image can hold none.
func (d *Disk) Settle(ctx context.Context) (fleet.LabelPlace, *label.Frame, error) {
	if d.Disk.Metadata == "" || !d.closed() {
		return "", nil, nil
	}
	s, err := d.Read(ctx)
	if err != nil || s.Reason != "" { // there it stays where it is
		return "", nil, err
	}
	place, frame := s.Place(), s.Frame()
	if place == fleet.LabelInMetadata {
		place, err = d.write(ctx, *frame)
		switch {
		case errors.Is(err, diskimage.ErrUnsupported), errors.Is(err, errors.ErrUnsupported):
			return "", nil, nil // it stays where it is
		case err != nil:
			return "", nil, err
		}
	}
	return place, frame, d.forget(ctx, s)
}
