package model_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
)

// large is 10,000 hosts in 400 racks and 250,000 VMs with a disk and a NIC need each, every second one of a group of
// five that is to be apart.
func large() *model.Problem {
	r := rand.New(rand.NewPCG(1, 1))
	p := &model.Problem{
		Resources:     []model.Resource{{Name: "cpu", Load: 2}, {Name: "memory", Load: 1}, {Name: "disk", Transient: true}},
		PoolResources: []model.Resource{{Name: "space"}, {Name: "iops"}},
		Balances:      []model.Balance{{A: 0, B: 1, Target: 4, Weight: 1}},
		Fit:           [][]int64{{0, 3}, {5, 0}}, PoolFit: [][]int64{{0, 1}},
		Groups: make([]model.Group, 25_000),
	}
	for s := range 1000 {
		p.Pools = append(p.Pools, model.Pool{Capacity: []int64{1 << 30, 1 << 30}, Base: []int64{0, 0}, Class: int32(s % 2), Open: true})
	}
	for h := range 10_000 {
		p.Hosts = append(p.Hosts, model.Host{
			Capacity: []int64{400, 1600, 10_000}, Soft: []int64{200, 800, 10_000}, Domain: []int32{int32(h), int32(h / 25)},
			Zone: int32(h / 1000), Class: int32(h % 2), On: 50, Open: true, Pools: []model.PoolIx{model.PoolIx(h / 10)},
			NICs: []model.NIC{{Class: 1, Queues: 64, Rate: 100_000}, {Class: 1, Queues: 64, Rate: 100_000}},
		})
	}
	for i := range 250_000 {
		h := model.HostIx(i % 10_000)
		v := model.VM{
			Demand: []int64{1 + r.Int64N(15), 1 + r.Int64N(60), 10}, Group: model.None, Apart: model.None, Class: int32(i % 2),
			Initial: h, Move: [4]int64{0, 5, 5, 8}, NICs: []model.NICNeed{{Class: 1, Queues: 1 + r.Int32N(4), Rate: 1000}},
			Disks: []model.Disk{{Demand: []int64{20, 100}, Weight: 20, Copy: 2, Initial: model.PoolIx(h / 10)}},
		}
		if i%2 == 0 {
			v.Group, v.Apart = model.GroupIx(i/10), 0
		}
		p.VMs = append(p.VMs, v)
	}
	return p
}

// BenchmarkReferee is each judgement at 10,000 hosts and 250,000 VMs.
func BenchmarkReferee(b *testing.B) {
	p := large()
	if err := p.Validate(); err != nil {
		b.Fatal(err)
	}
	a := p.Start()
	if bad := model.Verify(p, a); len(bad) > 0 {
		b.Fatalf("%+v", bad[0])
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"Validate", func() { _ = p.Validate() }},
		{"Evaluate", func() { _, _ = model.Evaluate(p, a) }},
		{"Verify", func() { model.Verify(p, a) }},
		{"Bound", func() { model.Bound(p) }},
		{"Contradictions", func() { p.Contradictions() }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.do()
			}
		})
	}
}
