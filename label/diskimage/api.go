package diskimage

import (
	"github.com/berth-project/berth/label"
)

// Detect names the format by content alone. ErrNotImage: none of them.
func Detect(r Reader) (Format, error) { return "", ErrUnsupported }

// Inspect reads the image's headers.
func Inspect(r Reader) (*Info, error) { _, info, err := ReadLabel(r); return info, err }

// ReadLabel reads the headers and the label. A nil frame means that there is none. The frame's signature and
// document are not checked (label.TrustFile.Verify does it).
func ReadLabel(r Reader) (*label.Frame, *Info, error) { return nil, nil, ErrUnsupported }

// PlanSet works out how to store frame in the image, as its first label or in place of the present one.
func PlanSet(r Reader, frame label.Frame) (*Edit, error) { return nil, ErrUnsupported }

// PlanRemove works out how to remove the image's label. ErrNoLabel: there is nothing to remove.
func PlanRemove(r Reader) (*Edit, error) { return nil, ErrUnsupported }

// Apply carries out an edit, reads back what it wrote, and checks that the label is the one wanted. A File that is
// a Replacer gets Edit.Replace, unless its Replace says errors.ErrUnsupported.
func Apply(f File, e *Edit) error { return ErrUnsupported }
