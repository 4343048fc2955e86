package vcsim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// maxChain and maxDescriptor bound what is read of a disk.
const (
	maxChain      = 64
	maxDescriptor = 64 << 10
)

var extentLine = regexp.MustCompile(`(?m)^(?:RW|RDONLY|NOACCESS) \d+ \w+ "([^"/]+)"`)

// image is one file-backed layer of a disk.
type image struct {
	path  object.DatastorePath
	files []string // names in the image's folder: the descriptor and its extents
}

// batch is all that moves to one datastore, which all goes into one folder there.
type batch struct {
	ds     *simulator.Datastore
	images []image
	home   []string // names in the home folder
}

// intendFiles works out the disks and the home: each disk goes where its locator says, else where the
// spec's datastore says, else it stays; the home goes where the spec's datastore says.
func (s *Server) intendFiles(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec, in *intent) types.BaseMethodFault {
	var home object.DatastorePath
	if !home.FromString(vm.Config.Files.VmPathName) {
		return &types.InvalidDatastorePath{DatastorePath: vm.Config.Files.VmPathName}
	}
	homeDS, err := s.byName("Datastore", home.Datastore)
	if err != nil {
		return &types.InvalidDatastorePath{DatastorePath: vm.Config.Files.VmPathName}
	}
	batches := map[types.ManagedObjectReference]*batch{}
	to := func(ref types.ManagedObjectReference) *batch {
		if batches[ref] == nil {
			batches[ref] = &batch{ds: ctx.Map.Get(ref).(*simulator.Datastore)}
		}
		return batches[ref]
	}
	target := homeDS
	if spec.Datastore != nil {
		if _, ok := ctx.Map.Get(*spec.Datastore).(*simulator.Datastore); !ok {
			return &types.ManagedObjectNotFound{Obj: *spec.Datastore}
		}
		target = *spec.Datastore
	}
	in.stores = []types.ManagedObjectReference{target}
	for _, dev := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualDisk)(nil)) {
		disk := dev.(*types.VirtualDisk)
		chain, fault := s.chain(disk)
		if fault != nil {
			return fault
		}
		from, err := s.byName("Datastore", chain[0].path.Datastore)
		if err != nil {
			return &types.InvalidDatastorePath{DatastorePath: chain[0].path.String()}
		}
		where, fault := diskTarget(ctx, spec, disk.Key, from)
		if fault != nil {
			return fault
		}
		if !slices.Contains(in.stores, where) {
			in.stores = append(in.stores, where)
		}
		if where == from {
			continue
		}
		b := to(where)
		b.images = append(b.images, chain...)
		in.grow[b.ds] += disk.CapacityInBytes
		in.grow[ctx.Map.Get(from).(*simulator.Datastore)] -= disk.CapacityInBytes
	}
	if target != homeDS {
		names, err := homeFiles(filepath.Join(s.Folder(home.Datastore), path.Dir(home.Path)))
		if err != nil {
			return &types.FileFault{File: err.Error()}
		}
		to(target).home = names
	}
	for ref, b := range batches {
		if fault := s.place(in, home, b, ref == target && target != homeDS); fault != nil {
			return fault
		}
	}
	return nil
}

func diskTarget(ctx *simulator.Context, spec types.VirtualMachineRelocateSpec, key int32, from types.ManagedObjectReference) (types.ManagedObjectReference, types.BaseMethodFault) {
	where := from
	if spec.Datastore != nil {
		where = *spec.Datastore
	}
	for _, l := range spec.Disk {
		if l.DiskId == key {
			where = l.Datastore
		}
	}
	if _, ok := ctx.Map.Get(where).(*simulator.Datastore); !ok {
		return where, &types.ManagedObjectNotFound{Obj: where}
	}
	return where, nil
}

// place gives everything of b one folder: the home's name, with a number when a file there is in the way.
func (s *Server) place(in *intent, home object.DatastorePath, b *batch, withHome bool) types.BaseMethodFault {
	base := path.Base(path.Dir(home.Path))
	for n := range maxChain {
		dir := base
		if n > 0 {
			dir = fmt.Sprintf("%s_%d", base, n)
		}
		local := filepath.Join(s.Folder(b.ds.Name), dir)
		if !s.free(local, b) {
			continue
		}
		for _, img := range b.images {
			for _, f := range img.files {
				in.renames[filepath.Join(s.Folder(img.path.Datastore), path.Dir(img.path.Path), f)] = filepath.Join(local, f)
			}
			in.names[img.path.String()] = (&object.DatastorePath{Datastore: b.ds.Name, Path: path.Join(dir, path.Base(img.path.Path))}).String()
		}
		for _, f := range b.home {
			in.renames[filepath.Join(s.Folder(home.Datastore), path.Dir(home.Path), f)] = filepath.Join(local, f)
		}
		if withHome {
			in.home = &object.DatastorePath{Datastore: b.ds.Name, Path: path.Join(dir, path.Base(home.Path))}
		}
		return nil
	}
	return &types.FileAlreadyExists{FileFault: types.FileFault{File: base}}
}

func (s *Server) free(dir string, b *batch) bool {
	names := slices.Clone(b.home)
	for _, img := range b.images {
		names = append(names, img.files...)
	}
	for _, n := range names {
		if _, err := os.Lstat(filepath.Join(dir, n)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// homeFiles lists what belongs to the home: everything but images.
func homeFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && path.Ext(e.Name()) != ".vmdk" {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// chain lists the layers of a disk, top first.
func (s *Server) chain(disk *types.VirtualDisk) ([]image, types.BaseMethodFault) {
	var images []image
	names, ok := backingNames(disk.Backing)
	if !ok {
		return nil, &types.DeviceNotSupported{Device: fmt.Sprintf("disk %d: %T", disk.Key, disk.Backing)}
	}
	for _, name := range names {
		var p object.DatastorePath
		if !p.FromString(name) {
			return nil, &types.InvalidDatastorePath{DatastorePath: name}
		}
		text, err := readDescriptor(filepath.Join(s.Folder(p.Datastore), p.Path))
		if err != nil {
			return nil, &types.FileNotFound{FileFault: types.FileFault{File: name}}
		}
		img := image{path: p, files: []string{path.Base(p.Path)}}
		for _, m := range extentLine.FindAllStringSubmatch(text, maxChain) {
			img.files = append(img.files, m[1])
		}
		images = append(images, img)
	}
	return images, nil
}

func readDescriptor(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDescriptor))
	return string(b), errors.Join(err, f.Close())
}

// backingNames lists the file names of a backing and its parents.
func backingNames(b types.BaseVirtualDeviceBackingInfo) ([]string, bool) {
	var names []string
	switch x := b.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		for ; x != nil && len(names) < maxChain; x = x.Parent {
			names = append(names, x.FileName)
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		for ; x != nil && len(names) < maxChain; x = x.Parent {
			names = append(names, x.FileName)
		}
	default:
		return nil, false
	}
	return names, true
}

// rebacked is a copy of b under the new names.
func (s *Server) rebacked(b types.BaseVirtualDeviceBackingInfo, names map[string]string) types.BaseVirtualDeviceBackingInfo {
	file := func(info types.VirtualDeviceFileBackingInfo) types.VirtualDeviceFileBackingInfo {
		if to, ok := names[info.FileName]; ok {
			var p object.DatastorePath
			p.FromString(to)
			info.FileName = to
			if ref, err := s.byName("Datastore", p.Datastore); err == nil {
				info.Datastore = &ref
			}
		}
		return info
	}
	switch x := b.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		c := *x
		c.VirtualDeviceFileBackingInfo = file(c.VirtualDeviceFileBackingInfo)
		if c.Parent != nil {
			c.Parent = s.rebacked(c.Parent, names).(*types.VirtualDiskFlatVer2BackingInfo)
		}
		return &c
	case *types.VirtualDiskSeSparseBackingInfo:
		c := *x
		c.VirtualDeviceFileBackingInfo = file(c.VirtualDeviceFileBackingInfo)
		if c.Parent != nil {
			c.Parent = s.rebacked(c.Parent, names).(*types.VirtualDiskSeSparseBackingInfo)
		}
		return &c
	default:
		return b
	}
}

// commit renames the files and then changes every property. The caller holds the VM's lock.
func (s *Server) commit(ctx *simulator.Context, vm *simulator.VirtualMachine, in *intent) types.BaseMethodFault {
	if err := errors.Join(renameAll(in.renames), s.loseLines(in)); err != nil {
		return &types.FileFault{File: err.Error()}
	}
	devices := slices.Clone(vm.Config.Hardware.Device)
	for i, dev := range devices {
		if disk, ok := dev.(*types.VirtualDisk); ok {
			c := *disk
			c.Backing = s.rebacked(disk.Backing, in.names)
			devices[i] = &c
		}
	}
	changes := []types.PropertyChange{
		{Name: "config.hardware.device", Val: devices},
		{Name: "datastore", Val: in.stores},
		{Name: "resourcePool", Val: &in.pool},
		{Name: "runtime.host", Val: &in.host.Self},
		{Name: "summary.runtime.host", Val: &in.host.Self},
	}
	if in.home != nil {
		dir := (&object.DatastorePath{Datastore: in.home.Datastore, Path: path.Dir(in.home.Path)}).String()
		changes = append(changes,
			types.PropertyChange{Name: "config.files.vmPathName", Val: in.home.String()},
			types.PropertyChange{Name: "config.files.logDirectory", Val: dir},
			types.PropertyChange{Name: "config.files.snapshotDirectory", Val: dir},
			types.PropertyChange{Name: "config.files.suspendDirectory", Val: dir},
			types.PropertyChange{Name: "summary.config.vmPathName", Val: in.home.String()})
	}
	s.refer(ctx, vm, in)
	ctx.Update(vm, changes)
	vm.LayoutEx.File = nil
	if fault := vm.RefreshStorageInfo(ctx, &types.RefreshStorageInfo{This: vm.Self}).Fault(); fault != nil {
		return &types.SystemErrorFault{Reason: fault.String}
	}
	return nil
}

// LoseLines makes every later relocation drop the lines with prefix from the descriptors that it moves, as a
// vCenter might that writes them anew.
func (s *Server) LoseLines(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = prefix
}

func (s *Server) loseLines(in *intent) error {
	s.mu.Lock()
	prefix := s.lose
	s.mu.Unlock()
	if prefix == "" {
		return nil
	}
	for _, to := range in.names {
		var p object.DatastorePath
		p.FromString(to)
		local := filepath.Join(s.Folder(p.Datastore), p.Path)
		text, err := readDescriptor(local)
		if err != nil {
			return err
		}
		lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(l string) bool { return strings.HasPrefix(l, prefix) })
		if err := os.WriteFile(local, []byte(strings.Join(lines, "")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// refer keeps the lists of hosts, datastores and resource pools true, and the free space.
func (s *Server) refer(ctx *simulator.Context, vm *simulator.VirtualMachine, in *intent) {
	reg := ctx.Map
	old := reg.Get(*vm.Runtime.Host).(*simulator.HostSystem)
	reg.RemoveReference(ctx, old, &old.Vm, vm.Self)
	reg.AddReference(ctx, in.host, &in.host.Vm, vm.Self)
	if rp, ok := reg.Get(*vm.ResourcePool).(*simulator.ResourcePool); ok {
		reg.RemoveReference(ctx, rp, &rp.Vm, vm.Self)
	}
	if rp, ok := reg.Get(in.pool).(*simulator.ResourcePool); ok {
		reg.AddReference(ctx, rp, &rp.Vm, vm.Self)
	}
	for _, ref := range vm.Datastore {
		ds := reg.Get(ref).(*simulator.Datastore)
		reg.RemoveReference(ctx, ds, &ds.Vm, vm.Self)
	}
	for _, ref := range in.stores {
		ds := reg.Get(ref).(*simulator.Datastore)
		reg.AddReference(ctx, ds, &ds.Vm, vm.Self)
	}
	for ds, by := range in.grow {
		reg.WithLock(ctx, mo.Reference(ds), func() { setFree(ds, ds.Summary.FreeSpace-by) })
	}
}

// renameAll moves every file, or none: what was moved goes back when one fails. Empty folders go.
func renameAll(renames map[string]string) error {
	var done []string
	for _, from := range sorted(renames) {
		to := renames[from]
		err := os.MkdirAll(filepath.Dir(to), 0o755)
		if err == nil {
			err = os.Rename(from, to)
		}
		if err != nil {
			for _, d := range done {
				err = errors.Join(err, os.Rename(renames[d], d))
			}
			return err
		}
		done = append(done, from)
	}
	for _, from := range done {
		dir := filepath.Dir(from)
		if left, err := os.ReadDir(dir); err == nil && len(left) == 0 && !strings.HasSuffix(dir, logFolder) {
			_ = os.Remove(dir)
		}
	}
	return nil
}
