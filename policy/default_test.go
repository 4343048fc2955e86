package policy

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// TestDefaultRules names what the built-in rules recognise.
func TestDefaultRules(t *testing.T) {
	t.Parallel()
	hosts := []struct {
		host fleet.Host
		tier string
	}{
		{fleet.Host{ID: "host-01", Tags: []string{"rack:7", "tier:gold"}}, "gold"},
		{fleet.Host{ID: "host-02", Cluster: "silver"}, "silver"},
		{fleet.Host{ID: "gold-esx-1.example.net"}, "gold"},
		{fleet.Host{ID: "kvm-b/bronze-2"}, "bronze"},
		{fleet.Host{ID: "kvm-silver"}, "silver"},
		{fleet.Host{ID: "kvm-bronze-3"}, "bronze"},
		{fleet.Host{ID: "marigold-1"}, ""},
		{fleet.Host{ID: "host-03", Cluster: "golden", Tags: []string{"tier:platinum"}}, ""},
	}
	pools := []struct {
		pool fleet.Pool
		tier string
	}{
		{fleet.Pool{ID: "h1/nvme"}, "nvme"},
		{fleet.Pool{ID: "nvme-host/data"}, ""},
		{fleet.Pool{ID: "DS-SSD-01"}, "ssd"},
		{fleet.Pool{ID: "archive_hdd"}, "hdd"},
		{fleet.Pool{ID: "old-nvme", Tags: []string{"tier:hdd"}}, "hdd"},
		{fleet.Pool{ID: "default"}, ""},
	}
	c := Default()
	name := func(names []string, r Rank) string {
		if r == Unranked {
			return ""
		}
		return names[r]
	}
	for _, tc := range hosts {
		f, err := c.host(&tc.host, nil)
		if err != nil || name(c.server, f.Tier) != tc.tier {
			t.Errorf("host %+v: %+v, %v, expected tier %q", tc.host, f, err, tc.tier)
		}
	}
	for _, tc := range pools {
		f, err := c.pool(&tc.pool)
		if err != nil || name(c.storage, f.Tier) != tc.tier {
			t.Errorf("pool %+v: %+v, %v, expected tier %q", tc.pool, f, err, tc.tier)
		}
	}
}

// TestOverrideNames: every override that a label can carry has a meaning here.
func TestOverrideNames(t *testing.T) {
	t.Parallel()
	names := slices.Clone(overrideNames)
	slices.Sort(names)
	if diff := cmp.Diff(label.OverrideKeys(), names); diff != "" {
		t.Error(diff)
	}
}

// TestExplain holds the text for berth policy check to testdata/explain.txt.
func TestExplain(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	c := parsed(t, site)
	if err := c.Explain(&b); err != nil {
		t.Fatal(err)
	}
	got := strings.Replace(b.String(), c.ID(), "ID", 1)
	if *update {
		if err := os.WriteFile("testdata/explain.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/explain.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
