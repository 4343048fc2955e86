package whatif

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// changed is a fleet after its changes.
type changed struct {
	snap *fleet.Snapshot
	// hosts are the lost ones. They are still in the snapshot, in maintenance, as the place that their VMs come from.
	hosts map[fleet.HostID]string // by what was lost: "host host-a"
	pools map[fleet.PoolID]string
	gone  map[fleet.VMID]string // VMs whose disks are lost, and why; no longer in the snapshot
	named map[thing]bool        // what was named as lost, itself
	speed map[thing]fleet.Mbps  // what was upgraded, and to what
	texts []string              // what was done, in the order of the changes
}

// apply makes the changes on a copy of s. patches are the vulnerabilities that the policy names. The error names the change.
func apply(s *fleet.Snapshot, patches []string, list []Change) (*changed, error) {
	if len(list) > MaxChanges {
		return nil, fmt.Errorf("change fleet: %d changes, expected at most %d", len(list), MaxChanges)
	}
	c := &changed{
		snap: clone(s), hosts: map[fleet.HostID]string{}, pools: map[fleet.PoolID]string{}, gone: map[fleet.VMID]string{},
		named: map[thing]bool{}, speed: map[thing]fleet.Mbps{},
	}
	// What comes is there before anything is looked up, so that it can be patched, or lost, too.
	for _, ch := range list {
		if ch.Kind != Add {
			continue
		}
		if err := c.add(ch); err != nil {
			return nil, fmt.Errorf("add %s: %w", ch.Name, err)
		}
	}
	dir := newDirectory(c.snap)
	for _, ch := range list {
		var err error
		switch ch.Kind {
		case Add:
		case Lose:
			err = c.lose(dir, ch)
		case Upgrade:
			err = c.upgrade(dir, ch)
		case Patch:
			err = c.patch(dir, ch, patches)
		default:
			err = errors.New("no such kind of change")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ch.Kind, err)
		}
	}
	c.bury()
	if err := c.snap.Validate(); err != nil {
		return nil, fmt.Errorf("change fleet: snapshot.%w", err)
	}
	return c, nil
}

// clone copies s as far as changes reach: lists within an element are replaced, never written to.
func clone(s *fleet.Snapshot) *fleet.Snapshot {
	out := *s
	out.Sources, out.Hosts, out.Pools = slices.Clone(s.Sources), slices.Clone(s.Hosts), slices.Clone(s.Pools)
	out.VMs, out.Modules = slices.Clone(s.VMs), slices.Clone(s.Modules)
	return &out
}

func (c *changed) say(format string, args ...any) {
	c.texts = append(c.texts, fmt.Sprintf(format, args...))
}

// count says "1 host", "3 hosts".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// add joins an addition to the fleet. A source may be the fleet's own, when it is said as it is.
func (c *changed) add(ch Change) error {
	if ch.Parts == nil {
		return errors.New("nothing to add")
	}
	s := c.snap
	for i, src := range ch.Parts.Sources {
		switch own := s.Source(src.ID); {
		case own == nil:
			s.Sources = append(s.Sources, src)
		case !reflect.DeepEqual(*own, src):
			return fmt.Errorf("sources[%d]: the fleet has another source %s: leave it out to add to that", i, src.ID)
		}
	}
	for i := range ch.Parts.Hosts {
		if h := &ch.Parts.Hosts[i]; s.Host(h.ID) != nil {
			return fmt.Errorf("hosts[%d]: the fleet has a host %s already", i, h.ID)
		}
	}
	for i := range ch.Parts.Pools {
		if p := &ch.Parts.Pools[i]; s.Pool(p.ID) != nil {
			return fmt.Errorf("pools[%d]: the fleet has a pool %s already", i, p.ID)
		}
	}
	for i := range ch.Parts.Modules {
		if m := &ch.Parts.Modules[i]; s.Module(m.ID) != nil {
			return fmt.Errorf("modules[%d]: the fleet has a module %s already", i, m.ID)
		}
	}
	s.Hosts = append(s.Hosts, ch.Parts.Hosts...)
	s.Pools = append(s.Pools, ch.Parts.Pools...)
	s.Modules = append(s.Modules, ch.Parts.Modules...)
	c.sort(ch.Parts)
	if err := s.Validate(); err != nil {
		return fmt.Errorf("the fleet with it: %w", err)
	}
	c.say("%s, %s and %s come", count(len(ch.Parts.Hosts), "host"), count(len(ch.Parts.Pools), "pool"), count(len(ch.Parts.Modules), "I/O module"))
	return nil
}

// sort brings the lists in order, those within what is new on copies of them.
func (c *changed) sort(a *Addition) {
	s := c.snap
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if slices.ContainsFunc(a.Hosts, func(o fleet.Host) bool { return o.ID == h.ID }) {
			h.Pools, h.NICs = slices.Clone(h.Pools), slices.Clone(h.NICs)
			slices.Sort(h.Pools)
			slices.SortFunc(h.NICs, func(a, b fleet.NIC) int { return cmp.Compare(a.ID, b.ID) })
		}
	}
	slices.SortFunc(s.Sources, func(a, b fleet.Source) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Hosts, func(a, b fleet.Host) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Pools, func(a, b fleet.Pool) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Modules, func(a, b fleet.IOModule) int { return cmp.Compare(a.ID, b.ID) })
}

// inside says whether h is what t names, or in it.
func inside(h *fleet.Host, t thing) bool {
	switch t.kind {
	case "host":
		return string(h.ID) == t.name
	case "chassis":
		return h.Chassis == t.name
	case "rack":
		return h.Rack == t.name
	case "site":
		return h.Site == t.name
	}
	return false
}

func (c *changed) lose(dir *directory, ch Change) error {
	t, err := dir.find(ch.Name, "host", "chassis", "rack", "site", "module", "pool")
	if err != nil {
		return err
	}
	if c.named[t] {
		return nil // named twice
	}
	c.named[t] = true
	switch t.kind {
	case "module":
		if c.detach(fleet.ModuleID(t.name)) {
			c.snap.Modules = slices.DeleteFunc(c.snap.Modules, func(m fleet.IOModule) bool { return string(m.ID) == t.name })
		}
	case "pool":
		c.pools[fleet.PoolID(t.name)] = t.String()
	default:
		n := 0
		for i := range c.snap.Hosts {
			if h := &c.snap.Hosts[i]; inside(h, t) {
				n++
				if c.hosts[h.ID] == "" {
					c.hosts[h.ID] = t.String()
				}
			}
		}
		if t.kind != "host" {
			c.say("%s is lost with %s", t, count(n, "host"))
			return nil
		}
	}
	c.say("%s is lost", t)
	return nil
}

// detach takes a module off its host. It says whether there is such a module.
func (c *changed) detach(id fleet.ModuleID) bool {
	m := c.snap.Module(id)
	if m == nil {
		return false
	}
	if h := c.snap.Host(m.Host); h != nil {
		var others []*fleet.IOModule
		for i := range c.snap.Modules {
			if o := &c.snap.Modules[i]; o.ID != id && o.Host == m.Host {
				others = append(others, o)
			}
		}
		h.NICs, h.Pools = m.Without(h, others)
	}
	m.Host = ""
	return true
}

// upgrade gives NICs another speed. What they could guarantee stays the same share of it.
func (c *changed) upgrade(dir *directory, ch Change) error {
	t, err := dir.find(ch.Name, "module", "nic", "host")
	if err != nil {
		return err
	}
	if was, ok := c.speed[t]; ok && was != ch.Speed {
		return fmt.Errorf("%w %q: both %s and %s are asked for", ErrName, ch.Name, was, ch.Speed)
	} else if ok {
		return nil
	}
	if c.isLost(t) {
		return fmt.Errorf("%w %q: %s is lost in the same question", ErrName, ch.Name, t)
	}
	c.speed[t] = ch.Speed
	n := 0
	faster := func(list []fleet.NIC, want func(*fleet.NIC) bool) []fleet.NIC {
		list = slices.Clone(list)
		for i := range list {
			if want(&list[i]) {
				list[i] = speedUp(list[i], ch.Speed)
				n++
			}
		}
		return list
	}
	if m := c.snap.Module(fleet.ModuleID(t.name)); t.kind == "module" && m != nil {
		m.NICs = faster(m.NICs, func(*fleet.NIC) bool { return true })
		if h := c.snap.Host(m.Host); h != nil {
			found := n
			h.NICs = faster(h.NICs, func(nic *fleet.NIC) bool { return nic.Module == m.ID })
			n = found
		}
	}
	for i := range c.snap.Hosts {
		h := &c.snap.Hosts[i]
		switch t.kind {
		case "host":
			if string(h.ID) == t.name {
				h.NICs = faster(h.NICs, func(nic *fleet.NIC) bool { return nic.Module == "" })
			}
		case "nic":
			h.NICs = faster(h.NICs, func(nic *fleet.NIC) bool { return nic.Module == "" && string(h.ID)+"/"+string(nic.ID) == t.name })
		}
	}
	if n == 0 {
		return fmt.Errorf("%s has no NIC", t)
	}
	if t.kind == "nic" {
		c.say("%s gets %s", t, ch.Speed)
		return nil
	}
	c.say("%s of %s: now %s", count(n, "NIC"), t, ch.Speed)
	return nil
}

// isLost says whether a host, a NIC of a host, or a module is lost already.
func (c *changed) isLost(t thing) bool {
	if c.named[t] || t.kind == "host" && c.hosts[fleet.HostID(t.name)] != "" {
		return true
	}
	for h := range c.hosts {
		if t.kind == "nic" && strings.HasPrefix(t.name, string(h)+"/") {
			return true
		}
	}
	return false
}

func speedUp(n fleet.NIC, speed fleet.Mbps) fleet.NIC {
	if n.Guarantee > 0 {
		share := 1.0
		if n.Speed > 0 {
			share = float64(n.Guarantee) / float64(n.Speed)
		}
		n.Guarantee = min(fleet.Mbps(share*float64(speed)), speed)
	}
	n.Speed = speed
	return n
}

// patch marks vulnerabilities as fixed.
func (c *changed) patch(dir *directory, ch Change, named []string) error {
	t, err := dir.find(ch.Name, "host", "chassis", "rack", "site")
	if err != nil {
		return err
	}
	if c.isLost(t) {
		return fmt.Errorf("%w %q: %s is lost in the same question", ErrName, ch.Name, t)
	}
	hosts, fixed := 0, 0
	known := ch.Fix == "" || slices.Contains(named, ch.Fix)
	for i := range c.snap.Hosts {
		h := &c.snap.Hosts[i]
		known = known || h.Patch[ch.Fix] != ""
		if !inside(h, t) {
			continue
		}
		hosts++
		ids := []string{ch.Fix}
		if ch.Fix == "" {
			ids = slices.Concat(slices.Collect(maps.Keys(h.Patch)), named)
		}
		after := maps.Clone(h.Patch)
		if after == nil {
			after = map[string]fleet.PatchState{}
		}
		for _, id := range ids {
			if after[id] != fleet.PatchFixed {
				fixed++
			}
			after[id] = fleet.PatchFixed
		}
		h.Patch = after
	}
	c.sayPatched(t, ch.Fix, hosts, fixed, known)
	return nil
}

// sayPatched says what a patch of t came to: on how many hosts, how much of it was not fixed before, and whether anything
// in the fleet or its policy knows what was fixed.
func (c *changed) sayPatched(t thing, fix string, hosts, fixed int, known bool) {
	what := cmp.Or(fix, "all vulnerabilities that are known or asked for")
	switch {
	case fixed == 0:
		c.say("%s of %s: fixed already, nothing changes", what, t)
	case known:
		c.say("%s fixed on %s of %s", what, count(hosts, "host"), t)
	default:
		c.say("%s fixed on %s of %s: no host of the fleet and no rule of the policy had named it, nothing else changes", what, count(hosts, "host"), t)
	}
}
