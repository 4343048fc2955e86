package libvirt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/vcsim"
)

// migration is a vCenter with a labelled disk that no VM refers to, and the lab's pools to bring it to, as berth is configured.
type migration struct {
	l      *lab
	dir    string // with berth.yaml, keys and base.raw, which is what the disk holds
	vc     *vcsim.Server
	folder string // of the disk
}

const loose = "vc:nvme-1/loose/vm-db.vmdk"

func newMigration(t *testing.T, size int) *migration {
	t.Helper()
	m := &migration{l: startLab(t), dir: t.TempDir()}
	m.build(t)
	stores := filepath.Join(m.dir, "stores")
	if err := os.Mkdir(stores, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	m.vc, err = vcsim.Start(t.Context(), vcsim.Spec{
		Dir: stores, User: "ops", Password: "correct horse",
		Hosts:      []vcsim.Host{{Name: "esx-1", Threads: 8, Memory: 32 << 30, Datastores: []string{"nvme-1"}}},
		Datastores: []vcsim.Datastore{{Name: "nvme-1", Type: "VMFS", Capacity: 100 << 30}},
		VMs:        []vcsim.VM{{Name: "vm-web", Host: "esx-1", CPUs: 1, Memory: 1 << 30, Disks: []vcsim.Disk{{Datastore: "nvme-1", Size: 1 << 20}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.vc.Close)
	conf := fmt.Sprintf("version: 1\ntrust: trust.yaml\nsources:\n  - {id: vc, kind: vsphere, url: %q}\n  - id: rack\n    kind: libvirt\n    hosts:\n", m.vc.URL())
	for _, i := range []int{1, 2} {
		conf += fmt.Sprintf("      - {uri: %q}\n", m.l.uri(i))
	}
	m.folder = filepath.Join(m.vc.Folder("nvme-1"), "loose")
	m.write(t, "berth.yaml", []byte(conf))
	m.write(t, "base.raw", noise(size))
	key, err := m.berth(t, "key", "new", "ops.key").Output()
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "trust.yaml", []byte("version: 1\nkeys:\n  - public_key: "+strings.TrimSpace(string(key))+"\n    issuer: ops\n"))
	m.furnish(t)
	return m
}

// furnish makes the signed disk in the datastore, as ESXi keeps one: a descriptor and a flat extent.
func (m *migration) furnish(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(m.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(m.folder, "vm-db.vmdk")
	m.must(t, "image", "convert", "--force", "--option", "subformat=monolithicFlat", "base.raw", disk)
	m.must(t, "label", "set", "--level", "gold", "--key", "ops.key", disk)
}

func (m *migration) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// build makes the real berth, in the lab's folder, for the first test that needs it there.
func (m *migration) build(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(m.l.dir, "berth")); err == nil {
		return
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(m.l.dir, "berth"), "../../cmd/berth").CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
}

func (m *migration) berth(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(m.l.dir, "berth"), args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "BERTH_CONFIG=berth.yaml", "BERTH_VSPHERE_USER=ops", "BERTH_VSPHERE_PASSWORD=correct horse", "TMPDIR="+m.dir)
	return cmd
}

func (m *migration) must(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := m.berth(t, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("berth %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// refused expects an exit code and a text.
func (m *migration) refused(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	cmd := m.berth(t, args...)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); err == nil || got != code || !strings.Contains(string(out), text) {
		t.Errorf("berth %v: exit %d, expected %d and %q\n%s", args, got, code, text, out)
	}
}

// source is what the datastore has of the disk.
func (m *migration) source(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"vm-db.vmdk", "vm-db-flat.vmdk"} {
		b, err := os.ReadFile(filepath.Join(m.folder, name))
		if err == nil {
			files[name] = string(b)
		} else if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return files
}

// arrived reports why the volume is not the disk with its label, signed by ops; "" when it is.
func (m *migration) arrived(t *testing.T, volume, format string) string {
	t.Helper()
	at := images + "/" + volume
	if out, err := m.l.command("exec", "1", "qemu-img", "compare", "-q", "-f", format, "-F", "raw", at, filepath.Join(m.dir, "base.raw")).CombinedOutput(); err != nil {
		return fmt.Sprintf("content: %v %s", err, out)
	}
	here := filepath.Join(m.dir, "here."+format)
	m.l.sh(t, 1, "cp "+at+" "+here+"; test ! -e "+at+".berth || cp "+at+".berth "+here+".berth")
	cmd := m.berth(t, "label", "verify", here)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "signed by ops") {
		return fmt.Sprintf("label: %v %s", err, out)
	}
	return ""
}

func (m *migration) leftFolders(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(m.dir, ".berth-*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestLabConvertIntoPool brings a signed VMDK of a vCenter into a libvirt pool in one command, and back out of it.
func TestLabConvertIntoPool(t *testing.T) {
	m := newMigration(t, 24<<20)
	before := m.source(t)
	var line struct {
		Destination, Label, From string
		Files                    []string
	}
	out := m.must(t, "image", "convert", "--json", loose, "rack:gold-1/nvme/vm-db.qcow2")
	if err := json.Unmarshal([]byte(out), &line); err != nil {
		t.Fatal(err)
	}
	if line.Label != "carried" || line.From != loose || line.Destination != "rack:gold-1/nvme/vm-db.qcow2" || len(line.Files) != 1 || line.Files[0] != line.Destination {
		t.Errorf("result %+v", line)
	}
	if why := m.arrived(t, "nvme/vm-db.qcow2", "qcow2"); why != "" {
		t.Error(why)
	}
	m.refused(t, 4, "no volume is ever replaced", "image", "convert", loose, "rack:gold-1/nvme/vm-db.qcow2")
	m.refused(t, 4, "free", "image", "convert", "--remove-source", loose, "rack:gold-1/tiny/vm-db.qcow2")
	m.refused(t, 6, "no pool", "image", "convert", loose, "rack:gold-1/none/vm-db.qcow2")
	m.refused(t, 4, "vm vm-web refers to", "image", "convert", "--remove-source", "vc:nvme-1/vm-web/vm-web.vmdk", "rack:gold-1/nvme/vm-web.qcow2")
	for i, d := range []struct{ volume, format string }{{"ssd/vm-db.raw", "raw"}, {"ssd/vm-db.vhdx", "vhdx"}} {
		m.must(t, "image", "convert", loose, "rack:gold-1/"+d.volume)
		if why := m.arrived(t, d.volume, d.format); why != "" {
			t.Errorf("%d %s: %s", i, d.volume, why)
		}
	}
	// The label through the source, of a VM that is defined on the volume.
	m.l.vm(t, 1, "vm-db", false, images+"/nvme/vm-db.qcow2")
	if got := m.must(t, "label", "get", "--vm", "vm-db"); !strings.Contains(got, "gold") || !strings.Contains(got, "serial=1") {
		t.Errorf("label of the VM: %s", got)
	}
	m.refused(t, 4, "vm vm-db refers to", "image", "convert", "--remove-source", "rack:gold-1/nvme/vm-db.qcow2", "back.vmdk")
	m.l.virsh(t, 1, "undefine", "vm-db")
	if after := m.source(t); len(after) != 2 || after["vm-db.vmdk"] != before["vm-db.vmdk"] || after["vm-db-flat.vmdk"] != before["vm-db-flat.vmdk"] {
		t.Error("the source was changed")
	}
	// From one host's pool to the other's, and the source goes: with its sidecar.
	m.must(t, "image", "convert", "--remove-source", "rack:gold-1/ssd/vm-db.raw", "rack:silver-1/ssd/vm-db.raw")
	if got := strings.Join(m.l.files(t, 1), " "); got != "nvme/vm-db.qcow2 ssd/vm-db.vhdx" {
		t.Errorf("host 1 has %s", got)
	}
	if got := strings.Join(m.l.files(t, 2), " "); got != "ssd/vm-db.raw ssd/vm-db.raw.berth" {
		t.Errorf("host 2 has %s", got)
	}
	// A local image can be moved too.
	m.refused(t, 4, "exists", "image", "convert", "--remove-source", "base.raw", "rack:gold-1/nvme/vm-db.qcow2")
	m.must(t, "image", "copy", "base.raw", "local.raw")
	m.must(t, "image", "convert", "--remove-source", "local.raw", "rack:gold-1/hdd/local.qcow2")
	if _, err := os.Stat(filepath.Join(m.dir, "local.raw")); !os.IsNotExist(err) {
		t.Errorf("local.raw: %v", err)
	}
	m.must(t, "image", "convert", "--remove-source", loose, "rack:gold-1/hdd/vm-db.qcow2")
	if why := m.arrived(t, "hdd/vm-db.qcow2", "qcow2"); why != "" || len(m.source(t)) > 0 {
		t.Errorf("moved: %s; the source has %d files", why, len(m.source(t)))
	}
	if left := m.leftFolders(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLabConvertKilled kills a move again and again: whenever the source is not whole, the destination is.
func TestLabConvertKilled(t *testing.T) {
	m := newMigration(t, 24<<20)
	whole := m.source(t)
	var states []string
	for delay := 100 * time.Millisecond; ; delay += 200 * time.Millisecond {
		cmd := m.berth(t, "image", "convert", "--remove-source", loose, "rack:gold-1/nvme/vm-db.qcow2")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(delay, func() { _ = cmd.Process.Kill() }) // it may have ended
		err := cmd.Wait()
		timer.Stop()
		now, volume := m.source(t), strings.Join(m.l.files(t, 1), " ")
		same := len(now) == 2 && now["vm-db.vmdk"] == whole["vm-db.vmdk"] && now["vm-db-flat.vmdk"] == whole["vm-db-flat.vmdk"]
		states = append(states, fmt.Sprintf("%v: source whole %v, pool [%s]", delay, same, volume))
		if !same {
			if why := m.arrived(t, "nvme/vm-db.qcow2", "qcow2"); why != "" {
				t.Fatalf("killed after %v: the source is not whole, and the destination neither: %s", delay, why)
			}
		}
		if err == nil {
			break
		}
		if delay > 30*time.Second {
			t.Fatal("it does not end")
		}
		m.l.sh(t, 1, "find "+images+" -type f -delete")
		for _, f := range m.leftFolders(t) {
			if err := os.RemoveAll(f); err != nil {
				t.Fatal(err)
			}
		}
		if !same {
			m.furnish(t)
			whole = m.source(t)
		}
	}
	t.Log(strings.Join(states, "\n"))
	if left := m.leftFolders(t); len(left) > 0 || len(m.source(t)) > 0 {
		t.Errorf("at the end: folders %v, source files %d", left, len(m.source(t)))
	}
}
