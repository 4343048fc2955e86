package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// RemoveImage deletes the disk at name ("[nvme-1] vm-db/vm-db.vmdk"): with its extents through the VirtualDiskManager when it is a
// text descriptor, as one file through the FileManager when its descriptor is inside it. It is refused while any VM or template in the
// inventory names it in its devices, snapshots or layout, whatever its power state; a VM that is in no inventory, or hidden from this
// user, cannot be seen. It returns the names of what was deleted.
func (d *Driver) RemoveImage(ctx context.Context, pool fleet.Pool, name string) ([]string, error) {
	op := "remove image " + name
	f, err := d.OpenImage(ctx, pool, name)
	if err != nil {
		return nil, err
	}
	var head [64]byte
	_, err = f.ReadAt(head[:], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, readError(op, err)
	}
	single := bytes.HasPrefix(head[:], []byte("KDMV"))
	if !single && !bytes.HasPrefix(bytes.ToLower(head[:]), []byte("# disk descriptorfile")) {
		return nil, permanent(op, errors.New("it is no VMDK, or a part of one"))
	}
	user, err := d.userOf(ctx, name)
	if err != nil {
		return nil, readError(op+": look for users", err)
	}
	if user != "" {
		return nil, permanent(op, fmt.Errorf("it belongs to vm %s", user))
	}
	dc, err := d.datacenterOf(ctx, pool)
	if err != nil {
		return nil, readError(op, err)
	}
	task, err := d.deleteTask(ctx, name, dc, single)
	if err == nil {
		err = d.wait(ctx, task, func(int32) {})
	}
	if err != nil && !errors.Is(err, errTaskGone) {
		return nil, changeError(op, err)
	}
	again, err := d.OpenImage(ctx, pool, name)
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return []string{name}, nil
	case err == nil:
		_ = again.Close() // nothing was read
		return nil, changeError(op, errors.New("it is still there"))
	}
	return nil, readError(op+": look whether it is gone", err)
}

// datacenterOf finds the datacenter that a datastore's paths are meant in; nil on an ESXi host.
func (d *Driver) datacenterOf(ctx context.Context, pool fleet.Pool) (*types.ManagedObjectReference, error) {
	a, err := d.address(ctx, pool)
	if err != nil || a.datacenter == "" {
		return nil, err
	}
	ref, err := object.NewSearchIndex(d.vim).FindByInventoryPath(ctx, a.datacenter)
	if err != nil {
		return nil, err
	}
	if ref == nil {
		return nil, fmt.Errorf("datacenter %s: %w", a.datacenter, fleet.ErrNotFound)
	}
	r := ref.Reference()
	return &r, nil
}

// deleteTask starts the deletion.
func (d *Driver) deleteTask(ctx context.Context, name string, dc *types.ManagedObjectReference, single bool) (types.ManagedObjectReference, error) {
	c := d.vim.ServiceContent
	if single {
		if c.FileManager == nil {
			return types.ManagedObjectReference{}, errors.New("the server has no file manager")
		}
		res, err := methods.DeleteDatastoreFile_Task(ctx, d.vim, &types.DeleteDatastoreFile_Task{This: *c.FileManager, Name: name, Datacenter: dc})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}
	if c.VirtualDiskManager == nil {
		return types.ManagedObjectReference{}, errors.New("the server has no virtual disk manager")
	}
	res, err := methods.DeleteVirtualDisk_Task(ctx, d.vim, &types.DeleteVirtualDisk_Task{This: *c.VirtualDiskManager, Name: name, Datacenter: dc})
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	return res.Returnval, nil
}

// userOf names a VM or template that has the file among its disks, their parents or its other files. What cannot be read of a VM is an
// error: it could be the one.
func (d *Driver) userOf(ctx context.Context, name string) (string, error) {
	v, destroy, err := d.view(ctx)
	if err != nil {
		return "", err
	}
	defer destroy()
	var vms []mo.VirtualMachine
	gaps, err := d.load(ctx, v, "VirtualMachine", &vms, "name", "config.hardware.device", "layoutEx")
	if err != nil {
		return "", err
	}
	for _, g := range gaps {
		return "", fmt.Errorf("%s: %s cannot be read: %s", g.Object, g.What, g.Cause)
	}
	for i := range vms {
		if vms[i].Config == nil {
			return "", fmt.Errorf("vm %s is inaccessible: its disks are not known", clean(vms[i].Name))
		}
		if refers(&vms[i], name) {
			return clean(vms[i].Name), nil
		}
	}
	return "", nil
}

// refers reports whether the VM has the file.
func refers(vm *mo.VirtualMachine, name string) bool {
	if vm.LayoutEx != nil {
		for _, f := range vm.LayoutEx.File {
			if samePath(f.Name, name) {
				return true
			}
		}
	}
	for _, dev := range object.VirtualDeviceList(vm.Config.Hardware.Device) {
		for _, file := range backingFiles(dev.GetVirtualDevice().Backing) {
			if samePath(file, name) {
				return true
			}
		}
	}
	return false
}

// samePath compares two datastore paths, however they are spelled.
func samePath(a, b string) bool {
	var p, q object.DatastorePath
	return p.FromString(a) && q.FromString(b) && p.Datastore == q.Datastore && path.Clean("/"+p.Path) == path.Clean("/"+q.Path)
}

// backingFiles are the files of a device's backing and of what that is based on, of every kind that names files.
func backingFiles(b types.BaseVirtualDeviceBackingInfo) []string {
	var files []string
	for range fleet.MaxChain {
		f, ok := b.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok {
			break
		}
		files = append(files, f.GetVirtualDeviceFileBackingInfo().FileName)
		if b = parentOf(b); b == nil {
			break
		}
	}
	return files
}

// parentOf is the backing that b is based on, nil for none.
func parentOf(b types.BaseVirtualDeviceBackingInfo) types.BaseVirtualDeviceBackingInfo {
	switch x := b.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		if x.Parent != nil {
			return x.Parent
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		if x.Parent != nil {
			return x.Parent
		}
	case *types.VirtualDiskSparseVer2BackingInfo:
		if x.Parent != nil {
			return x.Parent
		}
	case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
		if x.Parent != nil {
			return x.Parent
		}
	}
	return nil
}
