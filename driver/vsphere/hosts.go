package vsphere

import (
	"cmp"
	"slices"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

func (s *scan) addHosts() {
	stores := make(map[types.ManagedObjectReference]*mo.Datastore, len(s.stores))
	for i := range s.stores {
		stores[s.stores[i].Self] = &s.stores[i]
	}
	for i := range s.hosts {
		h := &s.hosts[i]
		id := s.hostIDs[h.Self]
		out := fleet.Host{
			ID: fleet.HostID(id), Source: s.d.cfg.ID, Ref: h.Self.String(), Hypervisor: fleet.VSphere,
			Tags: s.tagsOf(h.Self, h.CustomValue), Attributes: s.attributes(h.CustomValue),
			Maintenance: h.Runtime.InMaintenanceMode, Pools: []fleet.PoolID{},
		}
		out.Chassis, out.Rack, out.Site = out.Attributes["chassis"], out.Attributes["rack"], out.Attributes["site"]
		if p := deref(h.Parent); p.Type == "ClusterComputeResource" {
			out.Cluster = s.tree[p].name
		}
		if h.Config != nil {
			out.Version = h.Config.Product.Version
		}
		if h.Hardware != nil {
			out.CPU = fleet.CPUs(max(int(h.Hardware.CpuInfo.NumCpuThreads), 0))
			out.Memory = fleet.Bytes(max(h.Hardware.MemorySize, 0))
			if len(h.Hardware.CpuPkg) > 0 {
				out.CPUModel = clean(h.Hardware.CpuPkg[0].Description)
			}
		}
		for _, ref := range h.Datastore {
			if ds := stores[ref]; ds != nil && usable(ds, h.Self) {
				out.Pools = append(out.Pools, fleet.PoolID(s.poolIDs[ref]))
			}
		}
		for _, ref := range h.Network {
			if n := s.tree[ref].name; n != "" && !slices.Contains(out.Networks, n) {
				out.Networks = append(out.Networks, n)
			}
		}
		out.NICs = nics(h)
		if state := h.Runtime.ConnectionState; state != types.HostSystemConnectionStateConnected {
			out.Unreachable = true
			s.miss("host "+id, "everything", "connection state "+cmp.Or(string(state), "unknown"))
		} else if h.Config == nil || h.Hardware == nil {
			s.miss("host "+id, "hardware", "the vCenter gives no configuration of it")
		}
		s.snap.Hosts = append(s.snap.Hosts, out)
	}
}

// bindable are the ESXi drivers with NetQueue receive-side-scaling engines that ESXi binds to one VM's port. The
// vSphere API publishes no count of them, so that a class 2 found here has no reservable queues: only SR-IOV
// has a number that is known.
var bindable = []string{"bnxtnet", "i40en", "icen", "nmlx5_core", "qedentv", "sfvmk"}

// multiQueue is the link speed from which every driver in ESXi's list uses several queues (NetQueue).
const multiQueue fleet.Mbps = 10_000

// nics reads the physical NICs of a host. The class is found so: SR-IOV enabled with functions: 3, and the
// functions are its queues; a driver of bindable: 2; a link of 10 Gb/s or more: 1; else 0. A catalogue's
// rule may overrule it.
func nics(h *mo.HostSystem) []fleet.NIC {
	if h.Config == nil || h.Config.Network == nil {
		return nil
	}
	functions := map[string]int{}
	for _, p := range h.Config.PciPassthruInfo {
		if v, ok := p.(*types.HostSriovInfo); ok && v.SriovEnabled && v.NumVirtualFunction > 0 {
			functions[v.Id] = int(v.NumVirtualFunction)
		}
	}
	node := map[string]int{}
	if h.Hardware != nil && h.Hardware.NumaInfo != nil {
		for _, n := range h.Hardware.NumaInfo.NumaNode {
			for _, id := range n.PciId {
				node[id] = int(n.TypeId)
			}
		}
	}
	var out []fleet.NIC
	for _, p := range h.Config.Network.Pnic {
		n := fleet.NIC{ID: fleet.NICID(p.Device), Driver: p.Driver, NUMANode: -1}
		if v, ok := node[p.Pci]; ok {
			n.NUMANode = v
		}
		if p.LinkSpeed != nil {
			n.Speed = fleet.Mbps(max(p.LinkSpeed.SpeedMb, 0))
		}
		switch {
		case functions[p.Pci] > 0:
			n.Class, n.Queues, n.Features = 3, fleet.Queues(functions[p.Pci]), []string{"sriov"}
		case slices.Contains(bindable, p.Driver):
			n.Class, n.Features = 2, []string{"netqueue"}
		case n.Speed >= multiQueue:
			n.Class = 1
		}
		out = append(out, n)
	}
	return out
}
