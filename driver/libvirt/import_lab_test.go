package libvirt

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// noise is content with holes in it: 0, 1 and 2 of every 4 blocks.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		if i/zeroBlock%4 != 3 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func importOf(name string, content []byte) ImportFile {
	return ImportFile{Name: name, Content: bytes.NewReader(content), Size: fleet.Bytes(len(content)), Used: fleet.Bytes(len(content))}
}

func poolNamed(t *testing.T, d *Driver, id fleet.PoolID) fleet.Pool {
	t.Helper()
	p := observe(t, d).Pool(id)
	if p == nil {
		t.Fatalf("no pool %s", id)
	}
	return *p
}

// content reads a whole file of a pool through the driver.
func content(t *testing.T, d *Driver, pool fleet.Pool, file string) []byte {
	t.Helper()
	f, err := d.OpenImage(t.Context(), pool, file)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, f.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		t.Fatal(n, err)
	}
	return b
}

func TestLabImport(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	pool := poolNamed(t, d, "gold-1/nvme")
	big := noise(20<<20 + 12345)
	var done, total fleet.Bytes
	got, err := d.Import(t.Context(), pool, []ImportFile{importOf("vm-db.raw.berth", []byte("{}")), importOf("vm-db.raw", big)},
		func(d, of fleet.Bytes) { done, total = d, of })
	if err != nil || got != images+"/nvme/vm-db.raw" {
		t.Fatal(got, err)
	}
	if done != total || total != fleet.Bytes(2*(len(big)+2)) {
		t.Errorf("progress ends at %d of %d", done, total)
	}
	if !bytes.Equal(content(t, d, pool, got), big) {
		t.Error("another content")
	}
	if used := l.sh(t, 1, "stat -c '%b' "+got); strings.TrimSpace(used) == "" || atoi(t, used)*512 > len(big)*7/8 {
		t.Errorf("%s blocks: the holes were sent", used)
	}
	before := l.files(t, 1)
	for name, files := range map[string][]ImportFile{
		"image there":   {importOf("vm-db.raw", []byte("x"))},
		"sidecar there": {importOf("vm-new.raw", []byte("x")), importOf("vm-db.raw.berth", []byte("x"))},
	} {
		if _, err := d.Import(t.Context(), pool, files, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.sh(t, 1, "echo behind its back >"+images+"/nvme/unseen.raw")
	if _, err := d.Import(t.Context(), pool, []ImportFile{importOf("unseen.raw", big[:512])}, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that the pool has not seen: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", "a\nb"} {
		if _, err := d.Import(t.Context(), pool, []ImportFile{importOf(name, []byte("x"))}, nil); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
	if _, err := d.Import(t.Context(), poolNamed(t, d, "gold-1/tiny"), []ImportFile{importOf("vm-db.raw", big)}, nil); err == nil || !strings.Contains(err.Error(), "free") {
		t.Errorf("more than the pool holds: %v", err)
	}
	if after := l.files(t, 1); !slices.Equal(after, append(before, "nvme/unseen.raw")) && len(after) != len(before)+1 {
		t.Errorf("left %v, expected %v", after, before)
	}
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	for _, c := range strings.TrimSpace(s) {
		if c < '0' || c > '9' {
			t.Fatalf("%q is no number", s)
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// TestLabImportFails: what was made goes again, whether the pool gets full, the caller gives up or the content ends early; a
// process that is killed leaves no half that looks like an image.
func TestLabImportFails(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	pool, tiny := poolNamed(t, d, "gold-1/nvme"), poolNamed(t, d, "gold-1/tiny")
	big := noise(20 << 20)
	copy(big, "QFI\xfb")
	lie := importOf("vm-db.raw", big)
	lie.Used = 1 // so that only the writing tells
	if _, err := d.Import(t.Context(), tiny, []ImportFile{lie}, nil); err == nil {
		t.Error("20 MiB went into 16 MiB")
	}
	short := importOf("vm-db.raw", big)
	short.Size++
	if _, err := d.Import(t.Context(), pool, []ImportFile{importOf("x.berth", []byte("{}")), short}, nil); err == nil {
		t.Error("a content that ends early was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := d.Import(ctx, pool, []ImportFile{importOf("x.berth", []byte("{}")), importOf("vm-db.raw", big)}, func(done, _ fleet.Bytes) {
		if done > 10<<20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	d.checkpoint = func(name string) error { // between writing and reading back, as a disk that lies would
		if name == "sent vm-db.raw" {
			l.sh(t, 1, "printf x | dd of="+images+"/nvme/vm-db.raw bs=1 seek=20000000 conv=notrunc status=none")
		}
		return nil
	}
	if _, err := d.Import(t.Context(), pool, []ImportFile{importOf("vm-db.raw", big)}, nil); !errors.Is(err, errVerify) {
		t.Errorf("another content was read back: %v", err)
	}
	if left := l.files(t, 1); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
	for _, at := range []string{"created vm-db.qcow2", "sent vm-db.qcow2"} {
		d.checkpoint = func(name string) error {
			if name == at {
				return errors.New("killed")
			}
			return nil
		}
		if _, err := d.Import(t.Context(), pool, []ImportFile{importOf("vm-db.qcow2", big)}, nil); err == nil {
			t.Fatal("not cut")
		}
		if head := content(t, d, pool, images+"/nvme/vm-db.qcow2")[:headSize]; !isZero(head) {
			t.Errorf("%s: the half looks like an image: %x", at, head[:8])
		}
		_, err := l.driver(t).Import(t.Context(), pool, []ImportFile{importOf("vm-db.qcow2", big)}, nil)
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: tried again: %v", at, err)
		}
		l.virsh(t, 1, "vol-delete", "--pool", "nvme", "vm-db.qcow2")
	}
}

// TestLabRemoveImage: an image goes with its parts and its sidecar, itself last; not while anything stands on it.
func TestLabRemoveImage(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	pool := poolNamed(t, d, "gold-1/nvme")
	flat := l.image(t, 1, "nvme", "vm-web.vmdk", "vmdk", "subformat=monolithicFlat", "gold")
	raw := l.image(t, 1, "nvme", "vm-db.raw", "raw", "", "gold")
	base := l.image(t, 1, "nvme", "base.qcow2", "qcow2", "", "")
	l.sh(t, 1, "qemu-img create -q -f qcow2 -b "+base+" -F qcow2 "+images+"/ssd/top.qcow2")
	l.vm(t, 1, "vm-db", false, raw)
	l.vm(t, 1, "vm-part", false, images+"/nvme/vm-web-flat.vmdk,raw")
	before := l.files(t, 1)
	for file, why := range map[string]string{raw: "vm-db", flat: "vm-part", base: "top.qcow2", images + "/ssd/vm-db.raw": "not found"} {
		if gone, err := d.RemoveImage(t.Context(), pool, file); err == nil || !strings.Contains(err.Error(), why) || len(gone) > 0 {
			t.Errorf("%s: removed %v, %v", file, gone, err)
		}
	}
	if after := l.files(t, 1); !slices.Equal(after, before) {
		t.Fatalf("left %v of %v", after, before)
	}
	l.virsh(t, 1, "undefine", "vm-db")
	l.virsh(t, 1, "undefine", "vm-part")
	l.sh(t, 1, "rm "+images+"/ssd/top.qcow2")
	d.checkpoint = func(string) error { return errors.New("killed") }
	if gone, err := d.RemoveImage(t.Context(), pool, flat); err == nil || len(gone) != 1 {
		t.Errorf("cut: removed %v, %v", gone, err)
	}
	d.checkpoint = func(string) error { return nil }
	for _, file := range []string{flat, raw, base} { // the first one's extent is gone already
		if _, err := d.RemoveImage(t.Context(), pool, file); err != nil {
			t.Error(err)
		}
	}
	if left := l.files(t, 1); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
