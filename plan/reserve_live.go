package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// NewLiveReserve is NewReserve for a fleet that VMs come to and leave: it is nil only where the policy names no failure, as a protected
// VM may still come.
func NewLiveReserve(p *policy.Problem) (*Reserve, error) {
	if p == nil || len(p.Reserve.Over) == 0 {
		return nil, nil //nolint:nilnil // as NewReserve
	}
	w, err := newWorld(p)
	if err != nil {
		return nil, fmt.Errorf("keep reserve: %w", err)
	}
	return newReserve(w)
}

// Join makes a VM known that is on no host yet, and gives its index until Quit. Its disks will be made where it goes: they have no
// backing chain. vm is read until Quit.
func (r *Reserve) Join(vm *fleet.VM, need policy.Requirement) int {
	flat := make([]bool, len(vm.Disks))
	for i := range flat {
		flat[i] = true
	}
	at := &vmAt{vm: vm, need: need, nics: NICNeeds(vm, &need), flat: flat}
	v := reserveVM{at: at, nics: at.nics, kind: r.kinds.ofVM(at)}
	if n := len(r.spare); n > 0 {
		i := r.spare[n-1]
		r.spare = r.spare[:n-1]
		r.vms[i] = v
		return i
	}
	r.vms = append(r.vms, v)
	return len(r.vms) - 1
}

// Admit enters a VM that is on no host on the host h, with its disks where at says. False: a failure that is survived would not be any
// more, and nothing is changed but the witnesses.
func (r *Reserve) Admit(v, h int, at fleet.Placement) bool {
	r.Mark()
	r.probe = true
	r.Enter(v, h, at)
	r.probe = false
	if len(r.failed) == 0 {
		return true
	}
	r.leave(int32(v), int32(h)) // bounded by newReserve
	r.vms[v].pools = nil
	r.Revive()
	return false
}

// Quit takes a VM away from the hosts that it is on, and forgets it.
func (r *Reserve) Quit(v int) {
	for _, h := range slices.Clone(r.vms[v].on) {
		r.leave(int32(v), h) // bounded by newReserve
	}
	r.Mark()
	r.spare = append(r.spare, v)
}
