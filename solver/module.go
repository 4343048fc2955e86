package solver

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// modState is an I/O module and where it is now; none: nowhere.
type modState struct {
	snap *fleet.IOModule
	host hostIx
}

// attaching is a logged move of a module, with the two hosts before it.
type attaching struct {
	module  modIx
	from    hostIx
	wasFrom *fleet.Host // nil: it was nowhere
	wasTo   *fleet.Host
	back    func() // tells the reserve that it was taken back; nil without one
}

// maxModuleTries bounds the hosts that modules are tried on for one unit.
const maxModuleTries = 256

func (s *state) addModules() {
	s.mods = make([]modState, len(s.p.Snapshot.Modules))
	for i := range s.mods {
		m := &s.p.Snapshot.Modules[i]
		s.mods[i] = modState{snap: m, host: none}
		if m.Host != "" {
			s.mods[i].host = s.host(m.Host)
		}
	}
}

// attach moves a module and logs it. Nothing is judged here.
func (s *state) attach(m modIx, to hostIx) {
	mod := &s.mods[m]
	a := &attaching{module: m, from: mod.host, wasTo: s.hosts[to].snap}
	if mod.host != none {
		a.wasFrom = s.hosts[mod.host].snap
		s.rewire(mod.host, s.without(m))
	}
	host := *s.hosts[to].snap
	host.NICs, host.Pools = mod.snap.With(&host)
	s.rewire(to, &host)
	s.log = append(s.log, move{vm: none, from: mod.host, to: to, attach: a})
	mod.host = to
	if s.reserve != nil {
		a.back = s.reserve.Attach(mod.snap, host.ID)
	}
}

// attachSafely is attach, and says whether every failure that is survived still is.
func (s *state) attachSafely(m modIx, to hostIx) bool {
	if s.reserve != nil {
		s.reserve.Mark()
	}
	s.attach(m, to)
	return s.reserve == nil || !s.reserve.Broke()
}

// detach takes a logged move of a module back.
func (s *state) detach(m *move) {
	s.rewire(m.to, m.attach.wasTo)
	if m.from != none {
		s.rewire(m.from, m.attach.wasFrom)
	}
	s.mods[m.attach.module].host = m.from
	if m.attach.back != nil {
		m.attach.back()
	}
}

// rewire gives a host other NICs and pools.
func (s *state) rewire(h hostIx, snap *fleet.Host) {
	host := &s.hosts[h]
	host.snap = snap
	s.epoch++
	pools := make([]poolIx, 0, len(snap.Pools))
	for _, id := range snap.Pools {
		pools = append(pools, s.pool(id))
	}
	slices.Sort(pools)
	pools = slices.Compact(pools)
	if slices.Equal(pools, host.pools) {
		s.index.update(s, h)
		return
	}
	for _, p := range host.pools {
		s.pools[p].hosts = slices.DeleteFunc(slices.Clone(s.pools[p].hosts), func(o hostIx) bool { return o == h })
	}
	host.pools = pools
	for _, p := range pools {
		at, _ := slices.BinarySearch(s.pools[p].hosts, h)
		s.pools[p].hosts = slices.Insert(slices.Clone(s.pools[p].hosts), at, h)
	}
	s.index = newIndex(s) // which hosts share which pools has changed: rare, and it takes less than a placement of all
}

// without is the host of m once m is taken off it.
func (s *state) without(m modIx) *fleet.Host {
	host := *s.hosts[s.mods[m].host].snap
	var others []*fleet.IOModule
	for i := range s.mods {
		if modIx(i) != m && s.mods[i].host == s.mods[m].host { // fewer modules than 2^31
			others = append(others, s.mods[i].snap)
		}
	}
	host.NICs, host.Pools = s.mods[m].snap.Without(&host, others)
	return &host
}

// free says whether nobody on its host would lose anything, were m taken off it.
func (s *state) free(m modIx) bool {
	h := s.mods[m].host
	if h == none {
		return true
	}
	if s.hosts[h].snap.Unreachable {
		return false
	}
	before, host := s.hosts[h], s.bare(m)
	if !s.packs(&host, h, nil) {
		return false
	}
	return !slices.ContainsFunc(host.vms, func(i vmIx) bool { return s.loses(&s.vms[i], &before, &host) })
}

// bare is a copy of the host of m without m.
func (s *state) bare(m modIx) hostState {
	host := s.hosts[s.mods[m].host]
	host.snap = s.without(m)
	return host
}

// loses says whether v would lose a class of NIC, its last NIC or a pool, were its host as after and no longer as before.
func (s *state) loses(v *vmState, before, after *hostState) bool {
	if c := v.need.NICClass; !after.hasClass(c) && before.hasClass(c) {
		return true
	}
	if len(v.snap.VNICs) > 0 && len(before.snap.NICs) > 0 && len(after.snap.NICs) == 0 {
		return true
	}
	return slices.ContainsFunc(s.needed(v), func(p fleet.PoolID) bool {
		return slices.Contains(before.snap.Pools, p) && !slices.Contains(after.snap.Pools, p)
	})
}

// needed are the pools that the disks of v, and their backing chains, lie on.
func (s *state) needed(v *vmState) []fleet.PoolID {
	var out []fleet.PoolID
	for n, p := range v.disks {
		out = append(out, s.pools[p].snap.ID)
		if v.flat[n] {
			continue
		}
		for _, l := range v.snap.Disks[n].Chain {
			out = append(out, l.Pool)
		}
	}
	return out
}

// attachable says whether m may move to the host h now.
func (s *state) attachable(m modIx, h hostIx) bool { return s.movable(m, h) && s.free(m) }

// movable is the part of attachable that no move of a VM can change.
func (s *state) movable(m modIx, h hostIx) bool {
	mod := &s.mods[m]
	src := s.p.Snapshot.Source(mod.snap.Source)
	_, known := slices.BinarySearch(mod.snap.AttachableTo, s.hosts[h].snap.ID)
	return known && mod.host != h && s.hosts[h].open && src.Capabilities.AttachModules
}

// helps says whether what m brings can do anything against a constraint.
func (m *modState) helps(c string) bool {
	switch c {
	case plan.ConstraintNICClass, plan.ConstraintNICQueues, plan.ConstraintNICRate:
		return len(m.snap.NICs) > 0
	case plan.ConstraintPoolReach, plan.ConstraintPoolTier, plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput:
		return len(m.snap.Pools) > 0
	}
	return false
}

// wiring is a module that makes a place for a unit, and the place.
type wiring struct {
	module modIx
	freed  []eviction // who leaves its old host first
	to     place
	lacks  string // the constraint that refused the host
	cost   points
}

// makeRoom places u by moving a free I/O module to a host, or VMs away from one: what costs less. It says whether u
// was placed.
func (x *search) makeRoom(u *unit, avoid hostIx, why func(vmIx, place) string) bool {
	w, ok := x.bestModule(u, avoid)
	if !ok {
		return x.eject(u, avoid, why, anywhere.limit)
	}
	return x.eject(u, avoid, why, w.cost) || x.wire(u, w, why)
}

// bestModule is the cheapest way of making a place for u by one module.
func (x *search) bestModule(u *unit, avoid hostIx) (wiring, bool) {
	var best wiring
	found, tries, freeing := false, maxModuleTries, maxFreeing
	refused := map[hostIx]string{}
	for i := range x.mods {
		m := modIx(i) // fewer modules than 2^31
		free := -1    // not known yet
		for _, id := range x.mods[i].snap.AttachableTo {
			h := x.host(id)
			if h == avoid || !x.movable(m, h) {
				continue
			}
			lacks, ok := refused[h]
			if !ok {
				_, lacks = x.fit(u, h, anywhere)
				refused[h] = lacks
			}
			if !x.mods[i].helps(lacks) {
				continue
			}
			if free < 0 {
				if free = 0; x.free(m) {
					free = 1
				}
			}
			if tries--; tries < 0 || free == 0 && freeing <= 0 {
				break
			}
			if free == 0 {
				freeing--
			}
			w, ok := x.tryModule(u, m, h, free == 1)
			w.lacks = lacks
			if ok && (!found || w.cost < best.cost || w.cost == best.cost && x.better(w.to, best.to, x.opts.Seed)) {
				best, found = w, true
			}
		}
	}
	return best, found
}

// tryModule is the place for u on h with the module m there, those who need it where it is moved elsewhere first unless it is free.
// Nothing has changed when it returns.
func (x *search) tryModule(u *unit, m modIx, h hostIx, free bool) (wiring, bool) {
	mark := len(x.log)
	defer x.undo(mark)
	w := wiring{module: m, cost: points(plan.ModuleCost(x.p.Weights))}
	if !free {
		freed, cost, ok := x.vacate(u, m)
		if !ok {
			return wiring{}, false
		}
		w.freed, w.cost = freed, w.cost+cost
	}
	if !x.attachSafely(m, h) {
		return wiring{}, false
	}
	p, refused := x.fit(u, h, anywhere)
	w.to, w.cost = p, w.cost+p.cost
	return w, refused == ""
}

// wire frees and attaches the module of w and places u.
func (x *search) wire(u *unit, w wiring, why func(vmIx, place) string) bool {
	if len(x.log)+x.movesOf(w.freed)+1+len(u.vms) > x.opts.MaxSteps {
		x.stopped = true
		return false
	}
	for _, e := range w.freed {
		x.commit(&x.units[e.unit], e.to, x.whyFree(u, w.module))
	}
	host := x.hosts[w.to.host].snap.ID
	x.attach(w.module, w.to.host)
	last := &x.log[len(x.log)-1]
	last.why = fmt.Sprintf("makes a place for %s (%s, priority %d): %s refuses it by %s without the module", x.names(u.vms),
		x.vms[u.vms[0]].need.Level, u.priority, host, w.lacks)
	last.where = x.origin()
	if len(w.freed) > 0 {
		last.where += " any more"
	}
	return x.commit(u, w.to, why)
}

// origin says where the module that was attached last came from.
func (s *state) origin() string {
	from := s.log[len(s.log)-1].from
	if from == none {
		return "the module is attached nowhere"
	}
	return fmt.Sprintf("no VM on %s needs it", s.hosts[from].snap.ID)
}

// relieveByModule brings a host whose NICs have promised too much one more.
func (x *search) relieveByModule(h hostIx, c string) bool {
	for i := range x.mods {
		m := modIx(i) // fewer modules than 2^31
		if !x.mods[i].helps(c) || !x.attachable(m, h) || len(x.log) >= x.opts.MaxSteps {
			continue
		}
		mark := len(x.log)
		text := x.overfullText(h, c)
		if x.attachSafely(m, h) && x.overfull(h) == "" {
			last := &x.log[mark]
			last.why, last.where = text, x.origin()
			x.version++
			return true
		}
		x.undo(mark)
	}
	return false
}

// applyModule makes a step of a plan that moves a module.
func (s *state) applyModule(st *plan.Step) error {
	h := s.host(st.Attach.To)
	for i := range s.mods {
		if s.mods[i].snap.ID == st.Attach.Module.ID && h != none {
			s.attach(modIx(i), h) // fewer modules than 2^31
			return nil
		}
	}
	return fmt.Errorf("step %d names what there is not", st.N)
}

// equipped is the fleet with every I/O module on each host that it could be moved to, all at once: no plan has more.
func (s *state) equipped() (*state, error) {
	snap := *s.p.Snapshot
	snap.Modules = nil
	movable := slices.DeleteFunc(slices.Clone(s.p.Snapshot.Modules), func(m fleet.IOModule) bool {
		return !s.p.Snapshot.Source(m.Source).Capabilities.AttachModules
	})
	if len(movable) == 0 {
		return s, nil
	}
	snap.Hosts = slices.Clone(snap.Hosts)
	for i := range movable {
		m := &movable[i]
		for _, id := range m.AttachableTo {
			if h := snap.Host(id); id != m.Host {
				h.NICs, h.Pools = m.With(h)
			}
		}
	}
	for i := range snap.Hosts {
		h := &snap.Hosts[i]
		h.NICs = slices.Clone(h.NICs)
		for j := range h.NICs {
			h.NICs[j].Module = ""
		}
	}
	p := *s.p
	p.Snapshot = &snap
	return newState(&p)
}
