package libvirt

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// wantDone checks everything that a finished move promises.
func wantDone(t *testing.T, l *lab, d *Driver, r fleet.Relocation, power fleet.PowerState, level string) {
	t.Helper()
	o, err := d.Locate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Settled || !o.Placement.Equal(r.To) || o.Power != power {
		t.Fatalf("located %+v, expected settled at %+v, %s", o, r.To, power)
	}
	s := observe(t, d)
	vm := s.VM(r.VM.ID)
	if vm == nil || vm.Host != r.To.Host || vm.Pinned != "" || len(s.VMs) != 1 {
		t.Fatalf("observed %+v of %d vms", vm, len(s.VMs))
	}
	for i, disk := range vm.Disks {
		img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if got := levelOf(t, img, disk.Format); got != level {
				t.Errorf("label at the target: %q, expected %q", got, level)
			}
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
		if disk.Size != r.VM.Disks[i].Size {
			t.Errorf("disk %s: size %d, was %d", disk.ID, disk.Size, r.VM.Disks[i].Size)
		}
	}
	doms := l.virsh(t, 1, "list", "--all", "--name") + l.virsh(t, 2, "list", "--all", "--name")
	if n := len(strings.Fields(doms)); n != 1 {
		t.Errorf("%d definitions: %q", n, doms)
	}
	name, _, _ := strings.Cut(string(r.VM.ID), " ")
	for i, host := range []fleet.HostID{"gold-1", "silver-1"} {
		for _, f := range l.files(t, i+1) {
			pool, file, _ := strings.Cut(f, "/")
			at := fleet.PoolID(string(host) + "/" + pool)
			if strings.HasPrefix(file, name) && !slices.ContainsFunc(r.To.Disks, func(p fleet.DiskPlace) bool { return p.Pool == at }) {
				t.Errorf("left behind: %s on %s", f, host)
			}
		}
	}
}

// kinds are the images that the moves are tried with.
var kinds = []struct {
	name, format, options string
	liveStorage           bool
}{
	{"sparse", "vmdk", "subformat=monolithicSparse", true},
	{"flat", "vmdk", "subformat=monolithicFlat", true},
	{"splitflat", "vmdk", "subformat=twoGbMaxExtentFlat", true},
	{"splitsparse", "vmdk", "subformat=twoGbMaxExtentSparse", false},
	{"qcow2", "qcow2", "", true},
	{"raw", "raw", "", true},
}

func TestLabLiveStorage(t *testing.T) {
	l := startLab(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			const level = "gold"
			l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", "vm-a."+k.format, k.format, k.options, level))
			s := observe(t, d)
			r := relocation(t, s, "vm-a", "", fleet.Live, "ssd")
			if why := s.VM("vm-a").BlockedBy(fleet.ChangeStorage); (why == "") != k.liveStorage {
				t.Fatalf("blocked: %q", why)
			}
			if !k.liveStorage {
				if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent {
					t.Errorf("precheck: %v", err)
				}
				return
			}
			if err := d.Precheck(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := d.Relocate(t.Context(), r, true, nil); err != nil {
				t.Fatal(err)
			}
			l.beats(t, "vm-a", 2)
			if boots, _, failed := l.guestLog(t, "vm-a"); boots != 1 || failed {
				t.Errorf("%d boots, write failed: %t", boots, failed)
			}
			wantDone(t, l, d, r, fleet.Running, level)
		})
	}
}

func TestLabOffline(t *testing.T) {
	l := startLab(t)
	for _, k := range kinds {
		for _, to := range []fleet.HostID{"", "silver-1"} {
			t.Run(k.name+"/"+string(to), func(t *testing.T) {
				l.reset(t)
				d := l.driver(t)
				const level = "silver"
				l.vm(t, 1, "vm-b", true, l.image(t, 1, "hdd", "vm-b."+k.format, k.format, k.options, level))
				l.virsh(t, 1, "autostart", "vm-b")
				r := relocation(t, observe(t, d), "vm-b", to, fleet.Offline, "nvme")
				if err := d.Precheck(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				var last, total fleet.Bytes
				err := d.Relocate(t.Context(), r, true, func(done, all fleet.Bytes) {
					if done < last || done > all {
						t.Errorf("progress %d of %d after %d", done, all, last)
					}
					last, total = done, all
				})
				if err != nil {
					t.Fatal(err)
				}
				if last != total || total == 0 {
					t.Errorf("progress ended at %d of %d", last, total)
				}
				_, before, _ := l.guestLog(t, "vm-b")
				l.beats(t, "vm-b", 2)
				boots, now, failed := l.guestLog(t, "vm-b")
				if boots != 2 || failed || now <= before {
					t.Errorf("%d boots, write failed: %t, counter %d after %d", boots, failed, now, before)
				}
				wantDone(t, l, d, r, fleet.Running, level)
				host := 1
				if to != "" {
					host = 2
				}
				if info := l.virsh(t, host, "dominfo", "vm-b"); !strings.Contains(info, "Autostart:      enable") {
					t.Errorf("autostart was lost:\n%s", info)
				}
			})
		}
	}
}

func TestLabLiveMigration(t *testing.T) {
	l := startLab(t)
	for _, k := range []struct{ format, pool, level string }{{"qcow2", "ssd", "gold"}, {"raw", "hdd", "gold"}, {"qcow2", "ssd", ""}} {
		t.Run(k.format+"/"+k.level, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			l.vm(t, 1, "vm-c", true, l.image(t, 1, "hdd", "vm-c."+k.format, k.format, "", k.level))
			l.virsh(t, 1, "autostart", "vm-c")
			r := relocation(t, observe(t, d), "vm-c", "silver-1", fleet.Live, k.pool)
			if err := d.Precheck(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := d.Relocate(t.Context(), r, true, nil); err != nil {
				t.Fatal(err)
			}
			l.beats(t, "vm-c", 2)
			if boots, _, failed := l.guestLog(t, "vm-c"); boots != 1 || failed {
				t.Errorf("%d boots, write failed: %t", boots, failed)
			}
			wantDone(t, l, d, r, fleet.Running, k.level)
			if info := l.virsh(t, 2, "dominfo", "vm-c"); !strings.Contains(info, "Autostart:      enable") {
				t.Errorf("autostart was lost:\n%s", info)
			}
			if doc := l.virsh(t, 2, "dumpxml", "--inactive", "vm-c"); strings.Contains(doc, moveNS) {
				t.Errorf("the mark stayed:\n%s", doc)
			}
		})
	}
}
