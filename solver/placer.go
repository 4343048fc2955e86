package solver

import (
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver/online"
)

// Bounds of what a Placer meets that its fleet did not have: kinds of VMs and spread groups at one time.
const (
	spareClasses = 4096
	spareGroups  = 4096
)

// ErrUnknownVM is wrapped by Remove of a VM that has no place.
var ErrUnknownVM = errors.New("no such VM")

// PlacerOptions vary a Placer.
type PlacerOptions struct {
	// Preempt: a VM without room takes that of VMs of lower priority, which move elsewhere or are evicted.
	Preempt bool
	// Candidates is how many legal hosts are compared at most; 0: no limit, the place is the cheapest of all.
	Candidates int
}

// Placed is the answer to one VM.
type Placed struct {
	OK bool
	To fleet.Placement
	// Refused is the constraint that refuses most hosts first, where there is no place.
	Refused string
	// Moved are VMs that got another place for this one, Evicted those that have none now, all of lower priority.
	Moved   []MovedVM
	Evicted []fleet.VMID
}

// MovedVM is the new place of a VM.
type MovedVM struct {
	VM fleet.VMID
	To fleet.Placement
}

// Placer places VMs one at a time into a fleet that lives. A decision takes microseconds. It is not safe for use by
// several goroutines.
type Placer struct {
	o    PlacerOptions
	c    *compiler
	at   *online.Placer
	vms  map[fleet.VMID]*guest
	by   []*guest // by index of online's problem
	free struct {
		classes []int32
		groups  []model.GroupIx
	}
	kinds  map[string]*share         // classes that came with VMs placed here
	groups map[string]*share         // spread groups
	homes  map[string]map[hostIx]int // affinity groups: their VMs by host
	home   []model.HostIx            // of the group at hand
	host   []plan.Load
	keep   *plan.Reserve // nil: no failure is to be survived
	spared bool          // the last search found hosts that only the reserve refuses
}

// guest is a VM that has a place.
type guest struct {
	vm   fleet.VM
	need policy.Requirement
	ix   int
	kept int    // its index in the reserve
	kind string // "" where the class is one of the fleet that the placer was opened with
}

// share is a class or a group with the number of VMs that use it.
type share struct {
	ix    int32
	count int
}

// NewPlacer opens a fleet as p has it. p's snapshot is not changed; what is broken in it stays so.
func NewPlacer(p *policy.Problem, o PlacerOptions) (*Placer, error) {
	s, err := newState(p)
	if err != nil {
		return nil, err
	}
	c, err := (&compiler{s: s, live: true}).build()
	if err != nil {
		return nil, err
	}
	x := &Placer{
		o: o, c: c, vms: make(map[fleet.VMID]*guest, len(s.vms)), kinds: map[string]*share{}, groups: map[string]*share{},
		homes: map[string]map[hostIx]int{}, host: make([]plan.Load, len(s.hosts)),
	}
	x.allDiskClasses()
	x.spare()
	start := c.p.Start()
	for i := range c.p.VMs {
		v := &s.vms[i]
		g := &guest{vm: *v.snap, need: v.need, ix: i, kept: i}
		m := &c.p.VMs[i]
		m.Fixed = v.hold != ""
		m.Initial = model.None
		for j := range m.Disks {
			m.Disks[j].Initial = model.None
		}
		m.Group, m.Apart, err = x.join(&v.need)
		if err != nil {
			return nil, fmt.Errorf("open fleet: %w", err)
		}
		x.enter(g, v.host)
	}
	if x.at, err = online.New(c.p, start, online.Options{Candidates: o.Candidates, Score: online.WorstFit}); err != nil {
		return nil, fmt.Errorf("open fleet: %w", err)
	}
	if x.keep = s.reserve; x.keep == nil {
		if x.keep, err = plan.NewLiveReserve(p); err != nil {
			return nil, fmt.Errorf("open fleet: %w", err)
		}
	}
	s.vms = append(s.vms, vmState{}) // the one that is being placed
	s.alone = append(s.alone, nil)
	return x, nil
}

// allDiskClasses makes a row of PoolFit for every need that a disk can have.
func (x *Placer) allDiskClasses() {
	c := x.c
	for i := range c.s.p.Snapshot.Sources {
		for t := range max(len(c.s.p.PoolTiers), 1) {
			key := diskKey{c.s.p.Snapshot.Sources[i].ID, policy.Rank(t), none, false}
			if _, ok := c.disks[key]; !ok {
				c.disks[key] = int32(len(c.disks)) // sources times tiers
			}
		}
	}
	c.priceDisks()
}

// spare makes room for kinds of VMs and groups that are not there yet.
func (x *Placer) spare() {
	p := x.c.p
	first := len(p.Fit)
	for n := range spareClasses {
		row := make([]model.Points, len(x.c.reps))
		for i := range row {
			row[i] = model.Forbidden
		}
		p.Fit = append(p.Fit, row)
		x.free.classes = append(x.free.classes, int32(first+spareClasses-1-n)) //nolint:gosec // at most maxFit and a few
	}
	groups := len(x.c.s.members) + spareGroups
	p.Groups = make([]model.Group, groups)
	for n := range groups {
		x.free.groups = append(x.free.groups, model.GroupIx(groups-1-n)) //nolint:gosec // at most MaxVMs and a few
	}
}

// join enters a VM into its spread group.
func (x *Placer) join(need *policy.Requirement) (model.GroupIx, int8, error) {
	if need.SpreadGroup == "" {
		return model.None, model.None, nil
	}
	g := x.groups[need.SpreadGroup]
	if g == nil {
		n := len(x.free.groups)
		if n == 0 {
			return 0, 0, fmt.Errorf("more than %d spread groups at one time", len(x.c.p.Groups))
		}
		g = &share{ix: int32(x.free.groups[n-1])}
		x.free.groups = x.free.groups[:n-1]
		x.groups[need.SpreadGroup] = g
	}
	g.count++
	return model.GroupIx(g.ix), int8(max(slices.Index(kinds[:], need.SpreadDomain), 0)), nil //nolint:gosec // five kinds
}

func (x *Placer) part(need *policy.Requirement) {
	g := x.groups[need.SpreadGroup]
	if g == nil {
		return
	}
	if g.count--; g.count == 0 {
		delete(x.groups, need.SpreadGroup)
		x.free.groups = append(x.free.groups, model.GroupIx(g.ix))
	}
}

// Place finds the cheapest legal place for a VM, and takes it. The VM's own host and pools are not looked at. The error
// says what is wrong with the VM; that there is no place for it is no error.
func (x *Placer) Place(vm fleet.VM, need policy.Requirement) (Placed, error) {
	g := &guest{vm: vm, need: need}
	if err := x.acceptable(g); err != nil {
		return Placed{}, fmt.Errorf("place vm %s: %w", vm.ID, err)
	}
	m, err := x.compile(g)
	if err != nil {
		return Placed{}, fmt.Errorf("place vm %s: %w", vm.ID, err)
	}
	if d, ok := x.find(g, m); ok {
		return Placed{OK: true, To: x.settle(g, m, d)}, nil
	}
	if x.o.Preempt {
		if out, ok := x.preempt(g, m); ok {
			return out, nil
		}
	}
	refused := plan.ConstraintReserve
	if !x.spared {
		refused = x.refused(g, &m)
	}
	x.release(g)
	return Placed{Refused: refused}, nil
}

func (x *Placer) acceptable(g *guest) error {
	switch {
	case g.vm.ID == "" || x.vms[g.vm.ID] != nil:
		return errors.New("its name is empty or taken")
	case len(g.need.Disks) != len(g.vm.Disks):
		return fmt.Errorf("needs for %d of its %d disks", len(g.need.Disks), len(g.vm.Disks))
	case x.c.s.p.Snapshot.Source(g.vm.Source) == nil:
		return fmt.Errorf("there is no source %q", g.vm.Source)
	case g.vm.CPU < 0 || g.vm.Memory < 0 || int64(g.vm.CPU) > maxTotal || int64(g.vm.Memory) > maxTotal:
		return fmt.Errorf("%s CPU, %s memory", g.vm.CPU, fleet.FormatBytes(g.vm.Memory))
	}
	for i := range g.vm.Disks {
		if d := &g.vm.Disks[i]; d.Used < 0 || d.Used > maxTotal/model.MaxDisks {
			return fmt.Errorf("disk %s takes %s", d.ID, fleet.FormatBytes(d.Used))
		}
	}
	return nil
}

// compile makes a VM of the model of g.
func (x *Placer) compile(g *guest) (model.VM, error) {
	c, s := x.c, x.c.s
	n := vmIx(len(s.vms) - 1)
	s.vms[n] = vmState{source: s.source(g.vm.Source), snap: &g.vm, need: g.need, nics: plan.NICNeeds(&g.vm, &g.need), host: none, unit: none, spread: none}
	u := &unit{anchor: none}
	u.add(n, &s.vms[n])
	s.alone[n] = u
	l := c.prices.Of(&g.vm)
	m := model.VM{Apart: model.None, Initial: model.None, Priority: int32(g.need.Priority), Demand: make([]int64, len(c.p.Resources))}
	m.Demand[cpuResource], m.Demand[memoryResource] = int64(l.CPU), l.MiB
	if len(m.Demand) > shareResource {
		m.Demand[shareResource] = l.Shares
	}
	for _, q := range s.vms[n].nics {
		m.NICs = append(m.NICs, model.NICNeed{Class: int8(q.Class), Queues: clamp32(int64(q.Queues)), Rate: int64(q.Rate)})
	}
	for j := range g.vm.Disks {
		d, need := &g.vm.Disks[j], &g.need.Disks[j]
		class, ok := c.disks[diskKey{g.vm.Source, max(need.Tier, 0), none, false}]
		if !ok {
			return m, fmt.Errorf("disk %s needs storage tier %d of %d", d.ID, need.Tier, len(s.p.PoolTiers))
		}
		m.Disks = append(m.Disks, model.Disk{
			Demand: []int64{int64(d.Used), int64(need.IOPS), int64(need.Throughput)}, Class: class, Initial: model.None, Weight: int64(d.Used / fleet.GiB),
		})
	}
	var err error
	if m.Class, err = x.kind(g, u); err != nil {
		return m, err
	}
	if m.Group, m.Apart, err = x.join(&g.need); err != nil {
		x.unkind(g)
	}
	return m, err
}

// kind is the class of u: one of the fleet's, or a spare one.
func (x *Placer) kind(g *guest, u *unit) (int32, error) {
	key := fmt.Sprintf("%s %d", x.c.vmKey(u), none)
	if n, ok := x.c.classes[key]; ok {
		return n, nil
	}
	k := x.kinds[key]
	if k == nil {
		n := len(x.free.classes)
		if n == 0 {
			return 0, fmt.Errorf("more than %d kinds of VMs that are new to the fleet", spareClasses)
		}
		k = &share{ix: x.free.classes[n-1]}
		row := x.c.p.Fit[k.ix]
		for i, h := range x.c.reps {
			row[i] = x.c.fitCost(u, h)
		}
		if err := x.c.err; err != nil {
			x.c.err = nil
			return 0, err
		}
		x.free.classes = x.free.classes[:n-1]
		x.kinds[key] = k
	}
	k.count++
	g.kind = key
	return k.ix, nil
}

func (x *Placer) unkind(g *guest) {
	k := x.kinds[g.kind]
	if k == nil {
		return
	}
	if k.count--; k.count == 0 {
		delete(x.kinds, g.kind)
		x.free.classes = append(x.free.classes, k.ix)
	}
}

// release gives back what compile took for g.
func (x *Placer) release(g *guest) {
	x.unkind(g)
	x.part(&g.need)
}

// maxSparing bounds the places of one VM that are given up because they would break a failure that is survived.
const maxSparing = 8

// find asks for the cheapest place that breaks no failure which is survived. The reserve counts the VM there from then on.
func (x *Placer) find(g *guest, m model.VM) (online.Decision, bool) {
	x.spared = false
	if x.keep == nil {
		return x.cheapest(g, m, nil)
	}
	g.kept = x.keep.Join(&g.vm, g.need)
	var spared []model.HostIx
	for len(spared) < maxSparing {
		d, ok := x.cheapest(g, m, spared)
		if !ok {
			break
		}
		if x.keep.Admit(g.kept, int(d.Host), x.placementAt(g, d.Host, d.Pools)) {
			return d, true
		}
		x.spared = true
		spared = append(spared, d.Host)
	}
	x.keep.Quit(g.kept)
	return online.Decision{}, false
}

// cheapest asks the placer for a place elsewhere than on the hosts but, affinity taken care of: a group stays on the hosts
// where it is, and no others are looked at.
func (x *Placer) cheapest(g *guest, m model.VM, but []model.HostIx) (online.Decision, bool) {
	if home := x.homes[g.need.AffinityGroup]; g.need.AffinityGroup != "" && len(home) > 0 {
		x.home = x.home[:0]
		for h := range home {
			if i := model.HostIx(h); !slices.Contains(but, i) {
				x.home = append(x.home, i)
			}
		}
		slices.Sort(x.home)
		return x.at.PlaceAmong(x.home, m)
	}
	if len(but) > 0 {
		return x.at.PlaceOn(func(h model.HostIx) bool { return !slices.Contains(but, h) }, m)
	}
	return x.at.Place(m)
}

// settle takes a place that was found.
func (x *Placer) settle(g *guest, m model.VM, d online.Decision) fleet.Placement {
	g.ix = x.at.Commit(m, d)
	x.enter(g, hostIx(d.Host))
	return x.placement(g)
}

func (x *Placer) placement(g *guest) fleet.Placement {
	a := x.at.Assignment()
	return x.placementAt(g, a.Host[g.ix], a.Pool[g.ix])
}

func (x *Placer) placementAt(g *guest, h model.HostIx, pools []model.PoolIx) fleet.Placement {
	p := fleet.Placement{Host: x.c.s.hosts[h].snap.ID, Disks: make([]fleet.DiskPlace, len(g.vm.Disks))}
	for j := range g.vm.Disks {
		p.Disks[j] = fleet.DiskPlace{Disk: g.vm.Disks[j].ID, Pool: x.c.s.pools[pools[j]].snap.ID}
	}
	return p
}

// enter and leave count g on a host.
func (x *Placer) enter(g *guest, h hostIx) {
	x.vms[g.vm.ID] = g
	for len(x.by) <= g.ix {
		x.by = append(x.by, nil)
	}
	x.by[g.ix] = g
	x.host[h].Add(x.c.prices.Of(&g.vm), 1)
	if a := g.need.AffinityGroup; a != "" {
		if x.homes[a] == nil {
			x.homes[a] = map[hostIx]int{}
		}
		x.homes[a][h]++
	}
}

func (x *Placer) leave(g *guest) {
	h := hostIx(x.at.Assignment().Host[g.ix])
	delete(x.vms, g.vm.ID)
	if x.keep != nil {
		x.keep.Quit(g.kept)
	}
	x.by[g.ix] = nil
	x.host[h].Add(x.c.prices.Of(&g.vm), -1)
	if home := x.homes[g.need.AffinityGroup]; home != nil {
		if home[h]--; home[h] == 0 {
			delete(home, h)
		}
		if len(home) == 0 {
			delete(x.homes, g.need.AffinityGroup)
		}
	}
}

// Remove takes a VM away. The error wraps ErrUnknownVM where it has no place.
func (x *Placer) Remove(id fleet.VMID) error {
	g := x.vms[id]
	if g == nil {
		return fmt.Errorf("remove vm %s: %w", id, ErrUnknownVM)
	}
	x.leave(g)
	x.release(g)
	if err := x.at.Remove(g.ix); err != nil {
		return fmt.Errorf("remove vm %s: %w", id, err)
	}
	return nil
}
