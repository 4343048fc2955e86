package cli

import (
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestJudgeAgreesWithPlan holds the words of fleet show against the count of package plan, which shares no
// line with them.
func TestJudgeAgreesWithPlan(t *testing.T) {
	t.Parallel()
	broken := 0
	for seed := range uint64(40) {
		s := sim.Generate(sim.Options{Hosts: 3 + int(seed)%20, VMs: 10 * (1 + int(seed)%12), Seed: seed})
		for i := range s.VMs { // crowd and misplace some, which the generator does too seldom
			if seed%2 == 1 && i%5 == 0 {
				s.VMs[i].Host = s.Hosts[i%len(s.Hosts)].ID
			}
			if seed%4 == 3 && i%7 == 0 {
				s.VMs[i].CPU *= 20
			}
		}
		p, err := policy.Resolve(policy.Default(), s)
		if err != nil {
			t.Fatal(err)
		}
		want, err := plan.Summarize(p, &plan.Plan{})
		if err != nil {
			t.Fatal(err)
		}
		j, wrong := newJudge(p), 0
		for i := range s.VMs {
			if why := j.wrong(&s.VMs[i]); len(why) > 0 {
				wrong++
			}
		}
		if wrong != want.BrokenBefore {
			t.Errorf("seed %d: %d VMs are wrong, package plan counts %d", seed, wrong, want.BrokenBefore)
		}
		broken += wrong
	}
	if broken < 100 {
		t.Errorf("%d wrong VMs in all: the test shows little", broken)
	}
}
