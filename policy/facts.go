package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Patches are the vulnerabilities that rules ask for by name, sorted.
func (c *Catalogue) Patches() []string {
	out := slices.Clone(c.patches)
	slices.Sort(out)
	return out
}

// HostFacts is what the rules say of one host of s as h describes it: what they would say if it changed. The error is that of Resolve.
func (c *Catalogue) HostFacts(s *fleet.Snapshot, h *fleet.Host) (HostFacts, error) {
	if s == nil || h == nil {
		return HostFacts{}, errors.New("apply rules: no snapshot or no host")
	}
	var more []fleet.NIC
	for i := range s.Modules {
		m := &s.Modules[i]
		if _, ok := slices.BinarySearch(m.AttachableTo, h.ID); !ok || h.ID == m.Host {
			continue
		}
		for _, n := range m.NICs {
			n.Module = m.ID
			more = append(more, n)
		}
	}
	f, err := c.host(h, more)
	if err != nil {
		return f, fmt.Errorf("apply rules: %w", err)
	}
	return f, nil
}
