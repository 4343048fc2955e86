package balance

import (
	"testing"

	"github.com/berth-project/berth/plan/model"

	"github.com/berth-project/berth/bench/internal/ganeti"
)

// TestPrice: whatever becomes of an instance costs what hbal counts for it, but for one kind of composite move, which costs one more.
func TestPrice(t *testing.T) {
	for _, x := range []struct {
		name             string
		primary, another int // nodes of the instance; one more instance makes the first or the second node the fuller one
	}{{"first fuller", 0, 2}, {"second fuller", 2, 0}, {"alike", 2, 3}} {
		c := &ganeti.Cluster{Template: "drbd", Ratio: 8, Nodes: make([]ganeti.Node, 5)}
		for i := range c.Nodes {
			c.Nodes[i] = ganeti.Node{Memory: 64, Disk: 64, CPUs: 4}
		}
		c.Instances = []ganeti.Instance{
			{Memory: 1, Disk: 1, CPUs: 1, Primary: x.primary, Secondary: x.another},
			{Memory: 1, Disk: 1, CPUs: 1, Primary: 0, Secondary: 1},
		}
		p := Problem(c, 1/unit)
		dearer := 0
		for first := range 5 {
			for second := range 5 {
				if first == second {
					continue
				}
				a := p.Start()
				a.Host[0], a.Host[1] = model.HostIx(first), model.HostIx(second) //nolint:gosec // under 5
				var is Answer
				is.apply(c, a)
				cost, err := model.Evaluate(p, a)
				if err != nil {
					t.Fatal(err)
				}
				switch got := cost.Fit; {
				case got == int64(is.Moves)+1:
					dearer++
				case got != int64(is.Moves):
					t.Errorf("%s: on %d and %d it costs %d, hbal counts %d", x.name, first, second, got, is.Moves)
				}
			}
		}
		if dearer != 3 { // one of the two nodes is kept, in the other role, and the copy goes to one of three others
			t.Errorf("%s: %d answers are dearer than hbal counts them, want 3", x.name, dearer)
		}
	}
}
