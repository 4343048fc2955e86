package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// Precheck says why r would fail or overwrite something, before anything is touched. A name that is taken at
// the target is no obstacle: the vCenter gives the VM's folder there another one.
func (d *Driver) Precheck(ctx context.Context, r fleet.Relocation) error {
	op := "check move of vm " + string(r.VM.ID)
	if err := valid(&r); err != nil {
		return permanent(op, err)
	}
	st, err := d.look(ctx, &r)
	if err != nil {
		return notFoundOr(op, err)
	}
	if len(st.tasks) > 0 {
		return &fleet.DriverError{Kind: fleet.Retry, Op: op, Err: fmt.Errorf("the VM is busy: %s", describe(st.tasks))}
	}
	if st.at(&r, r.To) {
		return nil
	}
	if err := movable(st, &r); err != nil {
		return permanent(op, err)
	}
	host, err := d.targetHost(ctx, &r)
	if err != nil {
		return notFoundOr(op, err)
	}
	if err := host.takes(&r); err != nil {
		return permanent(op, err)
	}
	return d.precheckPools(ctx, op, &r, st, host)
}

// valid checks that r is complete.
func valid(r *fleet.Relocation) error {
	if r.ToHost.ID != r.To.Host {
		return fmt.Errorf("target host is %q, but its details are of %q", r.To.Host, r.ToHost.ID)
	}
	if len(r.To.Disks) != len(r.VM.Disks) || len(r.From.Disks) != len(r.VM.Disks) {
		return fmt.Errorf("%d disks have a target and %d a source, expected %d", len(r.To.Disks), len(r.From.Disks), len(r.VM.Disks))
	}
	for i, dp := range r.To.Disks {
		if dp.Disk != r.VM.Disks[i].ID {
			return fmt.Errorf("target %d is of disk %q, expected %q", i, dp.Disk, r.VM.Disks[i].ID)
		}
		if poolRef(r, dp.Pool) == "" {
			return fmt.Errorf("no details of pool %q", dp.Pool)
		}
	}
	return nil
}

// movable says why the VM as it is now cannot make r.
func movable(st *state, r *fleet.Relocation) error {
	if st.power() == fleet.Suspended {
		return errors.New("the VM is suspended")
	}
	for _, dp := range r.To.Disks {
		if _, ok := st.disks[dp.Disk]; !ok {
			return fmt.Errorf("disk %s: %w", dp.Disk, fleet.ErrNotFound)
		}
	}
	if st.vm.Snapshot != nil {
		for _, dp := range r.To.Disks {
			if dp.Pool != r.To.Disks[0].Pool {
				return errors.New("the VM has snapshots: vSphere moves all of its disks to one datastore only")
			}
		}
	}
	return nil
}

// target is a host as it is now.
type target struct {
	mo.HostSystem
	networks []string
}

var targetProps = []string{
	"name", "parent", "runtime.connectionState", "runtime.inMaintenanceMode", "datastore", "network",
}

func (d *Driver) targetHost(ctx context.Context, r *fleet.Relocation) (*target, error) {
	var ref types.ManagedObjectReference
	if !ref.FromString(r.ToHost.Ref) || ref.Type != "HostSystem" {
		return nil, fmt.Errorf("host %s: reference %q is no host: %w", r.To.Host, r.ToHost.Ref, fleet.ErrNotFound)
	}
	t := &target{}
	if err := d.properties(ctx, ref, targetProps, &t.HostSystem); err != nil {
		if faultName(err) == "ManagedObjectNotFound" {
			return nil, fmt.Errorf("host %s: %w", r.To.Host, fleet.ErrNotFound)
		}
		return nil, err
	}
	var err error
	t.networks, err = d.names(ctx, t.Network)
	return t, err
}

// takes says why the host takes no VM, or not this one.
func (t *target) takes(r *fleet.Relocation) error {
	if s := t.Runtime.ConnectionState; s != types.HostSystemConnectionStateConnected {
		return fmt.Errorf("host %s: connection state %s", r.To.Host, s)
	}
	if t.Runtime.InMaintenanceMode {
		return fmt.Errorf("host %s is in maintenance mode", r.To.Host)
	}
	if r.To.Host == r.From.Host || len(t.networks) == 0 {
		return nil
	}
	for _, n := range r.VM.VNICs {
		if n.Network != "" && !slices.Contains(t.networks, n.Network) {
			return fmt.Errorf("host %s: network %s of VNIC %s is not there", r.To.Host, n.Network, n.ID)
		}
	}
	return nil
}

// precheckPools checks reach and room of every target datastore.
func (d *Driver) precheckPools(ctx context.Context, op string, r *fleet.Relocation, st *state, host *target) error {
	need := map[fleet.PoolID]fleet.Bytes{}
	var order []fleet.PoolID
	for i, dp := range r.To.Disks {
		if !slices.Contains(order, dp.Pool) {
			order = append(order, dp.Pool)
		}
		if st.disks[dp.Disk].String() != poolRef(r, dp.Pool) {
			need[dp.Pool] += r.VM.Disks[i].Used
		}
	}
	for _, id := range order {
		var ref types.ManagedObjectReference
		if !ref.FromString(poolRef(r, id)) {
			return permanent(op, fmt.Errorf("pool %s: reference %q is no datastore: %w", id, poolRef(r, id), fleet.ErrNotFound))
		}
		var ds mo.Datastore
		if err := d.properties(ctx, ref, []string{"name", "summary", "host"}, &ds); err != nil {
			return notFoundOr(op, err)
		}
		if !usable(&ds, host.Self) {
			return permanent(op, fmt.Errorf("host %s cannot use pool %s", r.To.Host, id))
		}
		if free := fleet.Bytes(ds.Summary.FreeSpace); free < need[id] {
			return permanent(op, fmt.Errorf("pool %s: %s are free, %s needed", id, fleet.FormatBytes(free), fleet.FormatBytes(need[id])))
		}
	}
	return nil
}
