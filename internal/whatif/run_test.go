package whatif_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/whatif"
	"github.com/berth-project/berth/label"
)

func ask(t *testing.T, s *fleet.Snapshot, changes ...whatif.Change) *whatif.Result {
	t.Helper()
	before := s.Digest()
	r, err := whatif.Run(catalogue(t), s, changes, whatif.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest() != before {
		t.Error("the snapshot was changed")
	}
	return r
}

func lose(names ...string) []whatif.Change {
	var out []whatif.Change
	for _, n := range names {
		out = append(out, whatif.Change{Kind: whatif.Lose, Name: n})
	}
	return out
}

func without(r *whatif.Result) []string {
	var out []string
	for _, w := range r.Without {
		out = append(out, string(w.VM)+": "+w.Reason)
	}
	return out
}

// TestLosingAHost: what has its disks on shared pools is started elsewhere, blockers of live moves or not; what had them on
// the host is lost.
func TestLosingAHost(t *testing.T) {
	t.Parallel()
	r := ask(t, small(), lose("host-a")...)
	if len(r.Moves) != 1 || r.Moves[0].VM != "vm-db" || !r.Moves[0].Restart || r.Moves[0].To.Host == "host-a" || r.Moves[0].To.Disks[0].Pool != "nas" {
		t.Errorf("moves: %+v", r.Moves)
	}
	if r.Moves[0].Down || !strings.HasPrefix(r.Moves[0].Reason, "host host-a is lost;") {
		t.Errorf("down %v, because %q", r.Moves[0].Down, r.Moves[0].Reason)
	}
	want := []string{"vm-local: disk vda is in pool host-a/local, which no host that is left reaches"}
	if got := without(r); !slices.Equal(got, want) || !r.Without[0].Stopped {
		t.Errorf("without: %q, expected %q", got, want)
	}
	if r.Before.Hosts != 3 || r.After.Hosts != 2 || r.Before.VMs != 4 || r.After.VMs != 3 || r.After.Broken != 0 {
		t.Errorf("before %+v, after %+v", r.Before, r.After)
	}
	if b, a := r.Before.Reserve, r.After.Reserve; b.Failures != 3 || a.Failures != 2 {
		t.Errorf("N+1: %+v before, %+v after", b, a)
	}
	if b, a := r.Before.Tiers[0], r.After.Tiers[0]; b.CPUAll != fleet.CPUs(24) || a.CPUAll != fleet.CPUs(16) || a.CPU != fleet.CPUs(6) || a.CPUPart != 0.375 {
		t.Errorf("tiers: %+v before, %+v after", b, a)
	}
}

// TestLosing is a table of what is lost and who then has no place.
func TestLosing(t *testing.T) {
	t.Parallel()
	const local = "vm-local: disk vda is in pool host-a/local, which no host that is left reaches"
	for name, c := range map[string]struct {
		lose    []string
		without []string
	}{
		"a chassis":        {[]string{"c-1"}, []string{local}},
		"its kind by name": {[]string{"chassis:c-1"}, []string{local}},
		"a pinned VM":      {[]string{"host-c"}, []string{"vm-pin: host host-c is lost, and it is not started elsewhere: pinned: a GPU"}},
		"a pool": {[]string{"nas"}, []string{
			"vm-db: disk vda is lost with pool nas", "vm-pin: disk vda is lost with pool nas", "vm-web: disk vda is lost with pool nas",
		}},
		"all": {[]string{"r-1"}, []string{
			"vm-db: disk vda is in pool nas, which no host that is left reaches", local,
			"vm-pin: disk vda is in pool nas, which no host that is left reaches", "vm-web: disk vda is in pool nas, which no host that is left reaches",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ask(t, small(), lose(c.lose...)...)
			if got := without(r); !slices.Equal(got, c.without) {
				t.Errorf("got %q, expected %q", got, c.without)
			}
		})
	}
}

// TestLosingMoreThanFits: one VM of two has room on the host that is left, the one of higher priority by name here.
func TestLosingMoreThanFits(t *testing.T) {
	t.Parallel()
	s := small()
	s.VMs[0].Memory, s.VMs[3].Memory = 5*fleet.GiB, 5*fleet.GiB
	r := ask(t, s, lose("c-1")...)
	if len(r.Moves) != 1 || len(r.Without) != 2 || !strings.Contains(r.Without[1].Reason, "is lost with chassis c-1") || r.Without[1].Nearest == "" {
		t.Errorf("moves %+v, without %+v", r.Moves, r.Without)
	}
	if r.Without[1].Host == "" || !r.Without[1].Stopped || r.Without[1].Anyway {
		t.Errorf("without %+v", r.Without[1])
	}
}

// TestPatching: a signed level that needs patched hosts gets a place once one is patched.
func TestPatching(t *testing.T) {
	t.Parallel()
	s := small()
	doc := &label.Document{Level: "safe", Serial: 1, Issued: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	doc.Disk.Size = s.VMs[3].Disks[0].Size
	s.VMs[3].Disks[0].Label = fleet.Label{Trust: fleet.TrustSigned, Issuer: "ops", Document: doc}
	for _, fix := range []string{"XSA-450", ""} {
		r := ask(t, s, whatif.Change{Kind: whatif.Patch, Name: "host-c", Fix: fix})
		if !slices.Equal(r.Helped, []fleet.VMID{"vm-web"}) || len(r.Moves) != 1 || r.Moves[0].To.Host != "host-c" || len(r.Without) != 0 {
			t.Errorf("%q: helped %v, moves %+v, without %v", fix, r.Helped, r.Moves, without(r))
		}
	}
	r := ask(t, s, whatif.Change{Kind: whatif.Patch, Name: "host-c", Fix: "XSA-999"})
	if want := "XSA-999 fixed on 1 host of host host-c: no host of the fleet and no rule of the policy had named it, nothing else changes"; r.Changes[0] != want {
		t.Errorf("another patch: %q, expected %q", r.Changes[0], want)
	}
	if len(r.Helped) != 0 || len(r.Without) != 1 || !r.Without[0].Anyway || !strings.Contains(r.Without[0].Nearest, "patch XSA-450 on host-") {
		t.Errorf("another patch: helped %v, without %+v", r.Helped, r.Without)
	}
}

func TestAddingAndUpgrading(t *testing.T) {
	t.Parallel()
	add, err := whatif.DecodeAddition("hosts.json", []byte(`{"hosts": [{"id": "host-d", "source": "kvm", "ref": "r", "hypervisor": "kvm",
		"cpu": 8000, "memory": 8589934592, "pools": ["nas"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := ask(t, small(), whatif.Change{Kind: whatif.Add, Name: "hosts.json", Parts: add}, whatif.Change{Kind: whatif.Patch, Name: "host-d", Fix: "XSA-450"})
	if r.After.Hosts != 4 || r.Before.Hosts != 3 || len(r.Without) != 0 {
		t.Errorf("%+v", r)
	}
	c, err := whatif.ParseUpgrade("host-a=100G")
	if err != nil || c.Speed != 100_000 {
		t.Fatalf("%+v, %v", c, err)
	}
	if r := ask(t, small(), c); !slices.Equal(r.Changes, []string{"1 NIC of host host-a: now 100 Gb/s"}) {
		t.Errorf("changes: %q", r.Changes)
	}
}

// TestNames: what a name could mean, and what is said of one that means nothing or too much.
func TestNames(t *testing.T) {
	t.Parallel()
	s := small()
	s.Hosts[1].Chassis, s.Hosts[0].Chassis = "host-c", "host-c"
	for name, want := range map[string]string{
		"host-x":      `name "host-x": the fleet has no such host, chassis, rack, site, module, pool; near it: host-a, host-b, host-c`,
		"zzzzzzzz":    `name "zzzzzzzz": the fleet has no such host, chassis, rack, site, module, pool`,
		"host-c":      `name "host-c" is ambiguous: expected host:host-c or chassis:host-c`,
		"rack:host-a": `name "rack:host-a" is host host-a, expected one of rack`,
		"nic:x":       `name "nic:x": expected one of host, chassis, rack, site, module, pool`,
		"host-a/eth0": `name "host-a/eth0" is nic host-a/eth0, expected one of host, chassis, rack, site, module, pool`,
	} {
		_, err := whatif.Run(catalogue(t), s, lose(name), whatif.Options{})
		if !errors.Is(err, whatif.ErrName) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", name, err, want)
		}
	}
}

func TestResultIsJSONWithoutNull(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(ask(t, small(), lose("host-a")...))
	if err != nil || strings.Contains(string(data), "null") {
		t.Errorf("%s, %v", data, err)
	}
}
