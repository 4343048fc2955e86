package balance

import (
	"testing"

	"github.com/berth-project/berth/plan/model"

	"github.com/berth-project/berth/bench/internal/ganeti"
)

// Whatever the search answers, Ganeti's own check finds the instances on nodes that have room for them, and its score is
// better than at the start.
func TestSolve(t *testing.T) {
	if v, err := ganeti.Version(); err != nil {
		t.Skip(err)
	} else {
		t.Log("ganeti", v)
	}
	for _, template := range []string{"ext", "drbd"} {
		c := Generate(8, 60, template, 3)
		if found := model.Verify(Problem(c, 0), Problem(c, 0).Start()); len(found) > 0 {
			t.Fatalf("%s: the start is broken: %v", template, found)
		}
		before, _, _, err := ganeti.Score(c)
		if err != nil {
			t.Fatal(err)
		}
		a, err := Solve(c, 0.05, 1, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		after, _, _, err := ganeti.Score(a.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		if a.Broken > 0 || after >= before || a.Moves == 0 || (template == "drbd") != (a.Copies > 0) {
			t.Errorf("%s: score %.4f before, %.4f after %d moves and %d copies, %d broken", template, before, after, a.Moves, a.Copies, a.Broken)
		}
	}
}

// There is room for as many instances as the command line allows.
func TestGenerateDense(t *testing.T) {
	for _, template := range []string{"ext", "drbd"} {
		if c := Generate(20, 400, template, 1); len(c.Instances) != 400 {
			t.Errorf("%s: %d instances", template, len(c.Instances))
		}
	}
}
