package solver

import (
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Ordering is a log of legal moves to be put into waves.
type Ordering struct {
	s   *state
	log []move
}

// NewOrdering moves each VM, disks apart, to the host that pick names where that is legal.
func NewOrdering(p *policy.Problem, pick func(vm int) int) (*Ordering, error) {
	s, err := newState(p)
	if err != nil {
		return nil, err
	}
	for i := range s.vms {
		if h := hostIx(pick(i)); h != s.vms[i].host && s.legal(vmIx(i), h, s.vms[i].disks) {
			s.shift(vmIx(i), h, s.vms[i].disks)
		}
	}
	return &Ordering{s, slices.Clone(s.log)}, nil
}

// Run orders the log, and counts moves and waves.
func (o *Ordering) Run() (moves, waves int) {
	o.s.log = slices.Clone(o.log)
	o.s.order()
	return len(o.s.log), o.s.log[len(o.s.log)-1].wave
}

// Sequence brings VMs, without their disks, to hosts, and gives the steps and what could not be ordered.
func Sequence(p *policy.Problem, to map[fleet.VMID]fleet.HostID) ([]plan.Step, []plan.Unordered, error) {
	s, err := newState(p)
	if err != nil {
		return nil, nil, err
	}
	x := newSearch(s, Options{})
	var targets []target
	for i := range s.units {
		u := &s.units[i]
		t := target{unitIx(i), place{host: s.vms[u.vms[0]].host}}
		for _, v := range u.vms {
			if h, ok := to[s.vms[v].snap.ID]; ok {
				t.to.host = s.host(h)
			}
			t.to.disks = append(t.to.disks, s.vms[v].disks...)
		}
		targets = append(targets, t)
	}
	left := x.sequence(targets, func(vmIx, place) string { return "goes where it is told" })
	s.order()
	return s.steps(), left, nil
}
