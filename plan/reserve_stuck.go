package plan

import (
	"fmt"
	"slices"
	"strings"

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
