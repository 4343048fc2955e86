package vcsim

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// datacenter is the only one.
const datacenter = "dc-1"

// logFolder holds the simulator's own vmware.log of each VM, beside the datastores: it never moves.
const logFolder = "vcsim-logs"

type builder struct {
	*Server
	folders  *object.DatacenterFolders
	clusters map[string]*object.ClusterComputeResource
	hosts    map[string]*object.HostSystem
	stores   map[string]types.ManagedObjectReference
}

func (s *Server) build(ctx context.Context) error {
	dc, err := object.NewRootFolder(s.Client).CreateDatacenter(ctx, datacenter)
	if err != nil {
		return fmt.Errorf("create datacenter: %w", err)
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return fmt.Errorf("find folders: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.spec.Dir, logFolder), 0o700); err != nil {
		return err
	}
	b := &builder{
		Server: s, folders: folders, clusters: map[string]*object.ClusterComputeResource{},
		hosts: map[string]*object.HostSystem{}, stores: map[string]types.ManagedObjectReference{},
	}
	for _, step := range []func(context.Context) error{b.addClusters, b.addHosts, b.addDatastores, b.addVMs} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if s.spec.Tagging {
		return b.addTags(ctx)
	}
	return nil
}

func (b *builder) addClusters(ctx context.Context) error {
	for _, c := range b.spec.Clusters {
		cluster, err := b.folders.HostFolder.CreateCluster(ctx, c.Name, types.ClusterConfigSpecEx{})
		if err != nil {
			return fmt.Errorf("create cluster %s: %w", c.Name, err)
		}
		task, err := cluster.Reconfigure(ctx, &types.ClusterConfigSpecEx{DrsConfig: &types.ClusterDrsConfigInfo{
			Enabled: types.NewBool(c.Behaviour != ""), DefaultVmBehavior: c.Behaviour,
		}}, true)
		if err == nil {
			err = task.Wait(ctx)
		}
		if err != nil {
			return fmt.Errorf("configure cluster %s: %w", c.Name, err)
		}
		b.clusters[c.Name] = cluster
	}
	return nil
}

func (b *builder) addHosts(ctx context.Context) error {
	for _, h := range b.spec.Hosts {
		connect := types.HostConnectSpec{HostName: h.Name}
		var task *object.Task
		var err error
		if h.Cluster == "" {
			task, err = b.folders.HostFolder.AddStandaloneHost(ctx, connect, true, nil, nil)
		} else if cluster := b.clusters[h.Cluster]; cluster != nil {
			task, err = cluster.AddHost(ctx, connect, true, nil, nil)
		} else {
			err = fmt.Errorf("no cluster %s", h.Cluster)
		}
		if err != nil {
			return fmt.Errorf("add host %s: %w", h.Name, err)
		}
		info, err := task.WaitForResult(ctx, nil)
		if err != nil {
			return fmt.Errorf("add host %s: %w", h.Name, err)
		}
		ref, ok := info.Result.(types.ManagedObjectReference)
		if !ok {
			return fmt.Errorf("add host %s: the task gave a %T", h.Name, info.Result)
		}
		if ref.Type != "HostSystem" { // a stand-alone host's task gives its compute resource
			var cr mo.ComputeResource
			if err := object.NewCommon(b.Client, ref).Properties(ctx, ref, []string{"host"}, &cr); err != nil {
				return err
			}
			ref = cr.Host[0]
		}
		b.hosts[h.Name] = object.NewHostSystem(b.Client, ref)
		b.equip(ref, h)
		if err := b.attribute(ctx, ref, h.Attributes); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	return nil
}

// equip gives a host the hardware of its spec.
func (b *builder) equip(ref types.ManagedObjectReference, spec Host) {
	b.change(ref, func(obj mo.Reference) {
		h := obj.(*simulator.HostSystem)
		h.Hardware.CpuInfo.NumCpuThreads = int16(spec.Threads)
		h.Hardware.MemorySize = spec.Memory
		h.Summary.Hardware.NumCpuThreads = int16(spec.Threads)
		h.Summary.Hardware.MemorySize = spec.Memory
		h.Config.Network.Pnic = nil
		h.Config.PciPassthruInfo = nil
		for i, n := range spec.NICs {
			pci := fmt.Sprintf("0000:%02x:00.0", i+1)
			nic := types.PhysicalNic{Key: "key-vim.host.PhysicalNic-" + n.Device, Device: n.Device, Pci: pci, Driver: n.Driver}
			if n.Mbps > 0 {
				nic.LinkSpeed = &types.PhysicalNicLinkInfo{SpeedMb: int32(n.Mbps), Duplex: true}
			}
			h.Config.Network.Pnic = append(h.Config.Network.Pnic, nic)
			if n.Functions > 0 {
				h.Config.PciPassthruInfo = append(h.Config.PciPassthruInfo, &types.HostSriovInfo{
					HostPciPassthruInfo: types.HostPciPassthruInfo{Id: pci, DependentDevice: pci, PassthruCapable: true},
					SriovEnabled:        true, SriovCapable: true, SriovActive: true,
					NumVirtualFunction: int32(n.Functions), NumVirtualFunctionRequested: int32(n.Functions),
					MaxVirtualFunctionSupported: 64,
				})
			}
		}
	})
}

// attribute sets custom attributes through the vCenter's own call.
func (b *builder) attribute(ctx context.Context, ref types.ManagedObjectReference, attributes map[string]string) error {
	if len(attributes) == 0 {
		return nil
	}
	m, err := object.GetCustomFieldsManager(b.Client)
	if err != nil {
		return err
	}
	for _, name := range sorted(attributes) {
		key, err := m.FindKey(ctx, name)
		if err != nil {
			def, err := m.Add(ctx, name, "", nil, nil)
			if err != nil {
				return fmt.Errorf("add attribute %s: %w", name, err)
			}
			key = def.Key
		}
		if err := m.Set(ctx, ref, key, attributes[name]); err != nil {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}

func (b *builder) addDatastores(ctx context.Context) error {
	for _, d := range b.spec.Datastores {
		dir := b.Folder(d.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var ref types.ManagedObjectReference
		for _, h := range b.spec.Hosts {
			if !slices.Contains(h.Datastores, d.Name) {
				continue
			}
			dss, err := b.hosts[h.Name].ConfigManager().DatastoreSystem(ctx)
			if err != nil {
				return err
			}
			ds, err := dss.CreateLocalDatastore(ctx, d.Name, dir)
			if err != nil {
				return fmt.Errorf("add datastore %s to host %s: %w", d.Name, h.Name, err)
			}
			if ref.Value == "" {
				ref = ds.Reference()
			}
		}
		if ref.Value == "" {
			return fmt.Errorf("datastore %s: no host sees it", d.Name)
		}
		found, err := b.byName("Datastore", d.Name)
		if err != nil {
			return err
		}
		b.stores[d.Name] = found
		b.change(found, func(obj mo.Reference) {
			ds := obj.(*simulator.Datastore)
			ds.Summary.Type = d.Type
			ds.Summary.Capacity, ds.Summary.FreeSpace = d.Capacity, d.Capacity
			ds.Summary.MultipleHostAccess = types.NewBool(len(ds.Host) > 1)
			ds.Info.GetDatastoreInfo().FreeSpace = d.Capacity
		})
	}
	return nil
}

func (b *builder) addVMs(ctx context.Context) error {
	for _, v := range b.spec.VMs {
		if err := b.addVM(ctx, v); err != nil {
			return fmt.Errorf("add vm %s: %w", v.Name, err)
		}
	}
	return nil
}

func (b *builder) addVM(ctx context.Context, v VM) error {
	host := b.hosts[v.Host]
	if host == nil || len(v.Disks) == 0 {
		return fmt.Errorf("no host %s, or no disk", v.Host)
	}
	pool, err := host.ResourcePool(ctx)
	if err != nil {
		return err
	}
	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return err
	}
	devices = append(devices, scsi)
	for i, d := range v.Disks {
		name := v.Name + ".vmdk"
		if i > 0 {
			name = fmt.Sprintf("%s_%d.vmdk", v.Name, i)
		}
		if err := WriteDisk(filepath.Join(b.Folder(d.Datastore), v.Name), name, d.Size); err != nil {
			return err
		}
		disk := devices.CreateDisk(scsi.(types.BaseVirtualController), b.stores[d.Datastore],
			fmt.Sprintf("[%s] %s", d.Datastore, path.Join(v.Name, name)))
		disk.Key = int32(2000 + i)
		disk.CapacityInKB, disk.CapacityInBytes = d.Size/1024, d.Size
		devices = append(devices, disk)
	}
	nic := esx.EthernetCard
	devices = append(devices, &nic)
	changes, err := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return err
	}
	for _, c := range changes {
		c.GetVirtualDeviceConfigSpec().FileOperation = "" // the files are there
	}
	home := fmt.Sprintf("[%s] %s", v.Disks[0].Datastore, v.Name)
	task, err := b.folders.VmFolder.CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name: v.Name, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest),
		NumCPUs: int32(v.CPUs), MemoryMB: v.Memory >> 20, DeviceChange: changes,
		Files: &types.VirtualMachineFileInfo{
			VmPathName:   home + "/" + v.Name + ".vmx",
			LogDirectory: fmt.Sprintf("[%s] ../%s/%s", v.Disks[0].Datastore, logFolder, v.Name),
		},
	}, pool, host)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	vm := object.NewVirtualMachine(b.Client, info.Result.(types.ManagedObjectReference))
	b.change(vm.Reference(), func(obj mo.Reference) {
		obj.(*simulator.VirtualMachine).Config.Files.LogDirectory = home
	})
	return setPower(ctx, vm, v)
}

func setPower(ctx context.Context, vm *object.VirtualMachine, v VM) error {
	if !v.Running && !v.Suspended {
		return nil
	}
	task, err := vm.PowerOn(ctx)
	if err == nil {
		err = task.Wait(ctx)
	}
	if err != nil || !v.Suspended {
		return err
	}
	if task, err = vm.Suspend(ctx); err != nil {
		return err
	}
	return task.Wait(ctx)
}

// WriteDisk writes an empty disk of size bytes (whole sectors) as a monolithic "vmfs" text descriptor NAME.vmdk
// and a sparse extent NAME-flat.vmdk into dir.
func WriteDisk(dir, name string, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	flat := strings.TrimSuffix(name, ".vmdk") + "-flat.vmdk"
	text := "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\nisNativeSnapshot=\"no\"\n" +
		"createType=\"vmfs\"\n\n# Extent description\n" +
		fmt.Sprintf("RW %d VMFS \"%s\"\n\n", size/512, flat) +
		"# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n" +
		fmt.Sprintf("ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n",
			max(size/512/255/63, 1)) +
		fmt.Sprintf("ddb.uuid = \"%s\"\nddb.virtualHWVersion = \"19\"\n", diskUUID(dir, name))
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, flat))
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// addTags makes a category for each key and attaches the tags, through the tagging API itself.
func (b *builder) addTags(ctx context.Context) error {
	u := *b.http.URL
	c, err := vim25.NewClient(ctx, soap.NewClient(&u, true))
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	rc := rest.NewClient(c)
	if err := rc.Login(ctx, b.Service.Listen.User); err != nil {
		return fmt.Errorf("log in to the tagging API: %w", err)
	}
	t := &tagger{m: tags.NewManager(rc), categories: map[string]string{}, tags: map[string]string{}}
	for _, h := range b.spec.Hosts {
		if err := t.attach(ctx, b.hosts[h.Name].Reference(), h.Tags); err != nil {
			return fmt.Errorf("tag host %s: %w", h.Name, err)
		}
	}
	for _, d := range b.spec.Datastores {
		if err := t.attach(ctx, b.stores[d.Name], d.Tags); err != nil {
			return fmt.Errorf("tag datastore %s: %w", d.Name, err)
		}
	}
	return rc.Logout(ctx)
}

type tagger struct {
	m          *tags.Manager
	categories map[string]string // name: id
	tags       map[string]string // category:name: id
}

func (t *tagger) attach(ctx context.Context, ref types.ManagedObjectReference, set map[string]string) error {
	for _, category := range sorted(set) {
		name := set[category]
		var err error
		if t.categories[category] == "" {
			t.categories[category], err = t.m.CreateCategory(ctx, &tags.Category{Name: category, Cardinality: "SINGLE"})
			if err != nil {
				return fmt.Errorf("create category %s: %w", category, err)
			}
		}
		id := t.tags[category+":"+name]
		if id == "" {
			id, err = t.m.CreateTag(ctx, &tags.Tag{Name: name, CategoryID: t.categories[category]})
			if err != nil {
				return fmt.Errorf("create tag %s: %w", name, err)
			}
			t.tags[category+":"+name] = id
		}
		if err := t.m.AttachTag(ctx, id, ref); err != nil {
			return fmt.Errorf("attach tag %s: %w", name, err)
		}
	}
	return nil
}
