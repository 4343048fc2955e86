package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// Warnings lists what is allowed in a catalogue and probably not meant; with a snapshot also what does not fit that
// fleet: levels that no host satisfies, hosts and pools that no rule matches, labels with unknown levels. The error is
// that of Resolve.
func (c *Catalogue) Warnings(s *fleet.Snapshot) ([]string, error) {
	warnings := c.ownWarnings()
	if s == nil {
		return warnings, nil
	}
	p, err := Resolve(c, s)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, c.unsatisfied(p)...)
	warnings = append(warnings, unranked(p)...)
	return append(warnings, c.unknownLevels(s)...), nil
}

// ownWarnings need no fleet.
func (c *Catalogue) ownWarnings() []string {
	var warnings []string
	say := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if top := len(c.levels) - 1; c.defaults.UnsignedCeiling == top && top > 0 {
		say("defaults.unsigned_ceiling is %s, the highest level: whoever can write an image can have it", c.levels[top].Name)
	}
	if c.defaults.Unlabelled > c.defaults.UnsignedCeiling {
		say("defaults.unlabelled is %s, above unsigned_ceiling %s: removing a label raises a VM", c.Unlabelled().Name, c.UnsignedCeiling().Name)
	}
	for _, list := range c.ruleLists() {
		for i := range list.rules {
			if list.rules[i].oneLine() == "true" && i < len(list.rules)-1 {
				say("%s: the rule on line %d is always true, so those after it never decide", list.key, list.rules[i].Line)
				break
			}
		}
	}
	gives := func(rules []Rule, rank int) bool {
		return slices.ContainsFunc(rules, func(r Rule) bool { return r.rank >= rank })
	}
	for i := range c.levels {
		l := &c.levels[i]
		if !gives(c.serverRules, int(l.Server)) {
			say("level %s needs server tier %s, which no rule of match.servers gives", l.Name, c.server[l.Server])
		}
		if !gives(c.poolRules, int(l.Storage)) {
			say("level %s needs storage tier %s, which no rule of match.pools gives", l.Name, c.storage[l.Storage])
		}
		if l.Security > 0 && !gives(c.securityRules, l.Security) {
			say("level %s needs security class %s, which no rule of match.security gives", l.Name, c.security[l.Security])
		}
	}
	return warnings
}

// unsatisfied names the levels that no usable host satisfies, with how many satisfy each part.
func (c *Catalogue) unsatisfied(p *Problem) []string {
	var warnings []string
	for i := range c.levels {
		l := &c.levels[i]
		var usable, whole, kind, server, security, nic, storage int
		for j := range p.Snapshot.Hosts {
			h := &p.Snapshot.Hosts[j]
			if h.Maintenance || h.Unreachable {
				continue
			}
			f := p.Hosts[h.ID]
			usable++
			parts := []struct {
				ok    bool
				count *int
			}{
				{len(l.Hypervisors) == 0 || slices.Contains(l.Hypervisors, h.Hypervisor), &kind}, {f.Tier >= l.Server, &server}, {f.Security >= l.Security, &security},
				{hasNIC(h, f, l), &nic}, {hasPool(p, h, l), &storage},
			}
			all := true
			for _, part := range parts {
				if part.ok {
					*part.count++
				}
				all = all && part.ok
			}
			if all {
				whole++
			}
		}
		if whole == 0 {
			extra := ""
			if len(l.Hypervisors) > 0 {
				extra = fmt.Sprintf("hypervisor %s: %d, ", joinKinds(l.Hypervisors), kind)
			}
			nicText := fmt.Sprintf("NIC class %d with %d queues", l.NICClass, l.Queues)
			if l.Rate > 0 {
				nicText += " and " + l.Rate.String()
			}
			warnings = append(warnings, fmt.Sprintf("level %s: none of %d usable hosts satisfies it (%sserver tier %s: %d, security class %s: %d, "+
				"%s: %d, a pool of tier %s: %d)", l.Name, usable, extra, c.server[l.Server], server, c.security[l.Security],
				security, nicText, nic, c.storage[l.Storage], storage))
		}
	}
	return warnings
}

func hasNIC(h *fleet.Host, f HostFacts, l *Level) bool {
	if l.NICClass == 0 && l.Queues == 0 && l.Rate == 0 {
		return true
	}
	return slices.ContainsFunc(h.NICs, func(n fleet.NIC) bool {
		return f.NICClass[n.ID] >= l.NICClass && n.Queues >= l.Queues && n.Guarantee >= l.Rate
	})
}

func hasPool(p *Problem, h *fleet.Host, l *Level) bool {
	return slices.ContainsFunc(h.Pools, func(id fleet.PoolID) bool { return p.Pools[id].Tier >= l.Storage })
}

// unranked names the hosts and pools that no rule matched.
func unranked(p *Problem) []string {
	var hosts, pools, warnings []string
	for i := range p.Snapshot.Hosts {
		if id := p.Snapshot.Hosts[i].ID; p.Hosts[id].Tier == Unranked {
			hosts = append(hosts, string(id))
		}
	}
	for i := range p.Snapshot.Pools {
		if id := p.Snapshot.Pools[i].ID; p.Pools[id].Tier == Unranked {
			pools = append(pools, string(id))
		}
	}
	if len(hosts) > 0 {
		warnings = append(warnings, fmt.Sprintf("%d of %d hosts match no rule of match.servers, so nothing is placed there: %s",
			len(hosts), len(p.Snapshot.Hosts), some(hosts)))
	}
	if len(pools) > 0 {
		warnings = append(warnings, fmt.Sprintf("%d of %d pools match no rule of match.pools, so nothing is placed there: %s",
			len(pools), len(p.Snapshot.Pools), some(pools)))
	}
	return warnings
}

// some are the first few of names.
func some(names []string) string {
	const few = 8
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// unknownLevels names the levels that labels ask for and the catalogue does not have.
func (c *Catalogue) unknownLevels(s *fleet.Snapshot) []string {
	disks := map[string]int{}
	var names []string
	for i := range s.VMs {
		for j := range s.VMs[i].Disks {
			doc := s.VMs[i].Disks[j].Label.Document
			if doc == nil || c.levelIndex(doc.Level) >= 0 {
				continue
			}
			if disks[doc.Level] == 0 {
				names = append(names, doc.Level)
			}
			disks[doc.Level]++
		}
	}
	slices.Sort(names)
	var warnings []string
	for _, n := range names {
		warnings = append(warnings, fmt.Sprintf("labels of %d disks ask for level %q, which the catalogue does not have: they count as unlabelled", disks[n], n))
	}
	return warnings
}
