package dir

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func proceed(int) error { return nil }

func TestRebuild(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "web.ova")
	old := make([]byte, 3<<20+777)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range old {
		old[i] = byte(rng.Uint32())
	}
	if err := os.WriteFile(path, old, 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()

	stop := errors.New("interrupted")
	if err := f.Rebuild([]Part{{From: 0, Len: 4096}}, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("stopped: %v", err)
	}
	for _, bad := range []Part{{From: -1, Len: 1}, {From: 1, Len: int64(len(old))}, {From: 0, Len: -1}} {
		if err := f.Rebuild([]Part{bad}, proceed); err == nil {
			t.Errorf("part %+v: no error", bad)
		}
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, old) {
		t.Fatal("a failed rebuild changed the file")
	}

	parts := []Part{{From: 0, Len: 1 << 20}, {Data: []byte("new")}, {From: 1<<20 + 3, Len: 5}, {Data: []byte{}}, {From: 2 << 20, Len: int64(len(old)) - 2<<20}}
	want := bytes.Join([][]byte{old[:1<<20], []byte("new"), old[1<<20+3 : 1<<20+8], old[2<<20:]}, nil)
	if err := f.Rebuild(parts, proceed); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) || f.Size() != int64(len(want)) {
		t.Fatalf("rebuilt to %d bytes (size %d), expected %d: %v", len(got), f.Size(), len(want), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, expected 0640: %v", st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".berth-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := OpenWrite(path); err == nil {
		t.Error("the new file is not locked")
	}
}

// TestCopyByHand copies to where the kernel does not: between file systems, when there are two.
func TestCopyByHand(t *testing.T) {
	t.Parallel()
	shm, err := os.MkdirTemp("/dev/shm", "berth-test-")
	if err != nil {
		t.Skip("no /dev/shm: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	a, err := os.Create(filepath.Join(shm, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	if _, err := a.Write(content); err != nil {
		t.Fatal(err)
	}
	b, err := os.Create(filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if err := copyRange(b, 0, a, 100, int64(len(content))-100, proceed); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(b.Name()); err != nil || !bytes.Equal(got, content[100:]) {
		t.Fatalf("copied %d bytes: %v", len(got), err)
	}
	if err := copyRange(b, 0, a, int64(len(content)), 10, proceed); err == nil {
		t.Error("copied beyond the end without an error")
	}
}
