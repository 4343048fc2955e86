package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// state is what the vCenter says of one VM now.
type state struct {
	vm    mo.VirtualMachine
	disks map[fleet.DiskID]types.ManagedObjectReference
	tasks []mo.Task // queued or running on it
}

var stateProps = []string{
	"name", "runtime", "config.hardware.device", "config.instanceUuid", "config.uuid", "config.files", "recentTask",
	"resourcePool", "snapshot", "guest.toolsRunningStatus",
}

// look asks for the VM of r: by its reference, and by its UUID when that one is gone (it was registered anew).
func (d *Driver) look(ctx context.Context, r *fleet.Relocation) (*state, error) {
	var ref types.ManagedObjectReference
	if !ref.FromString(r.VM.Ref) || ref.Type != "VirtualMachine" {
		return nil, fmt.Errorf("reference %q is no VM: %w", r.VM.Ref, fleet.ErrNotFound)
	}
	st := &state{}
	err := d.properties(ctx, ref, stateProps, &st.vm)
	if faultName(err) == "ManagedObjectNotFound" || err == nil && !sameVM(&st.vm, r.VM.UUID) {
		if ref, err = d.byUUID(ctx, r.VM.UUID); err != nil {
			return nil, err
		}
		st.vm = mo.VirtualMachine{}
		err = d.properties(ctx, ref, stateProps, &st.vm)
	}
	if err != nil {
		return nil, err
	}
	if st.vm.Config == nil || st.vm.Runtime.Host == nil {
		return nil, fmt.Errorf("the vCenter has no configuration of it: connection state %s", st.vm.Runtime.ConnectionState)
	}
	st.disks = diskPlaces(st.vm.Config.Hardware.Device)
	st.tasks, err = d.runningTasks(ctx, st.vm.RecentTask)
	return st, err
}

func sameVM(vm *mo.VirtualMachine, uuid string) bool {
	return uuid == "" || vm.Config == nil || vm.Config.InstanceUuid == uuid || vm.Config.Uuid == uuid
}

func (d *Driver) properties(ctx context.Context, ref types.ManagedObjectReference, props []string, dst any) error {
	return object.NewCommon(d.vim, ref).Properties(ctx, ref, props, dst)
}

func (d *Driver) byUUID(ctx context.Context, uuid string) (types.ManagedObjectReference, error) {
	if uuid == "" {
		return types.ManagedObjectReference{}, fleet.ErrNotFound
	}
	for _, instance := range []bool{true, false} {
		found, err := object.NewSearchIndex(d.vim).FindByUuid(ctx, nil, uuid, true, &instance)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		if found != nil {
			return found.Reference(), nil
		}
	}
	return types.ManagedObjectReference{}, fmt.Errorf("no VM with uuid %s: %w", uuid, fleet.ErrNotFound)
}

// runningTasks reads the VM's recent tasks in one round trip and keeps those that are not over. A task that the vCenter
// has forgotten meanwhile is over.
func (d *Driver) runningTasks(ctx context.Context, refs []types.ManagedObjectReference) ([]mo.Task, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	set := types.PropertyFilterSpec{
		PropSet:                       []types.PropertySpec{{Type: "Task", PathSet: []string{"info"}}},
		ReportMissingObjectsInResults: types.NewBool(true),
	}
	for _, r := range refs {
		set.ObjectSet = append(set.ObjectSet, types.ObjectSpec{Obj: r})
	}
	tasks, err := d.tasks(ctx, set)
	if faultName(err) == "ManagedObjectNotFound" { // a server that does not report them one by one
		tasks, err = nil, nil
		for _, o := range set.ObjectSet {
			one := set
			one.ObjectSet = []types.ObjectSpec{o}
			t, terr := d.tasks(ctx, one)
			if terr != nil && faultName(terr) != "ManagedObjectNotFound" {
				return nil, terr
			}
			tasks = append(tasks, t...)
		}
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tasks, func(t mo.Task) bool {
		return t.Info.State != types.TaskInfoStateRunning && t.Info.State != types.TaskInfoStateQueued
	}), nil
}

func (s *state) power() fleet.PowerState { return power(s.vm.Runtime.PowerState) }

// at says whether the VM is at p of r.
func (s *state) at(r *fleet.Relocation, p fleet.Placement) bool {
	if s.vm.Runtime.Host.String() != hostRef(r, p.Host) {
		return false
	}
	for _, dp := range p.Disks {
		ref, ok := s.disks[dp.Disk]
		if !ok || ref.String() != poolRef(r, dp.Pool) {
			return false
		}
	}
	return true
}

// hostRef is the driver's handle of a host that r names; "" when it names none such.
func hostRef(r *fleet.Relocation, id fleet.HostID) string {
	switch id {
	case r.ToHost.ID:
		return r.ToHost.Ref
	case r.FromHost.ID:
		return r.FromHost.Ref
	default:
		return ""
	}
}

func poolRef(r *fleet.Relocation, id fleet.PoolID) string {
	for i := range r.Pools {
		if r.Pools[i].ID == id {
			return r.Pools[i].Ref
		}
	}
	return ""
}

// placement says where the VM is in the words of r; a host or datastore that r does not name goes by its own name.
func (d *Driver) placement(ctx context.Context, r *fleet.Relocation, st *state) (fleet.Placement, error) {
	p := fleet.Placement{Host: fleet.HostID("")}
	switch host := st.vm.Runtime.Host.String(); host {
	case r.ToHost.Ref:
		p.Host = r.ToHost.ID
	case r.FromHost.Ref:
		p.Host = r.FromHost.ID
	default:
		name, err := d.name(ctx, *st.vm.Runtime.Host)
		if err != nil {
			return p, err
		}
		p.Host = fleet.HostID(name)
	}
	for _, disk := range r.VM.Disks {
		ref, ok := st.disks[disk.ID]
		if !ok {
			return p, fmt.Errorf("disk %s: %w", disk.ID, fleet.ErrNotFound)
		}
		i := slices.IndexFunc(r.Pools, func(pool fleet.Pool) bool { return pool.Ref == ref.String() })
		dp := fleet.DiskPlace{Disk: disk.ID}
		if i >= 0 {
			dp.Pool = r.Pools[i].ID
		} else {
			name, err := d.name(ctx, ref)
			if err != nil {
				return p, err
			}
			dp.Pool = fleet.PoolID(name)
		}
		p.Disks = append(p.Disks, dp)
	}
	return p, nil
}

// names reads the names of objects of any types in one round trip, in the order of refs.
func (d *Driver) names(ctx context.Context, refs []types.ManagedObjectReference) ([]string, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	var content []types.ObjectContent
	if err := property.DefaultCollector(d.vim).Retrieve(ctx, refs, []string{"name"}, &content); err != nil {
		return nil, err
	}
	byRef := make(map[types.ManagedObjectReference]string, len(content))
	for _, c := range content {
		byRef[c.Obj] = entityOf(c.PropSet).name
	}
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = byRef[r]
	}
	return out, nil
}

func (d *Driver) name(ctx context.Context, ref types.ManagedObjectReference) (string, error) {
	names, err := d.names(ctx, []types.ManagedObjectReference{ref})
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// Locate asks where the VM of r is now. It is not settled while any task runs on it.
func (d *Driver) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	op := "locate vm " + string(r.VM.ID)
	st, err := d.look(ctx, &r)
	if err != nil {
		return fleet.Observed{}, notFoundOr(op, err)
	}
	p, err := d.placement(ctx, &r, st)
	if err != nil {
		return fleet.Observed{}, notFoundOr(op, err)
	}
	o := fleet.Observed{Placement: p, Power: st.power(), Settled: len(st.tasks) == 0}
	if !o.Settled {
		o.Detail = describe(st.tasks)
	}
	return o, nil
}

func describe(tasks []mo.Task) string {
	var parts []string
	for i := range tasks {
		info := &tasks[i].Info
		parts = append(parts, fmt.Sprintf("%s %s, %d %%", info.DescriptionId, info.State, info.Progress))
	}
	return strings.Join(parts, "; ")
}

// notFoundOr settles what does not exist, and types the rest.
func notFoundOr(op string, err error) error {
	if errors.Is(err, fleet.ErrNotFound) {
		return permanent(op, err)
	}
	return readError(op, err)
}
