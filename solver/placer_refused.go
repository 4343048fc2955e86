package solver

import (
	"slices"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
)

// refused is the constraint that refuses most hosts first, the first in the order of package plan among equals. What the
// sums of a host do not tell is asked for last: NICs, and then pools.
func (x *Placer) refused(g *guest, m *model.VM) string {
	s := x.c.s
	u := s.alone[len(s.vms)-1]
	kinds := make([]string, len(x.c.reps))
	for i, h := range x.c.reps {
		kinds[i] = s.fixedRefusal(u, h)
	}
	home := x.homes[g.need.AffinityGroup]
	taken := x.takenDomains(m)
	count := make([]int, len(order))
	for i := range s.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		r := kinds[x.c.p.Hosts[i].Class]
		host := &s.hosts[i]
		switch {
		case r != "":
		case g.need.AffinityGroup != "" && len(home) > 0 && home[h] == 0:
			r = plan.ConstraintAffinity
		case taken.has(host.domains[:]):
			r = plan.ConstraintSpread
		case g.vm.CPU > 0 && host.facts.CPU-x.host[i].CPU < g.vm.CPU:
			r = plan.ConstraintCPU
		case m.Demand[memoryResource] > 0 && x.c.p.Hosts[i].Capacity[memoryResource]-x.host[i].MiB < m.Demand[memoryResource]:
			r = plan.ConstraintMemory
		case len(m.NICs) > 0:
			r = plan.ConstraintNICQueues
		default:
			r = plan.ConstraintPoolSpace
		}
		if n := slices.Index(order, r); n >= 0 {
			count[n]++
		}
	}
	best := 0
	for n := range count {
		if count[n] > count[best] {
			best = n
		}
	}
	if count[best] == 0 {
		return plan.ConstraintSource
	}
	return order[best]
}

// domains are failure domains, by kind.
type domains []map[int32]bool

func (d domains) has(of []int32) bool {
	for k := range d {
		if d[k][of[k]] {
			return true
		}
	}
	return false
}

// takenDomains are those where a VM like m has one of its group too near.
func (x *Placer) takenDomains(m *model.VM) domains {
	if m.Group == model.None {
		return nil
	}
	out := make(domains, len(kinds))
	for k := range out {
		out[k] = map[int32]bool{}
	}
	p, a := x.at.Problem(), x.at.Assignment()
	for i := range p.VMs {
		v := &p.VMs[i]
		if v.Group != m.Group || a.Host[i] == model.None {
			continue
		}
		d := p.Hosts[a.Host[i]].Domain
		out[m.Apart][d[m.Apart]] = true
		if v.Apart != model.None {
			out[v.Apart][d[v.Apart]] = true
		}
	}
	return out
}
