package convert_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const diskSize = 8 << 20

func formats() []diskimage.Format {
	return []diskimage.Format{
		diskimage.FormatVMDK, diskimage.FormatQcow2, diskimage.FormatVHDX, diskimage.FormatVDI, diskimage.FormatVHD, diskimage.FormatRaw,
	}
}

func driver(f diskimage.Format) string {
	if f == diskimage.FormatVHD {
		return "vpc"
	}
	return string(f)
}

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// need skips where a program is not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("no %s", p)
		}
	}
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// disk makes a raw file of some content: the first mebibytes and the last bytes.
func disk(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, min(size, 3<<20))
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	_, err = f.Write(b)
	if size > 1<<20 && err == nil {
		_, err = f.WriteAt(b[:512], size-512)
	}
	if err := errors.Join(err, f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// key is a signer and the trust file that has it.
func key(t *testing.T) (*label.PrivateKey, *label.TrustFile) {
	t.Helper()
	k, err := label.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := label.ParseTrust("test", []byte("version: 1\nkeys:\n  - public_key: "+k.Public().String()+"\n    issuer: storage team\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k, trust
}

// give sets a label. Where the format has no identity the label brings one along.
func give(t *testing.T, path string, format diskimage.Format, signer label.Signer, uuid string) label.Frame {
	t.Helper()
	f, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	opts := diskimage.Options{Format: format}
	present, info, err := opts.ReadLabel(f)
	if err != nil {
		t.Fatal(err)
	}
	doc := label.Document{Level: "gold", Disk: info.Binding(), Serial: 1, Issuer: "test", Issued: now()}
	if doc.Disk.UUID == "" {
		doc.Disk.UUID = uuid
	}
	if present != nil {
		doc.Serial = present.Serial + 1
	}
	frame, err := label.Seal(doc, signer)
	if err != nil {
		t.Fatal(err)
	}
	edit, err := opts.PlanSet(f, frame)
	if err == nil {
		err = diskimage.Apply(f, edit)
	}
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// read reads the label as anybody would.
func read(t *testing.T, path string) (*label.Frame, *diskimage.Info) {
	t.Helper()
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	frame, info, err := diskimage.ReadLabel(f)
	if err != nil {
		t.Fatal(err)
	}
	return frame, info
}

// run converts and expects that to work.
func run(t *testing.T, r convert.Request) *convert.Result {
	t.Helper()
	r.Now = now()
	res, err := convert.Convert(t.Context(), r)
	if err != nil {
		t.Fatalf("convert %s to %s (%s): %v", r.Source, r.Destination, r.Format, err)
	}
	return res
}

func same(t *testing.T, a, b *label.Frame) {
	t.Helper()
	if a == nil || b == nil {
		t.Fatalf("labels %v and %v", a, b)
	}
	x, xerr := a.Encode()
	y, yerr := b.Encode()
	if xerr != nil || yerr != nil || !bytes.Equal(x, y) {
		t.Errorf("another label: serial %d and %d", a.Serial, b.Serial)
	}
}

// sound compares what guests see and lets QEMU check the container, where it can.
func sound(t *testing.T, path string, format diskimage.Format, other string, otherFormat diskimage.Format) {
	t.Helper()
	command(t, "qemu-img", "compare", "-q", "-f", driver(format), "-F", driver(otherFormat), path, other)
	if format != diskimage.FormatRaw && format != diskimage.FormatVHD && !flat(path) {
		command(t, "qemu-img", "check", "-q", "-f", driver(format), path)
	}
}

// flat: QEMU has nothing to check in a flat VMDK.
func flat(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && len(b) < 64<<10 && bytes.Contains(b, []byte(" FLAT "))
}

// listing names all files of a folder with their sizes and times, to see that nothing was touched or left behind.
func listing(t *testing.T, folder string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && path == folder {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + st.Mode().String() + " " + st.ModTime().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fails expects an error that is target (nil: any), and the folder of the destination as it was.
func fails(ctx context.Context, t *testing.T, r convert.Request, target error) error {
	t.Helper()
	r.Now = now()
	folder := filepath.Dir(r.Destination)
	before := listing(t, folder)
	_, err := convert.Convert(ctx, r)
	if err == nil || target != nil && !errors.Is(err, target) {
		t.Errorf("convert %s to %s: error %v, expected %v", r.Source, r.Destination, err, target)
	}
	if after := listing(t, folder); after != before {
		t.Errorf("after %v the folder has changed:\n%s\nbefore:\n%s", err, after, before)
	}
	return err
}
