package policy

import (
	"strings"
	"testing"
)

// TestExamplesOfTheDefault holds the comment of the built-in file to what its prices come to.
func TestExamplesOfTheDefault(t *testing.T) {
	t.Parallel()
	for _, e := range []string{"moving a VM of 64 GiB costs 178 points = 8.9 thread-tiers"} {
		if !strings.Contains(DefaultText(), e) {
			t.Errorf("the built-in file does not say %q", e)
		}
		if got := Default().Weights().Examples()[0]; got != e {
			t.Errorf("example %q, expected %q", got, e)
		}
	}
	if w := (Weights{}).Examples(); strings.Contains(strings.Join(w, " "), "thread-tiers") {
		t.Errorf("no weight for tiers, and examples in tiers: %q", w)
	}
}

func TestWeights(t *testing.T) {
	t.Parallel()
	c := parsed(t, strings.Replace(site, "downtime: 5}", "downtime: 5, overload: 6, headroom_percent: 7, stranded: 8, host_on: 9, move_link: 11, move_module: 12}", 1))
	want := Weights{TierWaste: 1, PoolWaste: 2, MoveVM: 3, MoveGiB: 4, Downtime: 5, Overload: 6, HeadroomPercent: 7, Stranded: 8, HostOn: 9, MoveLink: 11, MoveModule: 12}
	if c.Weights() != want {
		t.Errorf("weights %+v, expected %+v", c.Weights(), want)
	}
	_, err := Parse("levels.yaml", []byte(strings.Replace(site, "downtime: 5}", "headroom_percent: 91, host_off: 1}", 1)))
	if err == nil || !strings.Contains(err.Error(), "headroom_percent is \"91\", expected a whole number from 0 to 90") ||
		!strings.Contains(err.Error(), `unknown key "host_off" in weights`) || !strings.Contains(err.Error(), `did you mean "host_on"?`) {
		t.Errorf("faults: %v", err)
	}
}
