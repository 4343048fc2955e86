package fleet

import "fmt"

// Validate checks the invariants of the package on a sorted snapshot. The error names the first field at
// fault, as a path: "vms[3].disks[0].pool".
func (s *Snapshot) Validate() error {
	if s.Version != SnapshotVersion {
		return fmt.Errorf("version: is %d, expected %d", s.Version, SnapshotVersion)
	}
	if err := s.validateUnique(); err != nil {
		return err
	}
	for i := range s.Hosts {
		if err := s.validateHost(&s.Hosts[i]); err != nil {
			return fmt.Errorf("hosts[%d]%w", i, err)
		}
	}
	for i := range s.Pools {
		p := &s.Pools[i]
		if s.Source(p.Source) == nil {
			return fmt.Errorf("pools[%d].source: no source %q", i, p.Source)
		}
		if p.Capacity < 0 || p.Free < 0 || p.Free > p.Capacity {
			return fmt.Errorf("pools[%d].free: %d of %d, expected 0 to the capacity", i, p.Free, p.Capacity)
		}
		if p.IOPS < 0 || p.IOPS > maxRate || p.Throughput < 0 || p.Throughput > maxRate {
			return fmt.Errorf("pools[%d] (%s): iops %d, throughput %d, expected 0 to %d", i, p.ID, p.IOPS, p.Throughput, int64(maxRate))
		}
	}
	for i := range s.VMs {
		if err := s.validateVM(&s.VMs[i]); err != nil {
			return fmt.Errorf("vms[%d]%w", i, err)
		}
	}
	if err := s.validateDomains(); err != nil {
		return err
	}
	return s.validateModules()
}

func (s *Snapshot) validateUnique() error {
	if err := unique("sources", s.Sources, func(v *Source) string { return string(v.ID) }); err != nil {
		return err
	}
	if err := unique("hosts", s.Hosts, func(v *Host) string { return string(v.ID) }); err != nil {
		return err
	}
	if err := unique("pools", s.Pools, func(v *Pool) string { return string(v.ID) }); err != nil {
		return err
	}
	if err := unique("vms", s.VMs, func(v *VM) string { return string(v.ID) }); err != nil {
		return err
	}
	return unique("modules", s.Modules, func(m *IOModule) string { return string(m.ID) })
}

func unique[T any](name string, list []T, id func(*T) string) error {
	for i := range list {
		v := id(&list[i])
		if err := validID(v); err != nil {
			return fmt.Errorf("%s[%d].id: %w", name, i, err)
		}
		if i > 0 && id(&list[i-1]) >= v {
			return fmt.Errorf("%s[%d].id: %q comes after %q, expected sorted and unique", name, i, v, id(&list[i-1]))
		}
	}
	return nil
}

// maxID bounds an identifier; vCenter's longest object name is 80 characters, a libvirt path is longer.
const maxID = 512

func validID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%d bytes, expected 1 to %d", len(id), maxID)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("control character in %q", id)
		}
	}
	return nil
}

func (s *Snapshot) validateHost(h *Host) error {
	if s.Source(h.Source) == nil {
		return fmt.Errorf(".source: no source %q", h.Source)
	}
	if h.CPU < 0 || h.Memory < 0 {
		return fmt.Errorf(" (%s): cpu %d, memory %d, expected no negative amount", h.ID, h.CPU, h.Memory)
	}
	for j, p := range h.Pools {
		if s.Pool(p) == nil {
			return fmt.Errorf(".pools[%d]: no pool %q", j, p)
		}
	}
	return validateFit(h)
}

// validateNICs checks a list of NICs, whose path in the error is .nics.
func validateNICs(nics []NIC) error {
	for j := range nics {
		n := &nics[j]
		if n.Class < 0 || n.Class > MaxNICClass || n.Queues < 0 || n.Speed < 0 {
			return fmt.Errorf(".nics[%d]: class %d, queues %d, speed %d, expected class 0 to 3 and no negative amount",
				j, n.Class, n.Queues, n.Speed)
		}
		if n.Speed > maxNICRate {
			return fmt.Errorf(".nics[%d].speed: %d, expected 0 to %d", j, n.Speed, maxNICRate)
		}
		if n.Queues > maxQueues {
			return fmt.Errorf(".nics[%d].queues: %d, expected 0 to %d", j, n.Queues, maxQueues)
		}
		if n.Guarantee < 0 || n.Guarantee > maxNICRate || n.Speed > 0 && n.Guarantee > n.Speed {
			return fmt.Errorf(".nics[%d].guarantee: %d of a speed of %d, expected 0 to the speed", j, n.Guarantee, n.Speed)
		}
	}
	if i := repeated(nics, func(n *NIC) NICID { return n.ID }); i >= 0 {
		return fmt.Errorf(".nics[%d].id: %q a second time, expected each once", i, nics[i].ID)
	}
	return nil
}

// repeated is the index of the first element whose id an earlier one has, -1 when there is none.
func repeated[T any, K comparable](list []T, id func(*T) K) int {
	if len(list) < 2 {
		return -1
	}
	seen := make(map[K]bool, len(list))
	for i := range list {
		if seen[id(&list[i])] {
			return i
		}
		seen[id(&list[i])] = true
	}
	return -1
}

func (s *Snapshot) validateVM(v *VM) error {
	if s.Source(v.Source) == nil {
		return fmt.Errorf(".source: no source %q", v.Source)
	}
	if s.Host(v.Host) == nil {
		return fmt.Errorf(".host: no host %q", v.Host)
	}
	if v.CPU < 0 || v.Memory < 0 {
		return fmt.Errorf(" (%s): cpu %d, memory %d, expected no negative amount", v.ID, v.CPU, v.Memory)
	}
	if v.Power != Running && v.Power != Stopped && v.Power != Suspended {
		return fmt.Errorf(".power: is %q, expected running, stopped or suspended", v.Power)
	}
	for j, n := range v.VNICs {
		if n.Guarantee < 0 || n.Guarantee > maxNICRate {
			return fmt.Errorf(".vnics[%d].guarantee: %d, expected 0 to %d", j, n.Guarantee, maxNICRate)
		}
		if n.Queues < 0 || n.Queues > maxQueues {
			return fmt.Errorf(".vnics[%d].queues: %d, expected 0 to %d", j, n.Queues, maxQueues)
		}
	}
	return s.validateDisks(v)
}

func (s *Snapshot) validateDisks(v *VM) error {
	if i := repeated(v.Disks, func(d *Disk) DiskID { return d.ID }); i >= 0 {
		return fmt.Errorf(".disks[%d].id: %q a second time, expected each once", i, v.Disks[i].ID)
	}
	for j, d := range v.Disks {
		if s.Pool(d.Pool) == nil {
			return fmt.Errorf(".disks[%d].pool: no pool %q", j, d.Pool)
		}
		if d.Size < 0 || d.Used < 0 {
			return fmt.Errorf(".disks[%d]: size %d, used %d, expected no negative amount", j, d.Size, d.Used)
		}
		if len(d.Chain) > MaxChain {
			return fmt.Errorf(".disks[%d].chain: %d links, expected at most %d", j, len(d.Chain), MaxChain)
		}
		if d.Label.Document != nil {
			if err := d.Label.Document.Validate(); err != nil {
				return fmt.Errorf(".disks[%d].label.document: %w", j, err)
			}
		}
	}
	return nil
}
