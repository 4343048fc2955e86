package online

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// SetOpen opens a host for VMs or closes it; what runs there stays.
func (x *Placer) SetOpen(h model.HostIx, open bool) error {
	if h < 0 || int(h) >= len(x.hosts) {
		return fmt.Errorf("open host %d: no such host", h)
	}
	x.p.Hosts[h].Open = open
	x.tree.update(x, h)
	return nil
}

// AddHost adds a host and returns its index. It is a host of the problem's classes, places and pools. O(hosts log hosts).
func (x *Placer) AddHost(h model.Host) (model.HostIx, error) {
	p := &x.p
	switch {
	case len(p.Hosts) >= model.MaxHosts:
		return model.None, fmt.Errorf("add host: there are %d already", len(p.Hosts))
	case len(h.Capacity) != len(p.Resources) || len(h.Soft) != len(p.Resources):
		return model.None, fmt.Errorf("add host: %d capacities and %d soft marks for %d resources", len(h.Capacity), len(h.Soft), len(p.Resources))
	case len(h.Domain) > model.MaxLevels || len(p.Hosts) > 0 && len(h.Domain) != len(p.Hosts[0].Domain):
		return model.None, fmt.Errorf("add host: %d levels of domains", len(h.Domain))
	case h.Class < 0 || len(p.Fit) > 0 && int(h.Class) >= len(p.Fit[0]):
		return model.None, fmt.Errorf("add host: no class %d", h.Class)
	case h.Place < 0 || p.Hop != nil && int(h.Place) >= len(p.Hop):
		return model.None, fmt.Errorf("add host: no place %d", h.Place)
	case len(h.NICs) > model.MaxNICs:
		return model.None, fmt.Errorf("add host: %d NICs, at most %d", len(h.NICs), model.MaxNICs)
	case !slices.IsSorted(h.Pools) || len(h.Pools) > 0 && (h.Pools[0] < 0 || int(h.Pools[len(h.Pools)-1]) >= len(p.Pools)):
		return model.None, fmt.Errorf("add host: its pools are not sorted, or are none of the %d", len(p.Pools))
	}
	p.Hosts = append(p.Hosts, h)
	x.hosts = append(x.hosts, x.newHost(&h))
	x.buildTree()
	return model.HostIx(len(p.Hosts) - 1), nil //nolint:gosec // MaxHosts
}

// VMsOn lists the VMs on a host, in an order that depends on the calls so far; to be read only, until the next call.
func (x *Placer) VMsOn(h model.HostIx) []int32 { return x.hosts[h].vms }

// Use is what the VMs on a host use, by resource; to be read only, until the next call.
func (x *Placer) Use(h model.HostIx) []int64 { return x.hosts[h].use }

// NICsOf is the NIC of the VM's host that each of its needs has, or None.
func (x *Placer) NICsOf(i int) []int8 { return x.nics[i] }
