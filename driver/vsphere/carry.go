package vsphere

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// labelLine is how the lines of a label begin in a descriptor (docs/formats/label.md).
var labelLine = []byte("ddb.berth.")

// carried is the label lines of one disk before its move.
type carried struct {
	disk  fleet.DiskID
	lines [][]byte
}

// readLabels reads the label lines of the disks that are about to change their datastore. A vCenter copies
// a descriptor's ddb lines; that is checked and not believed. What cannot be read, or is no text descriptor, is
// not checked.
func (m *move) readLabels(ctx context.Context, st *state) []carried {
	var out []carried
	paths := diskFiles(st.vm.Config.Hardware.Device)
	for i, dp := range m.r.To.Disks {
		pool, ok := m.pool(m.r.From.Disks[i].Pool)
		if !ok || st.disks[dp.Disk].String() != pool.Ref || poolRef(m.r, dp.Pool) == pool.Ref {
			continue
		}
		if text, err := m.descriptor(ctx, pool, paths[dp.Disk]); err == nil && len(labelLines(text)) > 0 {
			out = append(out, carried{dp.Disk, labelLines(text)})
		}
	}
	return out
}

// keepLabels compares the label lines at the target with those of before, and puts back what was lost. It
// knows only what this call has seen: after a crash in between nothing is left to compare with.
func (m *move) keepLabels(ctx context.Context, before []carried) error {
	if len(before) == 0 {
		return nil
	}
	st, err := m.d.look(ctx, m.r)
	if err != nil {
		return notFoundOr(m.op, err)
	}
	paths := diskFiles(st.vm.Config.Hardware.Device)
	for _, c := range before {
		for _, dp := range m.r.To.Disks {
			if dp.Disk != c.disk {
				continue
			}
			pool, _ := m.pool(dp.Pool)
			if err := m.keepLabel(ctx, pool, paths[dp.Disk], c.lines); err != nil {
				return permanent(m.op, fmt.Errorf("the move lost the label of disk %s, and it could not be put back: %w", dp.Disk, err))
			}
		}
	}
	return nil
}

func (m *move) keepLabel(ctx context.Context, pool fleet.Pool, path string, lines [][]byte) error {
	text, err := m.descriptor(ctx, pool, path)
	if err != nil {
		return err
	}
	want := bytes.Join(lines, nil)
	if bytes.Equal(bytes.Join(labelLines(text), nil), want) {
		return nil
	}
	var b []byte
	for line := range bytes.Lines(bytes.TrimRight(text, "\x00\n")) {
		if !bytes.HasPrefix(line, labelLine) {
			b = append(b, line...)
		}
	}
	b = append(append(bytes.TrimRight(b, "\n"), '\n'), want...)
	f, err := m.d.OpenImage(ctx, pool, path)
	if err != nil {
		return err
	}
	if err := f.(*imageFile).Replace(b); err != nil {
		return err
	}
	return f.Close()
}

// descriptor reads a text descriptor whole.
func (m *move) descriptor(ctx context.Context, pool fleet.Pool, path string) ([]byte, error) {
	f, err := m.d.OpenImage(ctx, pool, path)
	if err != nil {
		return nil, err
	}
	if f.Size() > maxWritten {
		return nil, fmt.Errorf("%s has %d bytes: no text descriptor", path, f.Size())
	}
	return io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
}

func (m *move) pool(id fleet.PoolID) (fleet.Pool, bool) {
	for _, p := range m.r.Pools {
		if p.ID == id {
			return p, true
		}
	}
	return fleet.Pool{}, false
}

// labelLines are the lines of a label, each with its line feed.
func labelLines(text []byte) [][]byte {
	var out [][]byte
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, labelLine) {
			out = append(out, append(bytes.Clone(bytes.TrimRight(line, "\r\n\x00")), '\n'))
		}
	}
	return out
}

// diskFiles is the top image of each disk.
func diskFiles(devices []types.BaseVirtualDevice) map[fleet.DiskID]string {
	out := map[fleet.DiskID]string{}
	for _, dev := range object.VirtualDeviceList(devices).SelectByType((*types.VirtualDisk)(nil)) {
		x := dev.(*types.VirtualDisk)
		if layers, _ := backing(x.Backing); len(layers) > 0 {
			out[diskID(x)] = layers[0].file
		}
	}
	return out
}
