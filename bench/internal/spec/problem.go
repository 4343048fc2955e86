package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// waste is what a VM costs for each tier by which its host is better than it asks for.
const waste model.Points = 1000

// Problem is the fleet in Berth's model, with the VMs where at says (nil: nowhere). A VM that has no place yet may stay
// without, at a price that is above all others.
func (f *Fleet) Problem(at []int) *model.Problem {
	p := &model.Problem{Resources: []model.Resource{{Name: "cpu"}, {Name: "memory"}}}
	for need := range Tiers {
		row := make([]model.Points, Tiers)
		for has := range row {
			row[has] = model.Forbidden
			if has >= need {
				row[has] = waste * model.Points(has-need)
			}
		}
		p.Fit = append(p.Fit, row)
	}
	if f.Full {
		p.PoolResources = []model.Resource{{Name: "space"}}
		p.PoolFit = [][]model.Points{{0, model.Forbidden}, {model.Forbidden, 0}}
		for i := range f.Pools {
			p.Pools = append(p.Pools, model.Pool{Capacity: []int64{f.Pools[i].Size}, Base: []int64{0}, Class: class(f.Pools[i].Fast), Open: true})
		}
	}
	for i := range f.Nodes {
		p.Hosts = append(p.Hosts, f.host(i))
	}
	for i := range f.VMs {
		p.VMs = append(p.VMs, f.vm(i))
		if at != nil {
			p.VMs[i].Initial = model.HostIx(at[i]) //nolint:gosec // at most MaxHosts
			for j := range p.VMs[i].Disks {
				p.VMs[i].Disks[j].Initial = f.PoolOf(i, at[i])
			}
		}
	}
	for i := range f.Units {
		if len(f.Units[i].VMs) < 2 {
			continue
		}
		for _, v := range f.Units[i].VMs {
			p.VMs[v].Group, p.VMs[v].Apart = model.GroupIx(len(p.Groups)), 0 //nolint:gosec // at most MaxVMs
		}
		p.Groups = append(p.Groups, model.Group{})
	}
	return p
}

func class(fast bool) int32 {
	if fast {
		return 1
	}
	return 0
}

func (f *Fleet) host(i int) model.Host {
	n := &f.Nodes[i]
	h := model.Host{
		Capacity: []int64{n.CPU, n.Memory}, Soft: []int64{n.CPU, n.Memory}, Domain: []int32{int32(i)}, //nolint:gosec // at most MaxHosts
		Class: int32(n.Tier), Open: true, //nolint:gosec // three tiers
	}
	if f.Full {
		h.Pools = []model.PoolIx{model.PoolIx(2 * n.Rack), model.PoolIx(2*n.Rack + 1)} //nolint:gosec // at most MaxPools
		for _, c := range n.NICs {
			h.NICs = append(h.NICs, model.NIC{Class: int8(c.Class), Queues: int32(c.Queues)}) //nolint:gosec // small by Generate
		}
	}
	return h
}

func (f *Fleet) vm(i int) model.VM {
	v := &f.VMs[i]
	m := model.VM{
		Demand: []int64{v.CPU, v.Memory}, Group: model.None, Apart: model.None, Class: int32(v.Tier), //nolint:gosec // three tiers
		Initial: model.None, Drop: 1_000_000 + 1000*(v.CPU/250+v.Memory>>10),
	}
	if v.Disk > 0 {
		m.Disks = []model.Disk{{Demand: []int64{v.Disk}, Class: class(v.Fast), Initial: model.None, Weight: v.Disk}}
	}
	if v.Queues > 0 {
		m.NICs = []model.NICNeed{{Class: int8(v.Class), Queues: int32(v.Queues)}} //nolint:gosec // small by Generate
	}
	return m
}

// PoolOf is the pool that the VM's disk has on a node: of the pools of its rack there is one that fits.
func (f *Fleet) PoolOf(vm, node int) model.PoolIx {
	if node == None || !f.Full {
		return model.None
	}
	return model.PoolIx(2*f.Nodes[node].Rack + int(class(f.VMs[vm].Fast))) //nolint:gosec // at most MaxPools
}

// Assignment is the answer of a scheduler, by VM, in Berth's model. A scheduler that knows no pools gets the one that fits.
func (f *Fleet) Assignment(at []int) *model.Assignment {
	a := &model.Assignment{Host: make([]model.HostIx, len(at)), Pool: make([][]model.PoolIx, len(at))}
	for i, h := range at {
		a.Host[i] = model.HostIx(h) //nolint:gosec // at most MaxHosts
		if f.VMs[i].Disk > 0 {
			a.Pool[i] = []model.PoolIx{f.PoolOf(i, h)}
		}
	}
	return a
}

// Judge counts what an answer breaks of all constraints of the fleet, by the referee that no scheduler shares code with.
func (f *Fleet) Judge(at []int) (int, string) {
	found := model.Verify(f.Problem(nil), f.Assignment(at))
	by := map[string]int{}
	for _, v := range found {
		by[v.Constraint]++
	}
	text := ""
	for _, k := range slices.Sorted(maps.Keys(by)) {
		text += fmt.Sprintf("%s %d ", k, by[k])
	}
	return len(found), text
}
