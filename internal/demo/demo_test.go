package demo

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startDemo(t *testing.T) (*World, *vsphere.Driver) {
	t.Helper()
	w, err := Start(t.Context(), filepath.Join(t.TempDir(), "world"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := vsphere.Open(context.Background(), vsphere.Config{ID: source, URL: w.URL, Credentials: w.Credentials, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, d
}

// TestLabelsLieInTheDatastores reads the labels twice: from the files on the local disk, and through the
// vCenter; and judges them with the written trust file.
func TestLabelsLieInTheDatastores(t *testing.T) {
	w, d := startDemo(t)
	text, err := os.ReadFile(w.Trust)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := label.ParseTrust(w.Trust, text)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.VMs) != len(guests()) || len(snap.Hosts) != 6 || len(snap.Pools) != 6 || len(snap.Gaps) != 0 {
		t.Fatalf("%d VMs, %d hosts, %d pools, gaps %v", len(snap.VMs), len(snap.Hosts), len(snap.Pools), snap.Gaps)
	}
	verdicts := map[string]int{}
	for _, g := range guests() {
		disk := snap.VM(fleet.VMID(g.vm.Name)).Disks[0]
		frame, info := remote(t, d, *snap.Pool(disk.Pool), disk.Path)
		local := filepath.Join(filepath.Dir(w.Config), "datastores", string(disk.Pool), g.vm.Name, g.vm.Name+".vmdk")
		b, err := os.ReadFile(local)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "ddb.berth.") != (g.level != "") || info.VirtualSize != disk.Size {
			t.Errorf("%s: label %q, size %d of %d; the file says otherwise:\n%s", g.vm.Name, g.level, info.VirtualSize, disk.Size, b)
		}
		if (frame != nil) != (g.level != "") {
			t.Errorf("%s: label %v, expected level %q", g.vm.Name, frame, g.level)
		}
		if frame == nil {
			continue
		}
		doc, err := frame.Document()
		if err != nil || doc.Level != g.level {
			t.Errorf("%s: level %q, %v; expected %q", g.vm.Name, doc.Level, err, g.level)
		}
		v := trust.Verify(*frame, info.Binding(), time.Now().UTC())
		verdicts[v.Trust]++
		if want := map[signer]string{nobody: "unsigned", foreignKey: "unsigned", platformKey: "signed", appsKey: "signed"}[g.signer]; v.Trust != want {
			t.Errorf("%s: %s (%s), expected %s", g.vm.Name, v.Trust, v.Reason, want)
		}
	}
	if verdicts["signed"] == 0 || verdicts["unsigned"] == 0 {
		t.Errorf("verdicts %v: expected both kinds", verdicts)
	}
}

func remote(t *testing.T, d *vsphere.Driver, pool fleet.Pool, path string) (*label.Frame, *diskimage.Info) {
	t.Helper()
	f, err := d.OpenImage(t.Context(), pool, path)
	if err != nil {
		t.Fatal(err)
	}
	frame, info, err := diskimage.ReadLabel(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return frame, info
}

// TestNoSecretOnDisk looks for the password in every file of the world.
func TestNoSecretOnDisk(t *testing.T) {
	w, _ := startDemo(t)
	n := 0
	err := filepath.WalkDir(filepath.Dir(w.Config), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(p, "-flat.vmdk") { // a hole of many GiB
			return err
		}
		n++
		b, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(b), w.Credentials.Password) {
			t.Errorf("%s holds the password", p)
		}
		return err
	})
	if err != nil || n < 10 {
		t.Errorf("%d files, %v", n, err)
	}
	if strings.Contains(w.URL, w.Credentials.Password) {
		t.Error("the URL holds the password")
	}
}

func TestStartKeepsToItsFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if w, err := Start(t.Context(), dir); err == nil {
		_ = w.Close()
		t.Error("a folder that is not empty was taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "datastores")); err == nil {
		t.Error("a refused start left something behind")
	}
}
