package libvirt

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

func TestUsableModels(t *testing.T) {
	t.Parallel()
	const doc = `<domainCapabilities><domain>kvm</domain><cpu>
  <mode name='host-passthrough' supported='yes'/>
  <mode name='host-model' supported='yes'><model fallback='forbid'>Skylake-Client-IBRS</model></mode>
  <mode name='custom' supported='yes'>
    <model usable='yes' vendor='Intel'>Skylake-Client-IBRS</model>
    <model usable='no'>EPYC</model>
    <model usable='unknown'>pentium</model>
    <model usable='yes'>Haswell</model>
    <model usable='yes'>bad name</model>
  </mode></cpu></domainCapabilities>`
	got, err := usableModels(doc)
	if err != nil || !slices.Equal(got, []string{"Haswell", "Skylake-Client-IBRS"}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, none := range []string{"<domainCapabilities/>", strings.ReplaceAll(doc, "'yes'", "'unknown'")} {
		if got, err := usableModels(none); err != nil || got != nil {
			t.Errorf("%q, %v, expected none", got, err)
		}
	}
	for _, bad := range []string{"<domainCapabilities>", strings.Repeat(" ", maxDomainXML+1)} {
		if _, err := usableModels(bad); err == nil {
			t.Error("no error")
		}
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	for cpu, want := range map[string]string{
		``: "",
		`<cpu mode='custom' match='exact'><model fallback='forbid'>Haswell</model></cpu>`: "Haswell",
		`<cpu><model>Haswell</model></cpu>`:                                               "Haswell",
		`<cpu mode='host-passthrough'/>`:                                                  "",
		`<cpu mode='host-model'><model>Haswell</model></cpu>`:                             "",
		`<cpu mode='maximum'/>`:                                                           "",
		`<cpu mode='custom'><model>` + strings.Repeat("x", 129) + `</model></cpu>`:        "",
	} {
		for kind, want := range map[string]string{"kvm": want, "qemu": ""} {
			doc := "<domain type='" + kind + "'><name>vm-db</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>" + cpu + "</domain>"
			g, err := translate(doc, "host-a", nil)
			if err != nil || g.vm.CPUBaseline != want {
				t.Errorf("%s: %q, %v, expected %q", doc, g.vm.CPUBaseline, err, want)
			}
		}
	}
}

// TestProven: a host that runs a guest with a baseline has it, whatever it says; one that says nothing stays unknown.
func TestProven(t *testing.T) {
	t.Parallel()
	s := &fleet.Snapshot{
		Hosts: []fleet.Host{{ID: "host-a", CPUBaselines: []string{"Haswell"}}, {ID: "host-b"}},
		VMs: []fleet.VM{
			{ID: "a", Host: "host-a", Power: fleet.Running, CPUBaseline: "Skylake"}, {ID: "b", Host: "host-a", Power: fleet.Stopped, CPUBaseline: "EPYC"},
			{ID: "c", Host: "host-b", Power: fleet.Running, CPUBaseline: "EPYC"},
		},
	}
	proven(s)
	if !slices.Equal(s.Hosts[0].CPUBaselines, []string{"Haswell", "Skylake"}) || s.Hosts[1].CPUBaselines != nil {
		t.Errorf("%+v", s.Hosts)
	}
}
