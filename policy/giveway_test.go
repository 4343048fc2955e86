package policy

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

const giveWayText = `version: 1
tiers: {server: [bronze, silver, gold], storage: [hdd]}
match: {servers: [{tier: bronze, when: true}], pools: [{tier: hdd, when: true}]}
levels:
  - {name: bronze, server: bronze, storage: hdd, priority: 100, give_way: true}
  - {name: silver, server: silver, storage: hdd, priority: 500, give_way: true}
  - {name: gold, server: gold, storage: hdd, priority: 900}
defaults: {unlabelled: silver, unsigned_ceiling: gold}
`

// TestGiveWay: a VM gives way only where every labelled disk's level says so, and nobody does by default.
func TestGiveWay(t *testing.T) {
	t.Parallel()
	c, err := Parse("levels.yaml", []byte(giveWayText))
	if err != nil {
		t.Fatal(err)
	}
	firm, err := Parse("levels.yaml", []byte(strings.ReplaceAll(giveWayText, ", give_way: true", "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name   string
		levels []string // of the disks' labels; empty: no label
		want   bool
	}{
		{"a level that gives way", []string{"silver"}, true},
		{"a level that does not", []string{"gold"}, false},
		{"two that do", []string{"bronze", "silver"}, true},
		{"one of two does not", []string{"silver", "gold"}, false},
		{"no label: the level of the default", []string{""}, true},
		{"no disk", nil, true},
		{"a disk without a label asks for nothing", []string{"gold", ""}, false},
		{"a level that there is not counts as the default", []string{"platinum"}, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			v := fleet.VM{ID: "vm-a"}
			for _, name := range k.levels {
				l := fleet.Label{Trust: fleet.TrustNone}
				if name != "" {
					l = fleet.Label{Trust: fleet.TrustUnsigned, Document: &label.Document{Level: name}}
				}
				v.Disks = append(v.Disks, fleet.Disk{Label: l})
			}
			if got := newResolver(c, &fleet.Snapshot{}).vm(&v); got.GiveWay != k.want {
				t.Errorf("gives way: %t, expected %t (level %s)", got.GiveWay, k.want, got.Level)
			}
			if got := newResolver(firm, &fleet.Snapshot{}).vm(&v); got.GiveWay {
				t.Errorf("gives way without a level that says so (level %s)", got.Level)
			}
		})
	}
}

func TestExplainGiveWay(t *testing.T) {
	t.Parallel()
	c, err := Parse("levels.yaml", []byte(giveWayText))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Explain(&b); err != nil || !strings.Contains(b.String(), "may be moved below their tiers\n  bronze, silver\n") {
		t.Errorf("%v, got\n%s", err, b.String())
	}
	b.Reset()
	if err := Default().Explain(&b); err != nil || strings.Contains(b.String(), "give way") {
		t.Errorf("%v, the default says that levels give way", err)
	}
}
