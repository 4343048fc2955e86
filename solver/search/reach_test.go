package search

import (
	"testing"

	"github.com/berth-project/berth/plan/model"
)

// reachProblem has three hosts of capacity 10 and a VM of 4 and one of 5 on each: with transient demands 1 is left for
// comers, so that none of them can go anywhere; vm-new, of 1, can go to all.
func reachProblem(transient bool) *model.Problem {
	p := &model.Problem{
		Resources: []model.Resource{{Name: "memory", Transient: transient, Load: 1}},
		Fit:       [][]model.Points{{0}},
	}
	for range 3 {
		p.Hosts = append(p.Hosts, model.Host{Capacity: []int64{10}, Soft: []int64{5}, Open: true})
	}
	add := func(demand int64, at model.HostIx) {
		p.VMs = append(p.VMs, model.VM{Demand: []int64{demand}, Initial: at, Group: model.None, Apart: model.None})
	}
	for h := range p.Hosts {
		add(4, model.HostIx(h)) //nolint:gosec // below 3
		add(5, model.HostIx(h)) //nolint:gosec // below 3
	}
	add(1, model.None)
	return p
}

// TestReach holds what is ruled out for good to the transient demands of those who were there first.
func TestReach(t *testing.T) {
	t.Parallel()
	s := newState(newTables(reachProblem(true)))
	if s.never == nil {
		t.Fatal("no pairs are kept where most are hopeless")
	}
	for v := range int32(s.nv) {
		for h := range int32(s.nh) {
			want := v == int32(s.nv)-1 || s.initial[v] == h
			if s.mayPlace(v, h) != want {
				t.Errorf("VM %d on host %d: %v, expected %v", v, h, !want, want)
			}
		}
	}
	if got := s.can[s.canAt[s.nv-1]:s.canAt[s.nv]]; len(got) != s.nh {
		t.Errorf("vm-new could go to %v, expected all %d hosts", got, s.nh)
	}
	if s = newState(newTables(reachProblem(false))); s.never != nil {
		t.Errorf("pairs are kept where every VM could go anywhere: %v", s.never)
	}
}

// TestGiants holds who fits no other host even if that is empty to its own while room has a price.
func TestGiants(t *testing.T) {
	t.Parallel()
	p := reachProblem(false)
	p.Hosts[0].Capacity[0], p.VMs[0].Demand[0] = 20, 11
	s := newState(newTables(p))
	if s.canAt != nil || s.never == nil {
		t.Fatalf("hosts of each VM %v, pairs ruled out %v; expected the pairs alone", s.canAt, s.never)
	}
	for h := range int32(s.nh) {
		if s.mayPlace(0, h) != (h == 0) || !s.mayPlace(1, h) {
			t.Errorf("host %d: the giant %v, another %v", h, s.mayPlace(0, h), s.mayPlace(1, h))
		}
	}
}

// TestReachLosesNothing tries every legal assignment of a VM that has room, one at a time: none is of a pair ruled out.
func TestReachLosesNothing(t *testing.T) {
	t.Parallel()
	ruled := 0
	for size := int64(1); size <= 8; size++ {
		p := reachProblem(true)
		p.VMs[0].Demand[0] = size
		if size > 5 { // host 0 has room for no other
			p.VMs[1].Demand[0] = 10 - size
		}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		s := newState(newTables(p))
		if s.never == nil {
			continue
		}
		for v := range p.VMs {
			for h := range p.Hosts {
				a := p.Start()
				a.Host[v] = model.HostIx(h) //nolint:gosec // below 3
				legal := len(model.Verify(p, a)) == 0
				if legal && !s.mayPlace(int32(v), int32(h)) { //nolint:gosec // small
					t.Errorf("size %d: VM %d on host %d is legal and ruled out", size, v, h)
				}
				if !legal {
					ruled++
				}
			}
		}
	}
	if ruled == 0 {
		t.Error("every assignment was legal: nothing was tried")
	}
}
