package policy

import (
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// Resolve joins a catalogue with a valid, sorted snapshot: the tier and capacity of every host and pool, the
// requirement of every VM. A rule that fails on a host, NIC or pool is an error that names both; nothing is
// skipped. Equal input gives an equal Problem. The lists within it may share memory: it is read-only.
func Resolve(c *Catalogue, s *fleet.Snapshot) (*Problem, error) {
	if c == nil || s == nil {
		return nil, errors.New("resolve policy: no catalogue or no snapshot")
	}
	p := &Problem{
		Snapshot: s, PolicyID: c.ID(), ServerTiers: c.ServerTiers(), PoolTiers: c.PoolTiers(),
		SecurityClasses: c.SecurityClasses(), Weights: c.weights, Moves: c.moves, Reserve: c.Reserve(),
		Hosts: make(map[fleet.HostID]HostFacts, len(s.Hosts)),
		Pools: make(map[fleet.PoolID]PoolFacts, len(s.Pools)),
		VMs:   make(map[fleet.VMID]Requirement, len(s.VMs)),
	}
	modules := modulesFor(s)
	for i := range s.Hosts {
		f, err := c.host(&s.Hosts[i], modules[s.Hosts[i].ID])
		if err != nil {
			return nil, err
		}
		p.Hosts[s.Hosts[i].ID] = f
	}
	for i := range s.Pools {
		f, err := c.pool(&s.Pools[i])
		if err != nil {
			return nil, err
		}
		p.Pools[s.Pools[i].ID] = f
	}
	r := newResolver(c, s)
	for i := range s.VMs {
		p.VMs[s.VMs[i].ID] = r.vm(&s.VMs[i])
	}
	return p, nil
}

// modulesFor lists the NICs that each host can get by a module that is not on it.
func modulesFor(s *fleet.Snapshot) map[fleet.HostID][]fleet.NIC {
	nics := map[fleet.HostID][]fleet.NIC{}
	for i := range s.Modules {
		m := &s.Modules[i]
		for _, h := range m.AttachableTo {
			if h == m.Host {
				continue
			}
			for _, n := range m.NICs {
				n.Module = m.ID
				nics[h] = append(nics[h], n)
			}
		}
	}
	return nics
}

// host applies the rules to one host. Its tier and class are by the NICs that it has; more are those that it can get.
func (c *Catalogue) host(h *fleet.Host, more []fleet.NIC) (HostFacts, error) {
	view := c.viewHost(h)
	object := fmt.Sprintf("host %q", h.ID)
	vars := map[string]any{"host": view}
	f := HostFacts{Tier: Unranked, NICClass: make(map[fleet.NICID]fleet.NICClass, len(h.NICs))}
	tier, err := c.first(c.serverRules, vars, object)
	if err != nil {
		return f, err
	}
	over := Overcommit{CPU: c.defaults.CPU, Memory: c.defaults.Memory}
	if tier != nil {
		f.Tier, f.Rule = Rank(tier.rank), tier.String()
		if o, ok := c.defaults.ByTier[f.Tier]; ok {
			over = o
		}
	}
	f.CPU = fleet.MilliCPU(over.CPU.Of(int64(h.CPU)))
	f.Memory = fleet.Bytes(over.Memory.Of(int64(h.Memory)))
	class, err := c.first(c.securityRules, vars, object)
	if err != nil {
		return f, err
	}
	if class != nil {
		f.Security = class.rank
	}
	return f, c.nicClasses(&f, h, more, vars)
}

// nicClasses applies the rules to the NICs of a host and to those that it can get.
func (c *Catalogue) nicClasses(f *HostFacts, h *fleet.Host, more []fleet.NIC, vars map[string]any) error {
	for _, list := range [][]fleet.NIC{h.NICs, more} {
		for i := range list {
			n := &list[i]
			f.NICClass[n.ID] = n.Class
			if len(c.nicRules) == 0 {
				continue
			}
			view := viewNIC(n)
			vars["nic"] = &view
			class, err := c.first(c.nicRules, vars, fmt.Sprintf("NIC %q of host %q", n.ID, h.ID))
			if err != nil {
				return err
			}
			if class != nil {
				f.NICClass[n.ID] = fleet.NICClass(class.rank)
			}
		}
	}
	return nil
}

// pool applies the rules to one pool.
func (c *Catalogue) pool(p *fleet.Pool) (PoolFacts, error) {
	f := PoolFacts{Tier: Unranked, Reserve: fleet.Bytes(c.defaults.PoolReserve.Of(int64(p.Capacity)))}
	rule, err := c.first(c.poolRules, map[string]any{"pool": viewPool(p)}, fmt.Sprintf("pool %q", p.ID))
	if err != nil {
		return f, err
	}
	if rule != nil {
		f.Tier, f.Rule = Rank(rule.rank), rule.String()
	}
	return f, nil
}

// resolver turns VMs into requirements; labels of equal content are judged once.
type resolver struct {
	cat         *Catalogue
	needs       map[string]*need
	sourceDown  map[fleet.SourceID]bool
	hostDown    map[fleet.HostID]bool
	poolSource  map[fleet.PoolID]fleet.SourceID // of pools of unreachable sources only
	unlabelled  *need
	unreadLabel *need
	key         []byte // reused by keyOf
}

func newResolver(c *Catalogue, s *fleet.Snapshot) *resolver {
	r := &resolver{
		cat: c, needs: map[string]*need{}, sourceDown: map[fleet.SourceID]bool{}, hostDown: map[fleet.HostID]bool{},
		poolSource: map[fleet.PoolID]fleet.SourceID{}, unlabelled: &need{}, unreadLabel: &need{unread: true},
	}
	for i := range s.Sources {
		if !s.Sources[i].Reachable {
			r.sourceDown[s.Sources[i].ID] = true
		}
	}
	for i := range s.Hosts {
		if s.Hosts[i].Unreachable {
			r.hostDown[s.Hosts[i].ID] = true
		}
	}
	for i := range s.Pools {
		if src := s.Pools[i].Source; r.sourceDown[src] {
			r.poolSource[s.Pools[i].ID] = src
		}
	}
	return r
}

// vm is the requirement of one VM: the strictest of its labelled disks, or the default.
func (r *resolver) vm(v *fleet.VM) Requirement {
	req := Requirement{Hold: r.hold(v), Disks: make([]DiskRequirement, len(v.Disks)), GiveWay: true}
	level := -1
	asked := asking{cat: r.cat, rank: -1}
	spread, affinity := -1, -1   // trust of the labels whose groups req has
	needs := make([]*need, 0, 8) // on the stack for up to 8 disks
	for i := range v.Disks {
		n := r.need(&v.Disks[i].Label)
		needs = append(needs, n)
		for _, note := range n.notes {
			if len(v.Disks) > 1 {
				note = fmt.Sprintf("disk %s: %s", v.Disks[i].ID, note)
			}
			req.Notes = append(req.Notes, note)
		}
		asked.add(n.asked)
		if n.obeyed {
			level = max(level, n.level)
			req.raise(n)
			if n.spreadGroup != "" && n.trust > spread {
				req.SpreadGroup, req.SpreadDomain, spread = n.spreadGroup, n.spreadDomain, n.trust
			}
			if n.affinityGroup != "" && n.trust > affinity {
				req.AffinityGroup, affinity = n.affinityGroup, n.trust
			}
		}
	}
	if level < 0 {
		level = r.cat.defaults.Unlabelled
		req.raise(plainNeed(r.cat, level))
	}
	r.hypervisors(&req, v, needs)
	l := &r.cat.levels[level]
	req.Level = l.Name
	if asked.name != req.Level {
		req.Asked = asked.name
	}
	for i, n := range needs {
		size := v.Disks[i].Size
		req.Disks[i] = l.IO.of(DiskRequirement{Tier: l.Storage, Level: l.Name}, size)
		if n.obeyed {
			req.Disks[i] = n.io.of(DiskRequirement{Tier: n.storage, Level: r.cat.levels[n.level].Name}, size)
			n.ioLimit.hold(&req, v, i)
		}
	}
	return req
}

// raise makes q at least as strict as the need of one disk, but for its groups.
func (q *Requirement) raise(n *need) {
	q.Server = max(q.Server, n.server)
	q.Priority = max(q.Priority, n.priority)
	q.NICClass = max(q.NICClass, n.nicClass)
	q.Queues = max(q.Queues, n.queues)
	q.Security = max(q.Security, n.security)
	q.Rate = max(q.Rate, n.rate)
	q.Protect = q.Protect || n.protect
	q.GiveWay = q.GiveWay && n.giveWay
}

// asking finds the level that a VM's labels ask for: the highest that the catalogue has, else the first name.
type asking struct {
	cat  *Catalogue
	name string
	rank int
}

func (a *asking) add(name string) {
	if name == "" {
		return
	}
	if rank := a.cat.levelIndex(name); a.name == "" || rank > a.rank {
		a.name, a.rank = name, rank
	}
}

// hold is why v stays where it is, "" when it may move.
func (r *resolver) hold(v *fleet.VM) string {
	why := ""
	add := func(reason string) {
		if why != "" {
			why += "; "
		}
		why += reason
	}
	if r.sourceDown[v.Source] {
		add(fmt.Sprintf("source %q is unreachable", v.Source))
	}
	if r.hostDown[v.Host] {
		add(fmt.Sprintf("host %q is unreachable", v.Host))
	}
	if v.Power == fleet.Suspended {
		add("suspended: its memory is on disk and would be lost")
	}
	if v.Pinned != "" {
		add("pinned: " + v.Pinned)
	}
	for i := range v.Disks {
		d := &v.Disks[i]
		if d.Label.Trust == fleet.TrustUnknown {
			add(fmt.Sprintf("label of disk %s could not be read", d.ID))
		}
		if src, down := r.poolSource[d.Pool]; down && src != v.Source {
			add(fmt.Sprintf("source %q of pool %q is unreachable", src, d.Pool))
		}
	}
	return why
}
