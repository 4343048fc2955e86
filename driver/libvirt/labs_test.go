package libvirt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A lab is two real libvirtd+QEMU hosts in namespaces of this machine, started by test/lab/lvlab for the first test that needs
// them, and wiped when all tests are done. A test has a lab to itself. There are two of them: most of a test's time goes by
// while it waits for guests and copies.
type lab struct {
	dir, scripts string
}

var labs = struct {
	free chan *lab

	mu   sync.Mutex
	all  []*lab
	skip string
	err  error
}{free: make(chan *lab, len(labDirs))}

// labDirs are the labs' folders, but for the process id behind them. They are short: a socket's path has 107 bytes.
var labDirs = [...]string{"/tmp/blv", "/tmp/blu"}

func TestMain(m *testing.M) {
	rc := m.Run()
	for _, l := range labs.all {
		if out, err := l.command("wipe").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "wipe %s: %v\n%s", l.dir, err, out)
			rc = max(rc, 1)
		}
	}
	os.Exit(rc)
}

// startLab gives a lab for as long as the test, empty: no domain and no volume. The test then runs beside others.
func startLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	l, skip, err := takeLab()
	if skip != "" && os.Getenv("BERTH_LAB") == "must" && os.Getenv("BERTH_NO_LAB") == "" {
		t.Fatal(skip + ", and BERTH_LAB=must")
	}
	if skip != "" {
		t.Skip(skip)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { labs.free <- l })
	l.reset(t)
	return l
}

// takeLab takes a lab that is free, else starts another, else waits for one.
func takeLab() (*lab, string, error) {
	select {
	case l := <-labs.free:
		return l, "", nil
	default:
	}
	labs.mu.Lock()
	if n := len(labs.all); n < len(labDirs) && labs.skip == "" && labs.err == nil {
		defer labs.mu.Unlock()
		var l *lab
		if l, labs.skip, labs.err = newLab(labDirs[n]); l != nil {
			labs.all = append(labs.all, l)
		}
		return l, labs.skip, labs.err
	}
	none := len(labs.all) == 0
	skip, err := labs.skip, labs.err
	labs.mu.Unlock()
	if none || err != nil {
		return nil, skip, err
	}
	return <-labs.free, "", nil
}

func newLab(dir string) (*lab, string, error) {
	if testing.Short() || os.Getenv("BERTH_NO_LAB") != "" {
		return nil, "-short or BERTH_NO_LAB: no lab", nil
	}
	if os.Getuid() != 0 {
		return nil, "the lab needs root", nil
	}
	for _, tool := range []string{"libvirtd", "qemu-img", "qemu-system-x86_64", "virsh", "unshare", "nsenter", "ip", "as", "ld", "mkfs.ext4"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, "the lab needs " + tool + ": run make deps", nil //nolint:nilerr // a reason to skip
		}
	}
	if out, err := exec.Command("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		return nil, "the lab needs Linux namespaces: " + string(out), nil //nolint:nilerr // a reason to skip
	}
	scripts, err := filepath.Abs("../../test/lab")
	if err != nil {
		return nil, "", err
	}
	sweep(scripts)
	for _, name := range []string{"lvlab", "mkboot", "mkdomain", "bootsec.S", "fakesys", "fakenic"} {
		if _, err := os.Stat(filepath.Join(scripts, name)); err != nil { // and so a cached result depends on it
			return nil, "", err
		}
	}
	l := &lab{dir: fmt.Sprintf("%s%d", dir, os.Getpid()), scripts: scripts}
	tiers := "tiers=nvme:96M ssd:96M hdd:160M tiny:16M"
	for _, args := range [][]string{
		{"up1", "1", "name=gold-1", "cpus=8", "mem=16384", "sriov=7", tiers}, {"up1", "2", "name=silver-1", "cpus=4", "mem=8192", tiers},
	} {
		if out, err := l.command(args...).CombinedOutput(); err != nil {
			_ = l.command("wipe").Run()
			return nil, "", fmt.Errorf("lvlab %v: %w\n%s", args, err, out)
		}
	}
	return l, "", nil
}

// sweep wipes the labs of test runs that were killed.
func sweep(scripts string) {
	for _, prefix := range labDirs {
		old, err := filepath.Glob(prefix + "[0-9]*")
		if err != nil {
			return // only a bad pattern fails
		}
		for _, dir := range old {
			if _, err := os.Stat("/proc/" + strings.TrimPrefix(dir, prefix)); os.IsNotExist(err) {
				_ = (&lab{dir: dir, scripts: scripts}).command("wipe").Run() // another run may do so at the same time
			}
		}
	}
}
