package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// losses is a set of kinds of failures.
type losses uint8

func lossOf(l policy.Loss) losses {
	return 1 << slices.Index([]policy.Loss{policy.LossHost, policy.LossChassis, policy.LossModule}, l)
}

// helpless tells over which kinds of failures no reserve can help the VM v: one of them hits it and no other host could take it were it
// empty. A plan that brings a protected VM there saves no failure and breaks none by the count: it takes the VM out of it, and no room
// that is made later brings it back.
func (r *Reserve) helpless(v int) losses {
	vm := int32(v) // bounded by newReserve
	var out losses
	if !r.vms[vm].at.need.Protect {
		return 0
	}
	for _, on := range r.vms[vm].on {
		for _, k := range r.hosts[on].cases {
			if f := &r.cases[k]; out&lossOf(f.Loss) == 0 && r.hits(f, vm) && r.refuge(k, vm, true) < 0 {
				out |= lossOf(f.Loss)
			}
		}
	}
	return out
}

// Strands says whether a disk of the VM v on the pool p, with v on the host h, would leave v where no reserve can help it in a failure of
// a kind that one can help it in now: no host that such a failure leaves reaches p.
func (r *Reserve) Strands(v, h int, p fleet.PoolID) bool {
	if !r.vms[v].at.need.Protect {
		return false
	}
	var over losses
	for _, k := range r.hosts[h].cases {
		f := &r.cases[k]
		if f.module == nil && !slices.ContainsFunc(r.reach[p], func(o int32) bool { return !slices.Contains(f.hosts, o) }) {
			over |= lossOf(f.Loss)
		}
	}
	return over != 0 && over&^r.helpless(v) != 0
}

// Local says whether a failure of a host or a chassis would leave no host that reaches the pool p.
func (r *Reserve) Local(p fleet.PoolID) bool {
	reach := r.reach[p]
	if len(reach) == 0 {
		return false
	}
	return slices.ContainsFunc(r.hosts[reach[0]].cases, func(k int32) bool {
		f := &r.cases[k]
		return f.module == nil && !slices.ContainsFunc(reach, func(h int32) bool { return !slices.Contains(f.hosts, h) })
	})
}

// Helpless says whether the VM v is protected and no reserve can help it in some failure, however empty the other hosts are.
func (r *Reserve) Helpless(v int) bool { return r.helpless(v) != 0 }

// whyHelpless names the failures of the kinds in over in which nothing can help v any more.
func (r *Reserve) whyHelpless(v int, over losses) string {
	vm := int32(v) // bounded by newReserve
	var out []string
	for _, on := range r.vms[vm].on {
		for _, k := range r.hosts[on].cases {
			if f := &r.cases[k]; over&lossOf(f.Loss) != 0 && r.hits(f, vm) && r.refuge(k, vm, true) < 0 {
				out = append(out, fmt.Sprintf("the loss of %s would take %s with it, which it did not before: %s", f.text(), r.vms[vm].at.vm.ID, r.whyStuck(f, vm)))
			}
		}
	}
	return strings.Join(out, "; ")
}

// stuckAt says whether v is in a failure, as kept, that nothing can help it in.
func (r *Reserve) stuckAt(v int32) bool {
	return slices.ContainsFunc(r.vms[v].on, func(on int32) bool {
		return slices.ContainsFunc(r.hosts[on].cases, func(k int32) bool { return slices.Contains(r.cases[k].stuck, v) })
	})
}

// Stranded is a VM that no reserve can help in some failure.
type Stranded struct {
	VM    fleet.VMID
	Local bool // a disk lies on a pool that no host reaches which such a failure leaves; else no such host meets the VM's needs
}

// StrandedAfter lists the VMs, by ID, that no reserve can help once p's steps are done: those that its summary counts. The steps must be
// ones that Check accepts; the error says what is wrong with the problem, or which step names what there is not.
func StrandedAfter(problem *policy.Problem, p *Plan) ([]Stranded, error) {
	if !Protects(problem) {
		return nil, nil
	}
	w, err := newWorld(problem)
	if err != nil {
		return nil, fmt.Errorf("list VMs that no reserve can help: %w", err)
	}
	for i := range p.Steps {
		st := &p.Steps[i]
		if a := st.Attach; a != nil && problem.Snapshot.Module(a.Module.ID) != nil && w.hosts[a.To] != nil {
			w.attach(problem.Snapshot.Module(a.Module.ID), a.To)
		} else if v := w.vms[st.Move.VM.ID]; a == nil && v != nil && w.unknown(v, st.Move.To) == "" {
			w.move(v, st.Move.To)
		} else {
			return nil, fmt.Errorf("list VMs that no reserve can help: step %d names what there is not", i+1)
		}
	}
	r, err := newReserve(w)
	if err != nil {
		return nil, err
	}
	local := map[int32]bool{}
	for k := range r.cases {
		f := &r.cases[k]
		for _, v := range f.stuck {
			local[v] = local[v] || r.beyond(f, v) >= 0
		}
	}
	out := make([]Stranded, 0, len(local))
	for v, l := range local { // sorted below
		out = append(out, Stranded{r.vms[v].at.vm.ID, l})
	}
	slices.SortFunc(out, func(a, b Stranded) int { return cmp.Compare(a.VM, b.VM) })
	return out, nil
}

// beyond is the first disk of v on a pool that no host reaches which f leaves, -1 for none.
func (r *Reserve) beyond(f *failure, v int32) int {
	return slices.IndexFunc(r.vms[v].at.at.Disks, func(d fleet.DiskPlace) bool {
		return !slices.ContainsFunc(r.reach[d.Pool], func(h int32) bool { return !slices.Contains(f.hosts, h) })
	})
}
