package inventory

import (
	"context"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// Source is what the inventory needs of a driver.
type Source interface {
	ID() fleet.SourceID
	// Observe lists what the source has: one entry in Sources, and its hosts, pools, VMs and gaps. It fails
	// only when nothing at all could be seen.
	Observe(ctx context.Context) (*fleet.Snapshot, error)
	// OpenImage opens an image for reading; reads end soon after ctx does.
	OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error)
}

// Options of Take.
type Options struct {
	// Trust are the keys that labels are verified with; nil: no key is known.
	Trust *label.TrustFile
	// Now becomes the snapshot's time and decides what has expired.
	Now time.Time
	// Parallel is how many images of one source are read at once, and how many sources at once; 8 when 0.
	Parallel int
	// ObserveTimeout bounds one Observe, 5 minutes when 0; ReadTimeout all reads of one disk, 30 s when 0.
	ObserveTimeout, ReadTimeout time.Duration
}
