package convert

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Request is what to convert, and into what.
type Request struct {
	// Source and Destination are paths of files. Both belong to images, not to parts of split ones.
	Source, Destination string
	// SourceFormat declares the source's format; empty: by its content.
	SourceFormat diskimage.Format
	// Format is the destination's; empty: the source's.
	Format diskimage.Format
	// Options are KEY=VALUE as qemu-img -o takes them, such as subformat=streamOptimized.
	Options []string
	// Keep makes the destination an overlay on what the source is an overlay of. Without it the destination stands
	// alone.
	Keep bool
	// Roots are folders in which a backing image may lie, besides the source's own.
	Roots []string
	// VHDFooter is diskimage.Options.VHDFooter of the destination.
	VHDFooter bool
	// Force replaces an existing destination.
	Force bool
	// Verify compares the guest's data of both images when the conversion is done.
	Verify bool
	// RemoveSource removes the source's files when the destination has its name, was compared with the source and read back. When
	// that fails the result is returned with the error.
	RemoveSource bool
	// Deliver, when not nil, is called when the destination has its name and was read back, before the source is removed and while
	// it is still kept from writers. With its error the source stays, and the result is returned with it.
	Deliver func(context.Context, *Result) error
	// Signer, when not nil, signs the label anew for the destination's identity. Vouch is then asked whether the present
	// label, bound to the disk as given, deserves that; its error refuses the conversion.
	Signer label.Signer
	Vouch  func(label.Frame, label.Binding) error
	// Bind says what the label that is signed anew is bound to; nil: diskimage.Info.Binding.
	Bind func(*diskimage.Info) (label.Binding, error)
	// Now is the time that a label which is made anew was issued.
	Now time.Time
	// Progress, when not nil, is told how much of the disk has been written. It is called from one goroutine.
	Progress func(done, total label.Bytes)
}

// Fate is what became of the source's label.
type Fate string

// The fates of a label.
const (
	FateNone    Fate = "none"    // there was none
	FateCarried Fate = "carried" // the same frame
	FateRebound Fate = "rebound" // unsigned, and bound to the destination's size with a new serial
	FateSigned  Fate = "signed"  // signed anew for the destination's identity
)

// Result is what was made.
type Result struct {
	Source, Destination *diskimage.Info
	// Label is the destination's; nil: none.
	Label *label.Frame
	Fate  Fate
	// From is the file that the label was found in: the source, or the ancestor that it inherits from.
	From string
	// Snapshots is how many internal snapshots the source has; the destination has its present state alone.
	Snapshots int
	// Files are the paths of what was made: the image first, then its parts and its sidecar.
	Files []string
}

// What the errors of this package are (errors.Is).
var (
	// ErrExists says: there is something under the destination's name, or that of one of its parts.
	ErrExists = errors.New("exists already")
	// ErrNoTool says: qemu-img is not in the PATH.
	ErrNoTool = errors.New("qemu-img is not installed")
	// ErrSame says: the destination is the source, or something that the source consists of.
	ErrSame = errors.New("source and destination are the same file")
	// ErrReference says: a copy's relative reference to its backing image would lead nowhere.
	ErrReference = errors.New("relative reference to a backing image")
	// ErrKeep says: the destination cannot be an overlay.
	ErrKeep = errors.New("chain cannot be kept")
	// ErrSnapshots says: the source has internal snapshots, which would be lost with it.
	ErrSnapshots = errors.New("internal snapshots would be lost")
	// ErrBase says: another image is based on the source, which would be removed.
	ErrBase = errors.New("another image is based on it")
	// ErrRequest says: the request makes no sense.
	ErrRequest = errors.New("bad request")
	// ErrDiffers says: the destination does not hold what the source holds.
	ErrDiffers = errors.New("destination differs from the source")
)

// SizeError says that a signed label cannot be carried, since the destination's disk has another size.
type SizeError struct{ Label, Disk label.Bytes }

func (e *SizeError) Error() string {
	return fmt.Sprintf("carry label: it is signed for a disk of %d bytes, the destination's has %d", e.Label, e.Disk)
}

// ToolError is a failure of qemu-img.
type ToolError struct {
	Verb string // such as convert
	Text string // what it wrote to standard error, cut to a line or two
	Err  error
}

func (e *ToolError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("run qemu-img %s: %v", e.Verb, e.Err)
	}
	return fmt.Sprintf("run qemu-img %s: %s", e.Verb, e.Text)
}

func (e *ToolError) Unwrap() error { return e.Err }

// maxOptions bounds how many options are handed to qemu-img.
const maxOptions = 32

// foreignOptions would make an image that refers to other files, has another size, or needs a secret.
func foreignOption(key string) bool {
	switch key {
	case "size", "backing_file", "backing_fmt", "data_file", "data_file_raw", "encryption":
		return true
	}
	return strings.HasPrefix(key, "encrypt")
}

// check reports what can be refused without looking at any file.
func (r *Request) check() error {
	if r.Source == "" || r.Destination == "" {
		return fmt.Errorf("%w: source or destination is missing", ErrRequest)
	}
	if r.Format != "" && driver(r.Format) == "" {
		return fmt.Errorf("%w: format %q, expected one of vmdk, qcow2, vhdx, vdi, vhd, raw", ErrRequest, r.Format)
	}
	if len(r.Options) > maxOptions {
		return fmt.Errorf("%w: %d options, expected at most %d", ErrRequest, len(r.Options), maxOptions)
	}
	for _, o := range r.Options {
		key, _, ok := strings.Cut(o, "=")
		if !ok || key == "" {
			return fmt.Errorf("%w: option %q, expected KEY=VALUE", ErrRequest, o)
		}
		if foreignOption(key) {
			return fmt.Errorf("%w: option %q cannot be given", ErrRequest, key)
		}
	}
	if r.Signer != nil && r.Vouch == nil {
		return fmt.Errorf("%w: a signer, and nobody who vouches for the label", ErrRequest)
	}
	return nil
}

// quotable says whether a name can stand between quotes in a VMDK's descriptor, where nothing is escaped.
func quotable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r == '"' || unicode.IsControl(r) })
}

// checkName refuses names that in a VMDK's descriptor would be something else: QEMU writes them there as they are, and looks for the one
// word wherever it stands.
func checkName(destination string, format diskimage.Format) error {
	if format != diskimage.FormatVMDK {
		return nil
	}
	if !quotable(filepath.Base(destination)) {
		return fmt.Errorf("%w: %q: the name of a vmdk has no quotes and no control characters", ErrRequest, destination)
	}
	if strings.Contains(filepath.Base(destination), "parentFileNameHint") {
		return fmt.Errorf("%w: %s: in a vmdk QEMU takes that name for a reference to a backing image", ErrRequest, destination)
	}
	return nil
}

func (r *Request) checkKeep() error {
	if r.Keep && !stackable(r.Format) {
		return fmt.Errorf("%w: %s images made by qemu-img have no backing image; qcow2 and vmdk have", ErrKeep, r.Format)
	}
	return nil
}

// driver is what QEMU calls a format.
func driver(f diskimage.Format) string {
	switch f {
	case diskimage.FormatVHD:
		return "vpc"
	case diskimage.FormatVMDK, diskimage.FormatQcow2, diskimage.FormatVHDX, diskimage.FormatVDI, diskimage.FormatRaw:
		return string(f)
	}
	return ""
}

// options are the request's, for qemu-img. A VHD keeps its size to the byte unless the caller says otherwise: the size of
// QEMU's default is rounded to a geometry.
func (r *Request) options() []string {
	opts := r.Options
	if r.Format == diskimage.FormatVHD && !hasOption(opts, "force_size") {
		opts = append([]string{"force_size=on"}, opts...)
	}
	return opts
}

func hasOption(opts []string, key string) bool {
	for _, o := range opts {
		if k, _, _ := strings.Cut(o, "="); k == key {
			return true
		}
	}
	return false
}
