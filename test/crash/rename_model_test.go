package crash_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The model of a folder on a disk: what is not synced may be lost in part. A file's data and attributes are safe after its own fsync, names
// after that of the folder, and neither after the other's. Any subset of the pending changes of names may have happened.

// traced are the system calls that the model knows.
func traced() []string {
	return []string{
		"openat", "pwrite64", "write", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
		"fsetxattr", "fremovexattr", "fchmod", "fchown",
	}
}

// call is one system call on a file of the folder, or on the folder itself (name empty).
type call struct {
	what     string
	name, to string
	data     []byte
	off      int64
	attr     string
}

func (c call) String() string { return c.what + " " + c.name }

// fileState is one file's content.
type fileState struct {
	data  []byte
	attrs map[string]string
}

func (f fileState) clone() *fileState {
	return &fileState{bytes.Clone(f.data), maps.Clone(f.attrs)}
}

// inode is a file as it is safely on the disk, and as it would be with all that is pending.
type inode struct{ safe, now *fileState }

// nameChange is a change of the folder; nil removes the name.
type nameChange struct {
	set    map[string]*inode
	forget []string
}

type folderDisk struct {
	names   map[string]*inode // as processes see it
	safe    map[string]*inode
	pending []nameChange
}

// folderState is what one power cut leaves.
type folderState struct {
	name  string
	files map[string]*fileState
}

func attrNames() []string { return []string{"user.berth.label", "user.berth.level"} }

// diskOf reads a folder, all of it taken for safe.
func diskOf(t *testing.T, folder string) *folderDisk {
	t.Helper()
	d := &folderDisk{names: map[string]*inode{}, safe: map[string]*inode{}}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		s := &fileState{data: read(t, path), attrs: map[string]string{}}
		for _, a := range attrNames() {
			var value [4096]byte
			if n, err := unix.Getxattr(path, a, value[:]); err == nil {
				s.attrs[a] = string(value[:n])
			}
		}
		i := &inode{safe: s, now: s.clone()}
		d.names[e.Name()], d.safe[e.Name()] = i, i
	}
	return d
}

func (d *folderDisk) apply(t *testing.T, c call) {
	t.Helper()
	if c.name == "" { // fsync of the folder
		d.safe, d.pending = maps.Clone(d.names), nil
		return
	}
	i := d.names[c.name]
	if i == nil && c.what != "openat" {
		t.Fatalf("%v: no such file in the model", c)
	}
	switch c.what {
	case "openat":
		if i == nil {
			i = &inode{safe: &fileState{attrs: map[string]string{}}, now: &fileState{attrs: map[string]string{}}}
			d.rename(nameChange{set: map[string]*inode{c.name: i}})
		}
	case "pwrite64", "write":
		if c.what == "write" {
			c.off = int64(len(i.now.data)) // only new files are written so
		}
		if n := int(c.off) + len(c.data) - len(i.now.data); n > 0 {
			i.now.data = append(i.now.data, make([]byte, n)...)
		}
		copy(i.now.data[c.off:], c.data)
	case "ftruncate":
		i.now.data = append(i.now.data, make([]byte, max(0, int(c.off)-len(i.now.data)))...)[:c.off]
	case "fsync", "fdatasync":
		i.safe = i.now.clone()
	case "fsetxattr":
		i.now.attrs[c.attr] = string(c.data)
	case "fremovexattr":
		delete(i.now.attrs, c.attr)
	case "rename", "renameat", "renameat2":
		d.rename(nameChange{set: map[string]*inode{c.to: i}, forget: []string{c.name}})
	case "unlink", "unlinkat":
		d.rename(nameChange{forget: []string{c.name}})
	}
}

func (d *folderDisk) rename(c nameChange) {
	d.pending = append(d.pending, c)
	c.apply(d.names)
}

func (c nameChange) apply(names map[string]*inode) {
	maps.Copy(names, c.set)
	for _, n := range c.forget {
		delete(names, n)
	}
}

// states visits what a power cut at this moment can leave, and counts it.
func (d *folderDisk) states(visit func(folderState)) int {
	n := 0
	for subset := range 1 << len(d.pending) {
		names := maps.Clone(d.safe)
		for i, c := range d.pending {
			if subset&(1<<i) != 0 {
				c.apply(names)
			}
		}
		sorted := slices.Sorted(maps.Keys(names))
		choices := 1
		for _, name := range sorted {
			choices *= len(names[name].variants())
		}
		for choice := range choices {
			s := folderState{name: fmt.Sprintf("names %b of %d, contents %d", subset, len(d.pending), choice), files: map[string]*fileState{}}
			rest := choice
			for _, name := range sorted {
				v := names[name].variants()
				s.files[name] = v[rest%len(v)]
				rest /= len(v)
			}
			visit(s)
			n++
		}
	}
	return n
}

// variants are the contents that an inode can have: the safe one, all that is pending, data without its attributes and the
// other way round, and a file as long as it was to be with nothing, or only its first or last sector, written.
func (i *inode) variants() []*fileState {
	all := []*fileState{i.safe}
	add := func(data []byte, attrs map[string]string) {
		for _, have := range all {
			if bytes.Equal(have.data, data) && maps.Equal(have.attrs, attrs) {
				return
			}
		}
		all = append(all, &fileState{data, attrs})
	}
	add(i.now.data, i.now.attrs)
	add(i.safe.data, i.now.attrs)
	add(i.now.data, i.safe.attrs)
	if !bytes.Equal(i.safe.data, i.now.data) {
		hole := append(bytes.Clone(i.safe.data), make([]byte, max(0, len(i.now.data)-len(i.safe.data)))...)[:len(i.now.data)]
		first, last := bytes.Clone(hole), bytes.Clone(hole)
		copy(first[:min(512, len(first))], i.now.data)
		tail := max(0, len(last)-512)
		copy(last[tail:], i.now.data[tail:])
		for _, data := range [][]byte{hole, first, last} {
			add(data, i.safe.attrs)
		}
	}
	return all
}

func (s folderState) write(folder string) error {
	for name, f := range s.files {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return err
		}
		for a, v := range f.attrs {
			if err := unix.Setxattr(path, a, []byte(v), 0); err != nil {
				return fmt.Errorf("set attribute of %s: %w", name, err)
			}
		}
	}
	return nil
}

// Lines of strace -f -y: a thread, a call with its arguments, and what it returned.
var (
	traceLine  = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+)`)
	unfinished = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	fdArg      = regexp.MustCompile(`^\d+<([^>]*)>`)
	stringArg  = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// parseTrace gives the calls that succeeded on files of the folder.
func parseTrace(t *testing.T, trace, folder string) []call {
	t.Helper()
	var calls []call
	begun := map[string]string{}
	for line := range strings.Lines(trace) {
		line = strings.TrimSuffix(line, "\n")
		if m := unfinished.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = m[1] + " " + begun[m[1]] + m[2]
		}
		m := traceLine.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[4], "-") || !strings.Contains(m[3], folder) {
			continue
		}
		if c, ok := parseCall(t, m[2], m[3], folder); ok {
			calls = append(calls, c)
		}
	}
	return calls
}

func parseCall(t *testing.T, what, args, folder string) (call, bool) {
	t.Helper()
	c := call{what: what}
	var texts []string
	for _, m := range stringArg.FindAllStringSubmatch(args, -1) {
		s, err := strconv.Unquote(`"` + m[1] + `"`)
		if err != nil {
			t.Fatalf("%s(%.200s): %v", what, args, err)
		}
		texts = append(texts, s)
	}
	base := func(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, folder), "/") }
	switch what {
	case "openat":
		c.name = base(texts[0])
		return c, strings.Contains(args, "O_CREAT")
	case "rename", "renameat", "renameat2":
		c.name, c.to = base(texts[0]), base(texts[1])
		return c, true
	case "unlink", "unlinkat":
		c.name = base(texts[0])
		return c, true
	}
	m := fdArg.FindStringSubmatch(args)
	if m == nil {
		t.Fatalf("%s(%.200s): no file", what, args)
	}
	c.name = base(m[1])
	number := func(s string) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			t.Fatalf("%s(%.200s): %v", what, args, err)
		}
		return n
	}
	switch what {
	case "pwrite64":
		c.data, c.off = []byte(texts[0]), number(args[strings.LastIndex(args, ",")+1:])
	case "write":
		c.data = []byte(texts[0])
	case "ftruncate":
		c.off = number(args[strings.LastIndex(args, ",")+1:])
	case "fsetxattr":
		c.attr, c.data = texts[0], []byte(texts[1])
	case "fremovexattr":
		c.attr = texts[0]
	}
	return c, true
}
