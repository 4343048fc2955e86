package plan

import (
	"reflect"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// details holds what a driver will be told against the snapshot: all of it against the plan's own, and what
// must not have changed since against a newer one.
func (c *checker) details(v *vmAt, st *Step) {
	m := &st.Move
	if st.Level != v.need.Level {
		c.say(ConstraintDetails, "says level %q, the VM's is %q", st.Level, v.need.Level)
	}
	if st.Reason == "" {
		c.say(ConstraintDetails, "gives no reason")
	}
	if !m.VM.Place().Equal(v.at) {
		c.say(ConstraintDetails, "the VM in it is on %s, expected %s", placeText(m.VM.Place()), placeText(v.at))
	}
	if c.own {
		if want := v.described(); !reflect.DeepEqual(m.VM, want) {
			c.say(ConstraintDetails, "the VM is not as in the snapshot")
		}
	} else {
		c.sameVM(v, &m.VM)
	}
	if len(m.Files) > 0 {
		c.say(ConstraintDetails, "names files, which the driver alone chooses")
	}
	c.ends(st)
	c.pools(m)
}

// described is v as a step of it has to describe it. A VM that moved before in the plan has its disks elsewhere
// by now: their paths are empty then, since only the hypervisor knows them.
func (v *vmAt) described() fleet.VM {
	vm := *v.vm
	vm.Host = v.at.Host
	vm.Disks = slices.Clone(vm.Disks)
	for i := range vm.Disks {
		vm.Disks[i].Pool = v.at.Disks[i].Pool
		if v.flat[i] {
			vm.Disks[i].Path, vm.Disks[i].Chain = "", nil
		}
	}
	return vm
}

// sameVM says what of a VM has changed since the plan was made. A path that the step leaves to the hypervisor is
// known by now when the VM's earlier step is done.
func (c *checker) sameVM(v *vmAt, got *fleet.VM) {
	if got.Source != v.vm.Source || got.UUID != v.vm.UUID || got.Power != v.vm.Power || got.CPU != v.vm.CPU ||
		got.Memory != v.vm.Memory || v.moved == 0 && got.Ref != v.vm.Ref {
		c.say(ConstraintDetails, "the VM is not as in the snapshot")
	}
	for i := range min(len(got.Disks), len(v.vm.Disks)) {
		got, want := &got.Disks[i], &v.vm.Disks[i]
		known := got.Path != ""
		if got.Size != want.Size || got.Format != want.Format || known && (got.Path != want.Path || !slices.Equal(got.Chain, want.Chain)) {
			c.say(ConstraintDetails, "disk %s is not as in the snapshot", want.ID)
		}
	}
}

func (c *checker) ends(st *Step) {
	for _, end := range []struct {
		id  fleet.HostID
		got *fleet.Host
	}{{st.Move.From.Host, &st.Move.FromHost}, {st.Move.To.Host, &st.Move.ToHost}} {
		want := c.w.p.Snapshot.Host(end.id)
		if want == nil || end.got.ID != end.id || end.got.Ref != want.Ref || end.got.Source != want.Source ||
			end.got.Hypervisor != want.Hypervisor || c.own && !reflect.DeepEqual(end.got, want) {
			c.say(ConstraintDetails, "host %s is not described as in the snapshot", end.id)
		}
	}
}

// pools checks that every pool of both ends is described.
func (c *checker) pools(m *fleet.Relocation) {
	for _, place := range []fleet.Placement{m.From, m.To} {
		for _, d := range place.Disks {
			if !slices.ContainsFunc(m.Pools, func(p fleet.Pool) bool { return p.ID == d.Pool }) {
				c.say(ConstraintDetails, "pool %s is not described", d.Pool)
			}
		}
	}
	for i := range m.Pools {
		got := &m.Pools[i]
		want := c.w.p.Snapshot.Pool(got.ID)
		if want == nil || got.Ref != want.Ref || got.Source != want.Source || c.own && !reflect.DeepEqual(got, want) {
			c.say(ConstraintDetails, "pool %s is not described as in the snapshot", got.ID)
		}
	}
}
