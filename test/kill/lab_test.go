package kill_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lab is the scenario of test/lab, up: three real libvirts with nine VMs, most of them in wrong places.
type lab struct {
	dir string
}

// startLab starts the scenario in a folder of its own; the test's end takes it down.
func startLab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() || os.Getenv("BERTH_NO_LAB") != "" {
		t.Skip("-short or BERTH_NO_LAB: no lab")
	}
	skip := t.Skip
	if os.Getenv("BERTH_LAB") == "must" {
		skip = t.Fatal
	}
	if os.Getuid() != 0 {
		skip("the lab needs root")
	}
	for _, tool := range []string{"libvirtd", "qemu-img", "qemu-system-x86_64", "virsh", "unshare", "nsenter", "ip", "as", "ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip("the lab needs " + tool + ": run make deps")
		}
	}
	if out, err := exec.Command("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		skip("the lab needs Linux namespaces: " + string(out))
	}
	l := &lab{dir: fmt.Sprintf("/tmp/bk%d", os.Getpid())} // short: a unix socket's path ends at 107 bytes
	t.Cleanup(func() { l.script(t, "scenario", "down") })
	l.script(t, "scenario", "up")
	return l
}

func (l *lab) script(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "lab", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil { // and so a cached result depends on the script
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir, "BERTH="+berth)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestKillOnLibvirt: the VMs count on their disks while the berth that moves them dies again and again.
func TestKillOnLibvirt(t *testing.T) {
	l := startLab(t)
	s := &site{dir: filepath.Join(l.dir, "berth"), config: "berth.yaml"}
	s.after = func(kills int) {
		if names := l.twice(t); names != "" {
			t.Fatalf("after %d kills: runs on two hosts: %s", kills, names)
		}
	}
	path, file := s.makePlan(t)
	s.killEverywhere(t, path, file, 2500*time.Millisecond)
	s.checkEnd(t, file)
	t.Log(l.script(t, "scenario", "show"))
	t.Log(l.script(t, "scenario", "check"))
	if left := l.leftovers(t); left != "" {
		t.Errorf("files that no VM names: %s", left)
	}
	if out := string(s.must(t, "plan", "make", "--config", s.config)); !strings.Contains(out, " 0 moves") {
		t.Errorf("a second plan is not empty:\n%s", out)
	}
}

// twice names the VMs that run on two hosts.
func (l *lab) twice(t *testing.T) string {
	t.Helper()
	seen := map[string]bool{}
	var names []string
	for _, host := range []string{"1", "2", "3"} {
		for _, n := range strings.Fields(l.script(t, "lvlab", "virsh", host, "list", "--name", "--state-running")) {
			if seen[n] {
				names = append(names, n)
			}
			seen[n] = true
		}
	}
	return strings.Join(names, ", ")
}

// leftovers lists the files in pools that no VM defined on that host names.
func (l *lab) leftovers(t *testing.T) string {
	t.Helper()
	var left []string
	for _, host := range []string{"1", "2", "3"} {
		used := l.script(t, "lvlab", "exec", host, "bash", "-c",
			"for d in $(virsh -q list --all --name); do virsh -q domblklist $d; done | awk '$2 ~ /^\\//{print $2}'")
		for _, f := range strings.Fields(l.script(t, "lvlab", "exec", host, "bash", "-c", "find /var/lib/libvirt/images -type f")) {
			stem := strings.TrimSuffix(strings.TrimSuffix(f, "-flat.vmdk"), "-f001.vmdk") // extents go by their descriptor
			if !strings.Contains(used, strings.TrimSuffix(stem, ".vmdk")) {
				left = append(left, "h"+host+":"+f)
			}
		}
	}
	return strings.Join(left, ", ")
}
