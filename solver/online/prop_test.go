package online_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
	"github.com/berth-project/berth/solver/online"
)

// draw makes a small problem in which no VM has a place yet. Costs of groups that move are no business of one placement.
func draw(t *rapid.T, hosts, vms int) (*model.Problem, *model.Assignment) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	p, _ := modeltest.Random(r, modeltest.Any(r, hosts, vms))
	p.GroupMove = 0
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	a := p.Start()
	for i := range a.Host {
		a.Host[i] = model.None
	}
	return p, a
}

// faults are the violations of an assignment, but for VMs that have no place yet.
func faults(p *model.Problem, a *model.Assignment) []model.Violation {
	var out []model.Violation
	for _, v := range model.Verify(p, a) {
		if v.VM >= 0 && a.Host[v.VM] == model.None {
			continue
		}
		out = append(out, v)
	}
	return out
}

func total(t *rapid.T, p *model.Problem, a *model.Assignment) int64 {
	c, err := model.Evaluate(p, a)
	if err != nil {
		t.Fatal(err)
	}
	c.Drop = 0
	return c.Total()
}

// exhaustive tries every host and every choice of pools for VM i, and returns the least cost.
func exhaustive(t *rapid.T, p *model.Problem, before *model.Assignment, i int) (int64, bool) {
	a := before.Clone()
	was := len(faults(p, a))
	best, found := int64(0), false
	var choose func(j int)
	choose = func(j int) {
		if j < len(p.VMs[i].Disks) {
			for s := range p.Pools {
				a.Pool[i][j] = model.PoolIx(s)
				choose(j + 1)
			}
			return
		}
		if len(faults(p, a)) > was {
			return
		}
		if c := total(t, p, a); !found || c < best {
			best, found = c, true
		}
	}
	for h := range p.Hosts {
		a.Host[i] = model.HostIx(h)
		choose(0)
	}
	return best, found
}

// snapshot is all that Remove has to bring back.
func snapshot(x *online.Placer) any {
	var use [][]int64
	var vms [][]int32
	for h := range x.Problem().Hosts {
		use = append(use, append([]int64(nil), x.Use(model.HostIx(h))...))
		vms = append(vms, append([]int32(nil), x.VMsOn(model.HostIx(h))...))
	}
	return []any{use, vms, x.Assignment().Clone()}
}

// TestPlaceAgreesWithExhaustiveSearch: a place is found iff one exists, it is the cheapest, the referee accepts it, and
// taking the VM away again leaves no trace.
func TestPlaceAgreesWithExhaustiveSearch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, a := draw(t, 5, 9)
		score := online.Score(rapid.IntRange(0, 3).Draw(t, "score"))
		x, err := online.New(p, a, online.Options{Score: score})
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.VMs {
			q := x.Problem()
			before := x.Assignment().Clone()
			want, can := exhaustive(t, q, before, i)
			d, ok := x.PlaceWaiting(i)
			if ok != can {
				a := x.Assignment().Clone()
				if ok {
					a.Host[i], a.Pool[i] = d.Host, d.Pools
				}
				t.Fatalf("VM %d: found %v %+v, exists %v; before %+v, after %+v", i, ok, d, can, faults(q, before), faults(q, a))
			}
			if !ok {
				continue
			}
			shot := snapshot(x)
			if err := x.CommitAt(i, d); err != nil {
				t.Fatal(err)
			}
			if err := x.Displace(i); err != nil {
				t.Fatal(err)
			}
			if back := snapshot(x); !d.Repack && !reflect.DeepEqual(shot, back) {
				t.Fatalf("VM %d: displacing it left a trace:\n%v\n%v", i, shot, back)
			}
			if err := x.CommitAt(i, d); err != nil {
				t.Fatal(err)
			}
			if now := faults(q, x.Assignment()); len(now) > len(faults(q, before)) {
				t.Fatalf("VM %d: %v", i, now)
			}
			if got := total(t, q, x.Assignment()); got != want {
				t.Fatalf("VM %d: costs %d, the cheapest place %d (%+v)", i, got, want, d)
			}
		}
	})
}

// TestNewVMs: VMs that come and go keep every rule, and what a decision says it costs is what the referee counts.
func TestNewVMs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, _ := draw(t, 6, 14)
		vms := p.VMs
		p.VMs = nil
		x, err := online.New(p, nil, online.Options{Score: online.BestFit, Candidates: rapid.IntRange(0, 3).Draw(t, "candidates")})
		if err != nil {
			t.Fatal(err)
		}
		var in []int
		for n := range vms {
			v := vms[n]
			v.Initial, v.Fixed, v.Drop = model.None, false, 0
			v.Disks = append([]model.Disk(nil), v.Disks...)
			for j := range v.Disks {
				v.Disks[j].Initial, v.Disks[j].Fixed = model.None, false
			}
			if v.Group != model.None && rapid.Bool().Draw(t, "alone") {
				v.Group, v.Apart = model.None, model.None
			}
			cost := total(t, x.Problem(), x.Assignment())
			if d, ok := x.Place(v); ok {
				i := x.Commit(v, d)
				if v.Group == model.None {
					in = append(in, i)
				}
				if got := total(t, x.Problem(), x.Assignment()) - cost; got != d.Cost {
					t.Fatalf("the decision says %d points, the referee %d: %+v", d.Cost, got, d)
				}
			}
			if len(in) > 0 && rapid.Bool().Draw(t, "remove") {
				k := rapid.IntRange(0, len(in)-1).Draw(t, "which")
				if err := x.Remove(in[k]); err != nil {
					t.Fatal(err)
				}
				in = append(in[:k], in[k+1:]...)
			}
			for _, f := range model.Verify(x.Problem(), x.Assignment()) {
				if f.Constraint != model.SpreadRule { // a group that has fewer VMs than domains to come
					t.Fatal(f)
				}
			}
			if err := x.Problem().Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
