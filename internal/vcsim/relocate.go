package vcsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// copySteps is how often a relocation reports its progress.
const copySteps = 10

// machine is a VM whose relocation is real.
type machine struct {
	*simulator.VirtualMachine
	server *Server
}

type failure struct {
	fault   types.BaseMethodFault
	percent int32
}

// FailRelocate makes the task of the next relocation end with fault after percent of its time; the VM stays
// where it was. Calls add up.
func (s *Server) FailRelocate(fault types.BaseMethodFault, percent int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, failure{fault, percent})
}

// OnRelocate has f called at the start of every relocation, with the VM's lock held.
func (s *Server) OnRelocate(f func(*simulator.VirtualMachine)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// handle gives RelocateVM_Task to a machine; everything else goes to the simulator's own objects, which
// assert their own types in many places and so must stay in the registry. After this the simulator asks the
// session for m.This and would find the plain VM again: a reference that no registry knows keeps it from that. The
// request itself still names the VM.
func (s *Server) handle(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if m.Name != "RelocateVM_Task" || ctx.Session == nil {
		return nil, nil
	}
	if vm, ok := ctx.Map.Get(m.This).(*simulator.VirtualMachine); ok {
		m.This.Value += " (relocating)"
		return &machine{VirtualMachine: vm, server: s}, nil
	}
	return nil, nil
}

// RelocateVMTask starts the relocation. The simulator calls it by name, with the VM's lock held.
func (m *machine) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	task := simulator.CreateTask(m.VirtualMachine, "relocateVm", nil)
	task.Info.Name, task.Info.DescriptionId = "RelocateVM_Task", "VirtualMachine.relocate"
	task.Info.EntityName = m.Name
	task.Info.Cancelable = true
	ctx.Map.Put(task)
	ctx.Map.AtomicUpdate(ctx, task, []types.PropertyChange{
		{Name: "info.key", Val: task.Self.Value},
		{Name: "info.task", Val: task.Self},
		{Name: "info.startTime", Val: time.Now()},
		{Name: "info.progress", Val: int32(0)},
		{Name: "info.state", Val: types.TaskInfoStateRunning},
	})
	s := m.server
	s.tasks.Go(func() { s.run(task, m.VirtualMachine, req.Spec) })
	return &methods.RelocateVM_TaskBody{Res: &types.RelocateVM_TaskResponse{Returnval: task.Self}}
}

// run is the task: it checks, waits for the copying, and changes everything in one go at the end.
func (s *Server) run(task *simulator.Task, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec) {
	s.mu.Lock()
	taken := s.busy[vm.Self]
	s.busy[vm.Self] = true
	var fail *failure
	if !taken && len(s.fail) > 0 {
		fail = &s.fail[0]
		s.fail = s.fail[1:]
	}
	hook := s.hook
	s.mu.Unlock()
	if taken {
		s.finish(task, &types.TaskInProgress{Task: task.Self})
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.busy, vm.Self)
		s.mu.Unlock()
	}()
	fault := s.settle(vm, func(ctx *simulator.Context) types.BaseMethodFault {
		if hook != nil {
			hook(vm)
		}
		_, fault := s.intend(ctx, vm, spec)
		return fault
	})
	if fault != nil {
		s.finish(task, fault)
		return
	}
	for i := range int32(copySteps) {
		if fail != nil && i*100/copySteps >= fail.percent {
			s.finish(task, fail.fault)
			return
		}
		select {
		case <-time.After(s.spec.CopyTime / copySteps):
		case <-s.closed:
			return // the task stays as it is: the vCenter has died
		}
		if !s.advance(task, (i+1)*100/copySteps) {
			return // cancelled
		}
	}
	if fail != nil {
		s.finish(task, fail.fault)
		return
	}
	s.finish(task, s.settle(vm, func(ctx *simulator.Context) types.BaseMethodFault {
		in, fault := s.intend(ctx, vm, spec) // again: the world went on meanwhile
		if fault == nil {
			fault = s.commit(ctx, vm, in)
		}
		return fault
	}))
}

// settle calls f with the lock of vm held. Relocations go on side by side, but what they find in hosts and datastores, and
// change there, is one at a time.
func (s *Server) settle(vm *simulator.VirtualMachine, f func(*simulator.Context) types.BaseMethodFault) (fault types.BaseMethodFault) {
	s.world.Lock()
	defer s.world.Unlock()
	ctx := s.own()
	ctx.Map.WithLock(ctx, vm, func() { fault = f(ctx) })
	return fault
}

// advance reports progress; false when the task was cancelled.
func (s *Server) advance(task *simulator.Task, percent int32) bool {
	ctx, live := s.own(), false
	ctx.Map.WithLock(ctx, task, func() {
		live = task.Info.State == types.TaskInfoStateRunning
		if live {
			ctx.Update(task, []types.PropertyChange{{Name: "info.progress", Val: min(percent, 99)}})
		}
	})
	return live
}

func (s *Server) finish(task *simulator.Task, fault types.BaseMethodFault) {
	changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
	if fault != nil {
		changes = append(changes,
			types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{
				Fault: fault, LocalizedMessage: fmt.Sprintf("%T", fault),
			}},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
	} else {
		changes = append(changes,
			types.PropertyChange{Name: "info.progress", Val: int32(100)},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	}
	ctx := s.own()
	ctx.Map.AtomicUpdate(ctx, task, changes)
}

// intent is a relocation worked out: every file with its new place.
type intent struct {
	host    *simulator.HostSystem
	pool    types.ManagedObjectReference
	home    *object.DatastorePath          // of the .vmx, new; nil: it stays
	renames map[string]string              // local paths
	names   map[string]string              // datastore paths of images
	grow    map[*simulator.Datastore]int64 // change of use, in bytes
	stores  []types.ManagedObjectReference // of the VM afterwards
}

// intend checks spec against the world and works out what it means. The caller holds the VM's lock.
func (s *Server) intend(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec) (*intent, types.BaseMethodFault) {
	in := &intent{renames: map[string]string{}, names: map[string]string{}, grow: map[*simulator.Datastore]int64{}}
	var fault types.BaseMethodFault
	if in.host, in.pool, fault = s.target(ctx, vm, spec); fault != nil {
		return nil, fault
	}
	if fault = s.intendFiles(ctx, vm, spec, in); fault != nil {
		return nil, fault
	}
	for _, ref := range in.stores {
		ds := ctx.Map.Get(ref).(*simulator.Datastore)
		if !slices.Contains(in.host.Datastore, ref) {
			return nil, &types.DatastoreNotWritableOnHost{
				InvalidDatastore: types.InvalidDatastore{Datastore: &ds.Self, Name: ds.Name}, Host: in.host.Self,
			}
		}
		var free int64
		ctx.Map.WithLock(ctx, mo.Reference(ds), func() { free = ds.Summary.FreeSpace })
		if in.grow[ds] > free {
			return nil, &types.NoDiskSpace{FileFault: types.FileFault{File: vm.Name}, Datastore: ds.Name}
		}
	}
	return in, nil
}

// target finds the host and the resource pool that the VM is to have.
func (s *Server) target(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec) (*simulator.HostSystem, types.ManagedObjectReference, types.BaseMethodFault) {
	pool := *vm.ResourcePool
	ref := *vm.Runtime.Host
	if spec.Host != nil {
		ref = *spec.Host
	}
	if spec.Pool != nil {
		pool = *spec.Pool
	}
	host, ok := ctx.Map.Get(ref).(*simulator.HostSystem)
	if !ok {
		return nil, pool, &types.ManagedObjectNotFound{Obj: ref}
	}
	rp, ok := ctx.Map.Get(pool).(*simulator.ResourcePool)
	if !ok {
		return nil, pool, &types.ManagedObjectNotFound{Obj: pool}
	}
	switch {
	case host.Runtime.ConnectionState != types.HostSystemConnectionStateConnected:
		return nil, pool, &types.HostNotConnected{}
	case spec.Host != nil && host.Runtime.InMaintenanceMode:
		return nil, pool, &types.InvalidHostState{Host: &host.Self}
	case host.Parent == nil || rp.Owner != *host.Parent:
		return nil, pool, &types.InvalidArgument{InvalidProperty: "spec.pool"}
	case vm.Runtime.PowerState == types.VirtualMachinePowerStateSuspended:
		return nil, pool, &types.InvalidPowerState{ExistingState: vm.Runtime.PowerState}
	}
	return host, pool, nil
}
