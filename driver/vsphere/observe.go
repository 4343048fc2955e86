package vsphere

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// scan is one observation: what was read, and what becomes of it.
type scan struct {
	d        *Driver
	tree     tree
	clusters []mo.ClusterComputeResource
	hosts    []mo.HostSystem
	stores   []mo.Datastore
	vms      []mo.VirtualMachine
	hostIDs  map[types.ManagedObjectReference]string
	poolIDs  map[types.ManagedObjectReference]string
	tags     map[types.ManagedObjectReference][]string
	fields   map[int32]string // custom attributes, by key
	shared   map[types.ManagedObjectReference]bool
	kept     map[types.ManagedObjectReference]map[string]string // labels in extraConfig, by device key
	badKept  map[types.ManagedObjectReference]error             // what is there and is none
	snap     *fleet.Snapshot
}

// Observe reads the inventory of the vCenter: one Source, its hosts, pools, VMs and gaps, sorted.
func (d *Driver) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	op := "observe vcenter " + string(d.cfg.ID)
	s := &scan{d: d, snap: &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Taken: time.Now().UTC(),
		Sources: []fleet.Source{{ID: d.cfg.ID, Kind: fleet.VSphere, Reachable: true, Capabilities: d.capabilities()}},
		Hosts:   []fleet.Host{}, Pools: []fleet.Pool{}, VMs: []fleet.VM{}, Gaps: []fleet.Gap{},
	}}
	if err := s.read(ctx); err != nil {
		return nil, readError(op, err)
	}
	s.readFields(ctx)
	s.readTags(ctx)
	s.addPools()
	s.addHosts()
	s.addVMs()
	s.snap.Sources[0].NativeBalancer = s.balancer()
	s.snap.Sort()
	if err := s.snap.Validate(); err != nil {
		return nil, permanent(op, fmt.Errorf("the vCenter's answer makes no valid snapshot: %w", err))
	}
	return s.snap, nil
}

// capabilities: a vCenter moves everything; one ESXi host by itself moves nothing.
func (d *Driver) capabilities() fleet.Capabilities {
	vc := d.vim.IsVC()
	return fleet.Capabilities{LiveMigration: vc, LiveStorage: vc, LiveBoth: vc, Offline: vc}
}

var (
	clusterProps = []string{"name", "configurationEx"}
	hostProps    = []string{
		"name", "parent", "runtime.connectionState", "runtime.inMaintenanceMode", "hardware.cpuInfo", "hardware.memorySize",
		"hardware.numaInfo", "config.product", "config.network.pnic", "config.pciPassthruInfo", "datastore", "network", "customValue",
	}
	storeProps = []string{"name", "parent", "summary", "host", "customValue"}
	vmProps    = []string{
		"name", "parent", "runtime", "config.hardware", "config.template", "config.uuid", "config.instanceUuid",
		"config.ftInfo", "layoutEx", "snapshot", "customValue",
	}
)

// read asks for each type once.
func (s *scan) read(ctx context.Context) error {
	v, done, err := s.d.view(ctx)
	if err != nil {
		return err
	}
	defer done()
	var gaps []fleet.Gap
	if s.tree, gaps, err = s.d.tree(ctx, v); err != nil {
		return err
	}
	s.snap.Gaps = append(s.snap.Gaps, gaps...)
	for _, q := range []struct {
		kind  string
		dst   any
		props []string
	}{
		{"ClusterComputeResource", &s.clusters, clusterProps},
		{"HostSystem", &s.hosts, hostProps},
		{"Datastore", &s.stores, storeProps},
		{"VirtualMachine", &s.vms, vmProps},
	} {
		gaps, err := s.d.load(ctx, v, q.kind, q.dst, q.props...)
		if err != nil {
			return fmt.Errorf("read %s: %w", q.kind, err)
		}
		s.snap.Gaps = append(s.snap.Gaps, gaps...)
	}
	if err := s.readKept(ctx, v); err != nil {
		return err
	}
	s.readPods(ctx, v)
	hosts, stores := make([]named, len(s.hosts)), make([]named, len(s.stores))
	for i := range s.hosts {
		hosts[i] = named{s.hosts[i].Self, s.hosts[i].Name, s.hosts[i].Parent}
	}
	for i := range s.stores {
		stores[i] = named{s.stores[i].Self, s.stores[i].Name, s.stores[i].Parent}
	}
	s.hostIDs, s.poolIDs = identify(s.tree, hosts), identify(s.tree, stores)
	s.d.remember(s.tree, s.stores)
	return nil
}

// readPods notes datastore clusters that balance by themselves, a second controller like DRS.
func (s *scan) readPods(ctx context.Context, v *view.ContainerView) {
	var pods []mo.StoragePod
	if _, err := s.d.load(ctx, v, "StoragePod", &pods, "name", "podStorageDrsEntry"); err != nil {
		s.miss("vcenter", "storage DRS", err.Error())
		return
	}
	for _, p := range pods {
		if p.PodStorageDrsEntry == nil {
			continue
		}
		c := p.PodStorageDrsEntry.StorageDrsConfig.PodConfig
		if c.Enabled && c.DefaultVmBehavior == string(types.StorageDrsPodConfigInfoBehaviorAutomated) {
			s.addBalancer("storage DRS (automated) on " + clean(p.Name))
		}
	}
}

func (s *scan) addBalancer(what string) {
	src := &s.snap.Sources[0]
	if src.NativeBalancer != "" {
		src.NativeBalancer += "; "
	}
	src.NativeBalancer += what
}

// balancer names every cluster on which DRS moves VMs by itself. Manual and partly automated DRS only
// advises (or places at power-on), and so is no second controller.
func (s *scan) balancer() string {
	for _, c := range s.clusters {
		ex, ok := c.ConfigurationEx.(*types.ClusterConfigInfoEx)
		if !ok || ex.DrsConfig.Enabled == nil || !*ex.DrsConfig.Enabled {
			continue
		}
		if ex.DrsConfig.DefaultVmBehavior == types.DrsBehaviorFullyAutomated {
			s.addBalancer("DRS (fullyAutomated) on " + clean(c.Name))
		}
	}
	return s.snap.Sources[0].NativeBalancer
}

func (s *scan) miss(object, what, cause string) {
	s.snap.Gaps = append(s.snap.Gaps, s.d.gap(object, what, cause))
}

func (s *scan) addPools() {
	s.shared = map[types.ManagedObjectReference]bool{}
	for i := range s.stores {
		ds := &s.stores[i]
		sum := ds.Summary
		shared := len(ds.Host) > 1
		if sum.MultipleHostAccess != nil {
			shared = *sum.MultipleHostAccess
		}
		s.shared[ds.Self] = shared
		id := s.poolIDs[ds.Self]
		if !sum.Accessible {
			s.miss("pool "+id, "capacity", "the datastore is not accessible")
		}
		capacity := max(sum.Capacity, 0)
		s.snap.Pools = append(s.snap.Pools, fleet.Pool{
			ID: fleet.PoolID(id), Source: s.d.cfg.ID, Ref: ds.Self.String(), Type: sum.Type, Tags: s.tagsOf(ds.Self, ds.CustomValue),
			Capacity: fleet.Bytes(capacity), Free: fleet.Bytes(min(max(sum.FreeSpace, 0), capacity)), Shared: shared,
		})
	}
}

// usable says whether a host can put a disk on a datastore: mounted, accessible, writable, not in maintenance.
func usable(ds *mo.Datastore, host types.ManagedObjectReference) bool {
	if !ds.Summary.Accessible || strings.HasPrefix(ds.Summary.MaintenanceMode, "inMaintenance") ||
		strings.HasPrefix(ds.Summary.MaintenanceMode, "entering") {
		return false
	}
	for _, m := range ds.Host {
		if m.Key != host {
			continue
		}
		i := m.MountInfo
		return (i.Accessible == nil || *i.Accessible) && (i.Mounted == nil || *i.Mounted) &&
			(i.AccessMode == "" || i.AccessMode == string(types.HostMountModeReadWrite))
	}
	return false
}
