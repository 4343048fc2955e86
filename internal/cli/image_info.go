package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// infoLine is the JSON of berth image info.
type infoLine struct {
	Path        string           `json:"path"`
	Format      diskimage.Format `json:"format"`
	Subformat   string           `json:"subformat,omitempty"`
	VirtualSize label.Bytes      `json:"virtualSize"`
	UUID        string           `json:"uuid,omitempty"`
	Parent      *infoParent      `json:"parent,omitempty"`
	Parts       []string         `json:"parts,omitempty"` // files that a split image consists of
	Unclean     bool             `json:"unclean,omitempty"`
	Labelled    bool             `json:"labelled"`
	Damaged     bool             `json:"damaged,omitempty"` // what is left of a label
	Trace       string           `json:"trace,omitempty"`   // of a label that does not count
	Place       diskimage.Place  `json:"place"`             // where the label is, or where the first one would go
	Room        int              `json:"room"`              // bytes of a label that surely fits; 0: none does
	Why         string           `json:"why,omitempty"`     // why it takes none
}

type infoParent struct {
	Ref    string           `json:"ref,omitempty"`
	Format diskimage.Format `json:"format,omitempty"`
	UUID   string           `json:"uuid,omitempty"`
}

func (a *app) imageInfo() *cobra.Command {
	var sel selection
	cmd := &cobra.Command{
		Use:   "info IMAGE...",
		Short: "Say what disk images are, and where their labels live",
		Long: `Info prints of each image its format, the size and identity of the disk that is in it, what it is based on, where its label is or
would be, and how large a label it takes (a usual one has 250 to 900 bytes). Nothing is written.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sel.check(args); err != nil {
				return err
			}
			// Looking is cheap: each is opened again when its turn to be shown has come.
			t, err := a.eachImage(cmd.Context(), &sel, "look at image", lookAt, func(o *outcome) { a.showInfo(o) })
			if err != nil {
				return err
			}
			if t.ok == 0 && len(t.codes) == 0 {
				t.add(codeNothing) // those met in a folder were passed over
			}
			return reported(t.code())
		},
	}
	sel.flags(cmd, defaultJobs())
	return cmd
}

func lookAt(e entry) outcome {
	img, o := openImage(e)
	if img != nil {
		closeQuietly(img)
	}
	return o
}

func (a *app) showInfo(o *outcome) {
	l, err := infoOf(o.line.Path, diskimage.Options{Format: diskimage.Format(o.line.Format)})
	if err != nil {
		a.note("berth: look at image: %s: %s", cleanLine(o.line.Path), reason(err, o.line.Path)) // it has changed just now
		return
	}
	if a.json {
		_ = a.jsonLine(l) // kept by the buffer
		return
	}
	a.printf("%s: %s\n", a.fileName(l.Path), cleanLine(l.text()))
}

func infoOf(path string, opts diskimage.Options) (*infoLine, error) {
	f, err := dir.Open(path)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(f)
	frame, info, err := opts.ReadLabel(f)
	if err != nil {
		return nil, err
	}
	l := &infoLine{
		Path: path, Format: info.Format, Subformat: info.Subformat, VirtualSize: info.VirtualSize, UUID: info.UUID,
		Unclean: info.Unclean, Labelled: frame != nil, Damaged: info.Damaged, Trace: info.Trace, Place: info.Place,
	}
	if p := info.Parent; p.Exists() {
		l.Parent = &infoParent{Ref: p.Ref, Format: p.Format, UUID: p.UUID}
	}
	if info.Subformat != "monolithicSparse" && info.Subformat != "streamOptimized" { // those name themselves
		for _, e := range info.Extents {
			l.Parts = append(l.Parts, e.Name)
		}
	}
	l.Room, err = roomIn(f, opts, frame, info)
	if err != nil {
		l.Why = err.Error()
	}
	return l, nil
}

// roomIn plans labels of several sizes, the largest first, and gives the size of the first that fits. What keeps even the
// smallest out is the error.
func roomIn(f *dir.File, opts diskimage.Options, present *label.Frame, info *diskimage.Info) (int, error) {
	serial := uint32(1)
	if present != nil {
		if present.Serial == math.MaxUint32 {
			return 0, errors.New("the present label's serial is at its end")
		}
		serial = present.Serial + 1
	}
	var last error
	for fill := len(label.OverrideKeys()) + 1; fill >= 0; fill-- {
		frame, err := filler(info.Binding(), serial, fill)
		if err != nil {
			return 0, err
		}
		_, err = opts.PlanSet(f, frame)
		if err == nil {
			b, err := frame.Encode()
			return len(b), err
		}
		if last = err; !errors.Is(err, diskimage.ErrNoRoom) {
			break
		}
	}
	return 0, last
}

// filler is a label for planning alone: with fill of the overrides at their longest, and with one more a long issuer too.
func filler(disk label.Binding, serial uint32, fill int) (label.Frame, error) {
	doc := label.Document{Level: "gold", Disk: disk, Serial: serial, Issued: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for i, k := range label.OverrideKeys() {
		if i < fill {
			if doc.Overrides == nil {
				doc.Overrides = map[string]string{}
			}
			doc.Overrides[k] = strings.Repeat("x", 64)
		}
	}
	if fill > len(label.OverrideKeys()) {
		doc.Issuer = strings.Repeat("\U00010348", label.MaxIssuer) // 4 bytes each
	}
	return label.Seal(doc, nil)
}

// text is the line for people.
func (l *infoLine) text() string {
	format := string(l.Format)
	if l.Subformat != "" {
		format += " (" + l.Subformat + ")"
	}
	parts := []string{format, fmt.Sprintf("%s (%d bytes)", fleet.FormatBytes(l.VirtualSize), l.VirtualSize)}
	if l.UUID != "" {
		parts = append(parts, "uuid="+l.UUID)
	}
	if l.Parent != nil {
		parts = append(parts, fmt.Sprintf("parent=%q", l.Parent.Ref+l.Parent.UUID))
	}
	if len(l.Parts) > 0 {
		parts = append(parts, fmt.Sprintf("parts=%d", len(l.Parts)))
	}
	if l.Unclean {
		parts = append(parts, "unclean")
	}
	state := "no label"
	switch {
	case l.Labelled:
		state = "labelled"
	case l.Damaged:
		state = "damaged label"
	}
	parts = append(parts, state, "place="+string(l.Place), fmt.Sprintf("room=%d", l.Room))
	for _, s := range []string{l.Trace, l.Why} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}
