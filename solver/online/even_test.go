package online_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// plain is a fleet without prices: hosts of two sizes, each in one of two classes.
func plain(r *rand.Rand, hosts int) *model.Problem {
	p := &model.Problem{Resources: []model.Resource{{Name: "cpu"}, {Name: "memory"}, {Name: "shares"}}, Fit: [][]int64{{0, 0}}}
	for h := range hosts {
		n := int64(1 + r.IntN(2))
		p.Hosts = append(p.Hosts, model.Host{
			Capacity: []int64{32 * n, 128 * n, 64 * n}, Soft: []int64{32 * n, 128 * n, 64 * n}, Domain: []int32{int32(h)}, Class: int32(r.IntN(2)), Open: true,
		})
	}
	return p
}

// uneven is how far apart a VM leaves what a host has free, as shares of the largest host, in steps of a 64th.
func uneven(p *model.Problem, use []int64, h int, v *model.VM) int64 {
	const whole = 1 << 20
	most := int64(0)
	left := func(r int) int64 {
		unit := []int64{64, 256, 128}[r]
		return (p.Hosts[h].Capacity[r]-use[r])*whole/unit - v.Demand[r]*whole/unit
	}
	for r := 1; r < 3; r++ {
		most = max(most, left(0)-left(r), left(r)-left(0))
	}
	return most / (whole / 64)
}

// TestEven: of all hosts with room the one is taken that the VM leaves most evenly free, the first among equals.
func TestEven(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := plain(r, 2+r.IntN(40))
		p.Hosts[0].Capacity, p.Hosts[0].Soft = []int64{64, 256, 128}, []int64{64, 256, 128} // the largest
		x, err := online.New(p, nil, online.Options{Score: online.Even})
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			v := model.VM{Demand: []int64{r.Int64N(9), r.Int64N(40), r.Int64N(12)}, Group: model.None, Apart: model.None, Initial: model.None}
			want, least := model.HostIx(model.None), int64(0)
			for h := range p.Hosts {
				use := x.Use(model.HostIx(h))
				if use[0]+v.Demand[0] > p.Hosts[h].Capacity[0] || use[1]+v.Demand[1] > p.Hosts[h].Capacity[1] || use[2]+v.Demand[2] > p.Hosts[h].Capacity[2] {
					continue
				}
				if n := uneven(p, use, h, &v); want == model.None || n < least {
					want, least = model.HostIx(h), n
				}
			}
			d, ok := x.Place(v)
			if ok != (want != model.None) || ok && d.Host != want {
				t.Fatalf("seed %d: %v on host %d (%v), the most even is %d", seed, v.Demand, d.Host, ok, want)
			}
			if ok {
				x.Commit(v, d)
			}
		}
	}
}

// TestEvenIsDense: where VMs that ask for much CPU and VMs that ask for much memory come in turn, the even score places
// more of them before the first refusal than the others do.
func TestEvenIsDense(t *testing.T) {
	t.Parallel()
	placed := func(s online.Score) int {
		r := rand.New(rand.NewPCG(5, 5))
		p := plain(r, 60)
		x, err := online.New(p, nil, online.Options{Score: s})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			c := int64(1) << r.IntN(4)
			v := model.VM{Demand: []int64{c, c * (1 + r.Int64N(8)), 2 * c}, Group: model.None, Apart: model.None, Initial: model.None}
			d, ok := x.Place(v)
			if !ok {
				return n
			}
			x.Commit(v, d)
		}
	}
	even := placed(online.Even)
	for _, s := range []online.Score{online.FirstFit, online.BestFit, online.WorstFit} {
		if n := placed(s); n > even {
			t.Errorf("score %d places %d VMs, the even one %d", s, n, even)
		}
	}
}
