package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestUsualFleetsStayTheSame holds fleets without a shape to the bytes that they had before there were shapes: figures
// and scripts name their seeds.
func TestUsualFleetsStayTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Hosts: 40, VMs: 800, Seed: 3}, "3210358369a07a13"},
		{Options{Hosts: 100, VMs: 2500, Seed: 42}, "081ee717049ccd2d"},
	} {
		shape := DefaultShape()
		c.o.Shape = &shape
		sum := sha256.Sum256(encode(t, Generate(c.o)))
		if got := hex.EncodeToString(sum[:8]); got != c.want {
			t.Errorf("%d hosts, %d VMs, seed %d: digest %s, expected %s", c.o.Hosts, c.o.VMs, c.o.Seed, got, c.want)
		}
	}
}

// shaped is a fleet of 64 hosts and 1,280 VMs with one thing changed.
func shaped(t *testing.T, change func(s *Shape)) (*fleet.Snapshot, *policy.Problem, *plan.Summary) {
	t.Helper()
	shape := DefaultShape()
	change(&shape)
	s := Generate(Options{Hosts: 64, VMs: 1280, Seed: 5, Shape: &shape})
	p, err := policy.Resolve(policy.Default(), s)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := plan.Summarize(p, &plan.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	return s, p, &sum
}

// TestShapes looks for what each field of a Shape is for.
func TestShapes(t *testing.T) {
	t.Parallel()
	_, _, usual := shaped(t, func(*Shape) {})
	if _, _, sum := shaped(t, func(s *Shape) { s.Misplaced = 0 }); sum.BrokenBefore != 0 || usual.BrokenBefore == 0 {
		t.Errorf("%d VMs are wrong where none is misplaced, %d as usual", sum.BrokenBefore, usual.BrokenBefore)
	}
	if _, _, sum := shaped(t, func(s *Shape) { s.Misplaced = 60 }); sum.BrokenBefore < 2*usual.BrokenBefore {
		t.Errorf("%d VMs are wrong where 60 %% are misplaced, %d as usual", sum.BrokenBefore, usual.BrokenBefore)
	}
	over := func(s *fleet.Snapshot) int {
		use, n := map[fleet.HostID]fleet.Bytes{}, 0
		for i := range s.VMs {
			use[s.VMs[i].Host] += s.VMs[i].Memory
		}
		for i := range s.Hosts {
			if use[s.Hosts[i].ID] > s.Hosts[i].Memory {
				n++
			}
		}
		return n
	}
	cold, _, _ := shaped(t, func(s *Shape) { s.Skew = 0 })
	hot, _, _ := shaped(t, func(s *Shape) { s.Skew = 25 })
	if over(cold) != 0 || over(hot) < 6 {
		t.Errorf("%d hosts are overloaded without skew, %d at 25 %%", over(cold), over(hot))
	}
	memory := func(s *fleet.Snapshot) (use int64) {
		var have int64
		for i := range s.Hosts {
			have += int64(s.Hosts[i].Memory)
		}
		for i := range s.VMs {
			use += int64(s.VMs[i].Memory)
		}
		return use * 100 / have
	}
	empty, _, _ := shaped(t, func(s *Shape) { s.Fill = 30 })
	full, _, _ := shaped(t, func(s *Shape) { s.Fill = 90 })
	if memory(empty) > 32 || memory(full) < 75 {
		t.Errorf("%d %% of the memory is used at a fill of 30, %d %% at 90", memory(empty), memory(full))
	}
	_, p, _ := shaped(t, func(s *Shape) { s.Gold, s.Silver, s.Bronze = 50, 0, 50 })
	count := map[policy.Rank]int{}
	for _, f := range p.Hosts {
		count[f.Tier]++
	}
	if count[0] != 32 || count[1] != 0 || count[2] != 32 {
		t.Errorf("hosts of each tier: %v", count)
	}
}

func TestShapesOfHosts(t *testing.T) {
	t.Parallel()
	s, p, _ := shaped(t, func(s *Shape) {
		s.PoolsPerCluster, s.NICs, s.Modules, s.Racks, s.Spread, s.Affinity, s.Guarantee = 7, 4, 4, 2, 30, 30, 50
	})
	h := s.Host("host-0064")
	shared := 0
	for _, id := range h.Pools {
		if strings.HasPrefix(string(id), "cluster-") {
			shared++
		}
	}
	if shared != 7 || len(s.Modules) != 16 || h.Rack != "r02" || s.Host("host-0001").Rack != "r01" {
		t.Errorf("%d shared pools, %d modules, rack %s", shared, len(s.Modules), h.Rack)
	}
	cards, attached, groups, rates, iops := 0, 0, 0, 0, 0
	for i := range s.Hosts {
		for _, n := range s.Hosts[i].NICs {
			if n.Module == "" {
				cards++
			}
		}
	}
	for i := range s.Modules {
		if s.Modules[i].Host != "" {
			attached++
		}
	}
	for _, r := range p.VMs {
		if r.SpreadGroup != "" || r.AffinityGroup != "" {
			groups++
		}
		if r.Rate > 0 {
			rates++
		}
		for _, d := range r.Disks {
			if d.IOPS > 0 {
				iops++
			}
		}
	}
	if cards != 4*64 || attached != 11 || groups < 300 || rates < 50 || iops < 50 {
		t.Errorf("%d cards, %d modules attached, %d VMs in groups, %d with a rate, %d disks with operations", cards, attached, groups, rates, iops)
	}
}

func TestShapeErrorsNameTheField(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(s *Shape){
		"tiers: gold: is -1":           func(s *Shape) { s.Gold = -1 },
		"tiers: the sum: is 99":        func(s *Shape) { s.Bronze-- },
		"pools-per-cluster: is 2":      func(s *Shape) { s.PoolsPerCluster = 2 },
		"nics: is 17":                  func(s *Shape) { s.NICs = 17 },
		"modules: is -1":               func(s *Shape) { s.Modules = -1 },
		"skew: is 51":                  func(s *Shape) { s.Skew = 51 },
		"misplaced: is 101":            func(s *Shape) { s.Misplaced = 101 },
		"fill: is 96, expected 1":      func(s *Shape) { s.Fill = 96 },
		"racks: is 10001":              func(s *Shape) { s.Racks = MaxRacks + 1 },
		"affinity: is 93, expected 0 ": func(s *Shape) { s.Affinity = 93 },
		"guarantee: is -5":             func(s *Shape) { s.Guarantee = -5 },
		"host-cpu: is 5000":            func(s *Shape) { s.Host.CPU = fleet.CPUs(5000) },
	} {
		s := DefaultShape()
		change(&s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}
