package libvirt

import (
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// TestLabNameTaken moves images of each kind to where a file that nobody knows has their name, and then on as the second step of a
// plan (some), cut off before the source is deleted. The image gets a number with all that belongs to it, the guest and its
// label go along, and the file is left alone.
func TestLabNameTaken(t *testing.T) {
	l := startLab(t)
	for _, c := range []struct {
		name, format, options string
		to                    fleet.HostID
		mode                  fleet.Mode
		second                bool
	}{
		{"sparse", "vmdk", "subformat=monolithicSparse", "", fleet.Live, false},
		{"flat", "vmdk", "subformat=monolithicFlat", "", fleet.Live, true},
		{"splitsparse", "vmdk", "subformat=twoGbMaxExtentSparse", "silver-1", fleet.Offline, false},
		{"qcow2", "qcow2", "", "silver-1", fleet.Live, true},
		{"raw", "raw", "", "silver-1", fleet.Offline, false}, // the label is in a file of its own
	} {
		t.Run(c.name, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			file := "vm-a." + c.format
			l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", file, c.format, c.options, "gold"))
			host := 1
			if c.to != "" {
				host = 2
			}
			l.sh(t, host, "echo mine > "+images+"/ssd/"+file)
			r := relocation(t, observe(t, d), "vm-a", c.to, c.mode, "ssd")
			if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent {
				t.Fatalf("precheck without a choice: %v", err)
			}
			choose(t, d, &r, "vm-a-1."+c.format)
			if err := errors.Join(d.Precheck(t.Context(), r), d.Relocate(t.Context(), r, true, nil)); err != nil {
				t.Fatal(err)
			}
			l.beats(t, "vm-a", 2)
			wantDone(t, l, d, r, fleet.Running, "gold")
			if got := l.sh(t, host, "cat "+images+"/ssd/"+file); got != "mine\n" {
				t.Errorf("the file in the way is %q", got)
			}
			if c.second {
				l.sh(t, host, "rm "+images+"/ssd/"+file)
				r = l.second(t, d, r)
				l.beats(t, "vm-a", 2)
				wantDone(t, l, d, r, fleet.Running, "gold")
			}
			if _, _, failed := l.guestLog(t, "vm-a"); failed {
				t.Error("a write of the guest failed")
			}
		})
	}
}

// choose has names chosen for r's first disk, and wants this one.
func choose(t *testing.T, d *Driver, r *fleet.Relocation, want string) {
	t.Helper()
	files, err := d.ChooseFiles(t.Context(), *r)
	if err != nil || len(files) != 1 || files[0].Name != want {
		t.Fatalf("%+v, %v, expected the name %s", files, err, want)
	}
	r.Files = files
	o, err := d.Locate(t.Context(), *r)
	if err != nil || !o.Settled || !o.Placement.Equal(r.From) {
		t.Fatalf("located %+v, %v, expected settled at %+v", o, err, r.From)
	}
}

// second moves the VM back to its first pool, where its name is taken by now, without knowing the path, and is cut off.
func (l *lab) second(t *testing.T, d *Driver, r fleet.Relocation) fleet.Relocation {
	t.Helper()
	b := relocation(t, observe(t, d), r.VM.ID, r.From.Host, r.Mode, "hdd")
	b.VM.Disks = slices.Clone(b.VM.Disks)
	was := path.Base(b.VM.Disks[0].Path)
	b.VM.Disks[0].Path = ""
	l.sh(t, 1, "echo theirs > "+images+"/hdd/"+was)
	choose(t, d, &b, insert(was, "-1"))
	d.checkpoint = func(name string) error {
		if strings.HasPrefix(name, "delete-source") {
			return errCut
		}
		return nil
	}
	if err := d.Relocate(t.Context(), b, true, nil); !errors.Is(err, errCut) {
		t.Fatalf("cut: %v", err)
	}
	again := l.driver(t)
	if o, err := again.Locate(t.Context(), b); err != nil || o.Settled {
		t.Errorf("after the cut: %+v, %v, expected that the source is found", o, err)
	}
	if err := again.Relocate(t.Context(), b, true, nil); err != nil {
		t.Fatal(err)
	}
	if got := l.sh(t, 1, "cat "+images+"/hdd/"+was); got != "theirs\n" {
		t.Errorf("the file in the way is %q", got)
	}
	return b
}

// TestLabSameNameChosen moves two VMs at once whose disks have one name, from two pools into one. Each gets a name of its own, though both
// were chosen before either begins.
func TestLabSameNameChosen(t *testing.T) {
	l := startLab(t)
	const disk = "disk.qcow2"
	levels := map[fleet.VMID]string{"vm-a": "gold", "vm-b": "silver"}
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", disk, "qcow2", "", "gold"))
	l.vm(t, 1, "vm-b", false, l.image(t, 1, "nvme", disk, "qcow2", "", "silver"))
	d := l.driver(t)
	s := observe(t, d)
	var all []fleet.Relocation
	for _, vm := range []fleet.VMID{"vm-a", "vm-b"} {
		r := relocation(t, s, vm, "silver-1", fleet.Offline, "ssd")
		var err error
		if r.Files, err = d.ChooseFiles(t.Context(), r); err != nil || len(r.Files) != len(all) {
			t.Fatalf("%s: %+v, %v, expected another name for the second alone", vm, r.Files, err)
		}
		all = append(all, r)
	}
	var group sync.WaitGroup
	for _, r := range all {
		group.Go(func() {
			if err := errors.Join(d.Precheck(t.Context(), r), d.Relocate(t.Context(), r, false, nil)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	now := observe(t, d)
	for vm, level := range levels { // the label tells the two images apart
		disk := now.VM(vm).Disks[0]
		if disk.Pool != "silver-1/ssd" {
			t.Errorf("%s: at %s", vm, disk.Pool)
		}
		f, err := d.OpenImage(t.Context(), *now.Pool(disk.Pool), disk.Path)
		if err != nil {
			t.Fatal(err)
		}
		if got := levelOf(t, f, "qcow2"); got != level {
			t.Errorf("%s: %s has the label %q", vm, disk.Path, got)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := l.files(t, 2); !slices.Equal(left, []string{"ssd/disk-1.qcow2", "ssd/disk.qcow2"}) || len(l.files(t, 1)) != 0 {
		t.Errorf("files %q and %q", l.files(t, 1), left)
	}
	if len(d.claims.of) > 0 {
		t.Errorf("names kept: %v", d.claims.of)
	}
}
