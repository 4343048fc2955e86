package convert_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// TestReadOnlySource: an image that nobody may write to, as templates are, is converted and copied by who may only read it. The
// result has its permissions, and its label.
func TestReadOnlySource(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	const nobody = 65534
	folder := t.TempDir()
	src := filepath.Join(folder, "template.vmdk")
	raw := disk(t, filepath.Join(folder, "template.raw"), diskSize)
	run(t, convert.Request{Source: raw, Destination: src, Format: diskimage.FormatVMDK, Options: []string{"subformat=monolithicFlat"}})
	want, bare := give(t, src, diskimage.FormatVMDK, nil, ""), give(t, raw, diskimage.FormatRaw, nil, someUUID)
	for _, p := range []string{src, raw, filepath.Join(folder, "template-flat.vmdk"), raw + ".berth"} {
		if err := os.Chmod(p, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		for _, p := range []string{filepath.Dir(folder), folder} {
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(folder, nobody, -1); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("nobody", func(t *testing.T) {
		if os.Getuid() == 0 {
			runtime.LockOSThread() // for good: the thread ends with this test, and alone it changes its user
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
				t.Fatal(e)
			}
		}
		readOnlyToAll(t, src, raw, &want, &bare)
	})
}

func readOnlyToAll(t *testing.T, src, raw string, want, bare *label.Frame) {
	t.Helper()
	folder := filepath.Dir(src)
	for name, format := range map[string]diskimage.Format{"a.qcow2": diskimage.FormatQcow2, "b.vmdk": diskimage.FormatVMDK, "c.raw": diskimage.FormatRaw} {
		dst := filepath.Join(folder, name)
		run(t, convert.Request{Source: src, Destination: dst, Format: format, Verify: true})
		got, _ := read(t, dst)
		same(t, got, want)
		readOnly(t, dst)
	}
	readOnly(t, filepath.Join(folder, "c.raw.berth"))
	for from, to := range map[string]string{src: "d.vmdk", raw: "e.raw"} {
		dst := filepath.Join(folder, to)
		if _, err := convert.Copy(t.Context(), convert.CopyRequest{Source: from, Destination: dst, Verify: true}); err != nil {
			t.Fatal(err)
		}
		got, _ := read(t, dst)
		if from == raw {
			same(t, got, bare)
		} else {
			same(t, got, want)
		}
		readOnly(t, dst)
	}
	readOnly(t, filepath.Join(folder, "e.raw.berth"))
	readOnly(t, filepath.Join(folder, "d-flat.vmdk"))
}

func readOnly(t *testing.T, path string) {
	t.Helper()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("%s: %v %v, expected mode 0444", path, st.Mode(), err)
	}
}
