package vsphere

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

func (s *scan) addVMs() {
	var list []named
	for i := range s.vms {
		list = append(list, named{s.vms[i].Self, s.vms[i].Name, s.vms[i].Parent})
	}
	ids := identify(s.tree, list)
	for i := range s.vms {
		v := &s.vms[i]
		if v.Config != nil && v.Config.Template {
			continue
		}
		id := ids[v.Self]
		host, ok := s.hostIDs[deref(v.Runtime.Host)]
		if v.Config == nil || !ok {
			s.miss("vm "+id, "everything", "connection state "+cmp.Or(string(v.Runtime.ConnectionState), "unknown"))
			continue
		}
		out := fleet.VM{
			ID: fleet.VMID(id), Source: s.d.cfg.ID, Ref: v.Self.String(), UUID: cmp.Or(v.Config.InstanceUuid, v.Config.Uuid),
			Host: fleet.HostID(host), Power: power(v.Runtime.PowerState), Disks: []fleet.Disk{},
			CPU: fleet.CPUs(int(max(v.Config.Hardware.NumCPU, 0))), Memory: fleet.Bytes(max(v.Config.Hardware.MemoryMB, 0)) * fleet.MiB,
			Tags: s.tagsOf(v.Self, v.CustomValue), Guest: clean(v.Config.GuestId),
		}
		if err := s.badKept[v.Self]; err != nil {
			s.miss("vm "+id, "label in "+labelsKey, err.Error())
		}
		s.addDevices(&out, v)
		pin(&out, v)
		if st := v.Runtime.ConnectionState; st != "" && st != types.VirtualMachineConnectionStateConnected {
			out.Pinned = "connection state " + string(st)
			s.miss("vm "+id, "state", out.Pinned)
		}
		s.snap.VMs = append(s.snap.VMs, out)
	}
}

func power(p types.VirtualMachinePowerState) fleet.PowerState {
	switch p {
	case types.VirtualMachinePowerStatePoweredOn:
		return fleet.Running
	case types.VirtualMachinePowerStateSuspended:
		return fleet.Suspended
	default:
		return fleet.Stopped
	}
}

// pin says why a VM must stay.
func pin(out *fleet.VM, v *mo.VirtualMachine) {
	ft := v.Runtime.FaultToleranceState
	if v.Config.FtInfo != nil || ft != "" && ft != types.VirtualMachineFaultToleranceStateNotConfigured {
		out.Pinned = "fault tolerance is configured"
	}
	for _, dev := range v.Config.Hardware.Device {
		if c, ok := dev.(types.BaseVirtualSCSIController); ok {
			if bus := c.GetVirtualSCSIController().SharedBus; bus != "" && bus != types.VirtualSCSISharingNoSharing {
				out.Pinned = "shares a SCSI bus: " + string(bus)
			}
		}
	}
}

func block(out *fleet.VM, reason string, changes ...fleet.Change) {
	for _, c := range changes {
		if out.BlockedBy(c) == "" {
			out.Blocked = append(out.Blocked, fleet.Blocker{Change: c, Reason: reason})
		}
	}
}

// addDevices reads disks and VNICs, and finds what stops a live move.
func (s *scan) addDevices(out *fleet.VM, v *mo.VirtualMachine) {
	for _, dev := range v.Config.Hardware.Device {
		label := fmt.Sprintf("device %d", dev.GetVirtualDevice().Key)
		if info := dev.GetVirtualDevice().DeviceInfo; info != nil {
			label = clean(info.GetDescription().Label)
		}
		switch x := dev.(type) {
		case *types.VirtualDisk:
			if d, ok := s.disk(out, v, x); ok {
				out.Disks = append(out.Disks, d)
			}
		case *types.VirtualSriovEthernetCard:
			out.VNICs = append(out.VNICs, s.vnic(dev))
			block(out, label+" is an SR-IOV function of its host", fleet.ChangeHost, fleet.ChangeStorage)
		case types.BaseVirtualEthernetCard:
			out.VNICs = append(out.VNICs, s.vnic(dev))
		case *types.VirtualPCIPassthrough:
			block(out, label+" is a device of its host", fleet.ChangeHost, fleet.ChangeStorage)
		case *types.VirtualUSB, *types.VirtualSCSIPassthrough, *types.VirtualParallelPort:
			block(out, label+" is a device of its host", fleet.ChangeHost)
		case *types.VirtualCdrom:
			if reason := s.cdrom(x); reason != "" {
				block(out, label+reason, fleet.ChangeHost)
			}
		}
	}
}

// cdrom says why a connected CD-ROM ties the VM to its host.
func (s *scan) cdrom(x *types.VirtualCdrom) string {
	if x.Connectable == nil || !x.Connectable.Connected {
		return ""
	}
	switch b := x.Backing.(type) {
	case *types.VirtualCdromIsoBackingInfo:
		if b.Datastore != nil && !s.shared[*b.Datastore] {
			return " holds " + clean(b.FileName) + " of a datastore that only this host sees"
		}
	case *types.VirtualCdromAtapiBackingInfo, *types.VirtualCdromPassthroughBackingInfo:
		return " is a drive of its host"
	}
	return ""
}

// vnic names the network of a virtual NIC.
func (s *scan) vnic(dev types.BaseVirtualDevice) fleet.VNIC {
	d := dev.GetVirtualDevice()
	n := fleet.VNIC{ID: strconv.Itoa(int(d.Key))}
	switch b := d.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		n.Network = clean(b.DeviceName)
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		n.Network = s.tree[types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}].name
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		n.Network = clean(b.OpaqueNetworkId)
	}
	return n
}

// disk translates one disk; false when it lies on nothing that was seen (a gap then).
func (s *scan) disk(out *fleet.VM, v *mo.VirtualMachine, x *types.VirtualDisk) (fleet.Disk, bool) {
	key := strconv.Itoa(int(x.Key))
	layers, rdm := backing(x.Backing)
	if rdm {
		out.Pinned = "disk " + key + " is a raw device mapping"
	}
	if len(layers) == 0 || s.poolIDs[layers[0].store] == "" {
		s.miss(fmt.Sprintf("vm %s disk %s", out.ID, key), "image", fmt.Sprintf("backing %s is on no datastore that can be seen", typeName(x.Backing)))
		if out.Pinned == "" {
			out.Pinned = "disk " + key + " could not be seen"
		}
		return fleet.Disk{}, false
	}
	d := fleet.Disk{
		ID: fleet.DiskID(key), Pool: fleet.PoolID(s.poolIDs[layers[0].store]), Path: layers[0].file, Format: "vmdk",
		Size:  fleet.Bytes(max(x.CapacityInBytes, x.CapacityInKB*1024, 0)),
		Label: fleet.Label{Trust: fleet.TrustNone}, Metadata: s.kept[v.Self][key],
	}
	for _, l := range layers[1:] {
		d.Chain = append(d.Chain, fleet.ChainLink{Pool: fleet.PoolID(s.poolIDs[l.store]), Path: l.file, Format: "vmdk"})
	}
	d.Used = used(v.LayoutEx, x.Key, d.Size)
	return d, true
}

// used is what all files of a disk's chain take in the datastore; its size when the layout does not tell.
func used(layout *types.VirtualMachineFileLayoutEx, key int32, size fleet.Bytes) fleet.Bytes {
	if layout == nil {
		return size
	}
	files := make(map[int32]int64, len(layout.File))
	for _, f := range layout.File {
		files[f.Key] = max(f.Size, 0)
	}
	for _, d := range layout.Disk {
		if d.Key != key {
			continue
		}
		var sum int64
		for _, unit := range d.Chain {
			for _, k := range unit.FileKey {
				sum += files[k]
			}
		}
		return fleet.Bytes(sum)
	}
	return size
}

// layer is one image of a chain.
type layer struct {
	file  string
	store types.ManagedObjectReference
}

func layerOf(b *types.VirtualDeviceFileBackingInfo) layer {
	return layer{file: b.FileName, store: deref(b.Datastore)}
}

// backing lists the images of a disk, top first, at most the top and MaxChain below it; and whether it is a
// raw device mapping.
func backing(b types.BaseVirtualDeviceBackingInfo) (layers []layer, rdm bool) {
	const most = fleet.MaxChain + 1
	switch x := b.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		for ; x != nil && len(layers) < most; x = x.Parent {
			layers = append(layers, layerOf(&x.VirtualDeviceFileBackingInfo))
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		for ; x != nil && len(layers) < most; x = x.Parent {
			layers = append(layers, layerOf(&x.VirtualDeviceFileBackingInfo))
		}
	case *types.VirtualDiskSparseVer2BackingInfo:
		for ; x != nil && len(layers) < most; x = x.Parent {
			layers = append(layers, layerOf(&x.VirtualDeviceFileBackingInfo))
		}
	case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
		return []layer{layerOf(&x.VirtualDeviceFileBackingInfo)}, true
	case types.BaseVirtualDeviceFileBackingInfo:
		return []layer{layerOf(x.GetVirtualDeviceFileBackingInfo())}, false
	}
	return layers, false
}

// diskID is a disk's device key, which stays the same over moves.
func diskID(x *types.VirtualDisk) fleet.DiskID { return fleet.DiskID(strconv.Itoa(int(x.Key))) }

// diskPlaces lists the virtual disks of a device list with the datastore that each lies on.
func diskPlaces(devices []types.BaseVirtualDevice) map[fleet.DiskID]types.ManagedObjectReference {
	out := map[fleet.DiskID]types.ManagedObjectReference{}
	for _, dev := range object.VirtualDeviceList(devices).SelectByType((*types.VirtualDisk)(nil)) {
		x := dev.(*types.VirtualDisk)
		if layers, _ := backing(x.Backing); len(layers) > 0 {
			out[diskID(x)] = layers[0].store
		}
	}
	return out
}
