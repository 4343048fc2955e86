package convert_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// TestOptions: whatever QEMU is asked to make of the format, the label finds its place, and comes back from there.
func TestOptions(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	src := disk(t, filepath.Join(folder, "vm-db.raw"), diskSize)
	want := give(t, src, diskimage.FormatRaw, k, someUUID)
	for i, c := range []struct {
		format  diskimage.Format
		options string
		footer  bool
		place   diskimage.Place
	}{
		{diskimage.FormatQcow2, "cluster_size=512", false, diskimage.PlaceSidecar},
		{diskimage.FormatQcow2, "cluster_size=2M extended_l2=off", false, diskimage.PlaceImage},
		{diskimage.FormatQcow2, "compat=0.10", false, diskimage.PlaceImage},
		{diskimage.FormatQcow2, "preallocation=full", false, diskimage.PlaceImage},
		{diskimage.FormatQcow2, "compression_type=zstd lazy_refcounts=on", false, diskimage.PlaceImage},
		{diskimage.FormatVDI, "static=on", false, ""},
		{diskimage.FormatVHDX, "subformat=fixed", false, diskimage.PlaceImage},
		{diskimage.FormatVHDX, "block_size=1M log_size=2M", false, diskimage.PlaceImage},
		{diskimage.FormatVHD, "subformat=fixed", false, diskimage.PlaceSidecar},
		{diskimage.FormatVHD, "subformat=fixed", true, diskimage.PlaceImage},
		{diskimage.FormatVHD, "", true, diskimage.PlaceImage},
		{diskimage.FormatRaw, "preallocation=falloc", false, diskimage.PlaceSidecar},
		{diskimage.FormatVMDK, "compat6=on adapter_type=lsilogic", false, diskimage.PlaceImage},
	} {
		dst := filepath.Join(folder, string(rune('a'+i))+".img")
		r := convert.Request{Source: src, Destination: dst, Format: c.format, Options: strings.Fields(c.options), VHDFooter: c.footer, Verify: true}
		res := run(t, r)
		if c.place != "" && res.Destination.Place != c.place {
			t.Errorf("%s %s: the label is in the %s, expected %s", c.format, c.options, res.Destination.Place, c.place)
		}
		got, _ := read(t, dst)
		same(t, got, &want)
		back := dst + ".raw"
		run(t, convert.Request{Source: dst, Destination: back, Format: diskimage.FormatRaw})
		got, _ = read(t, back)
		same(t, got, &want)
		sound(t, dst, c.format, src, diskimage.FormatRaw)
	}
	for _, o := range []string{
		"size=1M", "backing_file=/etc/passwd", "data_file=" + filepath.Join(folder, "x.bin"), "data_file_raw=on", "encrypt.format=luks", "encryption=on", "", "=", "lazy_refcounts",
	} {
		_ = fails(t.Context(), t, convert.Request{Source: src, Destination: filepath.Join(folder, "x.qcow2"), Format: diskimage.FormatQcow2, Options: []string{o}}, convert.ErrRequest)
	}
	// A comma begins no second option.
	var te *convert.ToolError
	r := convert.Request{Source: src, Destination: filepath.Join(folder, "x.qcow2"), Format: diskimage.FormatQcow2, Options: []string{"compat=1.1,backing_file=/etc/passwd"}}
	if err := fails(t.Context(), t, r, nil); !errors.As(err, &te) {
		t.Errorf("a comma: %v", err)
	}
}

// TestGeometry: a VHD whose size QEMU rounds to a geometry is another disk: a signed label stays away from it, an unsigned one
// is bound to its size; the other way round the size is the one that was labelled.
func TestGeometry(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	src := disk(t, filepath.Join(folder, "vm-db.raw"), 10<<20+512)
	give(t, src, diskimage.FormatRaw, k, someUUID)
	r := convert.Request{Source: src, Destination: filepath.Join(folder, "x.vhd"), Format: diskimage.FormatVHD, Options: []string{"force_size=off"}}
	var size *convert.SizeError
	if err := fails(t.Context(), t, r, nil); !errors.As(err, &size) || size.Disk <= size.Label {
		t.Errorf("signed: %v", err)
	}
	give(t, src, diskimage.FormatRaw, nil, someUUID)
	res := run(t, r)
	if res.Fate != convert.FateRebound || res.Label.Serial != 3 {
		t.Errorf("unsigned: %s, serial %d", res.Fate, res.Label.Serial)
	}
	want := give(t, r.Destination, diskimage.FormatVHD, k, someUUID)
	for _, to := range formats() {
		if to == diskimage.FormatVHD {
			continue
		}
		dst := filepath.Join(folder, "back."+string(to))
		res := run(t, convert.Request{Source: r.Destination, Destination: dst, Format: to})
		if res.Destination.VirtualSize != res.Source.VirtualSize || res.Destination.VirtualSize == label.Bytes(10<<20+512) {
			t.Errorf("%s: %d bytes of %d", to, res.Destination.VirtualSize, res.Source.VirtualSize)
		}
		got, _ := read(t, dst)
		same(t, got, &want)
	}
}
