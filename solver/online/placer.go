package online

import (
	"fmt"

	"github.com/berth-project/berth/plan/model"
)

// Score says how ties between places of equal cost are broken.
type Score int8

// The packing scores.
const (
	// FirstFit takes the host with the lowest index.
	FirstFit Score = iota
	// BestFit takes the host that has least free of its scarcest resource, as shares of what the largest host has.
	BestFit
	// WorstFit takes the host with the most.
	WorstFit
	// Even takes a host on which the VM leaves the resources as evenly free as it can, so that none runs out while others
	// are left over: about as even as any, and of those the one with the lowest index. See evenness.
	Even
)

// Options of a placer.
type Options struct {
	Score Score
	// Rater, if set, breaks ties in place of Score.
	Rater Rater
	// Candidates is how many feasible hosts are compared at most, and what bounds the work to find them once there is one;
	// 0: no limit, the decision is the cheapest of all.
	Candidates int
}

// Rater rates a host that has room for the VM. Lower is better; ties go to the host with the lower index, then to the
// earlier form.
type Rater interface {
	Rate(p *Placer, h model.HostIx, vm *model.VM) int64
}

// Decision is a place for one VM.
type Decision struct {
	Host  model.HostIx
	Pools []model.PoolIx // by disk; nil without disks
	NICs  []int8         // by need: the index of the host's NIC, or None for a need of nothing
	// Repack: the VM's NIC needs fit only when needs of VMs that run on the host change their NIC; Commit does so.
	Repack bool
	// Form is the index of the form that was chosen.
	Form int
	// Cost is what the place adds to the model's cost, in points, the price of having no host left out.
	Cost model.Points
}

// Placer holds a problem and where its VMs are. It is not safe for concurrent use.
type Placer struct {
	p model.Problem
	a model.Assignment
	o Options

	hosts []hostState
	pools []poolState
	group []groupState
	nics  [][]int8 // by VM and need
	at    []int32  // by VM: its position in hostState.vms
	since []int64  // by VM: when it came
	now   int64
	spare []int  // VM slots of which the VM was removed
	gone  []bool // by VM: its slot is spare
	tree  tree
	q     query
}

// New makes a placer of a validated problem and an assignment of it; nil: the initial places. Neither is changed. An
// assignment that exceeds capacities is taken as it is (hosts in that state take nothing until they have room).
func New(p *model.Problem, a *model.Assignment, o Options) (*Placer, error) {
	if a == nil {
		a = p.Start()
	}
	if len(a.Host) != len(p.VMs) || len(a.Pool) != len(p.VMs) {
		return nil, fmt.Errorf("make placer: %d VMs, but the assignment has %d hosts and %d lists of pools", len(p.VMs), len(a.Host), len(a.Pool))
	}
	x := &Placer{p: *p, o: o}
	x.p.Hosts = append([]model.Host(nil), p.Hosts...)
	x.p.VMs = append([]model.VM(nil), p.VMs...)
	x.p.Groups = append([]model.Group(nil), p.Groups...)
	x.a = model.Assignment{Host: make([]model.HostIx, len(p.VMs)), Pool: make([][]model.PoolIx, len(p.VMs))}
	x.nics = make([][]int8, len(p.VMs))
	x.at = make([]int32, len(p.VMs))
	x.gone = make([]bool, len(p.VMs))
	x.since = make([]int64, len(p.VMs))
	x.pools = make([]poolState, len(p.Pools))
	for i := range p.Pools {
		x.pools[i].use = append([]int64(nil), p.Pools[i].Base...)
		x.pools[i].use = append(x.pools[i].use, make([]int64, len(p.PoolResources)-len(p.Pools[i].Base))...)
	}
	x.group = make([]groupState, len(p.Groups))
	for i := range p.Groups {
		for _, n := range p.Groups[i].Needs {
			x.group[n].neededBy = append(x.group[n].neededBy, model.GroupIx(i))
		}
	}
	for i := range p.Hosts {
		x.hosts = append(x.hosts, x.newHost(&p.Hosts[i]))
	}
	for i := range p.VMs {
		x.a.Host[i] = model.None
		x.park(i)
	}
	for i := range p.VMs {
		if a.Host[i] == model.None {
			continue
		}
		if err := x.adopt(i, a.Host[i], a.Pool[i]); err != nil {
			return nil, err
		}
	}
	x.buildTree()
	return x, nil
}

// adopt takes a VM that is placed already.
func (x *Placer) adopt(i int, h model.HostIx, pools []model.PoolIx) error {
	v := &x.p.VMs[i]
	if h < 0 || int(h) >= len(x.hosts) || len(pools) < len(v.Disks) {
		return fmt.Errorf("make placer: VM %d: no host %d, or %d pools for %d disks", i, h, len(pools), len(v.Disks))
	}
	for j := range v.Disks {
		if k := pools[j]; k != model.None && (k < 0 || int(k) >= len(x.pools)) {
			return fmt.Errorf("make placer: VM %d, disk %d: no pool %d", i, j, k)
		}
	}
	d := Decision{Host: h, Pools: append([]model.PoolIx(nil), pools[:len(v.Disks)]...)}
	nics, repacked, ok := x.packNICs(h, v, true)
	if !ok { // overfull already: count its needs where they hurt least
		nics = make([]int8, len(v.NICs))
		for k := range nics {
			nics[k] = model.None
		}
	}
	d.NICs, d.Repack = nics, repacked
	x.put(i, &d)
	return nil
}

// Displace takes the VM off its host; it waits for a place from then on.
func (x *Placer) Displace(i int) error {
	if i < 0 || i >= len(x.p.VMs) || x.a.Host[i] == model.None {
		return fmt.Errorf("displace VM %d: it has no place", i)
	}
	x.take(i)
	return nil
}

// Problem is the problem as it is now: VMs that were removed are VMs that ask for nothing and need no place. It is the
// placer's own, to be read only, until the next call.
func (x *Placer) Problem() *model.Problem { return &x.p }

// Assignment is where the VMs are, by Problem's indices; to be read only, until the next call.
func (x *Placer) Assignment() *model.Assignment { return &x.a }

// Place finds the cheapest place for a VM. Several forms are the same VM with different demands (a NUMA node each, say),
// of which one is chosen. False: no form has a place. Nothing is changed.
func (x *Placer) Place(forms ...model.VM) (Decision, bool) {
	return x.place(forms, nil)
}

// Commit puts the VM, in the form that was chosen, where the decision says, and returns its index. The decision has to be
// of the placer's present state.
func (x *Placer) Commit(vm model.VM, d Decision) int {
	i := x.slot(vm)
	x.put(i, &d)
	return i
}

// CommitAt puts a VM of the problem that has no host where the decision says.
func (x *Placer) CommitAt(i int, d Decision) error {
	if i < 0 || i >= len(x.p.VMs) || x.a.Host[i] != model.None {
		return fmt.Errorf("commit VM %d: it is not a VM that waits for a place", i)
	}
	x.put(i, &d)
	return nil
}

// Remove takes the VM away: its slot may be used for another VM later. Removing a VM that has no host drops it from those
// that wait for one.
func (x *Placer) Remove(i int) error {
	if i < 0 || i >= len(x.p.VMs) || x.gone[i] {
		return fmt.Errorf("remove VM %d: no such VM", i)
	}
	x.take(i)
	x.unpark(i)
	x.p.VMs[i] = model.VM{Demand: x.zero(), Group: model.None, Apart: model.None, Initial: model.None}
	x.a.Pool[i] = nil
	x.nics[i] = nil
	x.spare = append(x.spare, i)
	x.gone[i] = true
	return nil
}
