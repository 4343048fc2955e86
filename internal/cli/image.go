package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/label/ovf"
)

// imageLine is the JSON of one image: one line of berth label set, get, verify, rm, strip and find.
type imageLine struct {
	Path      string          `json:"path"`
	Disk      string          `json:"disk,omitempty"`     // of an appliance (OVF, OVA): the id of the disk
	DiskFile  string          `json:"diskFile,omitempty"` // and its file in the appliance
	Format    string          `json:"format,omitempty"`
	Subformat string          `json:"subformat,omitempty"`
	Labelled  bool            `json:"labelled"`
	Serial    uint32          `json:"serial,omitempty"`
	KeyID     string          `json:"keyId,omitempty"` // absent: not signed
	Document  *label.Document `json:"document,omitempty"`
	Place     string          `json:"place,omitempty"`     // where the label is: image, sidecar, attribute
	From      string          `json:"from,omitempty"`      // the ancestor that has the label; the image itself has none
	Damaged   bool            `json:"damaged,omitempty"`   // by label find --damaged: what is left of a label
	DryRun    bool            `json:"dryRun,omitempty"`    // nothing was done
	PathBytes []byte          `json:"pathBytes,omitempty"` // the path's bytes, where they are not UTF-8
	// By label verify only.
	Trust   string `json:"trust,omitempty"` // signed, unsigned or invalid
	Signer  string `json:"signer,omitempty"`
	Ceiling string `json:"ceiling,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Cause   string `json:"cause,omitempty"` // why not signed, as label.Cause names it
	// Counts is the level that the label gives under the policy; CountsWhy says why that is not the one it asks for.
	Counts    string   `json:"counts,omitempty"`
	CountsWhy []string `json:"countsWhy,omitempty"`
	// Error says why nothing is known of the image, or nothing was done to it.
	Error string `json:"error,omitempty"`
}

// outcome is what became of one image.
type outcome struct {
	line  imageLine
	skip  bool // met in a folder, and no image of ours
	code  int  // when it is not a failure but no success either; see tally
	err   error
	note  string // for -v
	named bool   // not met in a folder
	part  string // the descriptor of which it is a part, see selection.wait
	// frame is the label, for commands that need more of it than the line has; nil: none.
	frame *label.Frame
	// more are the outcomes for the disks of an appliance; the rest then says nothing.
	more []outcome
}

// eachImage runs work on every selected image and emits the outcomes in order. show is called for outcomes
// without an error. It returns the tally.
func (a *app) eachImage(ctx context.Context, s *selection, op string, work func(entry) outcome, show func(*outcome)) (tally, error) {
	var t tally
	var emit func(o outcome)
	emit = func(o outcome) {
		switch {
		case len(o.more) > 0:
			for _, of := range o.more {
				emit(of)
			}
			return
		case s.wait(&o):
			return
		case o.skip:
			a.detail("%s: passed over: %s", cleanLine(o.line.name()), cleanLine(o.note))
			return
		case o.err != nil:
			a.reportFile(op, &o)
			t.add(codeOf(o.err))
			return
		}
		if o.note != "" {
			a.detail("%s: %s", cleanLine(o.line.name()), cleanLine(o.note))
		}
		t.add(o.code)
		show(&o)
	}
	guarded := func(e entry) outcome {
		if e.err != nil {
			o := outcome{err: e.err}
			o.line.setPath(e.path)
			return o
		}
		e.opts = s.opts
		o, done := s.checkExtent(e)
		if !done {
			o = a.appliances(ctx, s, e, work)
		}
		o.line.setPath(e.path)
		o.named = !e.found
		for i := range o.more {
			o.more[i].line.setPath(e.path)
		}
		return o
	}
	pipeline(ctx, s.jobs, func(yield func(entry) bool) { a.walk(ctx, s, yield) }, guarded, emit)
	for _, o := range s.waited() {
		emit(o)
	}
	if err := ctx.Err(); err != nil {
		return t, &cliError{code: codePartly, err: fmt.Errorf("%s: interrupted: the files after this were not touched", op)}
	}
	return t, nil
}

// reportFile says that op failed on one file; the rest goes on.
func (a *app) reportFile(op string, o *outcome) {
	if a.json {
		o.line.Error = o.err.Error()
		_ = a.jsonLine(o.line) // kept by the buffer
	}
	_ = a.out.Flush() // what came before goes before; a write error is kept for the end
	a.note("berth: %s: %s: %s", op, cleanLine(o.line.name()), cleanLine(reason(o.err, o.line.Path)))
	if h := hintOf(o.err); h != "" {
		a.note("hint: %s", cleanLine(strings.ReplaceAll(h, "FILE", o.line.Path)))
	}
}

// reason is err without the path that the message names already.
func reason(err error, path string) string {
	s := bare(err).Error()
	i := strings.Index(s, path+": ")
	if i < 0 || strings.Contains(s[:i], ":") {
		return s
	}
	return s[i+len(path)+2:]
}

// passOver says whether a file that was met in a folder is none that carries labels; explicit files never
// are: whoever names a file wants to know.
func passOver(e entry, err error) bool {
	return e.found && (errors.Is(err, diskimage.ErrNotImage) || errors.Is(err, diskimage.ErrExtent))
}

// image is an open image with its label.
type image struct {
	*dir.File
	frame *label.Frame // nil: none
	info  *diskimage.Info
}

// openImage opens e for reading and reads its label. A nil image means that o is the outcome already.
func openImage(e entry) (img *image, o outcome) {
	if e.disk != nil {
		return e.disk.image()
	}
	f, err := dir.Open(e.path)
	if err != nil {
		return nil, notOpened(e, err)
	}
	frame, info, err := e.opts.ReadLabel(f)
	if err != nil {
		o = failedImage(e, f, err)
		closeQuietly(f)
		return nil, o
	}
	if isRaw := info.Format == diskimage.FormatRaw && e.opts.Format == "" && frame == nil && !info.Damaged; isRaw && ovf.Detect(f) != "" {
		closeQuietly(f)
		return nil, outcome{err: errAppliance}
	} else if isRaw && e.found {
		closeQuietly(f)
		return nil, outcome{skip: true, note: "no label, and anything at all can look raw"}
	}
	o.line.describe(frame, info)
	return &image{File: f, frame: frame, info: info}, o
}

// readImage is openImage for commands that only look: a damaged label is an error, and the file is closed.
func readImage(e entry) (*image, outcome) {
	img, o := openImage(e)
	if img == nil {
		return nil, o
	}
	closeQuietly(img)
	if img.frame == nil && img.info.Damaged {
		return nil, outcome{err: diskimage.ErrDamaged}
	}
	return img, o
}

// notOpened is the outcome for a file that could not be opened: what is no file with content is no image.
func notOpened(e entry, err error) outcome {
	st, serr := os.Stat(e.path)
	if serr != nil || st.Mode().IsRegular() && st.Size() > 0 {
		return outcome{err: err}
	}
	return outcome{skip: e.found, note: err.Error(), err: inputError(err, "")}
}

// failedImage is the outcome for an image that could not be read.
func failedImage(e entry, f diskimage.Reader, err error) outcome {
	if errors.Is(err, diskimage.ErrNotImage) && ovf.Detect(f) != "" {
		return outcome{err: errAppliance}
	}
	if passOver(e, err) {
		return outcome{skip: true, note: err.Error()}
	}
	if e.found && errors.Is(err, diskimage.ErrUnsupported) {
		if format, derr := diskimage.Detect(f); derr != nil || format == diskimage.FormatRaw {
			return outcome{skip: true, note: err.Error()} // anything at all can look raw
		}
	}
	return outcome{err: err}
}

// setPath keeps the bytes of a path beside its text when JSON cannot hold them.
func (l *imageLine) setPath(path string) {
	l.Path = path
	if !utf8.ValidString(path) {
		l.PathBytes = []byte(path)
	}
}

// describe fills l from what was read.
func (l *imageLine) describe(frame *label.Frame, info *diskimage.Info) {
	if info != nil {
		l.Format, l.Subformat = string(info.Format), info.Subformat
	}
	if frame == nil {
		return
	}
	l.Labelled, l.Serial = true, frame.Serial
	if info != nil {
		l.Place = string(info.Place)
	}
	if frame.KeyID != (label.KeyID{}) {
		l.KeyID = frame.KeyID.String()
	}
	if doc, err := frame.Document(); err == nil {
		l.Document = &doc
	} else {
		l.Reason = err.Error()
	}
}

// summary is the label in one line: level, overrides, then the rest as name=value.
func (l *imageLine) summary() string {
	if l.Document == nil {
		return fmt.Sprintf("serial=%d unreadable: %s", l.Serial, cleanLine(l.Reason))
	}
	d := l.Document
	parts := []string{d.Level}
	for _, k := range slices.Sorted(maps.Keys(d.Overrides)) {
		parts = append(parts, k+"="+d.Overrides[k])
	}
	parts = append(parts, fmt.Sprintf("serial=%d", d.Serial), "issued="+d.Issued.Format(time.RFC3339))
	if !d.Expires.IsZero() {
		parts = append(parts, "expires="+d.Expires.Format(time.RFC3339))
	}
	if d.Issuer != "" {
		parts = append(parts, fmt.Sprintf("issuer=%q", d.Issuer))
	}
	if l.KeyID != "" {
		parts = append(parts, "key="+l.KeyID)
	} else {
		parts = append(parts, "unsigned")
	}
	if l.From != "" {
		parts = append(parts, "from="+cleanLine(l.From))
	}
	return strings.Join(parts, " ")
}

// fileName is a path as it is printed: as it is into a pipe, harmless on a terminal.
func (a *app) fileName(p string) string {
	if a.outTTY {
		return cleanLine(p)
	}
	return p
}
