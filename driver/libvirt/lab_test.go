package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/carry"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const images = "/var/lib/libvirt/images"

func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.scripts, "lvlab"), args...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir)
	cmd.WaitDelay = time.Second
	return cmd
}

func (l *lab) run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := l.command(args...)
	cmd := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	cmd.Env = c.Env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("lvlab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sh runs a shell command on a host.
func (l *lab) sh(t *testing.T, host int, script string) string {
	t.Helper()
	return l.run(t, "exec", strconv.Itoa(host), "bash", "-c", script)
}

func (l *lab) virsh(t *testing.T, host int, args ...string) string {
	t.Helper()
	out, err := l.tryVirsh(host, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryVirsh runs virsh, which takes several commands in one argument, "define a; start b", and gives the last one's exit code.
func (l *lab) tryVirsh(host int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "virsh", append([]string{"-q", "-c", l.uri(host)}, args...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("virsh on host %d, %s: %w\n%s", host, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// reset takes all domains and volumes away, of both hosts at once: every test begins with it, and many cases do.
func (l *lab) reset(t *testing.T) {
	t.Helper()
	var errs [2]error
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = l.empty(i + 1) })
	}
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) empty(host int) error {
	list, err := l.tryVirsh(host, "list --all --uuid")
	if err != nil {
		return err
	}
	for _, uuid := range strings.Fields(list) {
		// One that does not run is not destroyed, and a transient one is gone then: what is left is looked at below.
		_, _ = l.tryVirsh(host, fmt.Sprintf("destroy %[1]s; managedsave-remove %[1]s; undefine %[1]s", uuid))
	}
	if out, err := l.command("exec", strconv.Itoa(host), "find", images, "-type", "f", "-delete").CombinedOutput(); err != nil {
		return fmt.Errorf("empty host %d: %w\n%s", host, err, out)
	}
	// virsh goes on after a command that failed, and says so by its words alone; otherwise these say nothing.
	left, err := l.tryVirsh(host, "pool-refresh nvme; pool-refresh ssd; pool-refresh hdd; pool-refresh tiny; list --all --name")
	if err == nil && strings.TrimSpace(left) != "" {
		err = fmt.Errorf("host %d is not empty: %s", host, left)
	}
	return err
}

func (l *lab) uri(host int) string {
	return fmt.Sprintf("qemu+unix:///system?socket=%s/hosts/h%d/run/libvirt/libvirt-sock", l.dir, host)
}

func (l *lab) config() Config {
	c := Config{ID: "kvm", Labels: carry.Labels{}, Timeouts: Timeouts{
		Dial: 3 * time.Second, Call: 5 * time.Second, Stall: 20 * time.Second, Migrate: 2 * time.Minute, Shutdown: 10 * time.Second,
	}}
	for _, i := range []int{1, 2} {
		c.Hosts = append(c.Hosts, HostConfig{URI: l.uri(i), Peer: fmt.Sprintf("qemu+tcp://10.77.0.%d/system", i), Chassis: fmt.Sprintf("rack-%d", i), Tags: []string{"lab"}})
	}
	return c
}

func (l *lab) driver(t *testing.T) *Driver {
	t.Helper()
	d, err := Open(l.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// frame makes an unsigned label.
func frame(t *testing.T, disk label.Binding, level string, serial uint32) label.Frame {
	t.Helper()
	f, err := label.Seal(label.Document{Level: level, Disk: disk, Serial: serial, Issued: time.Unix(1.7e9, 0).UTC()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// declared is how package diskimage is told of a domain's driver type.
func declared(format string) diskimage.Options {
	f, _ := diskimage.FormatNamed(format)
	return diskimage.Options{Format: f}
}

// setLabel labels a local image with level; level "" leaves it.
func setLabel(t *testing.T, path, format, level string) {
	t.Helper()
	if level == "" {
		return
	}
	f, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	opts := declared(format)
	_, info, err := opts.ReadLabel(f)
	if err != nil {
		t.Fatal(err)
	}
	edit, err := opts.PlanSet(f, frame(t, info.Binding(), level, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := diskimage.Apply(f, edit); err != nil {
		t.Fatal(err)
	}
}

// levelOf reads the level from the label of an image, "" without one.
func levelOf(t *testing.T, r diskimage.Reader, format string) string {
	t.Helper()
	frame, _, err := declared(format).ReadLabel(r)
	if err != nil {
		t.Fatal(err)
	}
	if frame == nil {
		return ""
	}
	doc, err := frame.Document()
	if err != nil {
		t.Fatal(err)
	}
	return doc.Level
}

// image makes a bootable image of 16 MiB with qemu-img, labels it and puts it into a pool. options are
// qemu-img's: "subformat=monolithicFlat".
func (l *lab) image(t *testing.T, host int, pool, name, format, options, level string) string {
	t.Helper()
	tmp := t.TempDir()
	args := []string{filepath.Join(tmp, name), "16M", strings.TrimSuffix(name, filepath.Ext(name)), format}
	if options != "" {
		args = append(args, options)
	}
	if out, err := exec.Command(filepath.Join(l.scripts, "mkboot"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mkboot %v: %v\n%s", args, err, out)
	}
	setLabel(t, filepath.Join(tmp, name), format, level)
	l.sh(t, host, fmt.Sprintf("cp --sparse=always %s/* %s/%s/", tmp, images, pool))
	l.virsh(t, host, "pool-refresh", pool)
	return images + "/" + pool + "/" + name
}

// vm defines a VM, and starts it when it is to run. disks are paths, with ",format" where the ending lies.
func (l *lab) vm(t *testing.T, host int, name string, running bool, disks ...string) {
	t.Helper()
	args := []string{name, "nic=vmbr0,2", "mem=16", "serial=" + l.log(name)}
	for _, d := range disks {
		args = append(args, "disk="+d)
	}
	out, err := exec.Command(filepath.Join(l.scripts, "mkdomain"), args...).Output()
	if err != nil {
		t.Fatalf("mkdomain %v: %v", args, err)
	}
	doc := filepath.Join(t.TempDir(), "vm.xml")
	if err := os.WriteFile(doc, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.log(name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if !running {
		l.virsh(t, host, "define", doc)
		return
	}
	l.virsh(t, host, "define "+doc+"; start "+name)
	l.beats(t, name, 1)
}

func (l *lab) log(name string) string { return filepath.Join(l.dir, "serial", name+".log") }

// guestLog is what the guest said: how often it booted, its last counter, and whether a write failed.
func (l *lab) guestLog(t *testing.T, name string) (boots int, counter int64, failed bool) {
	t.Helper()
	data, err := os.ReadFile(l.log(name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		switch {
		case bytes.Contains(line, []byte("GUEST-READY")):
			boots++
		case len(f) == 3 && f[0] == "HB" && f[2] == "ok":
			if n, err := strconv.ParseInt(f[1], 16, 64); err == nil {
				counter = n
			}
		case bytes.Contains(line, []byte("FAIL")):
			failed = true
		}
	}
	return boots, counter, failed
}

// beats waits until the guest has counted n further.
func (l *lab) beats(t *testing.T, name string, n int64) {
	t.Helper()
	_, from, _ := l.guestLog(t, name)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if _, now, _ := l.guestLog(t, name); now >= from+n {
			return
		}
	}
	t.Fatalf("guest %s does not count: %s", name, l.run(t, "status"))
}

func observe(t *testing.T, d *Driver) *fleet.Snapshot {
	t.Helper()
	s, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// relocation plans the move of a VM: host and pool are of the target, "" stays.
func relocation(t *testing.T, s *fleet.Snapshot, name fleet.VMID, host fleet.HostID, mode fleet.Mode, pools ...string) fleet.Relocation {
	t.Helper()
	vm := s.VM(name)
	if vm == nil {
		t.Fatalf("no vm %s in the snapshot; gaps %v", name, s.Gaps)
	}
	r := fleet.Relocation{VM: *vm, From: vm.Place(), To: vm.Place(), Mode: mode}
	if host != "" {
		r.To.Host = host
	}
	for i := range r.To.Disks {
		_, pool, _ := strings.Cut(string(r.From.Disks[i].Pool), "/")
		if len(pools) > 0 {
			pool = pools[min(i, len(pools)-1)]
		}
		r.To.Disks[i].Pool = fleet.PoolID(string(r.To.Host) + "/" + pool)
	}
	r.FromHost, r.ToHost = *s.Host(r.From.Host), *s.Host(r.To.Host)
	for _, p := range append(r.From.Clone().Disks, r.To.Disks...) {
		if s.Pool(p.Pool) == nil {
			t.Fatalf("no pool %s", p.Pool)
		}
		r.Pools = append(r.Pools, *s.Pool(p.Pool))
	}
	return r
}

// files lists the files of every pool of a host.
func (l *lab) files(t *testing.T, host int) []string {
	t.Helper()
	return strings.Fields(l.sh(t, host, "cd "+images+" && find * -type f | sort"))
}
