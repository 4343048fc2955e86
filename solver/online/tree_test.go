package online

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
)

// TestTreeAfterChanges: whatever was placed, taken away, opened and closed, the nodes are those of a tree made from nothing,
// and a search on a list of hosts finds what the search of the whole tree finds on them.
func TestTreeAfterChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		p, _ := modeltest.Random(r, modeltest.Any(r, 1+r.IntN(12), 1+r.IntN(30)))
		if len(p.VMs) == 0 || len(p.Hosts) == 0 {
			return
		}
		a := p.Start()
		for i := range a.Host {
			a.Host[i] = model.None
		}
		x, err := New(p, a, Options{Score: Score(r.IntN(4))})
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			switch i := r.IntN(len(p.VMs)); {
			case r.IntN(6) == 0:
				if err := x.SetOpen(model.HostIx(r.IntN(len(p.Hosts))), r.IntN(3) > 0); err != nil {
					t.Fatal(err)
				}
			case x.a.Host[i] != model.None:
				if err := x.Displace(i); err != nil {
					t.Fatal(err)
				}
			default:
				among(t, x, r)
				if d, ok := x.PlaceWaiting(i); ok {
					if err := x.CommitAt(i, d); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		kept := slices.Clone(x.tree.data)
		x.buildTree()
		if !slices.Equal(kept, x.tree.data) {
			t.Fatalf("the tree is\n%v\nmade from nothing\n%v", kept, x.tree.data)
		}
	})
}

// among compares PlaceAmong with PlaceOn for a new VM and some of the hosts.
func among(t *rapid.T, x *Placer, r *rand.Rand) {
	v := x.p.VMs[r.IntN(len(x.p.VMs))]
	v.Initial = model.None
	v.Disks = slices.Clone(v.Disks)
	for j := range v.Disks {
		v.Disks[j].Initial, v.Disks[j].Fixed = model.None, false
	}
	var some []model.HostIx
	for h := range x.hosts {
		if r.IntN(2) == 0 {
			some = append(some, model.HostIx(h))
		}
	}
	want, can := x.PlaceOn(func(h model.HostIx) bool { return slices.Contains(some, h) }, v)
	got, ok := x.PlaceAmong(some, v)
	if ok != can || got.Host != want.Host || got.Cost != want.Cost || !slices.Equal(got.Pools, want.Pools) {
		t.Fatalf("among %v: %+v %v, want %+v %v", some, got, ok, want, can)
	}
}
