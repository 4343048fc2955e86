package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

func vmfs() string { return crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`) }

func mem(data []byte) *crash.Mem { return &crash.Mem{Data: bytes.Clone(data)} }

func stream() []byte { return crash.Stream(crash.StreamText(false), 20, 0, 3) }

func binding(t testing.TB, data []byte) label.Binding { //nolint:thelper // a reader of a value
	info, err := diskimage.Inspect(mem(data))
	if err != nil {
		t.Fatal(err)
	}
	return info.Binding()
}

// at is a sector-aligned image with bytes at an offset.
func at(size, offset int, s string) []byte {
	b := make([]byte, size)
	copy(b[offset:], s)
	return b
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data []byte
		want diskimage.Format
		err  error // of ReadLabel
	}{
		"stream":           {stream(), diskimage.FormatVMDK, nil},
		"text":             {[]byte(vmfs()), diskimage.FormatVMDK, nil},
		"text, QEMU style": {[]byte("#\n\n  \r\nversion=3\nCID=1\nRW 8 FLAT \"x\" 0\n"), diskimage.FormatVMDK, nil},
		"qcow2":            {at(4096, 0, "QFI\xfb"), diskimage.FormatQcow2, diskimage.ErrUnsupported},
		"vhdx":             {at(4096, 0, "vhdxfile"), diskimage.FormatVHDX, diskimage.ErrCorrupt},
		"vdi":              {at(4096, 64, "\x7f\x10\xda\xbe"), diskimage.FormatVDI, diskimage.ErrUnsupported},
		"vhd, dynamic":     {at(4096, 0, "conectix"), diskimage.FormatVHD, diskimage.ErrCorrupt},
		"vhd, fixed":       {at(40960, 40448, "conectix"), diskimage.FormatVHD, diskimage.ErrCorrupt},
		"raw":              {at(4096, 510, "\x55\xaa"), diskimage.FormatRaw, nil},
		"text file":        {[]byte("hello"), "", diskimage.ErrNotImage},
		"settings":         {[]byte("# settings\nversion=1\nname=x\n"), diskimage.FormatVMDK, diskimage.ErrNotImage},
		"nothing":          {nil, "", diskimage.ErrNotImage},
		"one byte":         {[]byte("K"), "", diskimage.ErrNotImage},
		"esx extent":       {at(4096, 0, "COWD"), diskimage.FormatVMDK, diskimage.ErrExtent},
		"seSparse extent":  {at(4096, 0, "\xbe\xba\xfe\xca"), diskimage.FormatVMDK, diskimage.ErrExtent},
	} {
		got, err := diskimage.Detect(mem(c.data))
		if got != c.want || (c.want == "") != errors.Is(err, diskimage.ErrNotImage) {
			t.Errorf("%s: %q, %v, expected %q", name, got, err, c.want)
		}
		frame, info, err := diskimage.ReadLabel(mem(c.data))
		if !errors.Is(err, c.err) || frame != nil {
			t.Errorf("%s: label %v, error %v, expected %v", name, frame, err, c.err)
		}
		if c.want != "" && (info == nil || info.Format != c.want) {
			t.Errorf("%s: info %+v", name, info)
		}
		if c.err != nil {
			for what, e := range map[string]error{"set": planSet(t, c.data, label.Binding{Size: 512}), "remove": planRemove(c.data)} {
				if !errors.Is(e, c.err) {
					t.Errorf("%s, %s: error %v, expected %v", name, what, e, c.err)
				}
			}
		}
	}
}

func planSet(t testing.TB, data []byte, disk label.Binding) error { //nolint:thelper // gives the error under test
	_, err := diskimage.PlanSet(mem(data), crash.Small(t, disk, 1))
	return err
}

func planRemove(data []byte) error {
	_, err := diskimage.PlanRemove(mem(data))
	return err
}

func TestInspect(t *testing.T) {
	t.Parallel()
	info, err := diskimage.Inspect(mem([]byte(strings.Replace(vmfs(), "# The Disk",
		"RDONLY 4096 FLAT \"second disk.vmdk\" 128\nNOACCESS 8 ZERO\n# The Disk", 1) + "parentFileNameHint=\"/vms/base.vmdk\"\n")))
	if err != nil {
		t.Fatal(err)
	}
	if info.VirtualSize != (2048+4096+8)*512 || info.Subformat != "vmfs" || info.UUID != "6000c293-7ba0-3a03-9f22-562993b7392f" || info.Parent.Ref != "/vms/base.vmdk" {
		t.Errorf("info %+v", info)
	}
	want := []diskimage.Extent{
		{Access: "RW", Type: "VMFS", Name: "vm-db-flat.vmdk", Size: 2048 * 512},
		{Access: "RDONLY", Type: "FLAT", Name: "second disk.vmdk", Size: 4096 * 512, Offset: 128 * 512},
		{Access: "NOACCESS", Type: "ZERO", Size: 8 * 512},
	}
	if len(info.Extents) != len(want) {
		t.Fatalf("extents %+v", info.Extents)
	}
	for i, e := range info.Extents {
		if e != want[i] {
			t.Errorf("extent %+v, expected %+v", e, want[i])
		}
	}
}

// TestOneRead: an image of the usual make costs one read, labelled or not.
func TestOneRead(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{"stream": stream(), "text": []byte(vmfs())} {
		m := mem(data)
		if err := crash.Set(m, crash.Large(t, binding(t, data), 1)); err != nil {
			t.Fatal(err)
		}
		m.Reads = 0
		if frame, _, err := diskimage.ReadLabel(m); err != nil || frame == nil || m.Reads != 1 {
			t.Errorf("%s: label %v, %v, after %d reads", name, frame, err, m.Reads)
		}
	}
}

// TestSetRefuses: each reason, by its error, and without a write.
func TestSetRefuses(t *testing.T) {
	t.Parallel()
	header := func(off int, v uint64, n int) []byte {
		b := stream()
		copy(b[off:off+n], binary.LittleEndian.AppendUint64(nil, v))
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"unclean":                     {header(72, 1, 1), diskimage.ErrUnclean},
		"version 4":                   {header(4, 4, 4), diskimage.ErrUnsupported},
		"unknown flag":                {header(8, 0x30001|1<<20, 4), diskimage.ErrUnsupported},
		"line ends changed":           {header(74, '\n', 1), diskimage.ErrCorrupt},
		"capacity":                    {header(12, 1<<60, 8), diskimage.ErrCorrupt},
		"no descriptor":               {header(28, 0, 8), diskimage.ErrExtent},
		"descriptor past end":         {header(28, 1<<40, 8), diskimage.ErrCorrupt},
		"descriptor past end, wraps":  {header(28, ^uint64(0)-5, 8), diskimage.ErrCorrupt},
		"descriptor bomb":             {header(36, 1<<55, 8), diskimage.ErrCorrupt},
		"descriptor of 0 sectors":     {header(36, 0, 8), diskimage.ErrCorrupt},
		"descriptor over grains":      {header(36, 140, 8), diskimage.ErrCorrupt},
		"descriptor elsewhere":        {header(28, 2, 8), diskimage.ErrUnsupported},
		"overhead before its end":     {header(64, 10, 8), diskimage.ErrCorrupt},
		"directory in it":             {header(56, 5, 8), diskimage.ErrCorrupt},
		"second directory in it":      {header(48, 5, 8), diskimage.ErrCorrupt},
		"header alone":                {stream()[:600], diskimage.ErrCorrupt},
		"half a header":               {stream()[:100], diskimage.ErrCorrupt},
		"footer cut off":              {stream()[:len(stream())-1024], diskimage.ErrCorrupt},
		"something behind the text":   {put(stream(), 512+800, "\x01\x02\x03"), diskimage.ErrCorrupt},
		"text behind a small area":    {put(crash.Stream(crash.StreamText(false), 2), 5*512, "SOMETHING ELSE"), diskimage.ErrNoRoom},
		"full descriptor":             {[]byte(vmfs() + strings.Repeat("ddb.a = \"b\"\n", 800)), diskimage.ErrNoRoom},
		"descriptor of 100,000 lines": {[]byte(vmfs() + strings.Repeat("#\n", 100_000)), diskimage.ErrNoRoom},
		"text goes on behind area":    {put(crash.Stream(full(crash.StreamText(false), 1024), 2), 3*512, "x"), diskimage.ErrNoRoom},
		"no extents":                  {[]byte("# Disk DescriptorFile\ncreateType=\"vmfs\"\n"), diskimage.ErrCorrupt},
		"bad extent":                  {[]byte(strings.Replace(vmfs(), "RW 2048", "RW -1", 1)), diskimage.ErrCorrupt},
		"huge extents":                {[]byte(strings.Replace(vmfs(), "RW 2048", "RW 17592186044415 FLAT \"a\"\nRW 17592186044415", 1)), diskimage.ErrCorrupt},
		"padding of megabytes":        {append([]byte(vmfs()), make([]byte, 2<<20)...), diskimage.ErrCorrupt},
	} {
		m := mem(c.data)
		err := planSet(t, c.data, label.Binding{Size: crash.StreamSize})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, expected %v", name, err, c.want)
		}
		if err := crash.Set(m, crash.Small(t, label.Binding{Size: crash.StreamSize}, 1)); err == nil || m.Writes != 0 || !bytes.Equal(m.Data, c.data) {
			t.Errorf("%s: set gives %v after %d writes", name, err, m.Writes)
		}
	}
}

func put(b []byte, off int, s string) []byte {
	copy(b[off:], s)
	return b
}

// TestGrowNeedsOverhead: an area grows up to where the overhead ends and no further; both copies say so.
func TestGrowNeedsOverhead(t *testing.T) {
	t.Parallel()
	for overhead, ok := range map[byte]bool{20: false, 21: true} {
		data := crash.Stream(crash.StreamText(false), 2, 1)
		data[64], data[len(data)-1024+64] = overhead, overhead
		m := mem(data)
		err := crash.Set(m, crash.Small(t, binding(t, data), 1))
		if (err == nil) != ok || !ok && !errors.Is(err, diskimage.ErrNoRoom) {
			t.Errorf("overhead %d: %v", overhead, err)
		}
		if ok && (m.Data[36] != 20 || m.Data[len(m.Data)-1024+36] != 20) {
			t.Errorf("overhead %d: sizes %d and %d, expected 20", overhead, m.Data[36], m.Data[len(m.Data)-1024+36])
		}
	}
}

func TestSetRefusesLabel(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{"stream": stream(), "text": []byte(vmfs())} {
		disk := binding(t, data)
		m := mem(data)
		if err := crash.Set(m, crash.Small(t, disk, 5)); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			frame label.Frame
			want  error
		}{
			"same serial":  {crash.Small(t, disk, 5), diskimage.ErrSerial},
			"older serial": {crash.Small(t, disk, 4), diskimage.ErrSerial},
			"other size":   {crash.Small(t, label.Binding{UUID: disk.UUID, Size: disk.Size + 512}, 6), diskimage.ErrBinding},
		} {
			if _, err := diskimage.PlanSet(m, c.frame); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: error %v, expected %v", name, what, err, c.want)
			}
		}
		if _, err := diskimage.PlanSet(m, label.Frame{Serial: 9, Payload: []byte("{}")}); err == nil {
			t.Errorf("%s: a frame without a document is planned", name)
		}
	}
	disk := binding(t, []byte(vmfs()))
	disk.UUID = "00000000-0000-0000-0000-000000000000"
	if _, err := diskimage.PlanSet(mem([]byte(vmfs())), crash.Small(t, disk, 1)); !errors.Is(err, diskimage.ErrBinding) {
		t.Errorf("other uuid: error %v, expected ErrBinding", err)
	}
	if err := planRemove(stream()); !errors.Is(err, diskimage.ErrNoLabel) {
		t.Errorf("remove without a label: error %v, expected ErrNoLabel", err)
	}
}

// TestApplyChanged: an edit whose image is not the one it was planned for writes nothing.
func TestApplyChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*crash.Mem){
		"text":   func(m *crash.Mem) { m.Data[600]++ },
		"header": func(m *crash.Mem) { m.Data[72] = 1 },
		"longer": func(m *crash.Mem) { m.Data = append(m.Data, make([]byte, 512)...) },
		"room":   func(m *crash.Mem) { m.Data[10_000] = 1 },
	} {
		m := mem(stream())
		e, err := diskimage.PlanSet(m, crash.Small(t, binding(t, m.Data), 1))
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if err := diskimage.Apply(m, e); !errors.Is(err, diskimage.ErrChanged) || m.Writes != 0 {
			t.Errorf("%s: error %v after %d writes, expected ErrChanged", name, err, m.Writes)
		}
	}
}

// broken is a file that fails at the k-th write or sync, or writes something else.
type broken struct {
	crash.Mem
	left int
	lies bool
}

func (b *broken) WriteAt(p []byte, off int64) (int, error) {
	if b.left--; b.left < 0 && !b.lies {
		return 0, io.ErrShortWrite
	}
	if b.left < 0 {
		return len(p), nil // a disk that drops writes
	}
	return b.Mem.WriteAt(p, off)
}

// TestApplyFails: whichever write fails or is dropped, Apply says so.
func TestApplyFails(t *testing.T) {
	t.Parallel()
	for _, lies := range []bool{false, true} {
		for k := range 2 {
			b := &broken{Mem: *mem(stream()), left: k, lies: lies}
			if err := crash.Set(b, crash.Small(t, binding(t, b.Data), 1)); err == nil {
				t.Errorf("write %d, lies %v: no error", k, lies)
			}
		}
	}
}

// fullDisk is a file that cannot be written at and beyond an offset: it is sparse there, and the disk is full.
type fullDisk struct {
	crash.Mem
	limit int64
}

func (f *fullDisk) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= f.limit {
		return f.Mem.WriteAt(p, off)
	}
	n := max(0, f.limit-off)
	if n > 0 {
		_, _ = f.Mem.WriteAt(p[:n], off) // memory does not fail
	}
	return int(n), errors.New("no space left")
}

func (f *fullDisk) Truncate(size int64) error {
	f.Data = f.Data[:size]
	return nil
}

// TestFullDisk: a label that meets the end of the disk is taken back to the byte, at whatever step and byte that is.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"stream": stream(), "stream that grows": crash.Stream(crash.StreamText(false), 2, 1), "text": []byte(vmfs()),
		"labelled": labelled(t, stream()), "labelled text": labelled(t, []byte(vmfs())),
	} {
		failed := 0
		for limit := int64(0); ; limit += 37 {
			f := &fullDisk{Mem: *mem(data), limit: limit}
			err := crash.Set(f, crash.Large(t, binding(t, data), 2))
			if err == nil {
				break
			}
			if failed++; !strings.Contains(err.Error(), "no space left") || strings.Contains(err.Error(), "take back") {
				t.Fatalf("%s, limit %d: %v", name, limit, err)
			}
			if !bytes.Equal(f.Data, data) {
				t.Fatalf("%s, limit %d: the image was changed", name, limit)
			}
		}
		if failed < 20 {
			t.Errorf("%s: failed %d times only", name, failed)
		}
	}
}

// labelled is the image with a small label of serial 1.
func labelled(t *testing.T, data []byte) []byte {
	t.Helper()
	m := mem(data)
	if err := crash.Set(m, crash.Small(t, binding(t, data), 1)); err != nil {
		t.Fatal(err)
	}
	return m.Data
}

// TestRemoveFails: a disk that drops the clearing of the lines is noticed, though the label itself is gone.
func TestRemoveFails(t *testing.T) {
	t.Parallel()
	m := mem(stream())
	if err := crash.Set(m, crash.Small(t, binding(t, m.Data), 1)); err != nil {
		t.Fatal(err)
	}
	if err := crash.Remove(&broken{Mem: *m, left: 1, lies: true}); err == nil {
		t.Error("no error")
	}
}

// TestBoundedMemory: what a hostile image claims does not decide how much memory is used.
func TestBoundedMemory(t *testing.T) {
	t.Parallel()
	huge := &sparseReader{head: stream()[:12<<10], size: 1 << 50}
	binary.LittleEndian.PutUint64(huge.head[36:], 1<<40)
	copy(huge.head[512:], strings.Repeat("x", 12<<10))
	text := &sparseReader{head: []byte(vmfs() + strings.Repeat("RW 1 FLAT \"x\"\n", 1000)), size: 1 << 50, fill: '#'}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, r := range map[string]*sparseReader{"area": huge, "text": text} {
		if _, _, err := diskimage.ReadLabel(r); !errors.Is(err, diskimage.ErrCorrupt) {
			t.Errorf("%s: error %v, expected ErrCorrupt", name, err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d bytes used", used)
	}
}

// sparseReader is an image of any size whose content after the head is one byte.
type sparseReader struct {
	head []byte
	size int64
	fill byte
}

func (r *sparseReader) Size() int64 { return r.size }

func (r *sparseReader) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = 'x'
		if r.fill != 0 {
			p[i] = r.fill
		}
		if at := off + int64(i); at < int64(len(r.head)) {
			p[i] = r.head[at]
		}
	}
	return len(p), nil
}

func TestFormatNamed(t *testing.T) {
	t.Parallel()
	if f, ok := diskimage.FormatNamed("vpc"); !ok || f != diskimage.FormatVHD {
		t.Errorf("vpc: %q, %t", f, ok)
	}
	for _, name := range []string{"qed", "luks", "", "RAW"} {
		if _, ok := diskimage.FormatNamed(name); ok {
			t.Errorf("%q is known", name)
		}
	}
}
