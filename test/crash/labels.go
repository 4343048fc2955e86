package crash

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Key is a fixed key, so that a test makes the same bytes every time.
func Key(tb testing.TB) *label.PrivateKey {
	tb.Helper()
	key, err := label.GenerateKey(bytes.NewReader([]byte("a seed of 32 bytes, used by tests")))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Small is a plain signed label of one slot line, Large one with every override that takes several.
func Small(tb testing.TB, disk label.Binding, serial uint32) label.Frame {
	tb.Helper()
	return seal(tb, label.Document{Level: "gold", Disk: disk, Serial: serial, Issued: time.Unix(1_800_000_000, 0).UTC()})
}

// Large is a label that needs five lines.
func Large(tb testing.TB, disk label.Binding, serial uint32) label.Frame {
	tb.Helper()
	doc := label.Document{
		Level: strings.Repeat("gold-", 12), Disk: disk, Serial: serial, Issuer: strings.Repeat("räum ", 25),
		Issued: time.Unix(1_800_000_000, 0).UTC(), Expires: time.Unix(1_900_000_000, 0).UTC(), Overrides: map[string]string{},
	}
	for i, k := range label.OverrideKeys() {
		doc.Overrides[k] = strings.Repeat(string(rune('A'+i)), 64)
	}
	return seal(tb, doc)
}

func seal(tb testing.TB, doc label.Document) label.Frame {
	tb.Helper()
	frame, err := label.Seal(doc, Key(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return frame
}

// Set plans and applies a label.
func Set(f diskimage.File, frame label.Frame) error {
	e, err := diskimage.PlanSet(f, frame)
	if err != nil {
		return err
	}
	return diskimage.Apply(f, e)
}

// Remove plans and applies the removal.
func Remove(f diskimage.File) error {
	e, err := diskimage.PlanRemove(f)
	if err != nil {
		return err
	}
	return diskimage.Apply(f, e)
}

// DescriptorText is the descriptor as other tools see it: up to the first NUL. It is found without the help of the
// code under test.
func DescriptorText(image []byte) string {
	if bytes.HasPrefix(image, []byte("KDMV")) {
		image = image[sector:min(len(image), 21*sector)]
	}
	text, _, _ := bytes.Cut(image, []byte{0})
	return string(text)
}

// Foreign is the text without lines of a label.
func Foreign(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "ddb.berth.") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// SerialOf reads the label's serial; 0: no label.
func SerialOf(image []byte) (uint32, error) {
	frame, info, err := diskimage.ReadLabel(&Mem{Data: image})
	if err != nil {
		return 0, fmt.Errorf("read label: %w", err)
	}
	if frame == nil {
		return 0, nil
	}
	if _, err := frame.Document(); err != nil || !info.HasLabel {
		return 0, fmt.Errorf("read label: has label %v, document: %w", info.HasLabel, err)
	}
	return frame.Serial, nil
}
