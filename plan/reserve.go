package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Reserve answers, for a fleet that changes move by move, which failures its protected VMs survive: whether each VM that a
// failure hits would have a legal host elsewhere, all at once, with nothing else moved. It keeps such a place for each (a
// witness), found by first fit, the largest first, from the host after the failed one on; so a "survives" is always true,
// and a "does not" may be wrong where only a long search would do. VMs and hosts are known by their index in the snapshot.
//
// A VM counts on every host that it was entered on and not left, so that one that is under way counts at both ends, as
// a failure can hit it at either. A witness for such a state holds for each state in which some moves are done and some
// not begun. Spread and affinity are not asked for in a failure.
type Reserve struct {
	w      *world
	hosts  []reserveHost
	vms    []reserveVM
	cases  []failure
	open   []int32 // hosts that may take a VM
	reach  map[fleet.PoolID][]int32
	evict  bool
	probe  bool // one failure that breaks is enough to know, and it is taken back
	kinds  kinds
	needs  []QueueNeed // for packs
	spare  []int       // indexes of VMs that quit
	failed []int32     // cases that broke since the last Mark
	hard   hardest     // of the search for a witness under way
	waived []int32     // cases that are not survived since the last Mark because a VM can be helped that could not before
}

type reserveHost struct {
	at      *hostAt
	cpu     fleet.MilliCPU
	memory  fleet.Bytes
	queued  []int32 // VMs with a share of a NIC
	guests  []int32 // protected VMs
	cases   []int32 // that hit this host
	charges []charge
	seen    *fleet.Host // of which kind and rooms are
	kind    int32
	rooms   []QueueRoom // of its NICs, sorted
	needs   []QueueNeed // of those queued, sorted
	tooMuch []QueueNeed // that there was no room for since a VM last left
}

// charge is what the witness of one failure would bring to a host.
type charge struct {
	of     int32
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	nics   int // VMs with a share of a NIC
	vms    int
}

type reserveVM struct {
	at    *vmAt
	on    []int32 // hosts, two while under way
	pools []fleet.PoolID
	nics  []QueueNeed
	kind  int32
	stuck bool // before it was under way, nothing could help it in some failure
}

// failure is one case of what the policy wants survived.
type failure struct {
	Loss     policy.Loss
	name     string
	hosts    []int32 // lost ones, sorted; of a module the one that it is attached to
	module   *fleet.IOModule
	survived bool
	plan     []refuge
	old      []refuge // the last witness, while there is none
	unsaved  []int32  // without a place, where another has one
	stuck    []int32  // that no other host could take were it empty
}

// refuge is where a VM would go in a failure. It is free where the VM counts on that host already: it is under way there.
type refuge struct {
	vm, host int32
	free     bool
}

// NewReserve is the reserve of p's snapshot, nil when no VM is protected or the policy names no failure. The
// error says what is wrong with p.
func NewReserve(p *policy.Problem) (*Reserve, error) {
	if !Protects(p) {
		return nil, nil //nolint:nilnil // nothing to keep is no error, and asked for often
	}
	w, err := newWorld(p)
	if err != nil {
		return nil, fmt.Errorf("keep reserve: %w", err)
	}
	return newReserve(w)
}

// Protects says whether p asks for any failure to be survived by any VM.
func Protects(p *policy.Problem) bool {
	if p == nil || p.Snapshot == nil || len(p.Reserve.Over) == 0 {
		return false
	}
	return slices.ContainsFunc(p.Snapshot.VMs, func(v fleet.VM) bool { return p.VMs[v.ID].Protect })
}

// maxCounted bounds hosts and VMs, so that an index fits.
const maxCounted = 1 << 30

// newReserve enters the fleet as w has it. Of w it uses only what no move changes.
func newReserve(w *world) (*Reserve, error) {
	s := w.p.Snapshot
	if max(len(s.Hosts), len(s.VMs)) > maxCounted {
		return nil, errors.New("keep reserve: too many hosts or VMs to count")
	}
	r := &Reserve{
		w: w, hosts: make([]reserveHost, len(s.Hosts)), vms: make([]reserveVM, len(s.VMs)), reach: map[fleet.PoolID][]int32{},
		evict: w.p.Reserve.EvictUnprotected, kinds: kinds{vms: map[vmKind]int32{}, hosts: map[hostKind]int32{}},
	}
	index := make(map[fleet.HostID]int32, len(s.Hosts))
	for i := range s.Hosts {
		h := w.hosts[s.Hosts[i].ID]
		r.hosts[i].at = h
		index[s.Hosts[i].ID] = int32(i) // bounded above
		if h.host.Unreachable || h.host.Maintenance || !s.Source(h.host.Source).Reachable {
			continue
		}
		r.open = append(r.open, int32(i))
		for _, p := range h.host.Pools {
			r.reach[p] = append(r.reach[p], int32(i))
		}
	}
	for i := range s.VMs {
		v := w.vms[s.VMs[i].ID]
		r.vms[i] = reserveVM{at: v, pools: poolsOf(v, v.at), nics: NICNeeds(v.vm, &v.need), kind: r.kinds.ofVM(v)}
		r.add(int32(i), index[v.at.Host])
	}
	r.addCases(index)
	for k := range r.cases {
		r.settle(int32(k))
	}
	r.failed = nil
	return r, nil
}

// poolsOf lists the pools that a host must reach to run v when its disks are at: those of its disks, and of the backing
// chains of those that never moved.
func poolsOf(v *vmAt, at fleet.Placement) []fleet.PoolID {
	var out []fleet.PoolID
	for i, d := range at.Disks {
		out = append(out, d.Pool)
		if !v.flat[i] && d.Pool == v.vm.Disks[i].Pool {
			for _, l := range v.vm.Disks[i].Chain {
				out = append(out, l.Pool)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addCases lists the failures: the hosts, then the chassis, then the modules, each by name.
func (r *Reserve) addCases(index map[fleet.HostID]int32) {
	add := func(f failure) {
		for _, h := range f.hosts {
			r.hosts[h].cases = append(r.hosts[h].cases, int32(len(r.cases))) // no more than hosts, chassis and modules
		}
		r.cases = append(r.cases, f)
	}
	s := r.w.p.Snapshot
	over := func(l policy.Loss) bool { return slices.Contains(r.w.p.Reserve.Over, l) }
	chassis := map[string][]int32{}
	var names []string
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Unreachable {
			continue // nothing is known of it
		}
		if over(policy.LossHost) {
			add(failure{Loss: policy.LossHost, name: string(h.ID), hosts: []int32{int32(i)}})
		}
		if h.Chassis != "" {
			if chassis[h.Chassis] == nil {
				names = append(names, h.Chassis)
			}
			chassis[h.Chassis] = append(chassis[h.Chassis], int32(i))
		}
	}
	slices.Sort(names)
	for _, c := range names {
		if over(policy.LossChassis) {
			add(failure{Loss: policy.LossChassis, name: c, hosts: chassis[c]})
		}
	}
	for i := range s.Modules {
		m := &s.Modules[i]
		if h, ok := index[r.w.on[m.ID]]; ok && over(policy.LossModule) && !s.Hosts[h].Unreachable {
			add(failure{Loss: policy.LossModule, name: string(m.ID), hosts: []int32{h}, module: m})
		}
	}
}

// add counts a VM on a host, remove takes it back. A VM that may be stopped in a failure takes nothing.
func (r *Reserve) add(v, h int32) {
	vm, host := &r.vms[v], &r.hosts[h]
	vm.on = append(vm.on, h)
	protected := vm.at.need.Protect
	if protected {
		host.guests = append(host.guests, v)
	}
	if !protected && r.evict {
		return
	}
	host.cpu += vm.at.vm.CPU
	host.memory += vm.at.vm.Memory
	if len(vm.nics) > 0 {
		host.queued = append(host.queued, v)
		host.reserveNICs(vm.nics, true)
	}
}

func (r *Reserve) remove(v, h int32) {
	vm, host := &r.vms[v], &r.hosts[h]
	vm.on = drop(vm.on, h)
	protected := vm.at.need.Protect
	if protected {
		host.guests = drop(host.guests, v)
	}
	if !protected && r.evict {
		return
	}
	host.cpu -= vm.at.vm.CPU
	host.memory -= vm.at.vm.Memory
	if len(vm.nics) > 0 {
		host.queued = drop(host.queued, v)
		host.reserveNICs(vm.nics, false)
	}
}

// drop takes the first x out of list; the order of the rest does not matter.
func drop(list []int32, x int32) []int32 {
	i := slices.Index(list, x)
	if i < 0 {
		return list
	}
	list[i] = list[len(list)-1]
	return list[:len(list)-1]
}

// hits says whether the failure f takes v's place from it, v being on a host of f.
func (r *Reserve) hits(f *failure, v int32) bool {
	if f.module == nil {
		return true
	}
	vm, host := &r.vms[v], r.hosts[f.hosts[0]].at
	if slices.ContainsFunc(f.module.Pools, func(p fleet.PoolID) bool { return slices.Contains(vm.pools, p) }) {
		return true
	}
	left := func(n fleet.NIC) bool { return n.Module != f.module.ID }
	if !slices.ContainsFunc(host.host.NICs, func(n fleet.NIC) bool { return !left(n) }) {
		return false
	}
	if c := vm.at.need.NICClass; c > 0 && !slices.ContainsFunc(host.host.NICs, func(n fleet.NIC) bool { return left(n) && host.class(&n) >= c }) {
		return true
	}
	return len(vm.nics) > 0 && !r.packs(f.hosts[0], f.module.ID, nil, nil)
}

// settle finds a witness for a case from nothing. A case without one keeps no places.
func (r *Reserve) settle(k int32) {
	f := &r.cases[k]
	f.old = slices.Clone(f.plan)
	was := f.survived
	r.release(k)
	f.unsaved, f.stuck = f.unsaved[:0], f.stuck[:0]
	var lost []int32
	for _, h := range f.hosts {
		for _, v := range r.hosts[h].guests {
			if r.hits(f, v) {
				lost = append(lost, v)
			}
		}
	}
	slices.SortFunc(lost, func(a, b int32) int {
		v, w := r.vms[a].at, r.vms[b].at
		return cmp.Or(cmp.Compare(w.size(), v.size()), cmp.Compare(a, b))
	})
	lost = slices.DeleteFunc(slices.Compact(lost), func(v int32) bool {
		if r.refuge(k, v, true) >= 0 {
			return false
		}
		f.stuck = append(f.stuck, v)
		return true
	})
	// Whom no host has room for beside nobody from the failed one makes a search for the others vain.
	hopeless := slices.ContainsFunc(lost, func(v int32) bool { return r.refuge(k, v, false) < 0 })
	if hopeless || !r.lodgeAll(k, lost) {
		f.unsaved = r.left(k, lost)
		f.survived = len(f.unsaved) == 0
	} else {
		f.survived = true
	}
	if !f.survived {
		r.release(k)
	}
	if was && !f.survived {
		r.failed = append(r.failed, k)
	}
}

// left lists whom the case k leaves without a place, the largest first: all, where nobody asks.
func (r *Reserve) left(k int32, lost []int32) []int32 {
	if r.probe {
		return lost
	}
	var out []int32
	for _, v := range lost {
		if h := r.refuge(k, v, false); h >= 0 {
			r.charge(k, v, h)
		} else {
			out = append(out, v)
		}
	}
	return out
}

// size orders VMs: the larger share of a server with 4 GiB for each thread.
func (v *vmAt) size() int64 { return max(int64(v.vm.Memory>>20), int64(v.vm.CPU)*4) }
