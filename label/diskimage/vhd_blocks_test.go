package diskimage_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestVHDBlocks: no label goes into a footer where a table or a block of the guest's lies too, as in a file that was cut off.
func TestVHDBlocks(t *testing.T) {
	t.Parallel()
	// Header at 512, table at 2048. Of the one block the bitmap is at 2560, the guest's 4 KiB behind it, then the footer.
	image := func(change func(h, table []byte)) []byte {
		data := crash.VHDDynamic("", "")
		footer := data[:512]
		data = append(append([]byte{}, data[:2560]...), make([]byte, 512+4096)...)
		h := data[512:1536]
		binary.BigEndian.PutUint32(h[32:], 4096)
		binary.BigEndian.PutUint32(data[2048:], 5)
		change(h, data[2048:])
		copy(h[36:40], "\x00\x00\x00\x00")
		var sum uint32
		for _, c := range h {
			sum += uint32(c)
		}
		binary.BigEndian.PutUint32(h[36:], ^sum)
		return append(data, footer...)
	}
	u32 := binary.BigEndian.PutUint32
	for name, c := range map[string]struct {
		change func(h, table []byte)
		want   error
	}{
		"sound":              {func([]byte, []byte) {}, nil},
		"block over the end": {func(_, table []byte) { u32(table, 6) }, diskimage.ErrCorrupt},
		"block at 0":         {func(_, table []byte) { u32(table[4:], 0) }, diskimage.ErrCorrupt},
		"block far out":      {func(_, table []byte) { u32(table, 1<<32-2) }, diskimage.ErrCorrupt},
		"table over the end": {func(h, _ []byte) { u32(h[28:], 2000) }, diskimage.ErrCorrupt},
		"table at 0":         {func(h, _ []byte) { u32(h[20:], 0) }, diskimage.ErrCorrupt},
		"table beyond":       {func(h, _ []byte) { u32(h[16:], 1<<31) }, diskimage.ErrCorrupt},
		"many blocks":        {func(h, _ []byte) { u32(h[28:], 1<<32-1) }, diskimage.ErrUnsupported},
		"blocks of nothing":  {func(h, _ []byte) { u32(h[32:], 0) }, diskimage.ErrUnsupported},
	} {
		m := &besideMem{Mem: *mem(image(c.change))}
		disk := label.Binding{UUID: crash.VHDUUID, Size: crash.VHDSize}
		if _, err := (diskimage.Options{VHDFooter: true}).PlanSet(m, crash.Small(t, disk, 1)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
		if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil || m.Writes > 0 {
			t.Errorf("%s: beside the image: %v", name, err)
		}
	}
}
