package libvirt

import (
	"context"

	"github.com/berth-project/berth/fleet"
)

// Locate asks the libvirts of both ends where the VM is now. It changes nothing.
func (d *Driver) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	return fleet.Observed{}, permanentf("locate vm "+string(r.VM.ID), "not written yet")
}

// Precheck says whether the move would fail or overwrite something. It changes nothing.
func (d *Driver) Precheck(ctx context.Context, r fleet.Relocation) error {
	return permanentf("check move of vm "+string(r.VM.ID), "not written yet")
}

// Relocate brings the VM from wherever this move stands to r.To. progress is called with bytes copied.
func (d *Driver) Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) error {
	return permanentf("move vm "+string(r.VM.ID), "not written yet")
}
