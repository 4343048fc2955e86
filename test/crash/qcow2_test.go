package crash_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

const extOurs = 0x9D4E6B27

// qcow2Make says how qemu-img makes an image; the name of the image and its size, 3 MiB, come behind it.
type qcow2Make struct {
	name    string
	create  []string                             // arguments of qemu-img create
	secret  bool                                 // it is encrypted
	prepare func(t *testing.T, path string)      // what is done to it then
	change  func(t *testing.T, head []byte) bool // what is done to its first cluster
	small   bool                                 // no room for a large label
}

func qcow2Makes() []qcow2Make {
	v2, v3 := []string{"-o", "compat=0.10"}, []string{"-o", "compat=1.1"}
	opt := func(s string) []string { return []string{"-o", s} }
	bitmap := func(t *testing.T, path string) {
		t.Helper()
		crash.MustQEMU(t, "qemu-img", "bitmap", "--add", path, "backup")
	}
	foreign := func(after bool) func(*testing.T, []byte) bool {
		return func(t *testing.T, head []byte) bool {
			t.Helper()
			addExtension(t, head, 0x12345678, []byte("somebody else's, 29 bytes long"), after)
			return true
		}
	}
	return []qcow2Make{
		{name: "v2", create: v2},
		{name: "v3", create: v3},
		{name: "v2 with backing file", create: append(v2, "-b", "base.raw", "-F", "raw")},
		{name: "v3 with backing file", create: append(v3, "-b", "base.raw", "-F", "raw")},
		{name: "long backing name", create: append(v3, "-b", strings.Repeat("./", 480)+"base.raw", "-F", "raw")},
		{name: "bitmap", create: v3, prepare: bitmap},
		{name: "bitmap and backing file", create: append(v3, "-b", "base.raw", "-F", "raw"), prepare: bitmap},
		{name: "4 KiB clusters", create: opt("cluster_size=4096"), small: true},
		{name: "4 KiB clusters and backing file", create: append(opt("cluster_size=4096"), "-b", "base.raw", "-F", "raw"), small: true},
		{name: "v2 of 4 KiB clusters", create: []string{"-o", "compat=0.10,cluster_size=4096"}, small: true},
		{name: "8 KiB clusters", create: opt("cluster_size=8192")},
		{name: "2 MiB clusters", create: opt("cluster_size=2M")},
		{name: "external data file", create: opt("data_file=vm-db.data,data_file_raw=on")},
		{name: "zstd and extended L2", create: opt("compression_type=zstd,extended_l2=on,cluster_size=64k")},
		{name: "luks", create: opt("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=20"), secret: true},
		{name: "foreign extension", create: v3, change: foreign(false)},
		{name: "foreign extension and backing file", create: append(v3, "-b", "base.raw", "-F", "raw"), change: foreign(false)},
	}
}

const secretArg = "secret,id=s,data=only-for-tests"

// make makes the image with 1 MiB of data in it.
func (m *qcow2Make) make(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	base := make([]byte, 3<<20)
	copy(base[2<<20:], "from the base")
	if err := os.WriteFile(filepath.Join(folder, "base.raw"), base, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "vm-db.qcow2")
	args := append([]string{"create", "-q", "-f", "qcow2", "--object", secretArg}, m.create...)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "vm-db.data", filepath.Join(folder, "vm-db.data"))
	}
	out, err := crash.QEMU(t, "qemu-img", append(args, path, "3M")...)
	for range 100 { // LUKS measures the processor, and gives up where it is too busy
		if err == nil || !strings.Contains(out, "CPU usage") {
			break
		}
		out, err = crash.QEMU(t, "qemu-img", append(args, path, "3M")...)
	}
	if err != nil {
		t.Fatalf("qemu-img create: %v\n%s", err, out)
	}
	crash.MustQEMU(t, "qemu-io", "--object", secretArg, "--image-opts", m.opts(path), "-c", "write -P 0x5a 0 1M", "-c", "flush")
	if m.prepare != nil {
		m.prepare(t, path)
	}
	if m.change != nil {
		data := read(t, path)
		m.change(t, data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func (m *qcow2Make) opts(path string) string {
	s := "driver=qcow2,file.filename=" + path
	if m.secret {
		s += ",encrypt.key-secret=s"
	}
	return s
}

// healthy lets QEMU check the image and compare it with its twin.
func (m *qcow2Make) healthy(t *testing.T, path, twin string) {
	t.Helper()
	crash.MustQEMU(t, "qemu-img", "check", "-q", "--object", secretArg, "--image-opts", m.opts(path))
	crash.MustQEMU(t, "qemu-img", "compare", "-q", "--object", secretArg, "--image-opts", m.opts(path), m.opts(twin))
}

// addExtension puts an extension in front of the others, or before the end mark. It moves the backing file name.
func addExtension(t *testing.T, head []byte, kind uint32, data []byte, last bool) {
	t.Helper()
	v, err := parseView(head)
	if err != nil {
		t.Fatal(err)
	}
	e := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, kind), uint32(len(data)))
	e = append(e, data...)
	e = append(e, make([]byte, (8-len(e)%8)%8)...)
	at := v.length
	if last {
		at = v.end
	}
	copy(head[at:], slices.Concat(e, head[at:v.end], make([]byte, 8), []byte(v.backing)))
	if v.backing != "" {
		binary.BigEndian.PutUint64(head[8:], uint64(v.end+len(e)+8))
	}
}

// view is what other tools see of a first cluster, found without the help of the code under test.
type view struct {
	header      []byte // without the offset of the backing file name
	exts        []string
	backing     string
	length, end int
}

func parseView(b []byte) (*view, error) {
	u32 := func(off int) int { return int(binary.BigEndian.Uint32(b[off:])) }
	v := &view{length: 72}
	if u32(4) == 3 {
		v.length = u32(100)
	}
	v.header = bytes.Clone(b[:v.length])
	clear(v.header[8:16])
	limit := 1 << u32(20)
	if off := int(binary.BigEndian.Uint64(b[8:])); off != 0 {
		if off+u32(16) > limit {
			return nil, fmt.Errorf("backing file name at %d", off)
		}
		v.backing, limit = string(b[off:off+u32(16)]), off
	}
	for at := v.length; at < limit; {
		kind, n := u32(at), u32(at+4)
		if kind == 0 {
			v.end = at
			return v, nil
		}
		if n > limit-at-8 {
			return nil, fmt.Errorf("extension %#x of %d bytes at %d", kind, n, at)
		}
		if kind == extOurs && n > 4096 {
			return nil, fmt.Errorf("extension of %d bytes", n)
		}
		if kind != extOurs {
			v.exts = append(v.exts, fmt.Sprintf("%#x %q", kind, b[at+8:at+8+n]))
		}
		at += 8 + (n+7)&^7
	}
	return nil, fmt.Errorf("no end mark")
}

func (v *view) String() string { return fmt.Sprintf("%x\n%q\n%q", v.header, v.exts, v.backing) }

func viewOf(t *testing.T, b []byte) string {
	t.Helper()
	v, err := parseView(b)
	if err != nil {
		t.Fatal(err)
	}
	return v.String()
}

type lifeStep struct {
	name     string
	old, now uint32
	plan     func(diskimage.Reader) (*diskimage.Edit, error)
}

func qcow2Life(t *testing.T, disk label.Binding, large bool) []lifeStep {
	t.Helper()
	big := crash.Small
	if large {
		big = crash.Large
	}
	return []lifeStep{
		{"first", 0, 1, set(crash.Small(t, disk, 1))},
		{"change", 1, 2, set(crash.Small(t, disk, 2))},
		{"change to a large one", 2, 3, set(big(t, disk, 3))},
		{"change large", 3, 4, set(big(t, disk, 4))},
		{"remove", 4, 0, diskimage.PlanRemove},
		{"first after removal", 0, 5, set(big(t, disk, 5))},
		{"remove the first", 5, 0, diskimage.PlanRemove},
	}
}

// twin is a copy that never gets a label.
func twinOf(t *testing.T, path string) string {
	t.Helper()
	twin := strings.TrimSuffix(path, ".qcow2") + "-twin.qcow2"
	if err := os.WriteFile(twin, read(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	return twin
}

// TestQcow2Crash cuts every edit of a label's life off at every state of the model: the label is the old one or the new
// one, other tools see what they saw, and the next change works from there. QEMU looks at samples. In the end the image is,
// byte for byte, what it was.
func TestQcow2Crash(t *testing.T) {
	t.Parallel()
	for _, m := range qcow2Makes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.make(t)
			twin, original := twinOf(t, path), firstCluster(t, path)
			info, err := diskimage.Inspect(&crash.Mem{Data: original})
			if err != nil {
				t.Fatal(err)
			}
			if head := m.live(t, original, qcow2Life(t, info.Binding(), !m.small), path, twin); !bytes.Equal(head, original) {
				t.Fatal("after removal the first cluster is not what it was")
			}
		})
	}
}

// TestQcow2Rewritten does the same after QEMU has written the header of a labelled image anew: it moves unknown
// extensions and turns their order round, so that a foreign one stands behind the label. That one is moved when the label goes.
func TestQcow2Rewritten(t *testing.T) {
	t.Parallel()
	for _, m := range qcow2Makes() {
		if m.secret {
			continue // amend wants to know what of its keys to change
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.make(t)
			twin := twinOf(t, path)
			mustSet(t, path, crash.Small, 1)
			crash.MustQEMU(t, "qemu-img", "amend", "-q", "-f", "qcow2", "-o", "compat=1.1,lazy_refcounts=on", path)
			wantSerial(t, path, 1)
			head := firstCluster(t, path)
			v, err := parseView(head)
			if err != nil {
				t.Fatal(err)
			}
			if behind := bytes.Index(head, []byte("somebody else's")) > bytes.LastIndex(head, []byte("BERTHQ")); behind != (m.change != nil) {
				t.Errorf("foreign extension behind the label: %v", behind)
			}
			info, err := diskimage.Inspect(&crash.Mem{Data: head})
			if err != nil {
				t.Fatal(err)
			}
			f := &crash.Mem{Data: m.live(t, head, qcow2Life(t, info.Binding(), !m.small)[1:], path, twin)}
			if got := viewOf(t, f.Data); got != v.String() || bytes.Contains(f.Data, []byte("BERTHQ")) {
				t.Errorf("after removal other tools see\n%s\nexpected\n%s", got, v)
			}
		})
	}
}

// firstCluster is all that matters of an image and is copied for each state.
func firstCluster(t *testing.T, path string) []byte {
	t.Helper()
	whole := read(t, path)
	return whole[:1<<binary.BigEndian.Uint32(whole[20:])]
}

// live takes a first cluster through the steps, every state of each, and gives what it is in the end.
func (m *qcow2Make) live(t *testing.T, head []byte, steps []lifeStep, path, twin string) []byte {
	t.Helper()
	seen, total := viewOf(t, head), 0
	for _, step := range steps {
		states, err := qcow2Step(t, m, head, step, seen, path, twin)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		total += states
		e, err := step.plan(&crash.Mem{Data: head})
		if err != nil {
			t.Fatal(err)
		}
		f := &crash.Mem{Data: bytes.Clone(head)}
		if err := diskimage.Apply(f, e); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if head = f.Data; step.now == 0 && e.Remains != "" {
			t.Errorf("%s: what remains: %s", step.name, e.Remains)
		}
	}
	t.Logf("%d states", total)
	return head
}

// qcow2Step goes through the states of one edit.
func qcow2Step(t *testing.T, m *qcow2Make, head []byte, step lifeStep, seen, path, twin string) (int, error) {
	t.Helper()
	e, err := step.plan(&crash.Mem{Data: head})
	if err != nil {
		return 0, err
	}
	states := 0
	var samples [][]byte
	err = crash.States(head, e, func(s crash.State) error {
		if states++; states%(1+states/3) == 0 || s.Done {
			samples = append(samples, s.Data)
		}
		return qcow2State(t, s, seen, step)
	})
	for _, s := range samples {
		f, ferr := os.OpenFile(path, os.O_WRONLY, 0)
		if ferr != nil {
			return states, ferr
		}
		if _, ferr = f.WriteAt(s, 0); ferr != nil {
			return states, ferr
		}
		if ferr = f.Close(); ferr != nil {
			return states, ferr
		}
		m.healthy(t, path, twin)
	}
	return states, err
}

func qcow2State(t *testing.T, s crash.State, seen string, step lifeStep) error {
	t.Helper()
	got, err := crash.SerialOf(s.Data)
	if err != nil {
		return err
	}
	if got != step.old && got != step.now || s.Done && got != step.now {
		return fmt.Errorf("label %d, expected %d or %d (done: %v)", got, step.old, step.now, s.Done)
	}
	look := func(when string, data []byte) error {
		v, err := parseView(data)
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if v.String() != seen {
			return fmt.Errorf("%s: other tools see\n%s\nexpected\n%s", when, v, seen)
		}
		return nil
	}
	if err := look("after the crash", s.Data); err != nil {
		return err
	}
	f := &crash.Mem{Data: bytes.Clone(s.Data)}
	info, err := diskimage.Inspect(f)
	if err != nil {
		return err
	}
	if err := crash.Set(f, crash.Small(t, info.Binding(), 100)); err != nil {
		return fmt.Errorf("set after the crash: %w", err)
	}
	if err := look("set after the crash", f.Data); err != nil {
		return err
	}
	if err := crash.Remove(f); err != nil {
		return fmt.Errorf("remove after the crash: %w", err)
	}
	v, err := parseView(f.Data)
	if err == nil && bytes.Contains(f.Data[:v.end], []byte("BERTHQ")) {
		err = fmt.Errorf("a slot is left")
	}
	if err != nil {
		return fmt.Errorf("remove after the crash: %w", err)
	}
	return look("after removal", f.Data)
}
