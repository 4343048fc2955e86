package vsphere_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

func metadata(v *fleet.VM) []string {
	var all []string
	for _, d := range v.Disks {
		all = append(all, d.Metadata)
	}
	return all
}

// TestLabelMetadata: each disk's label is kept, found again by Observe, changed and removed by itself; it stays with a VM
// that moves.
func TestLabelMetadata(t *testing.T) {
	_, d := world(t)
	seen := observe(t, d)
	vm := *seen.VM("vm-db")
	set := func(disk int, text string) {
		t.Helper()
		var envelope []byte
		if text != "" {
			envelope = []byte(text)
		}
		vm := *observe(t, d).VM("vm-db")
		must(t, d.SetLabelMetadata(t.Context(), vm, vm.Disks[disk].ID, envelope))
	}
	want := func(texts ...string) {
		t.Helper()
		if got := metadata(observe(t, d).VM("vm-db")); strings.Join(got, "|") != strings.Join(texts, "|") {
			t.Fatalf("kept %q, expected %q", got, texts)
		}
	}
	want("", "")
	set(0, `{"a": "<1>"}`+"\n")
	set(1, "two")
	want(`{"a": "<1>"}`+"\n", "two")
	set(0, "three")
	want("three", "two")
	if err := d.SetLabelMetadata(t.Context(), vm, vm.Disks[0].ID, []byte("four")); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("over a label that the caller has not seen: %v", err)
	}
	want("three", "two")
	r := relocation(t, seen, "vm-db", "host-b", "hdd-1", fleet.Live)
	must(t, d.Relocate(t.Context(), r, true, func(_, _ fleet.Bytes) {}))
	want("three", "two")
	set(1, "")
	want("three", "")
	set(0, "")
	want("", "")
	if err := d.SetLabelMetadata(t.Context(), vm, "2999", []byte("x")); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("a disk that is not there: %v", err)
	}
	vm.Ref = "VirtualMachine:vm-0"
	if err := d.SetLabelMetadata(t.Context(), vm, "2000", nil); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("a VM that is not there: %v", err)
	}
}

// TestForeignMetadata: a value that somebody else wrote is a gap, and is not overwritten.
func TestForeignMetadata(t *testing.T) {
	for _, value := range []string{"gold", "null", "[]", `{"2000": 1}`, `{"2000": null`, strings.Repeat(" ", 300<<10)} {
		s, d := world(t)
		vm := *observe(t, d).VM("vm-web")
		putExtra(t, s, "vm-web", "berth.labels", value)
		seen := observe(t, d)
		if got := metadata(seen.VM("vm-web")); got[0] != "" {
			t.Errorf("%.20q: kept %q", value, got)
		}
		if len(seen.Gaps) != 1 || !strings.Contains(seen.Gaps[0].What, "berth.labels") || seen.Gaps[0].Object != "vm vm-web" {
			t.Errorf("%.20q: gaps %+v", value, seen.Gaps)
		}
		if err := d.SetLabelMetadata(t.Context(), vm, vm.Disks[0].ID, []byte("x")); fleet.KindOf(err) != fleet.Permanent {
			t.Errorf("%.20q: set over it: %v", value, err)
		}
	}
}

// putExtra sets a key of a VM's extraConfig as any client can.
func putExtra(t *testing.T, s *vcsim.Server, vm, key, value string) {
	t.Helper()
	must(t, s.Edit(vm, func(v *simulator.VirtualMachine) {
		v.Config.ExtraConfig = append(v.Config.ExtraConfig, &types.OptionValue{Key: key, Value: value})
	}))
}
