package bench

import (
	"fmt"

	"github.com/berth-project/berth/plan/model"
)

// Roadef is an instance of the ROADEF/EURO 2012 challenge, as its two files have it.
type Roadef struct {
	Resources []RoadefResource
	Machines  []RoadefMachine
	Services  []RoadefService
	Processes []RoadefProcess
	Balances  []RoadefBalance
	// The weights of moved processes, of the service that moves most, and of moves between machines.
	ProcessWeight, ServiceWeight, MachineWeight int64
	Initial                                     []int32 // machine by process
}

// RoadefResource is a resource.
type RoadefResource struct {
	Transient bool
	Weight    int64 // of use above the safety capacity
}

// RoadefMachine is a machine.
type RoadefMachine struct {
	Neighbourhood, Location int32
	Capacity, Safety        []int64 // by resource
	MoveCost                []int32 // to each machine
}

// RoadefService is a service: processes on distinct machines, in at least Spread locations, each with a process of each
// service in Needs in its neighbourhood.
type RoadefService struct {
	Spread int32
	Needs  []int32
}

// RoadefProcess is a process.
type RoadefProcess struct {
	Service  int32
	Demand   []int64 // by resource
	MoveCost int64
}

// RoadefBalance is a balance cost: Weight for each unit by which resource B falls short of Target times resource A.
type RoadefBalance struct {
	A, B           int
	Target, Weight int64
}

// The levels of a machine's failure domains in the planner's model.
const (
	levelMachine  = 0
	levelLocation = 1
)

// Problem is the instance in the planner's own model: a process is a VM, a service a group whose VMs are apart on the
// level of machines and spread over that of locations, a neighbourhood an affinity zone.
func (r *Roadef) Problem() *model.Problem {
	p := &model.Problem{Fit: [][]model.Points{{0}}, HopWeight: r.MachineWeight, GroupMove: r.ServiceWeight}
	for i, q := range r.Resources {
		p.Resources = append(p.Resources, model.Resource{Name: fmt.Sprint("r", i), Transient: q.Transient, Load: q.Weight})
	}
	for _, b := range r.Balances {
		p.Balances = append(p.Balances, model.Balance{A: b.A, B: b.B, Target: b.Target, Weight: b.Weight})
	}
	for i := range r.Machines {
		m := &r.Machines[i]
		p.Hosts = append(p.Hosts, model.Host{
			Capacity: m.Capacity, Soft: m.Safety, Zone: m.Neighbourhood, Place: int32(i), Open: true,
			Domain: []int32{levelMachine: int32(i), levelLocation: m.Location},
		})
		p.Hop = append(p.Hop, m.MoveCost)
	}
	for _, s := range r.Services {
		g := model.Group{Level: levelLocation, Min: s.Spread}
		for _, n := range s.Needs {
			g.Needs = append(g.Needs, model.GroupIx(n))
		}
		p.Groups = append(p.Groups, g)
	}
	for i, q := range r.Processes {
		v := model.VM{
			Demand: q.Demand, Group: model.GroupIx(q.Service), Apart: levelMachine, Initial: model.HostIx(r.Initial[i]),
		}
		v.Move[model.HostChange] = q.MoveCost * r.ProcessWeight
		v.Move[model.DiskChange] = model.Forbidden
		v.Move[model.HostChange|model.DiskChange] = model.Forbidden
		p.VMs = append(p.VMs, v)
	}
	return p
}
