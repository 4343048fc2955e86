package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/fleet"
)

// Fleet is a fleet in memory, made from a snapshot: it is both the source that the inventory asks and the
// mover that the executor uses. What it knows is the state of its simulated hypervisors alone, so that a
// caller that died can be followed by another one. Its methods may be called from several goroutines.
type Fleet struct {
	base *fleet.Snapshot

	mu         sync.Mutex
	hosts      map[string]*fleet.Host // by handle
	pools      map[string]*fleet.Pool // by handle; Free is kept up to date
	guests     map[string]*guest      // by handle
	modules    []fleet.IOModule
	order      []string // the handles of guests, as the snapshot has them
	volumes    map[place]*volume
	chosen     map[place]*guest // by ChooseFiles, until the VM's move has ended
	rules      []*Fault
	ops        int
	touched    *guest
	violations []string
}

// guest is one VM: its definitions, and how often it wrote to its disks.
type guest struct {
	vm     fleet.VM
	defs   map[string]*definition // by the host's handle
	files  map[place]*volume      // all of its volumes, those that a broken move left included
	writes int
	busy   bool // a Relocate is at work
	job    *job
}

// definition is a VM as one host knows it.
type definition struct {
	power fleet.PowerState
	disks []place
}

// place is a file in a pool, by the pool's handle.
type place struct{ pool, path string }

// volume is one disk's files in one pool, with the chain below it.
type volume struct {
	owner  *guest
	disk   int
	used   fleet.Bytes
	whole  bool
	mirror bool // a running guest's writes go here too
	writes int
	files  map[int][]byte // top image 0, its chain from 1; made from the snapshot when first opened
}

// job is a relocation that goes on without its caller.
type job struct {
	move      fleet.Relocation
	powerOn   bool
	polls     int
	completes bool
}

// New is a fleet as s has it. s is kept and must not be changed.
func New(s *fleet.Snapshot) *Fleet {
	f := &Fleet{
		base: s, hosts: map[string]*fleet.Host{}, pools: map[string]*fleet.Pool{}, guests: map[string]*guest{},
		volumes: map[place]*volume{}, chosen: map[place]*guest{}, modules: slices.Clone(s.Modules),
	}
	for i := range s.Hosts {
		f.hosts[handle(s.Hosts[i].Ref, string(s.Hosts[i].ID))] = &s.Hosts[i]
	}
	for _, p := range s.Pools {
		f.pools[handle(p.Ref, string(p.ID))] = &p
	}
	for _, vm := range s.VMs {
		f.add(vm)
	}
	return f
}

// handle is the driver's own name of an object. A snapshot that was not taken from the fleet may have none.
func handle(ref, id string) string {
	if ref != "" {
		return ref
	}
	return id
}

func (f *Fleet) add(vm fleet.VM) {
	g := &guest{vm: vm, defs: map[string]*definition{}, files: map[place]*volume{}}
	def := &definition{power: vm.Power}
	for i, d := range vm.Disks {
		at := place{f.poolHandle(d.Pool), d.Path}
		if at.path == "" || f.volumes[at] != nil {
			at.path = fmt.Sprintf("%s-%s.%s", vm.ID, d.ID, d.Format)
		}
		def.disks = append(def.disks, at)
		f.put(at, &volume{owner: g, disk: i, used: d.Used, whole: true})
	}
	h := f.base.Host(vm.Host)
	g.defs[handle(h.Ref, string(h.ID))] = def
	f.guests[handle(vm.Ref, string(vm.ID))] = g
	f.order = append(f.order, handle(vm.Ref, string(vm.ID)))
}

func (f *Fleet) put(at place, v *volume) {
	f.volumes[at] = v
	v.owner.files[at] = v
}

func (f *Fleet) poolHandle(id fleet.PoolID) string {
	p := f.base.Pool(id)
	return handle(p.Ref, string(p.ID))
}

// hosts lists the handles of the hosts that know the VM, sorted.
func (g *guest) hosts() []string { return slices.Sorted(maps.Keys(g.defs)) }

// main is the definition that counts: where the guest runs, else the one at the handle first, else any.
func (g *guest) main(first string) (string, *definition) {
	for _, h := range g.hosts() {
		if g.defs[h].power == fleet.Running {
			return h, g.defs[h]
		}
	}
	if d := g.defs[first]; d != nil {
		return first, d
	}
	for _, h := range g.hosts() {
		return h, g.defs[h]
	}
	return "", nil
}

// tick lets every guest that was touched and runs write once to its disks and their mirrors.
func (f *Fleet) tick() {
	g := f.touched
	if g == nil {
		return
	}
	_, def := g.main("")
	if def == nil || def.power != fleet.Running {
		return
	}
	g.writes++
	for at, v := range g.files {
		if slices.Contains(def.disks, at) || v.mirror {
			v.writes++
		}
	}
}

// Sources lists the sources of the fleet, each of which is a source of its own for the inventory.
func (f *Fleet) Sources() []*Source {
	var out []*Source
	for _, s := range f.base.Sources {
		out = append(out, &Source{f, s})
	}
	return out
}

// Source is the part of a fleet that one hypervisor connection sees.
type Source struct {
	fleet *Fleet
	entry fleet.Source
}

// ID is the source's name.
func (s *Source) ID() fleet.SourceID { return s.entry.ID }

// Observe lists what the source has now. Disks have no label: that is read by OpenImage. There is no clock: the
// time is that of the snapshot which the fleet was made from.
func (s *Source) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	out := &fleet.Snapshot{Version: fleet.SnapshotVersion, Taken: s.fleet.base.Taken, Sources: []fleet.Source{s.entry}}
	err := s.fleet.operate(ctx, OpObserve, "", func() error {
		s.fleet.observe(s.entry.ID, out)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Sort()
	return out, nil
}

// OpenImage opens the image at path, whose content is a text descriptor with the label in it.
func (s *Source) OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error) {
	return s.fleet.OpenImage(ctx, pool, path)
}

// first is the fleet's only source, or the first of several.
func (f *Fleet) first() *Source { return f.Sources()[0] }

// ID is the name of the fleet's first source; see Sources for the others.
func (f *Fleet) ID() fleet.SourceID { return f.first().ID() }

// Observe lists what the fleet's first source has.
func (f *Fleet) Observe(ctx context.Context) (*fleet.Snapshot, error) { return f.first().Observe(ctx) }

func (f *Fleet) observe(id fleet.SourceID, out *fleet.Snapshot) {
	for _, h := range f.base.Hosts {
		if h.Source == id {
			h = *f.hosts[handle(h.Ref, string(h.ID))]
			h.Ref = handle(h.Ref, string(h.ID))
			h.Pools, h.Tags, h.Networks = slices.Clone(h.Pools), slices.Clone(h.Tags), slices.Clone(h.Networks)
			h.NICs = slices.Clone(h.NICs)
			out.Hosts = append(out.Hosts, h)
		}
	}
	for _, p := range f.base.Pools {
		if p.Source == id {
			p.Ref = handle(p.Ref, string(p.ID))
			p.Free, p.Tags = min(max(f.pools[p.Ref].Free, 0), p.Capacity), slices.Clone(p.Tags)
			out.Pools = append(out.Pools, p)
		}
	}
	for _, vm := range f.base.VMs {
		if g := f.guests[handle(vm.Ref, string(vm.ID))]; vm.Source == id && g != nil {
			out.VMs = append(out.VMs, f.seen(g))
		}
	}
	f.observeModules(id, out)
	for _, g := range f.base.Gaps {
		if g.Source == id && g.What != "label" {
			out.Gaps = append(out.Gaps, g)
		}
	}
}

// seen is the VM of g as its hypervisor shows it now.
func (f *Fleet) seen(g *guest) fleet.VM {
	vm := g.vm
	host, def := g.main("")
	vm.Ref, vm.Host, vm.Power = handle(vm.Ref, string(vm.ID)), f.hosts[host].ID, def.power
	vm.Tags, vm.Disks = slices.Clone(vm.Tags), slices.Clone(vm.Disks)
	for i := range vm.Disks {
		d, at := &vm.Disks[i], def.disks[i]
		was := d.Pool
		d.Pool, d.Path, d.Label = f.pools[at.pool].ID, at.path, fleet.Label{}
		d.Chain = slices.Clone(d.Chain)
		for j := range d.Chain {
			if d.Chain[j].Pool == was {
				d.Chain[j].Path = moved(d.Chain[j].Path, was, d.Pool)
				d.Chain[j].Pool = d.Pool
			}
		}
	}
	return vm
}

// moved is a path after its move from one pool to another, where the path names the pool.
func moved(path string, from, to fleet.PoolID) string {
	if rest, ok := strings.CutPrefix(path, string(from)+"/"); ok {
		return string(to) + "/" + rest
	}
	if rest, ok := strings.CutPrefix(path, "["+string(from)+"]"); ok {
		return "[" + string(to) + "]" + rest
	}
	return strings.Replace(path, "/"+string(from)+"/", "/"+string(to)+"/", 1)
}
