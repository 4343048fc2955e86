package whatif_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/whatif"
)

// TestWhatIsAskedTwice: the same twice counts once; what contradicts itself is refused by name.
func TestWhatIsAskedTwice(t *testing.T) {
	t.Parallel()
	faster := func(name string, speed fleet.Mbps) whatif.Change {
		return whatif.Change{Kind: whatif.Upgrade, Name: name, Speed: speed}
	}
	fix := func(name string) whatif.Change { return whatif.Change{Kind: whatif.Patch, Name: name} }
	for name, tc := range map[string]struct {
		asked []whatif.Change
		said  []string // or what is said of the error
		wrong string
	}{
		"a host twice":            {asked: lose("host-a", "host:host-a"), said: []string{"host host-a is lost"}},
		"a host and its chassis":  {asked: lose("c-1", "host-a"), said: []string{"chassis c-1 is lost with 2 hosts", "host host-a is lost"}},
		"a speed twice":           {asked: []whatif.Change{faster("host-a", 100_000), faster("host-a", 100_000)}, said: []string{"1 NIC of host host-a: now 100 Gb/s"}},
		"a NIC":                   {asked: []whatif.Change{faster("host-a/eth0", 100_000)}, said: []string{"nic host-a/eth0 gets 100 Gb/s"}},
		"two speeds":              {asked: []whatif.Change{faster("host-a", 100_000), faster("host-a", 40_000)}, wrong: `name "host-a": both 100 Gb/s and 40 Gb/s are asked for`},
		"a lost host upgraded":    {asked: append(lose("c-1"), faster("host-a", 100_000)), wrong: `name "host-a": host host-a is lost in the same question`},
		"a NIC of a lost host":    {asked: append(lose("host-a"), faster("host-a/eth0", 100_000)), wrong: `name "host-a/eth0": nic host-a/eth0 is lost`},
		"a lost host patched":     {asked: append(lose("host-a"), fix("host-a")), wrong: `name "host-a": host host-a is lost in the same question`},
		"a rack with a lost host": {asked: append(lose("host-a"), fix("r-1")), said: []string{"host host-a is lost", "all vulnerabilities that are known or asked for fixed on 3 hosts of rack r-1"}},
	} {
		r, err := whatif.Run(catalogue(t), small(), tc.asked, whatif.Options{})
		switch {
		case tc.wrong != "":
			if !errors.Is(err, whatif.ErrName) || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%s: got %v, expected %q", name, err, tc.wrong)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !slices.Equal(r.Changes, tc.said):
			t.Errorf("%s: said %q, expected %q", name, r.Changes, tc.said)
		}
	}
}

// TestAddingToASource: a source may be repeated as it is; another one of its name is refused, not passed over.
func TestAddingToASource(t *testing.T) {
	t.Parallel()
	parts := func(change func(*fleet.Source)) []whatif.Change {
		src := small().Sources[0]
		change(&src)
		return []whatif.Change{{Kind: whatif.Add, Name: "hosts.json", Parts: &whatif.Addition{
			Sources: []fleet.Source{src}, Hosts: []fleet.Host{{ID: "host-d", Source: "kvm", Ref: "d", Hypervisor: fleet.KVM}},
		}}}
	}
	if r := ask(t, small(), parts(func(*fleet.Source) {})...); r.After.Hosts != 4 {
		t.Errorf("%d hosts", r.After.Hosts)
	}
	_, err := whatif.Run(catalogue(t), small(), parts(func(s *fleet.Source) { s.Capabilities.Offline = false }), whatif.Options{})
	if want := "add hosts.json: sources[0]: the fleet has another source kvm: leave it out to add to that"; err == nil || err.Error() != want {
		t.Errorf("got %v, expected %s", err, want)
	}
}

// TestSumsThatDoNotCount: what no int64 holds is refused with the host or pool, never shown as a negative amount.
func TestSumsThatDoNotCount(t *testing.T) {
	t.Parallel()
	for want, add := range map[string]*whatif.Addition{
		"host host-d: the CPU of all hosts of tier plain is too large to count": {
			Hosts: []fleet.Host{{ID: "host-d", Source: "kvm", Hypervisor: fleet.KVM, CPU: math.MaxInt64}, {ID: "host-z", Source: "kvm", Hypervisor: fleet.KVM, CPU: 1}},
		},
		"host host-e: the memory of all hosts of tier plain is too large to count": {
			Hosts: []fleet.Host{{ID: "host-e", Source: "kvm", Hypervisor: fleet.KVM, Memory: math.MaxInt64}},
		},
		"pool p-big: the capacity of the pools of tier plain is too large to count": {
			Pools: []fleet.Pool{{ID: "p-big", Source: "kvm", Capacity: math.MaxInt64, Free: math.MaxInt64}},
			Hosts: []fleet.Host{{ID: "host-f", Source: "kvm", Hypervisor: fleet.KVM, Pools: []fleet.PoolID{"p-big"}}},
		},
	} {
		_, err := whatif.Run(catalogue(t), small(), []whatif.Change{{Kind: whatif.Add, Name: "x.json", Parts: add}}, whatif.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected %s", err, want)
		}
	}
}
