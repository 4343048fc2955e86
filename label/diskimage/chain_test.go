package diskimage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
	"pgregory.net/rapid"
)

// shelf is a folder of images in memory that knows which are open.
type shelf struct {
	images map[string][]byte
	open   int
	opened []string
}

type shelved struct {
	*crash.Mem
	shelf *shelf
}

func (s *shelved) Close() error {
	s.shelf.open--
	return nil
}

func (s *shelf) opener(_ diskimage.Link, p diskimage.Parent) (diskimage.Link, error) {
	ref, err := p.Path(diskimage.FormatQcow2)
	if err != nil {
		return diskimage.Link{}, err
	}
	data, ok := s.images[ref]
	if !ok {
		return diskimage.Link{}, errors.New("no such file")
	}
	s.open++
	s.opened = append(s.opened, ref)
	return diskimage.Link{Reader: &shelved{&crash.Mem{Data: data}, s}, Name: ref, ID: ref}, nil
}

// put adds an image based on parent, with a label of the serial unless that is 0.
func (s *shelf) put(t rapid.TB, name, parent string, serial uint32) {
	spec := qcow2Spec{version: 3, bits: 13, size: 1 << 20, name: parent}
	m := mem(spec.bytes())
	if serial > 0 {
		if err := crash.Set(m, unsigned(t, label.Binding{Size: 1 << 20}, serial)); err != nil {
			t.Fatal(err)
		}
	}
	if s.images == nil {
		s.images = map[string][]byte{}
	}
	s.images[name] = m.Data
}

func (s *shelf) nearest(t rapid.TB, top string) (*diskimage.Ancestor, error) {
	m := &crash.Mem{Data: s.images[top]}
	info, err := diskimage.Inspect(m)
	if err != nil {
		t.Fatal(err)
	}
	found, err := diskimage.Nearest(diskimage.Link{Reader: &shelved{m, s}, Name: top, ID: top}, info, s.opener)
	if s.open != 0 {
		t.Fatalf("%d images left open", s.open)
	}
	return found, err
}

func TestNearest(t *testing.T) {
	t.Parallel()
	var s shelf
	s.put(t, "gold", "", 7)
	s.put(t, "plain", "", 0)
	s.put(t, "snap1", "gold", 0)
	s.put(t, "snap2", "snap1", 0)
	s.put(t, "silver", "snap2", 3)
	s.put(t, "top", "silver", 0)
	s.put(t, "on plain", "plain", 0)
	s.put(t, "on nothing", "gone", 0)
	s.put(t, "itself", "itself", 0)
	s.put(t, "loop a", "loop b", 0)
	s.put(t, "loop b", "loop a", 0)
	s.put(t, "into the loop", "loop a", 0)
	s.put(t, "network", "nbd://x/y", 0)
	s.images["text"] = []byte("no image at all")
	s.put(t, "on text", "text", 0)
	s.images["hurt"] = patched(s.images["gold"], map[int]uint64{120: 0x4242424242424242})
	s.put(t, "on hurt", "hurt", 0)
	for _, c := range []struct {
		top, from string
		depth     int
		err       error
		says      string
	}{
		{"snap1", "gold", 1, nil, ""},
		{"snap2", "gold", 2, nil, ""},
		{"top", "silver", 1, nil, ""},
		{"silver", "gold", 3, nil, ""}, // Nearest looks below its top
		{"plain", "", 0, nil, ""},
		{"on plain", "", 0, nil, ""},
		{"on nothing", "", 0, diskimage.ErrChain, "parent of on nothing: no such file"},
		{"itself", "", 0, diskimage.ErrChain, "itself is its own ancestor"},
		{"into the loop", "", 0, diskimage.ErrChain, "loop a is its own ancestor"},
		{"network", "", 0, diskimage.ErrChain, "local folders only"},
		{"on text", "", 0, diskimage.ErrNotImage, "text"},
		{"on hurt", "", 0, diskimage.ErrDamaged, "hurt"},
	} {
		found, err := s.nearest(t, c.top)
		if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.says) || err == nil && (found != nil) != (c.from != "") {
			t.Errorf("%s: %+v, %v", c.top, found, err)
			continue
		}
		if found != nil && (found.Name != c.from || found.Depth != c.depth || found.Frame == nil || found.Info.VirtualSize != 1<<20) {
			t.Errorf("%s: %+v, expected %s at %d", c.top, found, c.from, c.depth)
		}
	}
}

// TestNearestDepth: a chain is followed to its bound and no further, also where files have no identity.
func TestNearestDepth(t *testing.T) {
	t.Parallel()
	var s shelf
	s.put(t, "0", "", 1)
	for i := 1; i <= diskimage.MaxChain+1; i++ {
		s.put(t, fmt.Sprint(i), fmt.Sprint(i-1), 0)
	}
	if found, err := s.nearest(t, fmt.Sprint(diskimage.MaxChain)); err != nil || found == nil || found.Depth != diskimage.MaxChain {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := s.nearest(t, fmt.Sprint(diskimage.MaxChain+1)); !errors.Is(err, diskimage.ErrChain) || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("one more: %v", err)
	}
	s.put(t, "itself", "itself", 0)
	info, err := diskimage.Inspect(&crash.Mem{Data: s.images["itself"]})
	if err != nil {
		t.Fatal(err)
	}
	s.opened = nil
	_, err = diskimage.Nearest(diskimage.Link{Name: "itself"}, info, func(l diskimage.Link, p diskimage.Parent) (diskimage.Link, error) {
		l, err := s.opener(l, p)
		l.ID = ""
		return l, err
	})
	if !errors.Is(err, diskimage.ErrChain) || len(s.opened) != diskimage.MaxChain || s.open != 0 {
		t.Errorf("%v after %d images", err, len(s.opened))
	}
}

// TestNearestDeclared: what an overlay declares raw is not probed; what it declares otherwise has to be that.
func TestNearestDeclared(t *testing.T) {
	t.Parallel()
	var s shelf
	s.put(t, "gold", "", 1)
	for format, want := range map[string]error{"raw": nil, "qcow2": nil, "vmdk": diskimage.ErrCorrupt, "luks": diskimage.ErrCorrupt} {
		spec := qcow2Spec{version: 3, bits: 13, size: 1 << 20, name: "gold", exts: []ext{{extFormat, format}}}
		s.images["top"] = spec.bytes()
		found, err := s.nearest(t, "top")
		if !errors.Is(err, want) || (found != nil) != (format == "qcow2") {
			t.Errorf("declared %s: %+v, %v", format, found, err)
		}
	}
}

// TestNearestModel compares with the obvious walk over random forests.
func TestNearestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s shelf
		n := rapid.IntRange(1, 12).Draw(t, "images")
		parents, labelled := make([]int, n), make([]bool, n)
		for i := range n {
			parents[i] = rapid.IntRange(-1, n-1).Draw(t, "parent")
			labelled[i] = rapid.Bool().Draw(t, "labelled")
			parent, serial := "", uint32(0)
			if parents[i] >= 0 {
				parent = fmt.Sprint(parents[i])
			}
			if labelled[i] {
				serial = 1
			}
			s.put(t, fmt.Sprint(i), parent, serial)
		}
		want, steps := parents[0], 0
		for want >= 0 && !labelled[want] && steps <= n {
			want = parents[want]
			steps++
		}
		found, err := s.nearest(t, "0")
		switch {
		case steps > n || want == 0:
			if !errors.Is(err, diskimage.ErrChain) {
				t.Fatalf("a loop: %+v, %v", found, err)
			}
		case err != nil || want < 0 && found != nil || want >= 0 && (found == nil || found.Name != fmt.Sprint(want)):
			t.Fatalf("%+v, %v, expected %d", found, err, want)
		}
	})
}

func TestParentPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ref    string
		child  diskimage.Format
		want   string
		failed bool
	}{
		{"base.qcow2", diskimage.FormatQcow2, "base.qcow2", false},
		{"../a b/base:1.qcow2", diskimage.FormatQcow2, "../a b/base:1.qcow2", false},
		{"/srv/base.qcow2", diskimage.FormatQcow2, "/srv/base.qcow2", false},
		{"file:base.qcow2", diskimage.FormatQcow2, "base.qcow2", false},
		{"file:///srv/base.qcow2", diskimage.FormatQcow2, "///srv/base.qcow2", false},
		{`dir\base.qcow2`, diskimage.FormatQcow2, `dir\base.qcow2`, false},
		{`.\base.vhdx`, diskimage.FormatVHDX, "./base.vhdx", false},
		{`..\vms\base.vhd`, diskimage.FormatVHD, "../vms/base.vhd", false},
		{`C:\vms\base.vhdx`, diskimage.FormatVHDX, "", true},
		{`\\server\share\base.vhdx`, diskimage.FormatVHDX, "", true},
		{`\\?\C:\vms\base.vhdx`, diskimage.FormatVHDX, "", true},
		{"json:{}", diskimage.FormatQcow2, "", true},
		{"nbd://h/x", diskimage.FormatQcow2, "", true},
		{"https://h/x", diskimage.FormatQcow2, "", true},
		{"ssh:x", diskimage.FormatQcow2, "", true},
		{":x", diskimage.FormatQcow2, "", true},
		{"file:", diskimage.FormatQcow2, "", true},
		{"a\x00b", diskimage.FormatQcow2, "", true},
		{"", diskimage.FormatQcow2, "", true},
	} {
		got, err := diskimage.Parent{Ref: c.ref}.Path(c.child)
		if got != c.want || (err != nil) != c.failed {
			t.Errorf("%q of %s: %q, %v, expected %q", c.ref, c.child, got, err, c.want)
		}
	}
}

// FuzzParentPath: what comes out names no protocol, no drive and no other machine.
func FuzzParentPath(f *testing.F) {
	for _, s := range []string{"base.qcow2", "file:nbd:x", "C:x", `\\h\x`, "json:{\"file\":{}}", "a/b:c", "\x00", "file:file:x"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, ref string, windows bool) {
		child := diskimage.FormatQcow2
		if windows {
			child = diskimage.FormatVHDX
		}
		got, err := diskimage.Parent{Ref: ref}.Path(child)
		if err != nil {
			return
		}
		if got == "" || strings.ContainsRune(got, 0) || windows && (strings.Contains(got, `\`) || strings.HasPrefix(got, "//") && !strings.HasPrefix(ref, "file:")) {
			t.Fatalf("%q from %q", got, ref)
		}
		if i := strings.IndexAny(got, ":/"); i >= 0 && got[i] == ':' && !strings.HasPrefix(ref, "file:") {
			t.Fatalf("%q from %q", got, ref)
		}
	})
}
