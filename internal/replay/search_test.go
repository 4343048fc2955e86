package replay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestSearchesFollowChanges: with a plan each hour over three days, the whole fleet is searched as often as half of it changed, once a search
// found nothing; and once a day at least, since what was moved is left alone for so long.
func TestSearchesFollowChanges(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name        string
		stay        int // VMs
		each, alive int // seconds between arrivals after these, and how long each of the others lives
		settle      Second
		want        int // searches of 71 plans
	}{
		{name: "nothing changes: once a day", stay: 300, settle: 86_400, want: 3},
		{name: "nothing changes, and nobody is left alone: once a day", stay: 300, want: 3},
		{name: "nothing changes, and VMs are left alone for six hours", stay: 300, settle: 6 * 3600, want: 12},
		{name: "one VM comes and goes each minute: half of 300 changed in 75 minutes, so each second hour", stay: 300, each: 60, alive: 30, settle: 86_400, want: 36},
		{name: "two a minute: each hour", stay: 300, each: 30, alive: 15, settle: 86_400, want: 71},
		{name: "a small fleet: each hour", stay: 10, settle: 86_400, want: 71},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			b.WriteString(header + "\n")
			const end = 3 * 86_400
			for n := range k.stay {
				fmt.Fprintf(&b, "vm-stays-%d,%d,,1,1024,1,,,\n", n, n)
			}
			for at := 300; k.each > 0 && at < end; at += k.each {
				fmt.Fprintf(&b, "vm-%06d,%d,%d,1,1024,1,,,\n", at, at, k.alive)
			}
			fmt.Fprintf(&b, "vm-last,%d,60,1,1024,1,,,\n", end-1)
			o := options()
			o.Settle = k.settle
			asked := 0
			o.Improve = func(p *policy.Problem, _ int, thorough bool) (*plan.Plan, error) {
				if thorough {
					asked++
				}
				return solve(p, 0, thorough)
			}
			o.Budget = 10_000
			r := replayed(t, fleetOf(32, 64*fleet.GiB), read(t, b.String()), o)
			if r.Searched != k.want || asked != r.Searched || r.Improved != 71 || r.Moves != 0 {
				t.Errorf("%d searches (%d asked for) for %d plans with %d moves, expected %d for 71 with none", r.Searched, asked, r.Improved, r.Moves, k.want)
			}
		})
	}
}
