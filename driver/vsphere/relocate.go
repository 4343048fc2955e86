package vsphere

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// maxPasses bounds how often Relocate looks again: each pass waits for a task or makes one.
const maxPasses = 16

// Relocate brings the VM of r to r.To from wherever it is on its way, and powers it on at the end when
// powerOn says so. A task that an earlier run (or somebody else) left on the VM is waited for first. When ctx
// ends, the task goes on at the vCenter: the error is Unknown, and the next call finds it.
//
// The VM's home folder goes with its first disk.
func (d *Driver) Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) error {
	op := "move vm " + string(r.VM.ID)
	if err := valid(&r); err != nil {
		return permanent(op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.MoveTimeout)
	defer cancel()
	m := &move{d: d, r: &r, op: op, powerOn: powerOn, meter: newMeter(&r, progress)}
	for range maxPasses {
		done, err := m.pass(ctx)
		if err != nil {
			return err
		}
		if done {
			m.meter.finish()
			return nil
		}
	}
	return &fleet.DriverError{Kind: fleet.Unknown, Op: op, Err: fmt.Errorf("not settled after %d tasks", maxPasses)}
}

// move is one call of Relocate.
type move struct {
	d       *Driver
	r       *fleet.Relocation
	op      string
	powerOn bool
	meter   *meter
}

// pass looks at the VM and takes the one step that it needs now; done when it needs none.
func (m *move) pass(ctx context.Context) (done bool, err error) {
	st, err := m.d.look(ctx, m.r)
	if err != nil {
		return false, notFoundOr(m.op, err)
	}
	if len(st.tasks) > 0 {
		report := func(int32) {}
		if relocates(&st.tasks[0].Info) {
			report = m.meter.percent
		}
		err := m.d.wait(ctx, st.tasks[0].Self, report)
		var te *taskError
		if err == nil || errors.As(err, &te) || errors.Is(err, errTaskGone) {
			return false, nil // over; the next look tells what came of it
		}
		return false, changeError(m.op, err)
	}
	running := st.power() == fleet.Running
	if st.at(m.r, m.r.To) {
		if running || !m.powerOn {
			return true, nil
		}
		return false, m.start(ctx, st)
	}
	if err := movable(st, m.r); err != nil {
		return false, permanent(m.op, err)
	}
	if running && m.r.Mode == fleet.Offline {
		if !m.powerOn {
			return false, permanent(m.op, errors.New("the VM runs, though it was stopped when the move was planned"))
		}
		return false, m.stop(ctx, st)
	}
	return false, m.relocate(ctx, st)
}

// relocates says whether a task moves its VM.
func relocates(info *types.TaskInfo) bool {
	return strings.HasPrefix(info.DescriptionId, "VirtualMachine.relocate") ||
		strings.HasPrefix(info.DescriptionId, "VirtualMachine.migrate")
}

// relocate makes the vCenter's task and waits for it.
func (m *move) relocate(ctx context.Context, st *state) error {
	host, err := m.d.targetHost(ctx, m.r)
	if err != nil {
		return notFoundOr(m.op, err)
	}
	if err := host.takes(m.r); err != nil {
		return permanent(m.op, err)
	}
	spec, err := m.spec(ctx, st, host)
	if err != nil {
		return notFoundOr(m.op, err)
	}
	labels := m.readLabels(ctx, st)
	res, err := methods.RelocateVM_Task(ctx, m.d.vim, &types.RelocateVM_Task{This: st.vm.Self, Spec: *spec})
	if err != nil {
		return changeError(m.op, err)
	}
	if err := m.d.wait(ctx, res.Returnval, m.meter.percent); err != nil && !errors.Is(err, errTaskGone) {
		return changeError(m.op, err)
	}
	return m.keepLabels(ctx, labels)
}

// spec names everything: the host, the datastore of the home, and that of each disk.
func (m *move) spec(ctx context.Context, st *state, host *target) (*types.VirtualMachineRelocateSpec, error) {
	spec := &types.VirtualMachineRelocateSpec{}
	if *st.vm.Runtime.Host != host.Self {
		spec.Host = &host.Self
	}
	pool, err := m.d.poolFor(ctx, st, host)
	if err != nil {
		return nil, err
	}
	spec.Pool = pool
	for i, dp := range m.r.To.Disks {
		var ref types.ManagedObjectReference
		if !ref.FromString(poolRef(m.r, dp.Pool)) {
			return nil, fmt.Errorf("pool %s: %w", dp.Pool, fleet.ErrNotFound)
		}
		if i == 0 {
			spec.Datastore = &ref
		}
		key, err := strconv.ParseInt(string(dp.Disk), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("disk %q is no device key: %w", dp.Disk, fleet.ErrNotFound)
		}
		spec.Disk = append(spec.Disk, types.VirtualMachineRelocateSpecDiskLocator{DiskId: int32(key), Datastore: ref})
	}
	return spec, nil
}

// poolFor is the resource pool that the VM needs at the host: none where the host is of the same compute resource.
func (d *Driver) poolFor(ctx context.Context, st *state, host *target) (*types.ManagedObjectReference, error) {
	if host.Parent == nil {
		return nil, nil
	}
	if st.vm.ResourcePool != nil {
		var rp mo.ResourcePool
		if err := d.properties(ctx, *st.vm.ResourcePool, []string{"owner"}, &rp); err != nil {
			return nil, err
		}
		if rp.Owner == *host.Parent {
			return nil, nil
		}
	}
	var cr mo.ComputeResource
	if err := d.properties(ctx, *host.Parent, []string{"resourcePool"}, &cr); err != nil {
		return nil, err
	}
	return cr.ResourcePool, nil
}

// stop shuts the guest down, or powers it off where it cannot or does not in ShutdownTimeout.
func (m *move) stop(ctx context.Context, st *state) error {
	vm := object.NewVirtualMachine(m.d.vim, st.vm.Self)
	if g := st.vm.Guest; g != nil && g.ToolsRunningStatus == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		if err := vm.ShutdownGuest(ctx); err == nil {
			off, err := m.awaitOff(ctx, st.vm.Self)
			if off || err != nil {
				return err
			}
		}
	}
	task, err := vm.PowerOff(ctx)
	if err != nil {
		return changeError(m.op, err)
	}
	return m.settle(ctx, task.Reference())
}

// awaitOff asks until the guest is off; false when it is not in time.
func (m *move) awaitOff(ctx context.Context, ref types.ManagedObjectReference) (bool, error) {
	tctx, cancel := context.WithTimeout(ctx, m.d.cfg.ShutdownTimeout)
	defer cancel()
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		var vm mo.VirtualMachine
		err := m.d.properties(tctx, ref, []string{"runtime.powerState"}, &vm)
		if err == nil && power(vm.Runtime.PowerState) == fleet.Stopped {
			return true, nil
		}
		if serr := sleep(tctx, pause); serr != nil {
			if ctx.Err() != nil {
				return false, changeError(m.op, ctx.Err())
			}
			return false, nil
		}
	}
}

func (m *move) start(ctx context.Context, st *state) error {
	if st.power() == fleet.Suspended {
		return permanent(m.op, errors.New("the VM is suspended at its target"))
	}
	task, err := object.NewVirtualMachine(m.d.vim, st.vm.Self).PowerOn(ctx)
	if err != nil {
		return changeError(m.op, err)
	}
	return m.settle(ctx, task.Reference())
}

// settle waits for a power task. A VM that is in the wanted state already is no error: the next look tells.
func (m *move) settle(ctx context.Context, task types.ManagedObjectReference) error {
	err := m.d.wait(ctx, task, func(int32) {})
	if err == nil || errors.Is(err, errTaskGone) || faultName(err) == "InvalidPowerState" {
		return nil
	}
	return changeError(m.op, err)
}
