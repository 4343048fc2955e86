package online

import (
	"fmt"

	"github.com/berth-project/berth/plan/model"
)

// Restore puts a VM that waits for a place where it was before, whatever it costs there: what a search undoes has to fit.
func (x *Placer) Restore(i int, h model.HostIx, pools []model.PoolIx) error {
	if i < 0 || i >= len(x.p.VMs) || x.gone[i] || x.a.Host[i] != model.None {
		return fmt.Errorf("restore VM %d: it is not a VM that waits for a place", i)
	}
	return x.adopt(i, h, pools)
}

// PlaceWaitingOn is PlaceWaiting on the hosts that allow says yes to.
func (x *Placer) PlaceWaitingOn(i int, allow func(model.HostIx) bool) (Decision, bool) {
	if i < 0 || i >= len(x.p.VMs) || x.gone[i] || x.a.Host[i] != model.None {
		return Decision{}, false
	}
	x.q.parked = true
	d, ok := x.place(x.p.VMs[i:i+1], allow)
	x.q.parked = false
	return d, ok
}
