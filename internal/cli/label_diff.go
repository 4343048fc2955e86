package cli

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/spf13/cobra"
)

// diffView is the JSON of berth label diff.
type diffView struct {
	A           imageLine         `json:"a"`
	B           imageLine         `json:"b"`
	Same        bool              `json:"same"`
	Differences []labelDifference `json:"differences"`
}

// labelDifference is one field in which two labels differ; a side that does not have it is absent.
type labelDifference struct {
	Field string `json:"field"`
	A     string `json:"a,omitempty"`
	B     string `json:"b,omitempty"`
}

func (a *app) labelDiff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say what differs between the labels of two disk images",
		Long: `Diff prints a line "- FIELD: VALUE" for what only the first image's label has, and "+ FIELD: VALUE" for what only the
second's has. It exits with 0 when the labels are the same, with 1 when they are not, with 6 when neither image has one.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var sides [2]labelSide
			for i, path := range args {
				var err error
				if sides[i], err = a.diffSide(path); err != nil {
					return err
				}
			}
			v := diffView{A: sides[0].line, B: sides[1].line, Differences: differences(&sides[0], &sides[1])}
			v.Same = len(v.Differences) == 0
			if a.json {
				if err := a.jsonDocument(v); err != nil {
					return err
				}
			} else {
				a.printDifferences(v.Differences)
			}
			if !v.A.Labelled && !v.B.Labelled {
				return &cliError{code: codeNothing, err: fmt.Errorf("diff labels: neither %s nor %s has a label", cleanLine(args[0]), cleanLine(args[1]))}
			}
			if !v.Same {
				return reported(codeFailed)
			}
			return nil
		},
	}
}

// diffSide reads one of the two images; what is wrong with it has been reported when it fails.
func (a *app) diffSide(path string) (labelSide, error) {
	e := entry{path: path}
	var img *image
	o, done := new(selection).checkExtent(e)
	if !done {
		img, o = readImage(e)
	}
	o.line.setPath(path)
	if img == nil {
		a.reportFile("diff labels", &o)
		return labelSide{}, reported(codeOf(o.err))
	}
	side := newLabelSide(img.frame, string(img.info.Place))
	side.line = o.line
	return side, nil
}

func (a *app) printDifferences(list []labelDifference) {
	for _, d := range list {
		if d.A != "" {
			a.printf("- %s: %s\n", d.Field, cleanLine(d.A))
		}
		if d.B != "" {
			a.printf("+ %s: %s\n", d.Field, cleanLine(d.B))
		}
	}
}

// labelSide is one label of a comparison as fields and their values.
type labelSide struct {
	line   imageLine
	values map[string]string
}

// diffFields are the fields in the order in which they are shown; overrides come after the level.
var diffFields = []string{"level", "serial", "issuer", "issued", "expires", "disk.size", "disk.uuid", "key", "signature", "place", "payload"}

func newLabelSide(frame *label.Frame, place string) labelSide {
	s := labelSide{values: map[string]string{}}
	if frame == nil {
		return s
	}
	s.values["place"] = place
	s.values["key"] = "none"
	if frame.KeyID != (label.KeyID{}) {
		s.values["key"] = frame.KeyID.String()
	}
	if frame.Signature != ([64]byte{}) {
		s.values["signature"] = base64.StdEncoding.EncodeToString(frame.Signature[:])
	}
	doc, err := frame.Document()
	if err != nil {
		s.values["payload"] = fmt.Sprintf("unreadable: %q", frame.Payload)
		return s
	}
	s.values["level"] = doc.Level
	s.values["serial"] = strconv.FormatUint(uint64(doc.Serial), 10)
	s.values["issuer"] = doc.Issuer
	s.values["issued"] = doc.Issued.Format(time.RFC3339)
	if !doc.Expires.IsZero() {
		s.values["expires"] = doc.Expires.Format(time.RFC3339)
	}
	s.values["disk.size"] = strconv.FormatInt(int64(doc.Disk.Size), 10)
	s.values["disk.uuid"] = doc.Disk.UUID
	for k, v := range doc.Overrides {
		s.values[overrideField+k] = v
	}
	return s
}

const overrideField = "override "

// differences lists the fields in which a and b differ. A signature of other content differs anyway: it is told only
// where it is all that does.
func differences(a, b *labelSide) []labelDifference {
	fields := slices.Clone(diffFields)
	overrides := maps.Clone(a.values)
	maps.Copy(overrides, b.values)
	for _, k := range slices.Backward(slices.Sorted(maps.Keys(overrides))) {
		if len(k) > len(overrideField) && k[:len(overrideField)] == overrideField {
			fields = slices.Insert(fields, 1, k)
		}
	}
	out := []labelDifference{}
	for _, f := range fields {
		x, y := a.values[f], b.values[f]
		if x == y {
			continue
		}
		if f == "signature" && len(out) > 0 {
			continue
		}
		out = append(out, labelDifference{Field: f, A: x, B: y})
	}
	return out
}
