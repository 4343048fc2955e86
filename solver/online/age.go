package online

import (
	"math"

	"github.com/berth-project/berth/plan/model"
)

// Tick tells the time, in a unit of the caller's choice that never goes back. VMs that come from now on are so old.
func (x *Placer) Tick(now int64) { x.now = max(x.now, now) }

// Since says when the VM came: the time of the last Tick before it was committed, 0 for those that New found.
func (x *Placer) Since(i int) int64 { return x.since[i] }

// Oldest rates a host by the VM that has run longest there: the older, the better. How long VMs last has a heavy tail,
// so that what has run for long will run for longest: a host that has such a VM stays in use anyhow and is filled, and a
// host with young VMs only gets no more of them, drains and is free. That needs no knowledge of lifetimes.
type Oldest struct{}

// Rate implements Rater.
func (Oldest) Rate(x *Placer, h model.HostIx, _ *model.VM) int64 {
	first := int64(math.MaxInt64)
	for _, i := range x.hosts[h].vms {
		first = min(first, x.since[i])
	}
	return first
}
