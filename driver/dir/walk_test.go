package dir_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/driver/dir"
)

func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"b/c/vm-db.vmdk", "b/vm-web.vmdk", "a.vmdk", ".hidden/d.vmdk", "b/.berth-XYZ.tmp", "z"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, "x")
	}
	for name, to := range map[string]string{"link": "a.vmdk", "loop": ".", "b/up": ".."} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func walk(t *testing.T, parallel int, roots ...string) ([]string, error) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	err := dir.Walk(t.Context(), roots, parallel, func(p string) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, p)
	})
	return got, err
}

// TestWalk does not run beside others: it counts goroutines.
func TestWalk(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	root := tree(t)
	want := []string{".hidden/d.vmdk", "a.vmdk", "b/c/vm-db.vmdk", "b/vm-web.vmdk", "z"}
	for i := range want {
		want[i] = filepath.Join(root, want[i])
	}
	got, err := walk(t, 1, root)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("one worker: %v, %v, expected %v in this order", got, err, want)
	}
	got, err = walk(t, 8, root)
	if slices.Sort(got); err != nil || !slices.Equal(got, want) {
		t.Errorf("eight workers: %v, %v, expected %v", got, err, want)
	}
	got, err = walk(t, 1, filepath.Join(root, "link"), filepath.Join(root, "b/up"), filepath.Join(root, "a.vmdk"))
	if err != nil || len(got) != 2+len(want) || got[0] != filepath.Join(root, "link") {
		t.Errorf("links as roots: %v, %v", got, err)
	}
}

func TestWalkErrors(t *testing.T) {
	root := tree(t)
	got, err := walk(t, 2, filepath.Join(root, "missing"), root)
	if !errors.Is(err, os.ErrNotExist) || len(got) != 5 {
		t.Errorf("%d files, error %v", len(got), err)
	}
	var many []string
	for i := range 1000 {
		many = append(many, filepath.Join(root, fmt.Sprint(i)))
	}
	if _, err = walk(t, 2, many...); err == nil || !strings.Contains(err.Error(), "900 more") || len(err.Error()) > 100_000 {
		t.Errorf("error of %d bytes, expected 100 and a count", len(err.Error()))
	}
}

// TestWalkStops: a walk that is cancelled in the midst of it ends, and no call comes after it.
func TestWalkStops(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	root := t.TempDir()
	for i := range 2000 {
		write(t, filepath.Join(root, fmt.Sprint(i)), "x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	calls := 0
	err := dir.Walk(ctx, []string{root}, 4, func(string) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || calls > 20 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}
