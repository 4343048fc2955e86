package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"
	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// parallelHosts and parallelDomains bound the work that Observe does at a time, per source and per host.
const (
	parallelHosts   = 32
	parallelDomains = 6
)

// sight is what was seen of one host.
type sight struct {
	host  fleet.Host
	pools []poolInfo
	vms   []seenVM
	gaps  []fleet.Gap
	err   error // nothing was seen, because of this
}

type seenVM struct {
	vm       fleet.VM
	active   bool
	incoming bool
}

// Observe reads the whole source, all hosts at once. A host that does not answer is a Gap, and an unreachable Host
// when this Driver has seen it before and so knows its name. An error is returned only when no host answered.
func (d *Driver) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	seen := make([]sight, len(d.hosts))
	var g errgroup.Group
	g.SetLimit(parallelHosts)
	for i, h := range d.hosts {
		g.Go(func() error {
			seen[i] = h.observe(ctx)
			return nil
		})
	}
	_ = g.Wait() // every failure is kept in its sight
	s := &fleet.Snapshot{Version: fleet.SnapshotVersion, Taken: time.Now().UTC(), Sources: []fleet.Source{d.source(seen)}}
	var failed []error
	names := map[fleet.HostID]bool{}
	for i := range seen {
		v := &seen[i]
		if v.err == nil && names[v.host.ID] {
			v.err = fmt.Errorf("a second host says that its name is %s", v.host.ID)
		}
		if v.err != nil {
			failed = append(failed, fmt.Errorf("host %s: %w", d.hosts[i].cfg.URI, v.err))
			s.Gaps = append(s.Gaps, fleet.Gap{Source: d.id, Object: "host " + d.hosts[i].cfg.URI, What: "everything", Cause: v.err.Error()})
			if old := d.hosts[i].lastSeen(nil); old != nil && !names[old.ID] {
				names[old.ID] = true
				s.Hosts = append(s.Hosts, fleet.Host{
					ID: old.ID, Source: d.id, Ref: old.Ref, Hypervisor: old.Hypervisor, Version: old.Version, CPU: old.CPU, Memory: old.Memory,
					Cluster: old.Cluster, Chassis: old.Chassis, Rack: old.Rack, Site: old.Site, Tags: old.Tags, Pools: []fleet.PoolID{}, Unreachable: true,
				})
			}
			continue
		}
		names[v.host.ID] = true
		d.hosts[i].lastSeen(&v.host)
		d.add(s, v, d.hosts[i])
	}
	if len(failed) == len(d.hosts) {
		return nil, wrap("observe source "+string(d.id), errors.Join(failed...), false)
	}
	d.addVMs(s, seen)
	proven(s)
	s.Sort()
	return s, nil
}

// lastSeen notes v, when it is not nil, and returns what was noted.
func (h *host) lastSeen(v *fleet.Host) *fleet.Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v != nil {
		c := *v
		h.known = &c
	}
	return h.known
}

// source describes what the driver can do here. A live change of the host needs an address for the others.
func (d *Driver) source(seen []sight) fleet.Source {
	src := fleet.Source{ID: d.id, Kind: fleet.KVM, Reachable: true}
	peers := true
	for i, h := range d.hosts {
		peers = peers && h.cfg.Peer != ""
		if seen[i].host.Hypervisor == fleet.Xen {
			src.Kind = fleet.Xen
		}
	}
	kvm := src.Kind == fleet.KVM
	src.Capabilities = fleet.Capabilities{
		LiveMigration: kvm && peers && len(d.hosts) > 1, LiveBoth: kvm && peers && len(d.hosts) > 1, LiveStorage: kvm, Offline: true,
	}
	return src
}

func (d *Driver) add(s *fleet.Snapshot, v *sight, h *host) {
	v.host.Source = d.id
	for _, p := range v.pools {
		if !p.active {
			s.Gaps = append(s.Gaps, fleet.Gap{Source: d.id, Object: "pool " + string(p.id), What: "everything", Cause: "the pool is not active"})
		}
		v.host.Pools = append(v.host.Pools, p.id)
		s.Pools = append(s.Pools, fleet.Pool{
			ID: p.id, Source: d.id, Ref: h.cfg.URI + "#" + p.name, Type: p.kind, Capacity: p.capacity, Free: p.free, Shared: p.shared(),
		})
	}
	s.Hosts = append(s.Hosts, v.host)
	for _, g := range v.gaps {
		g.Source = d.id
		s.Gaps = append(s.Gaps, g)
	}
}

// addVMs joins the hosts' VMs. One VM on two hosts is between two places: it is listed once, where it counts,
// and held. Two VMs of one name are told apart by their host.
func (d *Driver) addVMs(s *fleet.Snapshot, seen []sight) {
	byUUID := map[string]*seenVM{}
	var order []*seenVM
	for i := range seen {
		for k := range seen[i].vms {
			v := &seen[i].vms[k]
			old, twice := byUUID[v.vm.UUID]
			if !twice {
				byUUID[v.vm.UUID] = v
				order = append(order, v)
				continue
			}
			what := fmt.Sprintf("defined on %s and on %s: a move of it was broken off", old.vm.Host, v.vm.Host)
			if old.incoming && !v.incoming || v.active && !old.active {
				*old = *v
			}
			old.vm.Pinned = what
			s.Gaps = append(s.Gaps, fleet.Gap{Source: d.id, Object: "vm " + string(v.vm.ID), What: "place", Cause: what})
		}
	}
	count := map[fleet.VMID]int{}
	for _, v := range order {
		count[v.vm.ID]++
	}
	for _, v := range order {
		if count[v.vm.ID] > 1 {
			v.vm.ID = fleet.VMID(string(v.vm.Host) + "/" + string(v.vm.ID))
		}
		v.vm.Source = d.id
		s.VMs = append(s.VMs, v.vm)
	}
}

func (h *host) observe(ctx context.Context) sight {
	v, err := call(ctx, h, h.time.Call, h.describe)
	if err != nil {
		return sight{err: err}
	}
	h.refreshAll(ctx, &v)
	v.pools, err = h.pools(ctx, v.host.ID)
	if err != nil {
		v.gaps = append(v.gaps, fleet.Gap{Object: "host " + string(v.host.ID), What: "pools", Cause: err.Error()})
	}
	list, err := h.domains(ctx)
	if err != nil {
		v.gaps = append(v.gaps, fleet.Gap{Object: "host " + string(v.host.ID), What: "vms", Cause: err.Error()})
	}
	h.observeVMs(ctx, &v, list)
	return v
}

// refreshAll brings the pools up to date: libvirt counts space and files when it is told to, and not when
// somebody else writes.
func (h *host) refreshAll(ctx context.Context, v *sight) {
	pools, err := h.pools(ctx, v.host.ID)
	if err != nil {
		return // told by the caller
	}
	for _, p := range pools {
		if !p.active {
			continue
		}
		if err := h.refresh(ctx, p.name); err != nil {
			v.gaps = append(v.gaps, fleet.Gap{Object: "pool " + string(p.id), What: "present free space", Cause: err.Error()})
		}
	}
}

func (h *host) observeVMs(ctx context.Context, v *sight, list []golibvirt.Domain) {
	vms := make([]*end, len(list))
	gaps := make([][]fleet.Gap, len(list))
	var g errgroup.Group
	g.SetLimit(parallelDomains)
	for i, dom := range list {
		g.Go(func() error {
			e, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (*end, error) { return readDomain(l, h, dom, v.pools) })
			switch {
			case hasCode(err, golibvirt.ErrNoDomain): // gone since the list was made
			case err != nil:
				gaps[i] = []fleet.Gap{{Object: "vm " + dom.Name, What: "everything", Cause: err.Error()}}
			default:
				h.finishVM(ctx, e, v)
				vms[i], gaps[i] = e, e.guest.gaps
			}
			return nil
		})
	}
	_ = g.Wait() // failures are gaps
	for i, e := range vms {
		v.gaps = append(v.gaps, gaps[i]...)
		if e != nil {
			v.vms = append(v.vms, seenVM{vm: e.guest.vm, active: e.active, incoming: e.incoming()})
		}
	}
}

// finishVM adds what the domain's XML does not say.
func (h *host) finishVM(ctx context.Context, e *end, v *sight) {
	g := e.guest
	g.vm.Host, g.vm.Power = v.host.ID, e.power()
	switch {
	case e.saved:
		g.pin("has a saved memory image on its host")
	case e.power() == fleet.Suspended:
		g.pin("is suspended")
	case !e.persistent:
		g.pin("has no definition (transient domain)")
	case e.incoming():
		g.pin("a move of it was broken off")
	case e.job || len(g.mirrors) > 0:
		g.pin("a job of libvirt runs on it")
	case e.snapshots > 0:
		g.pin("has %d snapshots, which are not moved yet", e.snapshots)
	case v.host.Hypervisor == fleet.Xen:
		g.pin("runs on Xen, whose moves are not supported yet")
	}
	for i := range g.vm.Disks {
		h.finishDisk(ctx, e, &g.vm.Disks[i], v.pools)
	}
}

// finishDisk finds a disk's size: from QEMU while it runs, and from the VMDK's descriptor, since the pool and
// a stopped libvirt take a text descriptor for a tiny raw disk.
func (h *host) finishDisk(ctx context.Context, e *end, d *fleet.Disk, pools []poolInfo) {
	g := e.guest
	info, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) ([3]uint64, error) {
		alloc, capacity, phys, err := l.DomainGetBlockInfo(e.dom, string(d.ID), 0)
		return [3]uint64{alloc, capacity, phys}, err
	})
	if err != nil {
		g.gap(string(d.ID), "size", "%v", err)
	}
	d.Size, d.Used = clamp(info[1]), clamp(info[0])
	if d.Format != "raw" {
		d.Used = max(d.Used, clamp(info[2]))
	}
	pool := poolOf(pools, d.Path)
	if d.Format == "qcow2" && !e.active && len(d.Chain) == 0 {
		h.finishChain(ctx, g, d, pools)
	}
	if d.Format != "vmdk" || pool == nil {
		return
	}
	set, err := h.fileSet(ctx, pool.name, d.Path, d.Format)
	if err != nil {
		g.gap(string(d.ID), "extents", "%v", err)
		g.pin("%s: its extents cannot be read", d.ID)
		return
	}
	if set.vmdk == nil {
		return
	}
	if size, ok := set.vmdk.size(); ok {
		d.Size = fleet.Bytes(size)
	}
	if !set.vmdk.embedded {
		d.Used = set.used()
	}
	if why := set.vmdk.liveCopy(); why != "" {
		g.block(fleet.ChangeStorage, "%s: %s", d.ID, why)
	}
}

// finishChain finds the backing images of a stopped VM's disk, which libvirt looks for only when it starts.
func (h *host) finishChain(ctx context.Context, g *guest, d *fleet.Disk, pools []poolInfo) {
	var err error
	if d.Chain, err = h.backingChain(ctx, pools, d.Path); err != nil {
		g.gap(string(d.ID), "backing chain", "%v", err)
		g.pin("%s: its backing chain cannot be read", d.ID)
	}
	if len(d.Chain) > 0 {
		g.pin("%s has a backing chain, which is not moved yet", d.ID)
	}
}

// describe reads the host itself.
func (h *host) describe(l *golibvirt.Libvirt) (sight, error) {
	var v sight
	name, err := l.ConnectGetHostname()
	if err != nil {
		return v, err
	}
	_, memory, cpus, _, _, _, _, _, err := l.NodeGetInfo() // the library's signature
	if err != nil {
		return v, err
	}
	kind, err := l.ConnectGetType()
	if err != nil {
		return v, err
	}
	v.host = fleet.Host{
		ID: fleet.HostID(name), Ref: h.cfg.URI, Hypervisor: fleet.KVM, CPU: fleet.CPUs(int(cpus)), Memory: clamp(min(memory, 1<<50) << 10),
		Cluster: h.cfg.Cluster, Chassis: h.cfg.Chassis, Rack: h.cfg.Rack, Site: h.cfg.Site, Tags: slices.Clone(h.cfg.Tags),
	}
	if strings.EqualFold(kind, "xen") {
		v.host.Hypervisor = fleet.Xen
	}
	if ver, err := l.ConnectGetVersion(); err == nil {
		v.host.Version = fmt.Sprintf("%s %d.%d.%d", kind, ver/1e6, ver/1e3%1e3, ver%1e3)
	}
	gap := func(what string, err error) {
		if err != nil {
			v.gaps = append(v.gaps, fleet.Gap{Object: "host " + name, What: what, Cause: err.Error()})
		}
	}
	gap("architecture", h.capabilities(l, &v.host))
	if v.host.Hypervisor == fleet.KVM {
		gap("cpu models", h.baselines(l, &v.host))
	}
	uplinks, err := h.networks(l, &v.host)
	gap("networks", err)
	gap("nics", h.nics(l, &v.host, uplinks))
	return v, nil
}

func (h *host) capabilities(l *golibvirt.Libvirt, host *fleet.Host) error {
	doc, err := l.Capabilities()
	if err != nil {
		return err
	}
	var c libvirtxml.Caps
	if err := xml.Unmarshal(doc, &c); err != nil {
		return fmt.Errorf("parse capabilities: %w", err)
	}
	host.Attributes = map[string]string{"uuid": c.Host.UUID}
	if c.Host.CPU != nil {
		host.Attributes["arch"], host.Attributes["cpu"] = c.Host.CPU.Arch, c.Host.CPU.Model
		if cpuName(c.Host.CPU.Model) {
			host.CPUModel = c.Host.CPU.Model
		}
	}
	return nil
}

// networks fills in what a VNIC can be on, and returns the ports of the bridges.
func (h *host) networks(l *golibvirt.Libvirt, host *fleet.Host) (map[string]bool, error) {
	uplinks := map[string]bool{}
	nets, _, err := l.ConnectListAllNetworks(1, golibvirt.ConnectListNetworksActive)
	if err != nil && !hasCode(err, golibvirt.ErrNoSupport) {
		return uplinks, err
	}
	for _, n := range nets {
		host.Networks = append(host.Networks, n.Name)
	}
	ifaces, _, err := l.ConnectListAllInterfaces(1, golibvirt.ConnectListInterfacesActive)
	if err != nil {
		return uplinks, err
	}
	for _, i := range ifaces {
		doc, err := l.InterfaceGetXMLDesc(i, 0)
		if err != nil {
			continue // a tap that went away with its VM
		}
		bridge, ports, err := bridgePorts(doc)
		if err != nil {
			return uplinks, err
		}
		if bridge == "" {
			continue
		}
		host.Networks = append(host.Networks, bridge)
		for _, p := range ports {
			uplinks[p] = true
		}
	}
	slices.Sort(host.Networks)
	host.Networks = slices.Compact(host.Networks)
	return uplinks, nil
}

func (h *host) nics(l *golibvirt.Libvirt, host *fleet.Host, uplinks map[string]bool) error {
	devs, _, err := l.ConnectListAllNodeDevices(1, uint32(golibvirt.ConnectListNodeDevicesCapNet))
	if err != nil {
		return err
	}
	for _, dev := range devs {
		n, err := readNodeDevice(l, dev.Name)
		if hasCode(err, golibvirt.ErrNoNodeDevice) {
			continue
		}
		if err != nil {
			return err
		}
		var parent *nodeDevice
		if strings.HasPrefix(n.parent, "pci_") {
			if parent, err = readNodeDevice(l, n.parent); err != nil {
				return err
			}
		}
		if nic, ok := toNIC(n, parent, uplinks); ok {
			host.NICs = append(host.NICs, nic)
		}
	}
	slices.SortFunc(host.NICs, func(a, b fleet.NIC) int { return strings.Compare(string(a.ID), string(b.ID)) })
	host.NICs = slices.CompactFunc(host.NICs, func(a, b fleet.NIC) bool { return a.ID == b.ID })
	return nil
}

func readNodeDevice(l *golibvirt.Libvirt, name string) (*nodeDevice, error) {
	doc, err := l.NodeDeviceGetXMLDesc(name, 0)
	if err != nil {
		return nil, err
	}
	return parseNodeDevice(doc)
}
