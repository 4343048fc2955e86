package whatif_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/whatif"
)

func TestParsing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]fleet.Mbps{"io-3=100G": 100_000, "io-3=2.5G": 2500, "a=b=800M": 800} {
		if c, err := whatif.ParseUpgrade(text); err != nil || c.Speed != want || c.Name == "" {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for _, text := range []string{"", "io-3", "io-3=", "=100G", "io-3=100", "io-3=-1G", "io-3=NaNG", "io-3=InfG", "io-3=1e30G", "io-3=0G", "io-3=0.0001M"} {
		if c, err := whatif.ParseUpgrade(text); err == nil {
			t.Errorf("upgrade %q: got %+v, expected an error", text, c)
		}
	}
	if c, err := whatif.ParsePatch("host-a=XSA-450"); err != nil || c.Name != "host-a" || c.Fix != "XSA-450" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{"", "host-a="} {
		if _, err := whatif.ParsePatch(text); err == nil {
			t.Errorf("patch %q: expected an error", text)
		}
	}
	if list, err := whatif.ParseLose("host-a, c-2"); err != nil || len(list) != 2 || list[1].Name != "c-2" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := whatif.ParseLose("host-a,,c-2"); err == nil {
		t.Error("an empty name was taken")
	}
	for _, text := range []string{`{}`, `{"hosts": [], "vms": []}`, `[`, `{"hosts": "many"}`} {
		if _, err := whatif.DecodeAddition("x.json", []byte(text)); err == nil {
			t.Errorf("addition %s: expected an error", text)
		}
	}
}

// FuzzDecodeAddition: nothing that is added makes a question panic, or a fleet that is not valid pass.
func FuzzDecodeAddition(f *testing.F) {
	f.Add([]byte(`{"hosts": [{"id": "host-d", "source": "kvm", "pools": ["nas"]}]}`))
	f.Add([]byte(`{"hosts": [{"id": "host-a", "source": "kvm"}], "modules": [{"id": "io-1", "source": "kvm", "kind": "nic"}]}`))
	f.Add([]byte(`{"hosts": [{"id": "h", "source": "none", "cpu": -1}], "pools": [{"id": "p", "source": "kvm", "free": 9}]}`))
	cat := catalogue(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := whatif.DecodeAddition("x.json", data)
		if err != nil {
			return
		}
		s := small()
		if r, err := whatif.Run(cat, s, []whatif.Change{{Kind: whatif.Add, Name: "x.json", Parts: a}}, whatif.Options{}); err == nil && r.After.Hosts != 3+len(a.Hosts) {
			t.Errorf("%d hosts after %d came", r.After.Hosts, len(a.Hosts))
		}
	})
}

// TestLosingAtRandom: whatever is lost, each VM is moved, left where it was, or reported; nobody is placed on what is gone.
func TestLosingAtRandom(t *testing.T) {
	t.Parallel()
	cat := catalogue(t)
	names := []string{"host-a", "host-b", "host-c", "c-1", "c-2", "nas", "host-a/local"}
	rapid.Check(t, func(t *rapid.T) {
		s := small()
		for i := range s.VMs {
			s.VMs[i].Memory = fleet.Bytes(rapid.IntRange(0, 8).Draw(t, "GiB")) * fleet.GiB
			s.VMs[i].Power = rapid.SampledFrom([]fleet.PowerState{fleet.Running, fleet.Stopped, fleet.Suspended}).Draw(t, "power")
		}
		c := &s.Sources[0].Capabilities
		c.Offline, c.LiveMigration = rapid.Bool().Draw(t, "offline"), rapid.Bool().Draw(t, "live")
		var changes []whatif.Change
		lost := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(t, "lost")
		for _, n := range lost {
			changes = append(changes, whatif.Change{Kind: whatif.Lose, Name: n})
		}
		r, err := whatif.Run(cat, s, changes, whatif.Options{})
		if err != nil {
			t.Fatal(err)
		}
		stopped := 0
		for _, w := range r.Without {
			if w.Stopped {
				stopped++
			}
			if w.Reason == "" {
				t.Errorf("%s has no place, and no reason", w.VM)
			}
		}
		if r.After.VMs+stopped != len(s.VMs) {
			t.Errorf("%d VMs have a place and %d none, of %d", r.After.VMs, stopped, len(s.VMs))
		}
		for _, m := range r.Moves {
			h := s.Host(m.To.Host)
			for _, n := range lost {
				if n == string(h.ID) || n == h.Chassis || strings.HasPrefix(string(m.To.Disks[0].Pool), n) {
					t.Errorf("%s goes to %v, which is lost", m.VM, m.To)
				}
			}
		}
	})
}
