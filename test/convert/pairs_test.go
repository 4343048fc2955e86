package convert_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const someUUID = "3f2a8b6e-52c1-4b0e-9d47-6f1f0c9a7e11"

// TestPairs takes a signed label, bound to an identity, from every format to every other and back: signed everywhere, by the
// same frame, and the guest's data are the same.
func TestPairs(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, trust := key(t)
	base := disk(t, filepath.Join(t.TempDir(), "base.raw"), diskSize)
	for _, from := range formats() {
		t.Run(string(from), func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			src := filepath.Join(folder, "vm-db."+string(from))
			if from == diskimage.FormatRaw {
				command(t, "cp", "--sparse=always", base, src)
			} else {
				run(t, convert.Request{Source: base, Destination: src, Format: from})
			}
			want := give(t, src, from, k, someUUID)
			for _, to := range formats() {
				if to != from {
					pair(t, trust, &want, src, from, to)
				}
			}
			sound(t, src, from, base, diskimage.FormatRaw)
		})
	}
}

func pair(t *testing.T, trust *label.TrustFile, want *label.Frame, src string, from, to diskimage.Format) {
	t.Helper()
	there := filepath.Join(filepath.Dir(src), "there", "to-"+string(to)+".img")
	back := filepath.Join(filepath.Dir(src), "there", "back-from-"+string(to)+".img")
	command(t, "mkdir", "-p", filepath.Dir(there))
	for _, step := range []struct {
		src, dst     string
		from, format diskimage.Format
	}{{src, there, from, to}, {there, back, to, from}} {
		res := run(t, convert.Request{Source: step.src, SourceFormat: step.from, Destination: step.dst, Format: step.format, Verify: true})
		if res.Fate != convert.FateCarried || res.Source.Format != step.from || res.Destination.Format != step.format {
			t.Errorf("%s to %s: the label is %s, formats %s to %s", from, to, res.Fate, res.Source.Format, res.Destination.Format)
		}
		got, info := read(t, step.dst)
		same(t, got, want)
		if v := trust.Verify(*got, info.Binding(), now()); v.Trust != label.TrustSigned {
			t.Errorf("%s to %s: the label is %s: %s", from, to, v.Trust, v.Reason)
		}
		doc, err := got.Document()
		if err != nil {
			t.Fatal(err)
		}
		if info.UUID != "" && info.UUID != doc.Disk.UUID {
			t.Errorf("%s to %s: the identity is %s, the label's %s", from, to, info.UUID, doc.Disk.UUID)
		}
		sound(t, step.dst, step.format, src, from)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(there), ".berth-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestVMDKSubformats: every subformat that QEMU makes, its parts under the destination's name, and back to one file.
func TestVMDKSubformats(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	src := disk(t, filepath.Join(folder, "vm-db.raw"), diskSize)
	want := give(t, src, diskimage.FormatRaw, k, someUUID)
	for sub, parts := range map[string][]string{
		"monolithicSparse": nil, "streamOptimized": nil, "monolithicFlat": {"-flat"}, "twoGbMaxExtentSparse": {"-s001"}, "twoGbMaxExtentFlat": {"-f001"},
	} {
		dst := filepath.Join(folder, sub+".vmdk")
		res := run(t, convert.Request{Source: src, Destination: dst, Format: diskimage.FormatVMDK, Options: []string{"subformat=" + sub}, Verify: true})
		if len(res.Files) != 1+len(parts) || res.Files[0] != dst || len(parts) == 1 && res.Files[1] != filepath.Join(folder, sub+parts[0]+".vmdk") {
			t.Errorf("%s: files %v", sub, res.Files)
		}
		if res.Destination.Subformat != sub {
			t.Errorf("%s: subformat %s", sub, res.Destination.Subformat)
		}
		got, _ := read(t, dst)
		same(t, got, &want)
		if sub != "streamOptimized" {
			sound(t, dst, diskimage.FormatVMDK, src, diskimage.FormatRaw)
		}
		back := filepath.Join(folder, sub+".raw")
		run(t, convert.Request{Source: dst, Destination: back, Format: diskimage.FormatRaw})
		got, _ = read(t, back)
		same(t, got, &want)
		sound(t, back, diskimage.FormatRaw, src, diskimage.FormatRaw)
	}
	// Parts that are there already are found before anything is copied.
	command(t, "cp", filepath.Join(folder, "monolithicFlat-flat.vmdk"), filepath.Join(folder, "other-flat.vmdk"))
	progress := false
	_ = fails(t.Context(), t, convert.Request{
		Source: src, Destination: filepath.Join(folder, "other.vmdk"), Format: diskimage.FormatVMDK, Options: []string{"subformat=monolithicFlat"},
		Progress: func(_, _ label.Bytes) { progress = true },
	}, convert.ErrExists)
	if progress {
		t.Error("the parts in the way were found after copying")
	}
}

// TestSizes: what a format cannot hold, or would round, is known before the long copy; all else keeps its size to the byte.
func TestSizes(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	for _, size := range []int64{512, 66560, 1<<20 + 512, 10 << 30, 3 << 40} {
		folder := t.TempDir()
		src := disk(t, filepath.Join(folder, "vm-db.raw"), size)
		want := give(t, src, diskimage.FormatRaw, k, someUUID)
		for _, to := range formats() {
			dst := filepath.Join(folder, "dst", "x."+string(to))
			command(t, "mkdir", "-p", filepath.Dir(dst))
			r := convert.Request{Source: src, Destination: dst, Format: to}
			if to == diskimage.FormatVHD && size > 2040<<30 {
				var te *convert.ToolError
				copied := false
				r.Progress = func(_, _ label.Bytes) { copied = true }
				if err := fails(t.Context(), t, r, nil); !errors.As(err, &te) || copied {
					t.Errorf("%d bytes as VHD: error %v, copied %v", size, err, copied)
				}
				continue
			}
			if res := run(t, r); int64(res.Destination.VirtualSize) != size {
				t.Errorf("%d bytes as %s: %d", size, to, res.Destination.VirtualSize)
			}
			got, _ := read(t, dst)
			same(t, got, &want)
			if size < 10<<30 || to == diskimage.FormatQcow2 { // the others do not tell QEMU their holes
				sound(t, dst, to, src, diskimage.FormatRaw)
			}
		}
	}
}
