package vsphere_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

const descriptor = "[ssd-1] vm-db/vm-db.vmdk"

func open(t *testing.T, d *vsphere.Driver, pool fleet.PoolID, path string) fleet.ImageFile {
	t.Helper()
	f, err := d.OpenImage(t.Context(), *observe(t, d).Pool(pool), path)
	must(t, err)
	return f
}

// pattern makes a file of n bytes that differ from chunk to chunk.
func pattern(t *testing.T, s *vcsim.Server, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i)
	}
	must(t, os.WriteFile(filepath.Join(s.Folder("ssd-1"), "big.vmdk"), b, 0o644))
	return b
}

func TestImageReadsAcrossChunks(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		t.Run(fmt.Sprintf("ignore range %v", ignore), func(t *testing.T) {
			s, d := world(t)
			want := pattern(t, s, 300_001)
			s.IgnoreRange(ignore)
			f := open(t, d, "ssd-1", "[ssd-1] big.vmdk")
			if f.Size() != int64(len(want)) {
				t.Fatalf("size %d, expected %d", f.Size(), len(want))
			}
			got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			p := make([]byte, 70_000)
			if n, err := f.ReadAt(p, 65_530); n != len(p) || err != nil || !bytes.Equal(p, want[65_530:135_530]) {
				t.Errorf("read over two borders: %d, %v", n, err)
			}
		})
	}
}

// TestImageIgnoredRangeIsBounded: a server without ranges must not make Berth read a whole disk.
func TestImageIgnoredRangeIsBounded(t *testing.T) {
	s, d := world(t)
	s.IgnoreRange(true)
	f := open(t, d, "ssd-1", "[ssd-1] vm-db/vm-db-flat.vmdk") // 40 GiB, sparse
	if _, err := f.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("read at the start: %v", err)
	}
	_, err := f.ReadAt(make([]byte, 512), 20<<30)
	if err == nil || !strings.Contains(err.Error(), "ignores ranges") {
		t.Errorf("read at 20 GiB: %v, expected a refusal", err)
	}
}

func TestImageEmptyFile(t *testing.T) {
	s, d := world(t)
	must(t, os.WriteFile(filepath.Join(s.Folder("ssd-1"), "empty.vmdk"), nil, 0o644))
	f := open(t, d, "ssd-1", "[ssd-1] empty.vmdk")
	if n, err := f.ReadAt(make([]byte, 4), 0); n != 0 || !errors.Is(err, io.EOF) || f.Size() != 0 {
		t.Errorf("read %d, %v of %d bytes", n, err, f.Size())
	}
}

func TestImagePathsAreHeld(t *testing.T) {
	_, d := world(t)
	pool := *observe(t, d).Pool("ssd-1")
	for _, path := range []string{
		"", "vm-db/vm-db.vmdk", "[hdd-1] vm-log/vm-log.vmdk", "[hdd-1] vm-db/vm-db.vmdk", "[ssd-1] ../hdd-1/vm-log/vm-log.vmdk", "[ssd-1] vm-db//vm-db.vmdk",
		"[ssd-1]", "[ssd-1] /vm-db/vm-db.vmdk", "[ssd-1] nothing.vmdk",
	} {
		f, err := d.OpenImage(t.Context(), pool, path)
		if err == nil {
			_ = f.Close()
		}
		if !errors.Is(err, fleet.ErrNotFound) || fleet.KindOf(err) != fleet.Permanent {
			t.Errorf("%q: %v, expected fleet.ErrNotFound", path, err)
		}
	}
}

func TestImageWrites(t *testing.T) {
	s, d := world(t)
	f := open(t, d, "ssd-1", descriptor)
	r, ok := f.(interface{ Replace([]byte) error })
	if !ok {
		t.Fatal("an image is no Replacer")
	}
	content := append(readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk"), "ddb.berth.a.00 = \"x\"\n"...)
	must(t, r.Replace(content))
	if got := readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk"); !bytes.Equal(got, content) || f.Size() != int64(len(content)) {
		t.Errorf("replaced: %d bytes, size %d", len(got), f.Size())
	}
	if n, err := f.WriteAt([]byte("# Disk DESCRIPTOR"), 0); n != 17 || err != nil {
		t.Errorf("WriteAt: %d, %v", n, err)
	}
	copy(content, "# Disk DESCRIPTOR")
	if got := readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk"); !bytes.Equal(got, content) {
		t.Error("WriteAt changed something else")
	}
	must(t, f.Sync())
	must(t, f.Close())
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read after Close")
	}
	if err := r.Replace(nil); err == nil {
		t.Error("replaced after Close")
	}
}

// TestImageNeverWritesData: a flat extent is a disk's data and far above what a descriptor can be.
func TestImageNeverWritesData(t *testing.T) {
	_, d := world(t)
	f := open(t, d, "ssd-1", "[ssd-1] vm-db/vm-db-flat.vmdk")
	if _, err := f.WriteAt([]byte("x"), 0); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("WriteAt into an extent: %v", err)
	}
	if err := f.(interface{ Replace([]byte) error }).Replace([]byte("x")); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("Replace of an extent: %v", err)
	}
}

// TestSessionExpiry: both ways to the vCenter log in again by themselves.
func TestSessionExpiry(t *testing.T) {
	s, d := world(t)
	f := open(t, d, "ssd-1", descriptor)
	must(t, s.ExpireSessions(t.Context()))
	if _, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())); err != nil {
		t.Errorf("buffered read: %v", err)
	}
	f, err := d.OpenImage(t.Context(), *observe(t, d).Pool("ssd-1"), descriptor)
	must(t, err)
	must(t, f.Close())
	must(t, s.ExpireSessions(t.Context()))
	pool := fleet.Pool{ID: "ssd-1", Ref: observe(t, d).Pool("ssd-1").Ref}
	must(t, s.ExpireSessions(t.Context()))
	f, err = d.OpenImage(t.Context(), pool, descriptor) // file access meets the expiry first
	must(t, err)
	must(t, f.Close())
}

// TestSessionExpiresDuringMove: a move outlives the session that began it.
func TestSessionExpiresDuringMove(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.CopyTime = 500 * time.Millisecond
	s := startWorld(t, spec)
	d := openDriver(t, config(s))
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	must(t, s.ExpireSessions(t.Context()))
	if o, err := d.Locate(t.Context(), r); err != nil || !o.Placement.Equal(r.From) {
		t.Errorf("Locate: %+v, %v", o, err)
	}
	once := false
	must(t, d.Relocate(t.Context(), r, true, func(fleet.Bytes, fleet.Bytes) {
		if !once {
			once = true
			must(t, s.ExpireSessions(t.Context()))
		}
	}))
}

// TestOpenImageWithoutObserve: a driver that has seen nothing yet finds the datastore's address by itself.
func TestOpenImageWithoutObserve(t *testing.T) {
	s, d := world(t)
	pool := *observe(t, d).Pool("ssd-1")
	fresh := openDriver(t, config(s))
	f, err := fresh.OpenImage(t.Context(), pool, descriptor)
	must(t, err)
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk")) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestImageDroppedConnection(t *testing.T) {
	s, d := world(t)
	pool := *observe(t, d).Pool("ssd-1")
	s.DropRequests(10, "/folder/")
	if _, err := d.OpenImage(t.Context(), pool, descriptor); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("a dropped connection: %v, kind %s, expected retry", err, fleet.KindOf(err))
	}
	s.DropRequests(0, "")
	f, err := d.OpenImage(t.Context(), pool, descriptor)
	must(t, err)
	r := f.(interface{ Replace([]byte) error })
	s.DropRequests(10, "/folder/")
	if err := r.Replace([]byte("x")); fleet.KindOf(err) != fleet.Unknown {
		t.Errorf("a dropped write: %v, kind %s, expected unknown", err, fleet.KindOf(err))
	}
}
