package fleet

import (
	"fmt"
	"maps"
	"slices"
)

// Bounds of what a pool and a NIC can promise and have, far above any hardware, so that sums do not overflow.
const (
	maxRate    = 1 << 40 // operations, MB a second
	maxNICRate = 1 << 30 // Mb a second
	maxQueues  = 1 << 30 // of one NIC
)

// validateFit checks what a host offers: its NICs, processor baselines, guest types and patch states.
func validateFit(h *Host) error {
	if err := validateNICs(h.NICs); err != nil {
		return err
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"cpuBaselines", h.CPUBaselines}, {"guests", h.Guests}} {
		for j, n := range list.names {
			if err := validID(n); err != nil {
				return fmt.Errorf(".%s[%d]: %w", list.field, j, err)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.Patch)) {
		if err := validID(id); err != nil {
			return fmt.Errorf(".patch: a name: %w", err)
		}
		if p := h.Patch[id]; p != PatchFixed && p != PatchAffected && p != PatchUnknown {
			return fmt.Errorf(".patch[%q]: is %q, expected fixed, affected or unknown", id, p)
		}
	}
	return nil
}

// validateDomains checks that failure domains nest: all hosts of a chassis say the same rack, all of a rack the same
// site. A host that says none beside one that says one would count as elsewhere, and a spread over racks would then put
// two VMs into one chassis.
func (s *Snapshot) validateDomains() error {
	chassis, racks := map[string]*Host{}, map[string]*Host{}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if first := chassis[h.Chassis]; h.Chassis != "" && first == nil {
			chassis[h.Chassis] = h
		} else if first != nil && (first.Rack != h.Rack || first.Site != h.Site) {
			return fmt.Errorf("hosts[%d] (%s): chassis %s is in rack %q of site %q, by host %s in rack %q of site %q, expected one",
				i, h.ID, h.Chassis, h.Rack, h.Site, first.ID, first.Rack, first.Site)
		}
		if first := racks[h.Rack]; h.Rack != "" && first == nil {
			racks[h.Rack] = h
		} else if first != nil && first.Site != h.Site {
			return fmt.Errorf("hosts[%d] (%s): rack %s is in site %q, by host %s in site %q, expected one",
				i, h.ID, h.Rack, h.Site, first.ID, first.Site)
		}
	}
	return nil
}

func (s *Snapshot) validateModules() error {
	for i := range s.Modules {
		m := &s.Modules[i]
		if err := s.validateModule(m); err != nil {
			return fmt.Errorf("modules[%d] (%s)%w", i, m.ID, err)
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		for j := range h.NICs {
			n := &h.NICs[j]
			if n.Module == "" {
				continue
			}
			m := s.Module(n.Module)
			if m == nil || m.Host != h.ID || !slices.ContainsFunc(m.NICs, func(o NIC) bool { return o.ID == n.ID }) {
				return fmt.Errorf("hosts[%d].nics[%d].module: module %q does not bring NIC %q to %s", i, j, n.Module, n.ID, h.ID)
			}
		}
	}
	return s.validateModuleNames()
}

func (s *Snapshot) validateModule(m *IOModule) error {
	if s.Source(m.Source) == nil {
		return fmt.Errorf(".source: no source %q", m.Source)
	}
	if m.Kind != ModuleNIC && m.Kind != ModuleHBA {
		return fmt.Errorf(".kind: is %q, expected nic or hba", m.Kind)
	}
	if err := validateNICs(m.NICs); err != nil {
		return err
	}
	for j, p := range m.Pools {
		if s.Pool(p) == nil {
			return fmt.Errorf(".pools[%d]: no pool %q", j, p)
		}
	}
	for j, id := range m.AttachableTo {
		h := s.Host(id)
		if h == nil || h.Source != m.Source {
			return fmt.Errorf(".attachableTo[%d]: no host %q of source %s", j, id, m.Source)
		}
		if j > 0 && m.AttachableTo[j-1] >= id {
			return fmt.Errorf(".attachableTo[%d]: %q comes after %q, expected sorted and unique", j, id, m.AttachableTo[j-1])
		}
	}
	if m.Host == "" {
		return nil
	}
	if _, ok := slices.BinarySearch(m.AttachableTo, m.Host); !ok {
		return fmt.Errorf(".host: %q, expected one that it is attachable to", m.Host)
	}
	return attached(m, s.Host(m.Host))
}

// attached checks that all that m brings is on its host h.
func attached(m *IOModule, h *Host) error {
	for j := range m.NICs {
		k := slices.IndexFunc(h.NICs, func(n NIC) bool { return n.ID == m.NICs[j].ID })
		if k < 0 || !sameNIC(&h.NICs[k], &m.NICs[j], m.ID) {
			return fmt.Errorf(".nics[%d]: host %s does not have NIC %q of the module as it is", j, h.ID, m.NICs[j].ID)
		}
	}
	for j, p := range m.Pools {
		if !slices.Contains(h.Pools, p) {
			return fmt.Errorf(".pools[%d]: host %s does not reach pool %q", j, h.ID, p)
		}
	}
	return nil
}

// sameNIC says whether on, a NIC of a host, is of, one of the module's own list.
func sameNIC(on, of *NIC, module ModuleID) bool {
	return on.Module == module && on.Class == of.Class && on.Speed == of.Speed && on.Queues == of.Queues &&
		on.Guarantee == of.Guarantee && on.Driver == of.Driver && slices.Equal(on.Features, of.Features)
}

// validateModuleNames checks that no host could ever get two NICs of one name.
func (s *Snapshot) validateModuleNames() error {
	if len(s.Modules) == 0 {
		return nil
	}
	type name struct {
		host HostID
		nic  NICID
	}
	owner := map[name]ModuleID{}
	for i := range s.Hosts {
		for _, n := range s.Hosts[i].NICs {
			owner[name{s.Hosts[i].ID, n.ID}] = n.Module
		}
	}
	for i := range s.Modules {
		m := &s.Modules[i]
		for _, h := range m.AttachableTo {
			for j := range m.NICs {
				key := name{h, m.NICs[j].ID}
				if o, ok := owner[key]; ok && o != m.ID {
					return fmt.Errorf("modules[%d] (%s).nics[%d].id: host %s can have another NIC %q", i, m.ID, j, h, key.nic)
				}
				owner[key] = m.ID
			}
		}
	}
	return nil
}
