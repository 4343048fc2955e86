package model_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
)

// small is two hosts in two racks of one zone, two pools, and three VMs: vm 0 with a disk and vm 1 of one group, vm 2
// of none. It starts without a fault.
func small() *model.Problem {
	host := func(rack int32) model.Host {
		return model.Host{
			Capacity: []int64{10, 10}, Soft: []int64{5, 8}, Domain: []int32{rack}, Zone: rack, Open: true,
			NICs: []model.NIC{{Class: 1, Queues: 4, Rate: 10}}, Pools: []model.PoolIx{0, 1},
		}
	}
	vm := func(at model.HostIx, g model.GroupIx) model.VM {
		return model.VM{Demand: []int64{3, 4}, Group: g, Apart: model.None, Initial: at, Move: [4]int64{0, 1, 1, 2}}
	}
	p := &model.Problem{
		Resources:     []model.Resource{{Name: "cpu", Load: 2}, {Name: "disk", Transient: true}},
		PoolResources: []model.Resource{{Name: "space"}},
		Balances:      []model.Balance{{A: 0, B: 1, Target: 2, Weight: 3}},
		Hosts:         []model.Host{host(0), host(1)},
		Pools:         []model.Pool{{Capacity: []int64{10}, Base: []int64{2}, Open: true}, {Capacity: []int64{10}, Base: []int64{0}, Open: true}},
		VMs:           []model.VM{vm(0, 0), vm(1, 0), vm(1, model.None)},
		Groups:        []model.Group{{}, {}},
		Fit:           [][]int64{{0, model.Forbidden}}, PoolFit: [][]int64{{1, model.Forbidden}},
	}
	p.VMs[0].Disks = []model.Disk{{Demand: []int64{5}, Weight: 5, Copy: 7}}
	return p
}

func TestVerifyNamesEachRule(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, detail string
		spoil        func(*model.Problem, *model.Assignment)
	}{
		{"shape", "2 hosts for 3 VMs", func(_ *model.Problem, a *model.Assignment) { a.Host = a.Host[:2] }},
		{"shape", "host 2 of 2", func(_ *model.Problem, a *model.Assignment) { a.Host[1] = 2 }},
		{"shape", "0 pools for 1 disks", func(_ *model.Problem, a *model.Assignment) { a.Pool[0] = nil }},
		{"capacity", "cpu: 6 used of 5", func(p *model.Problem, _ *model.Assignment) { p.Hosts[1].Capacity[0] = 5 }},
		{"transient", "disk: 8 used, 4 held by what leaves of 10", func(_ *model.Problem, a *model.Assignment) { a.Host = []model.HostIx{1, 0, 1} }},
		{"fit", "class 0 does not fit host class 1", func(p *model.Problem, _ *model.Assignment) { p.Hosts[0].Class = 1 }},
		{"fit", "disk 0: class 0 does not fit pool class 1", func(p *model.Problem, _ *model.Assignment) { p.Pools[0].Class = 1 }},
		{"open", "takes nothing", func(p *model.Problem, a *model.Assignment) { p.Hosts[0].Open, a.Host[2] = false, 0 }},
		{"open", "disk 0: the pool takes nothing", func(p *model.Problem, a *model.Assignment) { p.Pools[1].Open, a.Pool[0][0] = false, 1 }},
		{"apart", "shares domain 0 of level 0 with vm 0 of its group 0", func(p *model.Problem, a *model.Assignment) { p.VMs[1].Apart, a.Host[1] = 0, 0 }},
		{"spread", "sits in 1 domains of level 0, needs 2", func(p *model.Problem, a *model.Assignment) { p.Groups[0].Min, a.Host[1] = 2, 0 }},
		{"needs", "group 1 has no vm in zone 0", func(p *model.Problem, _ *model.Assignment) {
			p.Groups[0].Needs, p.VMs[2].Group = []model.GroupIx{1}, 1
		}},
		{"nic", "no way found to give 2 needs", func(p *model.Problem, _ *model.Assignment) {
			p.VMs[1].NICs, p.VMs[2].NICs = []model.NICNeed{{Queues: 2, Rate: 6}}, []model.NICNeed{{Queues: 2, Rate: 5}}
		}},
		{"reach", "disk 0: the host does not reach", func(p *model.Problem, _ *model.Assignment) { p.Hosts[0].Pools = []model.PoolIx{1} }},
		{"reach", "disk 0: has no pool", func(_ *model.Problem, a *model.Assignment) { a.Pool[0][0] = model.None }},
		{"pool", "space: 5 used, 2 used by others of 6", func(p *model.Problem, _ *model.Assignment) { p.Pools[0].Capacity[0] = 6 }},
		{"transient", "space: 0 used, 5 held by what leaves, 2 used by others of 6", func(p *model.Problem, a *model.Assignment) {
			p.Pools[0].Capacity[0], p.PoolResources[0].Transient, a.Pool[0][0] = 6, true, 1
		}},
		{"pool", "space: 5 used, 2 used by others of 6", func(p *model.Problem, a *model.Assignment) {
			p.Pools[0].Capacity[0], p.VMs[0].Disks[0].Sticky, a.Pool[0][0] = 6, true, 1
		}},
		{"fixed", "must stay on host 1", func(p *model.Problem, a *model.Assignment) { p.VMs[2].Fixed, a.Host[2] = true, 0 }},
		{"fixed", "disk 0: must stay in pool 0", func(p *model.Problem, a *model.Assignment) { p.VMs[0].Disks[0].Fixed, a.Pool[0][0] = true, 1 }},
		{"move", "cannot change its host", func(p *model.Problem, a *model.Assignment) { p.VMs[2].Move[1], a.Host[2] = model.Forbidden, 0 }},
		{"move", "cannot change its pools", func(p *model.Problem, a *model.Assignment) { p.VMs[0].Move[2], a.Pool[0][0] = model.Forbidden, 1 }},
		{"drop", "must have a host", func(_ *model.Problem, a *model.Assignment) { a.Host[2] = model.None }},
		{"drop", "disk 0: its VM has no host", func(p *model.Problem, a *model.Assignment) {
			p.VMs[0].Drop, a.Host[0], a.Pool[0][0] = 5, model.None, 1
		}},
	} {
		p := small()
		a := p.Start()
		if bad := model.Verify(p, a); bad != nil {
			t.Fatalf("at first: %+v", bad)
		}
		c.spoil(p, a)
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		bad := model.Verify(p, a)
		if len(bad) != 1 || bad[0].Constraint != c.want || !strings.Contains(bad[0].Detail, c.detail) {
			t.Errorf("%s (%s): %+v", c.want, c.detail, bad)
		}
	}
}

func TestWorseForgivesWhatWas(t *testing.T) {
	t.Parallel()
	p := small()
	p.Hosts[1].Capacity = []int64{5, 5} // vm 1 and vm 2 are too much
	p.VMs[0].NICs, p.VMs[1].NICs = []model.NICNeed{{Queues: 1}}, []model.NICNeed{{Queues: 9}}
	a := p.Start()
	if bad := model.Worse(p, a); bad != nil {
		t.Fatalf("the start is worse than itself: %+v", bad)
	}
	if len(model.Verify(p, a)) != 3 {
		t.Fatalf("the start breaks %+v", model.Verify(p, a))
	}
	a.Host[2] = 0 // mends cpu; what leaves is held on host 1 as it was
	if bad := model.Worse(p, a); bad != nil {
		t.Fatalf("mended in part: %+v", bad)
	}
	a.Host[2], a.Host[0] = 1, 1
	kinds := map[string]bool{}
	for _, v := range model.Worse(p, a) {
		kinds[v.Constraint] = true
	}
	if !kinds["capacity"] || !kinds["nic"] || len(kinds) != 2 {
		t.Fatalf("one VM more on the host that was too full, with a NIC: %v", kinds)
	}
}

func TestEvaluateRefusesOthers(t *testing.T) {
	t.Parallel()
	p := small()
	if _, err := model.Evaluate(p, nil); err == nil {
		t.Error("no assignment was evaluated")
	}
	if _, err := model.Evaluate(p, &model.Assignment{}); err == nil || !strings.Contains(err.Error(), "0 hosts for 3 VMs") {
		t.Errorf("an empty assignment: %v", err)
	}
}

// TestPackIsExact compares with trying every NIC for every need.
func TestPackIsExact(t *testing.T) {
	t.Parallel()
	var k model.Packer
	rapid.Check(t, func(rt *rapid.T) {
		var rooms []model.NIC
		var needs []model.NICNeed
		for range rapid.IntRange(0, 4).Draw(rt, "NICs") {
			rooms = append(rooms, model.NIC{
				Class: rapid.Int8Range(0, 2).Draw(rt, "class"), Queues: rapid.Int32Range(0, 6).Draw(rt, "queues"),
				Rate: rapid.Int64Range(0, 6).Draw(rt, "rate"),
			})
		}
		for range rapid.IntRange(0, 7).Draw(rt, "needs") {
			needs = append(needs, model.NICNeed{
				Class: rapid.Int8Range(0, 2).Draw(rt, "class"), Queues: rapid.Int32Range(0, 3).Draw(rt, "queues"),
				Rate: rapid.Int64Range(0, 3).Draw(rt, "rate"),
			})
		}
		if got, want := k.Pack(rooms, needs), packs(append([]model.NIC(nil), rooms...), needs); got != want {
			rt.Fatalf("NICs %v, needs %v: %v, by trying all %v", rooms, needs, got, want)
		}
	})
}
