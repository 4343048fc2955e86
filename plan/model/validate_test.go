package model_test

import (
	"math"
	"strings"
	"testing"

	"github.com/berth-project/berth/plan/model"
)

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if err := small().Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (*model.Problem)(nil).Validate(); err == nil {
		t.Error("no problem is valid")
	}
	if err := (&model.Problem{}).Validate(); err != nil {
		t.Errorf("the empty problem: %v", err)
	}
	const huge = math.MaxInt64
	for _, c := range []struct {
		want  string
		spoil func(*model.Problem)
	}{
		{"33 resources: at most 32", func(p *model.Problem) { p.Resources = make([]model.Resource, 33) }},
		{"resources[0] (cpu): load -1 is negative", func(p *model.Problem) { p.Resources[0].Load = -1 }},
		{"pools have no load", func(p *model.Problem) { p.PoolResources[0].Load = 1 }},
		{"balances[0]: resources 0 and 2 of 2", func(p *model.Problem) { p.Balances[0].B = 2 }},
		{"balances[0]: target -1", func(p *model.Problem) { p.Balances[0].Target = -1 }},
		{"fit[1]: 1 columns, the first row has 2", func(p *model.Problem) { p.Fit = append(p.Fit, []int64{0}) }},
		{"pool fit[0][1]: -2 is negative", func(p *model.Problem) { p.PoolFit[0][1] = -2 }},
		{"hop[0]: 2 columns for 1 places", func(p *model.Problem) { p.Hop = [][]int32{{1, 2}} }},
		{"hop[0][0]: -1", func(p *model.Problem) { p.Hop = [][]int32{{-1}} }},
		{"hop weight -1", func(p *model.Problem) { p.HopWeight = -1 }},
		{"hosts[1]: capacity: 1 amounts for 2 resources", func(p *model.Problem) { p.Hosts[1].Capacity = []int64{1} }},
		{"hosts[0]: soft[1]: -5 is negative", func(p *model.Problem) { p.Hosts[0].Soft[1] = -5 }},
		{"hosts[1]: domain on 2 levels, hosts[0] on 1", func(p *model.Problem) { p.Hosts[1].Domain = []int32{0, 0} }},
		{"hosts[0]: domain -1 of level 0", func(p *model.Problem) { p.Hosts[0].Domain[0] = -1 }},
		{"hosts[0]: zone -1", func(p *model.Problem) { p.Hosts[0].Zone = -1 }},
		{"hosts[0]: class 2 is no column of fit", func(p *model.Problem) { p.Hosts[0].Class = 2 }},
		{"hosts[1]: place 3 of 1", func(p *model.Problem) { p.Hop, p.Hosts[1].Place = [][]int32{{0}}, 3 }},
		{"hosts[0]: price -1", func(p *model.Problem) { p.Hosts[0].On = -1 }},
		{"hosts[0]: 65 NICs", func(p *model.Problem) { p.Hosts[0].NICs = make([]model.NIC, 65) }},
		{"hosts[0]: nics[0]: queues -1", func(p *model.Problem) { p.Hosts[0].NICs[0].Queues = -1 }},
		{"hosts[0]: pools[1]: pool 0 after 1", func(p *model.Problem) { p.Hosts[0].Pools = []model.PoolIx{1, 0} }},
		{"hosts[0]: pools[0]: pool 2 of 2", func(p *model.Problem) { p.Hosts[0].Pools = []model.PoolIx{2} }},
		{"pools[1]: class 2", func(p *model.Problem) { p.Pools[1].Class = 2 }},
		{"pools[0]: base[0]: -1", func(p *model.Problem) { p.Pools[0].Base[0] = -1 }},
		{"vms[0]: demand[0]: -3", func(p *model.Problem) { p.VMs[0].Demand[0] = -3 }},
		{"vms[0]: group 2 of 2", func(p *model.Problem) { p.VMs[0].Group = 2 }},
		{"vms[0]: apart on level 1 of 1", func(p *model.Problem) { p.VMs[0].Apart = 1 }},
		{"vms[0]: class -1", func(p *model.Problem) { p.VMs[0].Class = -1 }},
		{"vms[0]: initial host 2 of 2", func(p *model.Problem) { p.VMs[0].Initial = 2 }},
		{"vms[0]: fixed, but without an initial host", func(p *model.Problem) { p.VMs[0].Fixed, p.VMs[0].Initial = true, model.None }},
		{"vms[0]: drop price -1", func(p *model.Problem) { p.VMs[0].Drop = -1 }},
		{"vms[0]: move[0] is 3", func(p *model.Problem) { p.VMs[0].Move[0] = 3 }},
		{"vms[0]: move[2]: -2", func(p *model.Problem) { p.VMs[0].Move[2] = -2 }},
		{"vms[1]: nics[0]: class -1", func(p *model.Problem) { p.VMs[1].NICs = []model.NICNeed{{Class: -1}} }},
		{"vms[0]: 257 disks", func(p *model.Problem) { p.VMs[0].Disks = make([]model.Disk, 257) }},
		{"vms[0]: disks[0]: class 1 is no row", func(p *model.Problem) { p.VMs[0].Disks[0].Class = 1 }},
		{"vms[0]: disks[0]: initial pool 2", func(p *model.Problem) { p.VMs[0].Disks[0].Initial = 2 }},
		{"vms[0]: disks[0]: fixed, but", func(p *model.Problem) { p.VMs[0].Disks[0].Fixed, p.VMs[0].Disks[0].Initial = true, model.None }},
		{"vms[0]: disks[0]: weight -1", func(p *model.Problem) { p.VMs[0].Disks[0].Weight = -1 }},
		{"groups[0]: min -1", func(p *model.Problem) { p.Groups[0].Min = -1 }},
		{"groups[0]: spread over level 1 of 1", func(p *model.Problem) { p.Groups[0].Level, p.Groups[0].Min = 1, 2 }},
		{"groups[1].needs[0]: group 2 of 2", func(p *model.Problem) { p.Groups[1].Needs = []model.GroupIx{2} }},
		{"groups[1].needs[1]: group 0 twice", func(p *model.Problem) { p.Groups[1].Needs = []model.GroupIx{0, 0} }},
		// Overflows: the element that goes over, and what it is a part of.
		{"vms[1] (demand of cpu): a sum overflows", func(p *model.Problem) { p.VMs[0].Demand[0], p.VMs[1].Demand[0] = 1<<61, 1<<61+1 }},
		{"hosts[0] (capacity or soft of disk)", func(p *model.Problem) { p.Hosts[0].Capacity[1] = huge }},
		{"pools[0] (capacity or base of space)", func(p *model.Problem) { p.Pools[0].Base[0] = huge }},
		{"vms[0].disks[0] (demand of space)", func(p *model.Problem) { p.VMs[0].Disks[0].Demand[0] = huge }},
		{"hosts[0].nics[0] (rate)", func(p *model.Problem) { p.Hosts[0].NICs[0].Rate = huge }},
		{"vms[2].nics[0] (rate)", func(p *model.Problem) { p.VMs[2].NICs = []model.NICNeed{{Rate: huge}} }},
		{"resources[0].load (times the demand of cpu)", func(p *model.Problem) { p.Resources[0].Load = huge }},
		{"balances[0].target (times cpu)", func(p *model.Problem) { p.Balances[0].Target = huge / 2 }},
		{"balances[0].weight", func(p *model.Problem) { p.Balances[0].Weight = huge }},
		{"hosts[1].on", func(p *model.Problem) { p.Hosts[1].On = huge }},
		{"vms[0] (cost of fit", func(p *model.Problem) { p.VMs[0].Drop = huge }},
		{"vms[0] (cost of fit", func(p *model.Problem) { p.Hop, p.HopWeight = [][]int32{{1 << 30}}, 1<<33 }},
		{"vms[0] (cost of fit", func(p *model.Problem) { p.GroupMove = huge }},
		{"vms[0].disks[0] (cost of pool fit", func(p *model.Problem) { p.PoolFit[0][0], p.VMs[0].Disks[0].Weight = 1<<32, 1<<32 }},
	} {
		p := small()
		c.spoil(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, err)
		}
	}
}

func TestContradictionsNameBothSides(t *testing.T) {
	t.Parallel()
	if c := small().Contradictions(); len(c) > 0 {
		t.Fatalf("at first: %q", c)
	}
	for _, c := range []struct {
		want  string
		spoil func(*model.Problem)
	}{
		{"cpu: VMs that must have a host ask for 36, all hosts have 20", func(p *model.Problem) { p.VMs[0].Demand[0] = 30 }},
		{"space: disks ask for 50, all pools have 18", func(p *model.Problem) { p.VMs[0].Disks[0].Demand[0] = 50 }},
		{"vms[1]: no host of 2 can have it: none that takes it fits its class", func(p *model.Problem) { p.Fit, p.VMs[1].Class = append(p.Fit, []int64{-1, -1}), 1 }},
		{"vms[1]: no host of 2 can have it: none that fits its class has room", func(p *model.Problem) { p.VMs[1].Demand[0] = 11 }},
		{"vms[1]: no host of 2 can have it: none with the room has the NICs", func(p *model.Problem) { p.VMs[1].NICs = []model.NICNeed{{Class: 2}} }},
		{"vms[0]: no host of 2 can have it: none with the room reaches pools", func(p *model.Problem) { p.VMs[0].Disks[0].Class, p.PoolFit = 1, append(p.PoolFit, []int64{-1, 0}) }},
		{"vms[2]: no host of 2 can have it: none takes it", func(p *model.Problem) { p.Hosts[0].Open, p.Hosts[1].Open, p.VMs[2].Initial = false, false, model.None }},
		{"hosts[1]: fixed VMs ask for 6 cpu, the host has 5", func(p *model.Problem) { p.VMs[1].Fixed, p.VMs[2].Fixed, p.Hosts[1].Capacity[0] = true, true, 5 }},
		{"groups[0]: to sit in 3 domains of level 0, but it has 2 VMs", func(p *model.Problem) { p.Groups[0].Min = 3 }},
		{"groups[0]: to sit in 2 domains of level 0, but hosts in use or open are in 1", func(p *model.Problem) { p.Groups[0].Min, p.Hosts[1].Domain[0] = 2, 0 }},
		{"groups[0]: 3 VMs are to be apart on level 0, which has 2 domains", func(p *model.Problem) {
			for i := range p.VMs {
				p.VMs[i].Group, p.VMs[i].Apart = 0, 0
			}
		}},
		{"vms[1] and vms[2]: of group 0, to be apart on level 0, both fixed in domain 1", func(p *model.Problem) {
			for i := 1; i < 3; i++ {
				p.VMs[i].Group, p.VMs[i].Apart, p.VMs[i].Fixed = 0, 0, true
			}
		}},
		{"groups[0]: needs group 1 in its zone, which has no VM", func(p *model.Problem) { p.Groups[0].Needs = []model.GroupIx{1} }},
		{"vms[0]: of group 0, needs group 1 in its zone, but no zone can have both", func(p *model.Problem) {
			p.Groups[0].Needs, p.VMs[0].Fixed, p.VMs[2].Group, p.VMs[2].Fixed = []model.GroupIx{1}, true, 1, true
		}},
	} {
		p := small()
		c.spoil(p)
		if err := p.Validate(); err != nil {
			t.Errorf("%q: %v", c.want, err)
			continue
		}
		if got := p.Contradictions(); len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("want %q: %q", c.want, got)
		}
	}
}
