package sim

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// vmPlan is one VM with its right place and the one where it is found.
type vmPlan struct {
	need      want
	load      load
	right     int   // host
	found     int   // host
	pools     []int // right pool of each disk
	foundPool []int
	used      []fleet.Bytes // of each disk
	held      bool          // stays where it is: right and found are one
	group     int           // first VM of its spread or affinity group; itself when it has none
}

// makeVMs makes n VMs, each in a right place. VMs that belong together (a spread or affinity group) follow each
// other.
func (g *generator) makeVMs(n int) {
	g.snap.VMs = make([]fleet.VM, 0, n)
	g.plans = make([]vmPlan, 0, n)
	for len(g.plans) < n {
		size := 1
		w := g.want()
		says := w.trust == fleet.TrustSigned || w.trust == fleet.TrustUnsigned
		if room := n - len(g.plans); says && room >= 3 {
			switch r := g.rng.IntN(100); {
			case r < g.shape.Spread:
				w.spread, size = true, 2+g.rng.IntN(2)
			case r < g.shape.Spread+g.shape.Affinity:
				w.affinity, size = true, 2
			}
		}
		g.makeGroup(w, size, n)
	}
}

// makeGroup makes size VMs with one need. A spread group that the tier has not the hosts for becomes single VMs.
func (g *generator) makeGroup(w want, size, n int) {
	first := len(g.plans)
	if w.spread && (len(g.byTier[w.server]) < 2*size || w.dmz && g.cabled[w.server] < size) {
		w.spread = false
	}
	w.name = "app-" + number(first, n, 6)
	for len(g.plans) < first+size {
		i := len(g.plans)
		p := vmPlan{need: w, group: first}
		v := g.makeVM(i, n, &p)
		p.right = g.rightHost(&p, first)
		p.found = p.right
		v.Source, v.Host = g.snap.Hosts[p.right].Source, g.snap.Hosts[p.right].ID
		g.reserve(p.right, &p.need)
		g.makeDisks(&v, &p)
		p.held = v.Power == fleet.Suspended || v.Pinned != "" || w.unread
		g.load[p.right].add(p.load)
		g.now[p.right].add(p.load)
		g.plans = append(g.plans, p)
		g.snap.VMs = append(g.snap.VMs, v)
	}
}

// makeVM gives a VM its name and size.
func (g *generator) makeVM(i, n int, p *vmPlan) fleet.VM {
	v := fleet.VM{
		ID: fleet.VMID("vm-" + number(i, n, 6)), UUID: g.uuid(), Power: fleet.Running,
		CPU:    fleet.CPUs(pick(g, 1, 1, 2, 2, 2, 4, 4, 8)),
		Memory: pick[fleet.Bytes](g, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 16) * fleet.GiB,
		Tags:   []string{"team:" + pick(g, "billing", "search", "web", "data", "infra")},
	}
	v.Ref = string(v.ID)
	if r := g.rng.IntN(1000); r < 100 {
		v.Power = fleet.Stopped
	} else if r < 115 {
		v.Power = fleet.Suspended
	}
	if g.rng.IntN(1000) < 5 {
		v.Pinned = "PCI device 0000:3b:00.0 is passed through"
	}
	network := pick(g, "dev", "prod", "prod", "prod")
	if p.need.dmz {
		network = "dmz"
	}
	v.VNICs = []fleet.VNIC{{ID: "net0", Network: network, Queues: fleet.Queues(min(int(v.CPU/1000), 4))}}
	p.load = load{cpu: v.CPU, memory: v.Memory, queues: p.need.queues}
	return v
}

// rightHost finds the least loaded of a few hosts that fit p; a fleet too small to have its tier uses a higher one.
func (g *generator) rightHost(p *vmPlan, first int) int {
	mates := g.plans[first:]
	if p.need.affinity && len(mates) > 0 {
		return mates[0].right
	}
	for t := p.need.server; t < tiers; t++ {
		if h := g.leastLoaded(g.byTier[t], p, mates); h >= 0 {
			return h
		}
	}
	for t := range tiers { // every host that would fit is in maintenance or has no DMZ: a fleet of a few hosts
		if len(g.byTier[tiers-1-t]) > 0 {
			return g.byTier[tiers-1-t][0]
		}
	}
	return 0
}

// leastLoaded looks at 4 hosts by chance, and at all when none of those fits; -1 when none does.
func (g *generator) leastLoaded(hosts []int, p *vmPlan, mates []vmPlan) int {
	best := -1
	look := func(h int) {
		taken := p.need.spread && slices.ContainsFunc(mates, func(m vmPlan) bool { return m.right == h })
		if taken || p.need.dmz && len(g.snap.Hosts[h].Networks) < 3 {
			return
		}
		if best < 0 || g.load[h].memory < g.load[best].memory {
			best = h
		}
	}
	if len(hosts) == 0 {
		return -1
	}
	for range 4 {
		look(pick(g, hosts...))
	}
	if best < 0 {
		for _, h := range hosts {
			look(h)
		}
	}
	return best
}

// makeDisks gives v its disks, each in a pool of the tier that its need asks for.
func (g *generator) makeDisks(v *fleet.VM, p *vmPlan) {
	count := pick(g, 1, 1, 1, 1, 2, 2, 3)
	h := p.right
	c := g.clusters[h/clusterSize]
	kvm := g.snap.Hosts[h].Hypervisor == fleet.KVM
	for i := range count {
		size := pick[fleet.Bytes](g, 10, 20, 20, 40, 60) * fleet.GiB
		if i > 0 {
			size = pick[fleet.Bytes](g, 20, 50, 100, 200) * fleet.GiB
		}
		d := fleet.Disk{ID: fleet.DiskID(fmt.Sprintf("vd%c", 'a'+i)), Format: "qcow2", Size: size}
		d.Used = size / 100 * fleet.Bytes(20+g.rng.IntN(60)) / fleet.MiB * fleet.MiB
		if !kvm {
			d.ID, d.Format = fleet.DiskID(fmt.Sprint(2000+i)), "vmdk"
		} else if i == 0 && g.rng.IntN(1000) < 20 {
			d.Format = "vmdk"
			v.Blocked = append(v.Blocked, fleet.Blocker{Change: fleet.ChangeHost, Reason: "vda is a VMDK: QEMU refuses live migration"})
		}
		var t tier
		d.Label, t = g.label(&p.need, i, d.Size)
		pool := c.pools[t][(len(g.plans)+i)%len(c.pools[t])]
		if t == g.hostTier[h] && !p.need.unread && g.chance(25) {
			pool = g.localPool[h]
		}
		g.poolLoad[pool] += d.Used
		if doc := d.Label.Document; doc != nil && doc.Overrides["storage.iops"] != "" {
			g.poolRate[pool] += p.need.iops
		}
		g.poolNow[pool] += d.Used
		p.pools = append(p.pools, pool)
		p.used = append(p.used, d.Used)
		v.Disks = append(v.Disks, d)
		if d.Label.Trust == fleet.TrustUnknown {
			g.snap.Gaps = append(g.snap.Gaps, fleet.Gap{
				Source: v.Source, Object: fmt.Sprintf("vm %s disk %s", v.ID, d.ID), What: "label",
				Cause: pick(g, "permission denied", "image is locked by another process"),
			})
		}
	}
	p.foundPool = slices.Clone(p.pools)
}

// place writes where VM i is found.
func (g *generator) place(i int) {
	v, p := &g.snap.VMs[i], &g.plans[i]
	h := &g.snap.Hosts[p.found]
	v.Host, v.Source = h.ID, h.Source
	for j := range v.Disks {
		d := &v.Disks[j]
		pool := &g.snap.Pools[p.foundPool[j]]
		d.Pool = pool.ID
		if h.Hypervisor == fleet.VSphere {
			d.Path = fmt.Sprintf("[%s] %s/%s-%d.vmdk", pool.ID, v.ID, v.ID, j)
		} else {
			d.Path = fmt.Sprintf("/srv/berth/%s/%s-%s.%s", pool.ID, v.ID, d.ID, d.Format)
		}
	}
}

func (g *generator) uuid() string {
	a, b := g.rng.Uint64(), g.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}
