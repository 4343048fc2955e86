package bench

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// Problem is the packing in the planner's model: an item is a VM, a bin a host that costs a point when it is in use.
func (p *Packing) Problem() *model.Problem {
	m := &model.Problem{Fit: [][]model.Points{{0}}}
	for d := range p.Capacity {
		m.Resources = append(m.Resources, model.Resource{Name: fmt.Sprint("dimension ", d)})
	}
	for range p.Items {
		m.Hosts = append(m.Hosts, model.Host{Capacity: p.Capacity, Soft: p.Capacity, Open: true, On: 1})
	}
	for _, item := range p.Items {
		m.VMs = append(m.VMs, model.VM{Demand: item, Group: model.None, Apart: model.None, Initial: model.None, Drop: int64(len(p.Items) + 1)})
	}
	return m
}

// PackOptions bound one instance.
type PackOptions struct {
	Steps int // of each attempt to free a bin
	Tries int // attempts that may fail one after another
	Seed  uint64
	Stop  func() bool
}

// Pack packs the items, and returns how many bins are in use. Bound: as soon as there are no more, it ends. The referee
// judges the packing.
func (p *Packing) Pack(o PackOptions) (int, error) {
	m := p.Problem()
	var best *online.Placer
	for _, order := range p.orders() {
		for _, s := range []online.Options{{}, {Score: online.BestFit}, {Rater: online.Aligned{}}} {
			x, err := online.New(m, nil, s)
			if err != nil {
				return 0, err
			}
			for _, i := range order {
				d, ok := x.PlaceWaiting(i)
				if !ok {
					return 0, fmt.Errorf("pack %s: item %d: larger than a bin", p.Name, i)
				}
				if err := x.CommitAt(i, d); err != nil {
					return 0, fmt.Errorf("pack %s: %w", p.Name, err)
				}
			}
			if best == nil || binsOf(x) < binsOf(best) {
				best = x
			}
		}
	}
	least, _ := model.Bound(m)
	p.squeeze(best, int(least), o)
	if f := model.Verify(m, best.Assignment()); f != nil {
		return 0, fmt.Errorf("pack %s: %s of bin %d: %s", p.Name, f[0].Constraint, f[0].Host, f[0].Detail)
	}
	return binsOf(best), nil
}

// squeeze frees bins, one of the least filled at a time, until a number of attempts fail.
func (p *Packing) squeeze(x *online.Placer, least int, o PackOptions) {
	failed := 0
	for n := uint64(0); failed < o.Tries && binsOf(x) > least && (o.Stop == nil || !o.Stop()); n++ {
		bins := p.byFill(x)
		f := online.Freeing{Steps: o.Steps, Seed: o.Seed + n, Stop: o.Stop}
		if _, ok := x.Free(bins[failed%min(4, len(bins))], f); ok {
			failed = 0
		} else {
			failed++
		}
	}
}

func binsOf(x *online.Placer) int {
	n := 0
	for h := range x.Problem().Hosts {
		if len(x.VMsOn(model.HostIx(h))) > 0 { //nolint:gosec // MaxHosts
			n++
		}
	}
	return n
}

// byFill lists the bins in use, the least filled first.
func (p *Packing) byFill(x *online.Placer) []model.HostIx {
	var bins []model.HostIx
	fill := make([]float64, len(x.Problem().Hosts))
	for h := range fill {
		if len(x.VMsOn(model.HostIx(h))) > 0 { //nolint:gosec // MaxHosts
			bins = append(bins, model.HostIx(h))       //nolint:gosec // MaxHosts
			for d, u := range x.Use(model.HostIx(h)) { //nolint:gosec // MaxHosts
				fill[h] += float64(u) / float64(p.Capacity[d])
			}
		}
	}
	slices.SortStableFunc(bins, func(a, b model.HostIx) int { return cmp.Compare(fill[a], fill[b]) })
	return bins
}

// orders are the items by decreasing size, by several measures of size.
func (p *Packing) orders() [][]int {
	total := make([]float64, len(p.Capacity))
	for _, item := range p.Items {
		for d, n := range item {
			total[d] += float64(n) / float64(p.Capacity[d])
		}
	}
	measures := []func(item []int64) float64{
		func(item []int64) (s float64) {
			for d, n := range item {
				s += float64(n) / float64(p.Capacity[d])
			}
			return s
		},
		func(item []int64) (s float64) {
			for d, n := range item {
				s = max(s, float64(n)/float64(p.Capacity[d]))
			}
			return s
		},
		func(item []int64) (s float64) {
			for d, n := range item {
				s += total[d] * float64(n) / float64(p.Capacity[d])
			}
			return s
		},
	}
	var out [][]int
	for _, size := range measures {
		order := make([]int, len(p.Items))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size(p.Items[b]), size(p.Items[a])) })
		out = append(out, order)
	}
	return out
}
