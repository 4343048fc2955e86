package carry_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/carry"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const size = 1 << 20

// image makes an empty image of one MiB; format is libvirt's word.
func image(t *testing.T, format string) *dir.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vm-db."+format)
	if format == "raw" {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		if _, err := exec.LookPath("qemu-img"); err != nil {
			t.Skip("needs qemu-img")
		}
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", format, path, "1M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	f, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func frame(t *testing.T, level string, serial uint32, disk label.Binding) label.Frame {
	t.Helper()
	f, err := label.Seal(label.Document{Level: level, Disk: disk, Serial: serial, Issued: time.Unix(1.7e9, 0).UTC()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func envelope(t *testing.T, level string, serial uint32, bytes label.Bytes) []byte {
	t.Helper()
	e, err := frame(t, level, serial, label.Binding{Size: bytes}).Envelope()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func set(t *testing.T, f *dir.File, format, level string, serial uint32) {
	t.Helper()
	if serial == 0 {
		return
	}
	known, _ := diskimage.FormatNamed(format)
	opts := diskimage.Options{Format: known}
	edit, err := opts.PlanSet(f, frame(t, level, serial, label.Binding{Size: size}))
	if err == nil {
		err = diskimage.Apply(f, edit)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, f *dir.File, format string) (level string, serial uint32) {
	t.Helper()
	known, _ := diskimage.FormatNamed(format)
	frame, _, err := diskimage.Options{Format: known}.ReadLabel(f)
	if err != nil {
		t.Fatal(err)
	}
	if frame == nil {
		return "", 0
	}
	doc, err := frame.Document()
	if err != nil {
		t.Fatal(err)
	}
	return doc.Level, doc.Serial
}

// TestCarry has for each format what the source may hold and the hypervisor may keep, and which of it arrives.
func TestCarry(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		for _, c := range []struct {
			name   string
			serial uint32 // of the image's own label, "gold"; 0: none
			kept   []byte
			want   string
		}{
			{"nothing", 0, nil, ""},
			{"image", 3, nil, "gold"},
			{"kept", 0, envelope(t, "silver", 1, size), "silver"},
			{"kept is newer", 3, envelope(t, "silver", 4, size), "silver"},
			{"as old", 3, envelope(t, "silver", 3, size), "gold"},
			{"kept is older", 3, envelope(t, "silver", 2, size), "gold"},
			{"kept is another disk's", 3, envelope(t, "silver", 4, 2*size), "gold"},
			{"kept is no envelope", 3, []byte("{}"), "gold"},
			{"nothing but another disk's", 0, envelope(t, "silver", 4, 2*size), ""},
		} {
			t.Run(format+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				from, to := image(t, format), image(t, format)
				set(t, from, format, "gold", c.serial)
				var l carry.Labels
				labelled, err := l.Labelled(from, format, c.kept)
				if err != nil || labelled != (c.want != "") {
					t.Fatalf("labelled %t, %v", labelled, err)
				}
				if err := l.Carried(from, to, format); (err == nil) != (c.serial == 0) {
					t.Errorf("carried before: %v", err)
				}
				for range 2 { // again after a crash
					if err := l.Carry(from, to, format, c.kept); err != nil {
						t.Fatal(err)
					}
				}
				if level, _ := read(t, to, format); level != c.want {
					t.Errorf("the copy has %q, expected %q", level, c.want)
				}
				if err := l.Carried(from, to, format); err != nil {
					t.Errorf("carried: %v", err)
				}
			})
		}
	}
}

func TestCarriedRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		from, to uint32
		level    string
		fault    string
	}{
		{"lost", 2, 0, "", "has no label"}, {"older", 2, 1, "gold", "another label"}, {"other of the same serial", 2, 2, "silver", "another label"},
		{"later", 2, 3, "silver", ""}, {"equal", 2, 2, "gold", ""}, {"source has none", 0, 1, "gold", ""},
	} {
		from, to := image(t, "raw"), image(t, "raw")
		set(t, from, "raw", "gold", c.from)
		set(t, to, "raw", c.level, c.to)
		err := carry.Labels{}.Carried(from, to, "raw")
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.fault)
		}
	}
}

// TestUnreadable: an image that no label can be read of moves byte for byte, and not live.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	var l carry.Labels
	damaged := func() *dir.File {
		f := image(t, "raw")
		if err := f.SetSidecar([]byte("{")); err != nil {
			t.Fatal(err)
		}
		return f
	}
	odd := image(t, "raw")
	if err := odd.Truncate(size + 100); err != nil {
		t.Fatal(err)
	}
	if labelled, err := l.Labelled(odd, "raw", envelope(t, "gold", 1, size)); labelled || err != nil {
		t.Errorf("half a sector: labelled %t, %v", labelled, err)
	}
	if _, err := l.Labelled(damaged(), "raw", nil); !errors.Is(err, diskimage.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
	whole := image(t, "raw")
	set(t, whole, "raw", "gold", 1)
	for name, c := range map[string]struct {
		from, to *dir.File
		format   string
		ok       bool
	}{
		"damaged at both ends":  {damaged(), damaged(), "raw", true},
		"damaged, then none":    {damaged(), image(t, "raw"), "raw", false},
		"whole, then damaged":   {whole, damaged(), "raw", false},
		"none, then damaged":    {image(t, "raw"), damaged(), "raw", true},
		"no qcow2 at both ends": {image(t, "raw"), image(t, "raw"), "qcow2", true},
		"qcow2, then none":      {image(t, "raw"), image(t, "qcow2"), "qcow2", false},
		"half a sector":         {odd, odd, "raw", true},
		"a format of no labels": {odd, whole, "luks", true},
	} {
		if err := l.Carried(c.from, c.to, c.format); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRawIsNeverLookedInto: what the guest wrote into its raw disk is no container with a label.
func TestRawIsNeverLookedInto(t *testing.T) {
	t.Parallel()
	inner := image(t, "qcow2")
	set(t, inner, "qcow2", "gold", 9)
	content, err := os.ReadFile(inner.Path())
	if err != nil {
		t.Fatal(err)
	}
	outer := image(t, "raw")
	if _, err := outer.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if labelled, err := (carry.Labels{}).Labelled(outer, "raw", nil); labelled || err != nil {
		t.Errorf("labelled %t, %v", labelled, err)
	}
	if _, err := (carry.Labels{}).Labelled(outer, "vmdk", nil); err == nil {
		t.Error("declared vmdk, and it is none: no error")
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		for _, c := range []struct {
			name    string
			serial  uint32
			kept    []byte
			want    uint32
			changed bool
			fault   error
		}{
			{"first", 0, envelope(t, "silver", 2, size), 2, true, nil},
			{"newer", 1, envelope(t, "silver", 2, size), 2, true, nil},
			{"equal", 2, envelope(t, "silver", 2, size), 2, false, nil},
			{"older", 3, envelope(t, "silver", 2, size), 3, false, nil},
			{"another disk's", 1, envelope(t, "silver", 2, 4096), 1, false, diskimage.ErrBinding},
			{"none", 1, nil, 1, false, nil},
		} {
			f := image(t, format)
			set(t, f, format, "gold", c.serial)
			changed, err := carry.Store(f, diskimage.Format(format), c.kept)
			if changed != c.changed || !errors.Is(err, c.fault) {
				t.Errorf("%s/%s: changed %t, %v", format, c.name, changed, err)
			}
			if _, serial := read(t, f, format); serial != c.want {
				t.Errorf("%s/%s: serial %d, expected %d", format, c.name, serial, c.want)
			}
		}
		if _, err := carry.Store(image(t, format), diskimage.Format(format), []byte("no JSON")); err == nil {
			t.Errorf("%s: no envelope at all was stored", format)
		}
	}
}

func TestLater(t *testing.T) {
	t.Parallel()
	one, two, other := string(envelope(t, "gold", 1, size)), string(envelope(t, "gold", 2, size)), string(envelope(t, "silver", 2, size))
	for _, c := range [][3]string{{one, two, two}, {two, one, two}, {two, other, two}, {"", two, two}, {two, "", two}, {"{}", one, one}, {one, "{}", one}, {"", "", ""}} {
		if got := (carry.Labels{}).Later(c[0], c[1]); got != c[2] {
			t.Errorf("of %.30q and %.30q: %.30q", c[0], c[1], got)
		}
	}
}
