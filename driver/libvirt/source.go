package libvirt

import (
	"context"

	"github.com/berth-project/berth/fleet"
)

// Observe reads the whole source, all hosts at once. A host that does not answer is a Gap and an unreachable
// Host; an error is returned only when no host answered.
func (d *Driver) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	return nil, permanentf("observe source "+string(d.id), "not written yet")
}

// OpenImage opens the image file at path in pool. Reads and writes go through libvirt's volume streams.
func (d *Driver) OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error) {
	return nil, permanentf("open image "+path, "not written yet")
}
