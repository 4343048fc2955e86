package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"golang.org/x/sys/unix"
)

// forest is folders with files and links: "a/b": content, "a/c -> ../x": a link.
func forest(t *testing.T, names ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		name, target, link := strings.Cut(n, " -> ")
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && link {
			err = os.Symlink(strings.ReplaceAll(target, "ROOT", root), path)
		} else if err == nil && !strings.HasSuffix(name, "/") {
			err = os.WriteFile(path, []byte("content of "+name), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func openTree(t *testing.T, top string, folders ...string) *dir.Tree {
	t.Helper()
	tree, err := dir.OpenTree(top, folders...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return tree
}

func contentOf(t *testing.T, n *dir.Node) string {
	t.Helper()
	b := make([]byte, n.Size())
	if _, err := n.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestTree opens references from vms/top, with golden allowed besides vms.
func TestTree(t *testing.T) {
	t.Parallel()
	root := forest(t, "vms/top", "vms/base", "vms/sub/base", "golden/base", "golden/deep/base", "secret/base",
		"vms/link -> base", "vms/sub/up -> ../base", "vms/out -> ../secret/base", "vms/abs -> ROOT/vms/base", "vms/dir -> sub",
		"vms/odd -> ../secret", "vms/self -> self", "vms/goldlink -> ../golden/base", "alias -> golden", "vms/gone -> nothing")
	if err := unix.Mkfifo(filepath.Join(root, "vms/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "vms/empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, filepath.Join(root, "vms/top"), filepath.Join(root, "alias"))
	for _, c := range []struct {
		ref, want string
		err       error
		says      string
	}{
		{"base", "vms/base", nil, ""},
		{"./sub/../base", "vms/base", nil, ""},
		{"sub/base", "vms/sub/base", nil, ""},
		{"sub/up", "vms/base", nil, ""},
		{"link", "vms/base", nil, ""},
		{"dir/base", "vms/sub/base", nil, ""},
		{"dir/../base", "vms/base", nil, ""},
		{"../golden/base", "golden/base", nil, ""},
		{"../golden/deep/base", "golden/deep/base", nil, ""},
		{"ROOT/vms/base", "vms/base", nil, ""},
		{"ROOT/golden/base", "golden/base", nil, ""},
		{"ROOT/alias/base", "golden/base", nil, ""},
		{"ROOT//vms/./base", "vms/base", nil, ""},
		{"../secret/base", "", dir.ErrOutside, "secret/base"},
		{"ROOT/secret/base", "", dir.ErrOutside, "secret/base"},
		{"ROOT/vms/../secret/base", "", dir.ErrOutside, "secret/base"},
		{"../../../../../../../../../etc/hostname", "", dir.ErrOutside, "/etc/hostname"},
		{"/dev/zero", "", dir.ErrOutside, "/dev/zero"},
		{"/etc/nothing-there", "", dir.ErrOutside, ""}, // not asked whether it is there
		{"out", "", dir.ErrOutside, "symbolic link"},
		{"odd/base", "", dir.ErrOutside, "symbolic link"},
		{"abs", "", dir.ErrOutside, "symbolic link"},
		{"goldlink", "", dir.ErrOutside, "symbolic link"},
		{"self", "", nil, "too many levels"},
		{"gone", "", os.ErrNotExist, ""},
		{"nothing", "", os.ErrNotExist, "vms/nothing"},
		{"base/x", "", unix.ENOTDIR, ""},
		{"fifo", "", nil, "a fifo"},
		{"empty", "", nil, "an empty file"},
		{"sub", "", nil, "a folder"},
		{".", "", nil, "a folder"},
		{"", "", nil, "no path"},
		{"a\x00b", "", nil, "no path"},
		{strings.Repeat("x/", 3000), "", nil, "no path"},
		{strings.Repeat("x", 300), "", unix.ENAMETOOLONG, ""},
	} {
		n, err := tree.Open(tree.Top(), strings.ReplaceAll(c.ref, "ROOT", root))
		if c.want == "" {
			if err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q: %v, expected %v %q", c.ref, err, c.err, c.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.ref, err)
		} else if got := contentOf(t, n); got != "content of "+c.want {
			t.Errorf("%q: %q, expected that of %s", c.ref, got, c.want)
		}
	}
}

// TestTreeOnward: a reference begins in the folder of the image that it stands in, wherever that was found.
func TestTreeOnward(t *testing.T) {
	t.Parallel()
	root := forest(t, "vms/top", "vms/real/mid", "vms/real/base", "vms/way -> real", "golden/mid", "golden/base", "secret/base", "vms/base")
	tree := openTree(t, filepath.Join(root, "vms/top"), filepath.Join(root, "golden"))
	for _, c := range []struct{ first, then, want string }{
		{"../golden/mid", "base", "golden/base"},
		{"../golden/mid", "../vms/base", "vms/base"},
		{"../golden/mid", "../secret/base", ""},
		{"way/mid", "base", "vms/real/base"},
		{"way/mid", "../base", "vms/base"},
		{"way/mid", "../../secret/base", ""},
	} {
		mid, err := tree.Open(tree.Top(), c.first)
		if err != nil {
			t.Fatal(err)
		}
		n, err := tree.Open(mid, c.then)
		if c.want == "" {
			if !errors.Is(err, dir.ErrOutside) {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil {
			t.Errorf("%+v: %v", c, err)
		} else if got := contentOf(t, n); got != "content of "+c.want {
			t.Errorf("%+v: %q", c, got)
		}
		if err := mid.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTreeRelativeTop: paths as a user types them.
func TestTreeRelativeTop(t *testing.T) {
	root := forest(t, "vms/top", "vms/base", "elsewhere -> vms/top")
	t.Chdir(root)
	for _, top := range []string{"vms/top", "./vms/top", filepath.Join(root, "vms", "top")} {
		tree := openTree(t, top)
		n, err := tree.Open(tree.Top(), "base")
		if err != nil {
			t.Fatal(err)
		}
		if n.Path() != filepath.Join(root, "vms/base") {
			t.Errorf("path %s", n.Path())
		}
		if got := contentOf(t, n); got != "content of vms/base" {
			t.Error(got)
		}
		again, err := tree.Open(tree.Top(), "top")
		if err != nil || again.ID() == "" || again.ID() != tree.Top().ID() {
			t.Errorf("top is not itself: %v", err)
		}
		_ = again.Close()
	}
	// As QEMU has it, a reference in an image that was named by a link begins beside the link.
	tree := openTree(t, "elsewhere")
	if _, err := tree.Open(tree.Top(), "base"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("beside the link: %v", err)
	}
	if n, err := tree.Open(tree.Top(), "vms/base"); err != nil {
		t.Error(err)
	} else {
		_ = n.Close()
	}
	if _, err := dir.OpenTree("vms/top", "nosuch"); err == nil {
		t.Error("a folder that is not there is allowed")
	}
	if _, err := dir.OpenTree("vms/top", "vms/base"); err == nil {
		t.Error("a file is allowed as folder")
	}
}

// TestTreeSidecar: the sidecar of a parent is read under the same rules.
func TestTreeSidecar(t *testing.T) {
	t.Parallel()
	root := forest(t, "vms/top", "vms/base", "vms/base.berth", "vms/sub/link -> ../base", "vms/bare", "vms/bad", "vms/bad.berth -> base.berth",
		"vms/evil", "vms/evil.berth -> ../secret", "secret")
	tree := openTree(t, filepath.Join(root, "vms/top"))
	for ref, want := range map[string]string{"base": "content of vms/base.berth", "sub/link": "content of vms/base.berth", "bare": "", "bad": "ERROR", "evil": "ERROR"} {
		n, err := tree.Open(tree.Top(), ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := n.Sidecar()
		if want == "ERROR" {
			if err == nil || got != nil {
				t.Errorf("%s: %q", ref, got)
			}
		} else if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		if err := n.SetSidecar([]byte("x")); err == nil {
			t.Errorf("%s: a parent's sidecar can be written", ref)
		}
		if _, err := n.WriteAt([]byte("x"), 0); err == nil {
			t.Errorf("%s: a parent can be written", ref)
		}
		_ = n.Close()
	}
}

func TestTreeSearch(t *testing.T) {
	t.Parallel()
	root := forest(t, "vms/top", "vms/one", "vms/two", "vms/sub/three", "vms/one.berth", "vms/.berth-1-2.tmp", "other/one", "vms/out -> ../other/one")
	tree := openTree(t, filepath.Join(root, "vms/top"))
	saw := 0
	named := func(want string) func(*dir.Node) bool {
		return func(n *dir.Node) bool {
			saw++
			b := make([]byte, n.Size())
			_, err := n.ReadAt(b, 0)
			return err == nil && strings.HasSuffix(string(b), want)
		}
	}
	n, err := tree.Search(tree.Top(), named("one"))
	if err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, n); got != "content of vms/one" || saw != 3 {
		t.Errorf("%q after %d files", got, saw)
	}
	if _, err := tree.Search(tree.Top(), named("three")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in another folder: %v", err)
	}
	if _, err := tree.Search(tree.Top(), named("")); err == nil || !strings.Contains(err.Error(), "are both it") {
		t.Errorf("two: %v", err)
	}
}

// TestTreeRace lets a folder turn into a link that leads out, over and over: what is opened lies inside.
func TestTreeRace(t *testing.T) {
	t.Parallel()
	root := forest(t, "vms/top", "vms/sub/base", "secret/base")
	tree := openTree(t, filepath.Join(root, "vms/top"))
	sub, kept := filepath.Join(root, "vms/sub"), filepath.Join(root, "vms/kept")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			err := errors.Join(os.Rename(sub, kept), os.Symlink("../secret", sub), os.Remove(sub), os.Rename(kept, sub))
			if err != nil {
				done <- err
				return
			}
		}
	}()
	opened := 0
	for range 3000 {
		n, err := tree.Open(tree.Top(), "sub/base")
		if err != nil {
			continue
		}
		opened++
		if got := contentOf(t, n); got != "content of vms/sub/base" {
			t.Fatalf("read %q", got)
		}
	}
	close(stop)
	if err := <-done; err != nil || opened == 0 {
		t.Errorf("opened %d times, %v", opened, err)
	}
}
