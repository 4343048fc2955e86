package convert_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// TestRemoveSource: every format moves to the next; parts and sidecars go with their image, other files stay.
func TestRemoveSource(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), diskSize)
	out := filepath.Join(folder, "out")
	command(t, "mkdir", out)
	src := filepath.Join(out, "vm-db.0")
	command(t, "cp", "--sparse=always", raw, src)
	want := give(t, src, diskimage.FormatRaw, k, someUUID)
	for i, f := range append(formats(), diskimage.FormatRaw) {
		dst := filepath.Join(out, "vm-db."+string(rune('1'+i)))
		r := convert.Request{Source: src, Destination: dst, Format: f, RemoveSource: true}
		if f == diskimage.FormatVMDK {
			r.Options = []string{"subformat=twoGbMaxExtentFlat"}
		}
		res := run(t, r)
		if files, err := os.ReadDir(out); err != nil || len(files) != len(res.Files) {
			t.Errorf("%s: %v is there, expected %v", f, files, res.Files)
		}
		got, _ := read(t, dst)
		same(t, got, &want)
		sound(t, dst, f, raw, diskimage.FormatRaw)
		src = dst
	}
}

// TestRemoveSourceRefused: the source stays when anything at all is amiss.
func TestRemoveSourceRefused(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img", "qemu-io")
	folder := t.TempDir()
	src := filepath.Join(folder, "vm-db.qcow2")
	run(t, convert.Request{Source: disk(t, filepath.Join(folder, "disk.raw"), diskSize), Destination: src, Format: diskimage.FormatQcow2})
	r := convert.Request{Source: src, Destination: filepath.Join(folder, "x.vmdk"), Format: diskimage.FormatVMDK, RemoveSource: true}
	stop := hold(t, src, diskimage.FormatQcow2, "")
	var locked *dir.LockedError
	if err := fails(t.Context(), t, r, nil); !errors.As(err, &locked) {
		t.Errorf("in use: %v", err)
	}
	stop()
	// A label that changes on the way: whoever set it has not seen the destination.
	give(t, src, diskimage.FormatQcow2, nil, someUUID)
	changed := false
	r.Progress = func(_, _ label.Bytes) {
		if !changed {
			changed = true
			if f, err := dir.OpenWrite(src); !errors.As(err, &locked) {
				t.Errorf("the source can be written to meanwhile: %v", err)
				_ = f.Close()
			}
		}
	}
	command(t, "qemu-img", "snapshot", "-c", "before", src)
	_ = fails(t.Context(), t, r, convert.ErrSnapshots)
	r.RemoveSource = false
	if res := run(t, r); res.Snapshots != 1 || !changed {
		t.Errorf("%d snapshots, progress %v", res.Snapshots, changed)
	}
}

// here is a remote store that is a folder; cut ends every file after so many bytes.
func here(folder string, cut int64) convert.Remote {
	return func(name string) (convert.RemoteFile, error) {
		f, err := dir.Open(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		return &cutFile{f, cut}, nil
	}
}

type cutFile struct {
	*dir.File
	cut int64
}

func (c *cutFile) ReadAt(p []byte, off int64) (int, error) {
	if c.cut > 0 && off+int64(len(p)) > c.cut {
		return 0, errors.New("the line is cut")
	}
	return c.File.ReadAt(p, off)
}

// TestFetch: all that belongs to an image comes along, with its label, sparse; nothing is left when that fails.
func TestFetch(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder, to := t.TempDir(), t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), 64<<20)
	for _, f := range append(formats(), "split") {
		src := filepath.Join(folder, "vm-db."+string(f))
		r := convert.Request{Source: raw, Destination: src, Format: f}
		if f == "split" {
			r.Format, r.Options = diskimage.FormatVMDK, []string{"subformat=monolithicFlat"}
		}
		run(t, r)
		want := give(t, src, r.Format, k, someUUID)
		var last, total label.Bytes
		got, err := convert.Fetch(t.Context(), here(folder, 0), filepath.Base(src), "", to, func(d, n label.Bytes) { last, total = d, n })
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		frame, _ := read(t, got.Path)
		same(t, frame, &want)
		sound(t, got.Path, r.Format, raw, diskimage.FormatRaw)
		if last != total || total == 0 {
			t.Errorf("%s: progress %d of %d", f, last, total)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
		if f == diskimage.FormatQcow2 || f == "split" {
			if _, err := convert.Fetch(t.Context(), here(folder, 1<<20), filepath.Base(src), "", to, nil); err == nil {
				t.Errorf("%s: fetched over a line that was cut", f)
			}
		}
	}
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", filepath.Join(folder, "top.qcow2"))
	for name, target := range map[string]error{"top.qcow2": convert.ErrReference, "../disk.raw": convert.ErrRequest, "none": os.ErrNotExist} {
		if _, err := convert.Fetch(t.Context(), here(folder, 0), name, "", to, nil); !errors.Is(err, target) {
			t.Errorf("%s: %v, expected %v", name, err, target)
		}
	}
	if left := listing(t, to); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestSourceReplaced: another image under the source's name, or one that somebody wrote to, is neither taken for the one that was
// looked at nor removed in its place.
func TestSourceReplaced(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	src, other := filepath.Join(folder, "vm-db.raw"), filepath.Join(folder, "other.raw")
	for name, change := range map[string]func() error{
		"replaced": func() error { return os.Rename(other, src) },
		"written":  func() error { return os.Truncate(src, diskSize/2) },
		"labelled": func() error { return os.Rename(other+".berth", src+".berth") },
	} {
		disk(t, src, diskSize)
		give(t, disk(t, other, diskSize), diskimage.FormatRaw, nil, someUUID)
		done := false
		r := convert.Request{
			Source: src, Destination: filepath.Join(folder, name+".qcow2"), Format: diskimage.FormatQcow2, Now: now(),
			Progress: func(_, _ label.Bytes) {
				if done {
					return
				}
				done = true
				if err := change(); err != nil {
					t.Error(err)
				}
			},
		}
		if _, err := convert.Convert(t.Context(), r); err == nil || !done {
			t.Errorf("%s: error %v, changed %v", name, err, done)
		}
		if _, err := os.Stat(r.Destination); err == nil {
			t.Errorf("%s: the destination is there", name)
		}
		if _, err := os.Stat(src); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = os.Remove(src + ".berth")
	}
}

// TestRemoveBase: an image that another one is based on is not removed.
func TestRemoveBase(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), 1<<20)
	for _, format := range []diskimage.Format{diskimage.FormatQcow2, diskimage.FormatVMDK} {
		base, top := filepath.Join(folder, "base."+string(format)), filepath.Join(folder, "top."+string(format))
		run(t, convert.Request{Source: raw, Destination: base, Format: format})
		command(t, "sh", "-c", `cd "$1" && qemu-img create -q -f "$2" -b "base.$2" -F "$2" "top.$2"`, "sh", folder, string(format))
		r := convert.Request{Source: base, Destination: filepath.Join(folder, "moved."+string(format)+".raw"), Format: diskimage.FormatRaw, RemoveSource: true}
		_ = fails(t.Context(), t, r, convert.ErrBase)
		if err := os.Remove(top); err != nil {
			t.Fatal(err)
		}
		run(t, r)
		if _, err := os.Stat(base); err == nil {
			t.Errorf("%s is still there", base)
		}
	}
}
