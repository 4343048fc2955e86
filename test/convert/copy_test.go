package convert_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

func copyTo(t *testing.T, r convert.CopyRequest) *convert.Result {
	t.Helper()
	r.Verify = true
	var last label.Bytes
	r.Progress = func(done, total label.Bytes) {
		if done < last || done > total {
			t.Errorf("progress of %d after %d, of %d", done, last, total)
		}
		last = done
	}
	res, err := convert.Copy(t.Context(), r)
	if err != nil {
		t.Fatalf("copy %s to %s: %v", r.Source, r.Destination, err)
	}
	return res
}

// TestCopy: a copy of every format has the same label, identity and content, its permissions, attributes and holes.
func TestCopy(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, trust := key(t)
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), 256<<20)
	for _, format := range formats() {
		src := filepath.Join(folder, "vm-db."+string(format))
		run(t, convert.Request{Source: raw, Destination: src, Format: format})
		want := give(t, src, format, k, someUUID)
		xattr := unix.Setxattr(src, "user.note", []byte("kept"), 0) == nil
		if err := os.Chmod(src, 0o640); err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(folder, "copy."+string(format))
		res := copyTo(t, convert.CopyRequest{Source: src, SourceFormat: format, Destination: dst})
		got, info := read(t, dst)
		same(t, got, &want)
		if v := trust.Verify(*got, info.Binding(), now()); v.Trust != label.TrustSigned || !reflect.DeepEqual(own(info, dst), own(res.Source, src)) {
			t.Errorf("%s: %s %s; %+v, expected %+v", format, v.Trust, v.Reason, info, res.Source)
		}
		sound(t, dst, format, raw, diskimage.FormatRaw)
		var st, was syscall.Stat_t
		if err := errors.Join(syscall.Stat(dst, &st), syscall.Stat(src, &was)); err != nil {
			t.Fatal(err)
		}
		if st.Mode != was.Mode || st.Size != was.Size || st.Blocks > was.Blocks+64 {
			t.Errorf("%s: mode %o size %d blocks %d, expected %o %d %d", format, st.Mode, st.Size, st.Blocks, was.Mode, was.Size, was.Blocks)
		}
		note := make([]byte, 16)
		if n, err := unix.Getxattr(dst, "user.note", note); xattr && (err != nil || string(note[:n]) != "kept") {
			t.Errorf("%s: attribute %q, %v", format, note[:max(n, 0)], err)
		}
		_, err := convert.Copy(t.Context(), convert.CopyRequest{Source: src, Destination: dst})
		if !errors.Is(err, convert.ErrExists) {
			t.Errorf("%s: copy over what is there: %v", format, err)
		}
		_, err = convert.Copy(t.Context(), convert.CopyRequest{Source: src, Destination: src, Force: true})
		if !errors.Is(err, convert.ErrSame) {
			t.Errorf("%s: copy over itself: %v", format, err)
		}
	}
}

// own makes two Infos comparable: an embedded descriptor names the image itself, and keeps the name that it was made under.
func own(info *diskimage.Info, path string) diskimage.Info {
	c := *info
	c.Extents = slices.Clone(info.Extents)
	for i := range c.Extents {
		if c.Extents[i].Name == filepath.Base(path) || len(c.Extents) == 1 {
			c.Extents[i].Name = ""
		}
	}
	return c
}

// TestCopySplit: the parts are called after the copy, in its descriptor too; the copy does not need the source's.
func TestCopySplit(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	for _, sub := range []string{"monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"} {
		folder, other := t.TempDir(), t.TempDir()
		raw := disk(t, filepath.Join(folder, "disk.raw"), 2<<30+1<<20)
		src := filepath.Join(folder, "vm-db.vmdk")
		made := run(t, convert.Request{Source: raw, Destination: src, Format: diskimage.FormatVMDK, Options: []string{"subformat=" + sub}})
		want := give(t, src, diskimage.FormatVMDK, k, "")
		for _, dst := range []string{filepath.Join(folder, "a-much-longer-name.vmdk"), filepath.Join(other, "vm-db.vmdk"), filepath.Join(folder, "x")} {
			res := copyTo(t, convert.CopyRequest{Source: src, Destination: dst})
			if len(res.Files) != len(made.Files) {
				t.Errorf("%s: files %v of %v", dst, res.Files, made.Files)
			}
			got, info := read(t, dst)
			same(t, got, &want)
			for _, e := range info.Extents {
				if stem := strings.TrimSuffix(filepath.Base(dst), ".vmdk"); !strings.HasPrefix(e.Name, stem+"-") {
					t.Errorf("%s: its part is called %s", dst, e.Name)
				}
			}
		}
		for _, f := range made.Files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		command(t, "qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", filepath.Join(folder, "x"), raw)
		command(t, "qemu-img", "check", "-q", "-f", "vmdk", filepath.Join(other, "vm-db.vmdk"))
		// Names that the descriptor cannot hold, or that QEMU would take for a key of it.
		for _, name := range []string{"a\"b.vmdk", "parentFileNameHint.vmdk"} {
			_, err := convert.Copy(t.Context(), convert.CopyRequest{Source: filepath.Join(folder, "x"), Destination: filepath.Join(folder, name)})
			if !errors.Is(err, convert.ErrRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestCopyOverlay: a copy whose reference would lead nowhere, or to another image, is not made.
func TestCopyOverlay(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder, other := t.TempDir(), t.TempDir()
	base := disk(t, filepath.Join(folder, "base.raw"), 1<<20)
	rel, abs := filepath.Join(folder, "rel.qcow2"), filepath.Join(folder, "abs.qcow2")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", rel)
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", abs)
	_, err := convert.Copy(t.Context(), convert.CopyRequest{Source: rel, Destination: filepath.Join(other, "rel.qcow2")})
	if !errors.Is(err, convert.ErrReference) || listing(t, other) != "" {
		t.Errorf("relative: %v", err)
	}
	copyTo(t, convert.CopyRequest{Source: rel, Destination: filepath.Join(folder, "rel2.qcow2")})
	copyTo(t, convert.CopyRequest{Source: abs, Destination: filepath.Join(other, "abs.qcow2")})
	sound(t, filepath.Join(other, "abs.qcow2"), diskimage.FormatQcow2, base, diskimage.FormatRaw)
}

// TestCopyAttribute: a label that is in the attribute alone arrives, also where there are no attributes.
func TestCopyAttribute(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	src := disk(t, filepath.Join(folder, "vm-db.raw"), 1<<20)
	want := give(t, src, diskimage.FormatRaw, nil, someUUID)
	if err := os.Remove(src + ".berth"); err != nil {
		t.Fatal(err)
	}
	if got, info := read(t, src); got == nil || info.Place != diskimage.PlaceAttribute {
		t.Skip("no attributes here")
	}
	targets := []string{folder}
	if os.Geteuid() == 0 {
		without := t.TempDir()
		if err := unix.Mount("berth-test", without, "ramfs", 0, ""); err == nil { // has no user attributes
			t.Cleanup(func() { _ = unix.Unmount(without, 0) })
			targets = append(targets, without)
		}
	}
	for _, f := range targets {
		dst := filepath.Join(f, "copy.raw")
		copyTo(t, convert.CopyRequest{Source: src, Destination: dst})
		got, info := read(t, dst)
		same(t, got, &want)
		t.Logf("%s: the label is in the %s", f, info.Place)
	}
}
