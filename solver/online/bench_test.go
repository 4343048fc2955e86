package online_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// large makes a fleet with every kind of constraint: four tiers, clusters of 20 hosts that share four pools, NICs,
// racks, groups of three that are to be apart, load, balance and priorities.
func large(hosts, perHost int) *model.Problem {
	r := rand.New(rand.NewPCG(7, 7))
	p := &model.Problem{
		Resources:     []model.Resource{{Name: "cpu", Load: 10}, {Name: "memory", Load: 5}},
		PoolResources: []model.Resource{{Name: "space"}, {Name: "iops"}},
		Balances:      []model.Balance{{A: 0, B: 1, Target: 4, Weight: 1}},
		Fit:           make([][]int64, 8), PoolFit: [][]int64{{0, 5, 9, 12}, {model.Forbidden, 0, 5, 9}, {model.Forbidden, model.Forbidden, 0, 5}, {model.Forbidden, model.Forbidden, model.Forbidden, 0}},
	}
	for k := range p.Fit { // tier, and whether it has to be patched
		p.Fit[k] = make([]int64, 8)
		for c := range p.Fit[k] {
			if p.Fit[k][c] = int64(c/2-k/2) * 100; c/2 < k/2 || k%2 == 1 && c%2 == 0 {
				p.Fit[k][c] = model.Forbidden
			}
		}
	}
	for h := range hosts {
		cluster := h / 20
		x := model.Host{
			Capacity: []int64{96, 512}, Soft: []int64{77, 410}, Domain: []int32{int32(h), int32(h / 10), int32(h / 40)},
			Zone: int32(cluster), Class: int32(cluster%4*2 + r.IntN(2)), On: 1, Open: true,
		}
		for range 2 {
			x.NICs = append(x.NICs, model.NIC{Class: int8(cluster % 3), Queues: 64, Rate: 25_000})
		}
		for k := range 4 {
			x.Pools = append(x.Pools, model.PoolIx(cluster*4+k))
		}
		p.Hosts = append(p.Hosts, x)
	}
	for s := range (hosts + 19) / 20 * 4 {
		p.Pools = append(p.Pools, model.Pool{Capacity: []int64{int64(perHost) * 20 * 60, int64(perHost) * 20 * 400}, Base: []int64{0, 0}, Class: int32(s / 4 % 4), Open: true})
	}
	for range hosts * perHost / 10 {
		p.Groups = append(p.Groups, model.Group{Level: 1, Min: 2})
	}
	return p
}

func request(r *rand.Rand, p *model.Problem) model.VM {
	tier := int32(r.IntN(4))
	c := int64(1) << r.IntN(3)
	v := model.VM{
		Demand: []int64{c, c * (2 + 2*r.Int64N(3))}, Group: model.None, Apart: model.None, Initial: model.None,
		Class: tier*2 + r.Int32N(2), Priority: tier, NICs: []model.NICNeed{{Class: int8(r.IntN(2)), Queues: 2, Rate: 500}},
	}
	for range 1 + r.IntN(2) {
		v.Disks = append(v.Disks, model.Disk{Demand: []int64{20 + r.Int64N(60), 100}, Class: tier, Initial: model.None, Weight: 1})
	}
	if r.IntN(3) == 0 {
		v.Group, v.Apart = model.GroupIx(r.IntN(len(p.Groups))), int8(r.IntN(2))
	}
	return v
}

// BenchmarkPlace measures one placement with departures in between, on a fleet with 25 VMs a host.
func BenchmarkPlace(b *testing.B) {
	for _, hosts := range []int{100, 1000, 10_000} {
		for _, candidates := range []int{16, 0} {
			if candidates == 0 && hosts > 1000 {
				continue // takes minutes to fill
			}
			b.Run(fmt.Sprintf("hosts=%d/candidates=%d", hosts, candidates), func(b *testing.B) { place(b, hosts, candidates) })
		}
	}
}

func place(b *testing.B, hosts, candidates int) {
	b.Helper()
	p := large(hosts, 25)
	x, err := online.New(p, nil, online.Options{Score: online.BestFit, Candidates: candidates})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	var in []int
	no := 0
	for len(in) < hosts*25 {
		v := request(r, p)
		d, ok := x.Place(v)
		if !ok {
			if no++; no > 30*hosts {
				break
			}
			continue
		}
		in = append(in, x.Commit(v, d))
	}
	var took []time.Duration
	refused := 0
	for b.Loop() {
		k := r.IntN(len(in))
		if err := x.Remove(in[k]); err != nil {
			b.Fatal(err)
		}
		in[k] = in[len(in)-1]
		in = in[:len(in)-1]
		v := request(r, p)
		from := time.Now()
		d, ok := x.Place(v)
		if ok {
			in = append(in, x.Commit(v, d))
		} else {
			refused++
		}
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
	b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e3, "max-us")
	b.ReportMetric(float64(refused)*100/float64(len(took)), "refused-%")
	b.ReportMetric(float64(len(in)), "VMs")
}
