package online_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// cheapestEviction tries every set of VMs of lower priority on every host: the least sum of priorities, then of sizes.
func cheapestEviction(t *rapid.T, x *online.Placer, vm model.VM, size func(i int) int64) (prio, sum int64, found bool) {
	p, a := x.Problem(), x.Assignment()
	for h := range p.Hosts {
		var low []int
		for _, i := range x.VMsOn(model.HostIx(h)) {
			if p.VMs[i].Priority < vm.Priority {
				low = append(low, int(i))
			}
		}
		ok := map[int]bool{}
		for set := 1; set < 1<<len(low); set++ {
			b := a.Clone()
			np, ns := int64(0), int64(0)
			for k, i := range low {
				if set>>k&1 == 1 {
					b.Host[i] = model.None
					np += int64(p.VMs[i].Priority)
					ns += size(i)
				}
			}
			y, err := online.New(p, b, online.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, ok[set] = y.PlaceOn(func(g model.HostIx) bool { return g == model.HostIx(h) }, vm)
			vain := false
			for k := range low {
				vain = vain || set>>k&1 == 1 && ok[set&^(1<<k)]
			}
			if ok[set] && !vain && (!found || np < prio || np == prio && ns < sum) {
				prio, sum, found = np, ns, true
			}
		}
	}
	return prio, sum, found
}

// TestPreempt: who gives way is of lower priority, is the cheapest such set of one host, and going makes the place.
func TestPreempt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "hosts")
		p := &model.Problem{Resources: []model.Resource{{Name: "cpu"}, {Name: "memory"}}, Fit: [][]int64{{0, 0}, {model.Forbidden, 0}}}
		amount := rapid.Int64Range(0, 8)
		for h := range n {
			c := []int64{rapid.Int64Range(4, 20).Draw(t, "cpu"), rapid.Int64Range(4, 20).Draw(t, "memory")}
			p.Hosts = append(p.Hosts, model.Host{Capacity: c, Soft: c, Open: true, Class: int32(h % 2)})
		}
		x, err := online.New(p, nil, online.Options{})
		if err != nil {
			t.Fatal(err)
		}
		draw := func() model.VM {
			return model.VM{
				Demand: []int64{amount.Draw(t, "cpu"), amount.Draw(t, "memory")}, Group: model.None, Apart: model.None, Initial: model.None,
				Class: rapid.Int32Range(0, 1).Draw(t, "class"), Priority: rapid.Int32Range(-1, 3).Draw(t, "priority"),
			}
		}
		for range rapid.IntRange(0, 12).Draw(t, "vms") {
			v := draw()
			if d, ok := x.Place(v); ok {
				x.Commit(v, d)
			}
		}
		vm := draw()
		units := []int64{0, 0}
		for h := range p.Hosts {
			for r, c := range p.Hosts[h].Capacity {
				units[r] = max(units[r], c)
			}
		}
		size := func(i int) int64 {
			d := x.Problem().VMs[i].Demand
			return max(d[0]<<20/units[0], d[1]<<20/units[1])
		}
		before := x.Assignment().Clone()
		e, ok := x.Preempt(vm)
		if _, fits := x.Place(vm); fits {
			if e != nil || !ok {
				t.Fatalf("it fits, and yet %+v has to go", e)
			}
			return
		}
		for i, h := range before.Host {
			if x.Assignment().Host[i] != h {
				t.Fatalf("asking moved VM %d", i)
			}
		}
		prio, sum, can := cheapestEviction(t, x, vm, size)
		if ok != can || ok && (e.Priority != prio || e.Size != sum) {
			t.Fatalf("found %v %+v, exists %v: priorities %d, size %d", ok, e, can, prio, sum)
		}
		if !ok {
			return
		}
		for _, i := range e.VMs {
			if x.Problem().VMs[i].Priority >= vm.Priority {
				t.Fatalf("VM %d of priority %d gives way to one of %d", i, x.Problem().VMs[i].Priority, vm.Priority)
			}
			if err := x.Remove(i); err != nil {
				t.Fatal(err)
			}
		}
		x.Commit(vm, e.Decision)
		if f := model.Verify(x.Problem(), x.Assignment()); f != nil {
			t.Fatal(f)
		}
	})
}

// TestFreeAndConsolidate: hosts are freed within the budget, no rule is broken, and a failed attempt changes nothing.
func TestFreeAndConsolidate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, _ := draw(t, 6, 20)
		for h := range p.Hosts {
			p.Hosts[h].On = 10
		}
		vms := p.VMs
		p.VMs = nil
		x, err := online.New(p, nil, online.Options{Score: online.WorstFit})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vms {
			v.Initial, v.Fixed, v.Drop, v.Disks = model.None, false, 0, nil
			if d, ok := x.Place(v); ok {
				x.Commit(v, d)
			}
		}
		was := len(model.Verify(x.Problem(), x.Assignment()))
		used := func() (n int) {
			for h := range x.Problem().Hosts {
				if len(x.VMsOn(model.HostIx(h))) > 0 {
					n++
				}
			}
			return n
		}
		before, on := x.Assignment().Clone(), used()
		budget := rapid.IntRange(0, 6).Draw(t, "moves")
		moves := x.Consolidate(online.Consolidation{Moves: budget, Drain: rapid.Bool().Draw(t, "drain")})
		if len(moves) > budget || used() > on {
			t.Fatalf("%d moves of %d, %d hosts in use before and %d after", len(moves), budget, on, used())
		}
		for _, m := range moves {
			if before.Host[m.VM] != m.From {
				t.Fatalf("VM %d was on host %d, not %d", m.VM, before.Host[m.VM], m.From)
			}
			before.Host[m.VM] = m.To
		}
		for i, h := range x.Assignment().Host {
			if before.Host[i] != h {
				t.Fatalf("VM %d is on host %d, the moves say %d", i, h, before.Host[i])
			}
		}
		h := model.HostIx(rapid.IntRange(0, len(p.Hosts)-1).Draw(t, "host"))
		before, on = x.Assignment().Clone(), used()
		if _, ok := x.Free(h, online.Freeing{Steps: 50}); ok {
			if len(x.VMsOn(h)) != 0 || used() != on-1 {
				t.Fatalf("host %d has %d VMs, %d hosts in use of %d", h, len(x.VMsOn(h)), used(), on)
			}
		} else {
			for i, g := range x.Assignment().Host {
				if before.Host[i] != g {
					t.Fatalf("VM %d moved although host %d was not freed", i, h)
				}
			}
		}
		if now := model.Verify(x.Problem(), x.Assignment()); len(now) > was {
			t.Fatal(now)
		}
	})
}
