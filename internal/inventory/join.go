package inventory

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// join puts the parts of all sources into one snapshot, with "source/" before every identifier that two
// sources use.
func join(parts []*fleet.Snapshot) *fleet.Snapshot {
	hosts, pools, vms, modules := census[fleet.HostID]{}, census[fleet.PoolID]{}, census[fleet.VMID]{}, census[fleet.ModuleID]{}
	for i, p := range parts {
		for _, h := range p.Hosts {
			hosts.add(h.ID, i)
		}
		for _, q := range p.Pools {
			pools.add(q.ID, i)
		}
		for _, v := range p.VMs {
			vms.add(v.ID, i)
		}
		for j := range p.Modules {
			modules.add(p.Modules[j].ID, i)
		}
	}
	out := &fleet.Snapshot{Sources: []fleet.Source{}, Hosts: []fleet.Host{}, Pools: []fleet.Pool{}, VMs: []fleet.VM{}, Gaps: []fleet.Gap{}}
	for _, p := range parts {
		prefix := string(p.Sources[0].ID) + "/"
		for i := range p.Hosts {
			rename(&p.Hosts[i].ID, hosts, prefix)
			for j := range p.Hosts[i].Pools {
				rename(&p.Hosts[i].Pools[j], pools, prefix)
			}
			for j := range p.Hosts[i].NICs {
				rename(&p.Hosts[i].NICs[j].Module, modules, prefix)
			}
		}
		for i := range p.Pools {
			rename(&p.Pools[i].ID, pools, prefix)
		}
		for i := range p.VMs {
			v := &p.VMs[i]
			rename(&v.ID, vms, prefix)
			rename(&v.Host, hosts, prefix)
			for j := range v.Disks {
				rename(&v.Disks[j].Pool, pools, prefix)
				for k := range v.Disks[j].Chain {
					rename(&v.Disks[j].Chain[k].Pool, pools, prefix)
				}
			}
		}
		for i := range p.Modules {
			m := &p.Modules[i]
			rename(&m.ID, modules, prefix)
			rename(&m.Host, hosts, prefix)
			for j := range m.Pools {
				rename(&m.Pools[j], pools, prefix)
			}
			for j := range m.AttachableTo {
				rename(&m.AttachableTo[j], hosts, prefix)
			}
		}
		out.Modules = append(out.Modules, p.Modules...)
		out.Sources = append(out.Sources, p.Sources...)
		out.Hosts = append(out.Hosts, p.Hosts...)
		out.Pools = append(out.Pools, p.Pools...)
		out.VMs = append(out.VMs, p.VMs...)
		out.Gaps = append(out.Gaps, p.Gaps...)
	}
	return out
}

// census says which sources use an identifier: the first one, and whether there are others.
type census[K ~string] map[K]struct {
	first int
	clash bool
}

func (c census[K]) add(id K, part int) {
	e, ok := c[id]
	if !ok {
		e.first = part
	}
	e.clash = e.clash || e.first != part
	c[id] = e
}

func rename[K ~string](id *K, c census[K], prefix string) {
	if c[*id].clash {
		*id = K(prefix) + *id
	}
}

// distinguish makes the names of VMs unique within their source: a vCenter allows one name in several folders,
// a libvirt source one name on each of its hosts. All that share a name get their host's behind it, and their
// UUID where that is not enough.
func distinguish(part *fleet.Snapshot) {
	for _, suffix := range []func(v *fleet.VM) string{
		func(v *fleet.VM) string { return "@" + string(v.Host) },
		func(v *fleet.VM) string { return "#" + v.UUID },
	} {
		count := map[fleet.VMID]int{}
		for i := range part.VMs {
			count[part.VMs[i].ID]++
		}
		for i := range part.VMs {
			v := &part.VMs[i]
			if count[v.ID] > 1 {
				v.ID += fleet.VMID(suffix(v))
			}
		}
	}
	dropTwins(part)
}

// dropTwins leaves out what cannot be told apart even so; one that is shown would stand for all.
func dropTwins(part *fleet.Snapshot) {
	count := map[fleet.VMID]int{}
	for i := range part.VMs {
		count[part.VMs[i].ID]++
	}
	kept := part.VMs[:0]
	for _, v := range part.VMs {
		if count[v.ID] == 1 {
			kept = append(kept, v)
			continue
		}
		part.Gaps = append(part.Gaps, fleet.Gap{
			Source: v.Source, Object: "vm " + string(v.ID), What: "everything",
			Cause: fmt.Sprintf("%d VMs of this name, host and UUID (handle %s)", count[v.ID], v.Ref),
		})
	}
	part.VMs = kept
}

// complete fills in the rack and the site of hosts that say none from hosts of the same chassis or rack that do: a chassis
// is in one place. Hosts that contradict each other stay as they are, for Validate to name them.
func complete(s *fleet.Snapshot) {
	racks, sites := map[string]string{}, map[string]string{}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Chassis != "" && h.Rack != "" && racks[h.Chassis] == "" {
			racks[h.Chassis] = h.Rack
		}
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Rack == "" && h.Chassis != "" {
			h.Rack = racks[h.Chassis]
		}
	}
	for _, domain := range []func(h *fleet.Host) string{
		func(h *fleet.Host) string { return h.Rack }, func(h *fleet.Host) string { return h.Chassis },
	} {
		clear(sites)
		for i := range s.Hosts {
			if h := &s.Hosts[i]; domain(h) != "" && h.Site != "" && sites[domain(h)] == "" {
				sites[domain(h)] = h.Site
			}
		}
		for i := range s.Hosts {
			if h := &s.Hosts[i]; h.Site == "" && domain(h) != "" {
				h.Site = sites[domain(h)]
			}
		}
	}
}
