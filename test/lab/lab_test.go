package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// site is the scenario, up, and a berth binary.
type site struct {
	dir, berth string
}

// up builds berth and starts the scenario in a folder of its own; the test's end takes it down.
func up(t *testing.T) *site {
	t.Helper()
	if testing.Short() || os.Getenv("BERTH_NO_LAB") != "" {
		t.Skip("-short or BERTH_NO_LAB: no lab")
	}
	if os.Getuid() != 0 {
		t.Skip("the lab needs root")
	}
	for _, tool := range []string{"libvirtd", "qemu-img", "qemu-system-x86_64", "virsh", "unshare", "nsenter", "ip", "as", "ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the lab needs " + tool + ": run make deps")
		}
	}
	if out, err := exec.Command("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("the lab needs Linux namespaces: %s", out)
	}
	inputs(t)
	s := &site{dir: fmt.Sprintf("/tmp/bls%d", os.Getpid()), berth: filepath.Join(t.TempDir(), "berth")}
	build := exec.Command("go", "build", "-o", s.berth, "../../cmd/berth")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := s.script("scenario", "down"); err != nil {
			t.Errorf("scenario down: %v\n%s", err, out)
		}
	})
	if out, err := s.script("scenario", "up"); err != nil {
		t.Fatalf("scenario up: %v\n%s", err, out)
	}
	return s
}

// inputs makes the test's cached result depend on what the commands that it runs are made of: go test notes the
// files that a test itself looks at, and no others.
func inputs(t *testing.T) {
	t.Helper()
	n := 0
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") && filepath.Dir(p) != "../../test/lab":
			return nil
		}
		n++
		_, err = os.Stat(p)
		return err
	})
	if err != nil || n < 50 {
		t.Fatalf("looked at %d files: %v", n, err)
	}
}

func (s *site) script(name string, args ...string) ([]byte, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+s.dir, "BERTH="+s.berth)
	return cmd.CombinedOutput()
}

func (s *site) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.berth, args...) // on the deadline: SIGKILL
	cmd.Dir = filepath.Join(s.dir, "berth")
	return cmd.CombinedOutput()
}

// TestKilledApply kills berth plan apply with SIGKILL again and again, at times of a seeded generator, until it
// ends by itself. Every VM is then where its label asks for, on one host, and nothing is left of broken moves.
func TestKilledApply(t *testing.T) {
	s := up(t)
	if out, err := s.run(t.Context(), "plan", "make", "--config", "berth.yaml", "-o", "plan.json"); err != nil {
		t.Fatalf("plan make: %v\n%s", err, out)
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's dice
	kills := 0
	for done := false; !done; {
		limit := time.Duration(50+rng.IntN(900)) * time.Millisecond
		if kills >= 25 {
			limit = 5 * time.Minute
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		out, err := s.run(ctx, "plan", "apply", "--config", "berth.yaml", "--state", "state", "--accept-risk=downtime", "plan.json")
		killed := errors.Is(ctx.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			done = true
		case !killed:
			t.Fatalf("plan apply after %d kills: %v\n%s", kills, err, out)
		default:
			kills++
		}
		if n := twice(t, s); n != "" {
			t.Fatalf("after %d kills: runs on two hosts: %s", kills, n)
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("only %d kills: the test shows little", kills)
	}
	if out, err := s.script("scenario", "check"); err != nil {
		show, _ := s.script("scenario", "show")
		t.Fatalf("check: %v\n%s\n%s", err, out, show)
	}
	if out := leftovers(t, s); out != "" {
		t.Errorf("files that no VM names: %s", out)
	}
	if out, err := s.run(t.Context(), "plan", "make", "--config", "berth.yaml"); err != nil || !bytes.Contains(out, []byte(" 0 moves")) {
		t.Errorf("a second plan is not empty (%v):\n%s", err, out)
	}
}

// twice names the VMs that run on two hosts.
func twice(t *testing.T, s *site) string {
	t.Helper()
	seen := map[string]bool{}
	var names []string
	for _, host := range []string{"1", "2", "3"} {
		out, err := s.script("lvlab", "virsh", host, "list", "--name", "--state-running")
		if err != nil {
			t.Fatalf("list host %s: %v\n%s", host, err, out)
		}
		for _, n := range strings.Fields(string(out)) {
			if seen[n] {
				names = append(names, n)
			}
			seen[n] = true
		}
	}
	return strings.Join(names, ", ")
}

// leftovers lists the VMDK files in pools whose VM is not defined on that host with that pool.
func leftovers(t *testing.T, s *site) string {
	t.Helper()
	var left []string
	for _, host := range []string{"1", "2", "3"} {
		used, err := s.script("lvlab", "exec", host, "bash", "-c",
			"for d in $(virsh -q list --all --name); do virsh -q domblklist $d; done | awk '$2 ~ /^\\//{print $2}'")
		if err != nil {
			t.Fatalf("disks of host %s: %v\n%s", host, err, used)
		}
		files, err := s.script("lvlab", "exec", host, "bash", "-c", "find /var/lib/libvirt/images -type f")
		if err != nil {
			t.Fatalf("files of host %s: %v\n%s", host, err, files)
		}
		for _, f := range strings.Fields(string(files)) {
			stem := strings.TrimSuffix(strings.TrimSuffix(f, "-flat.vmdk"), "-f001.vmdk") // extents go by their descriptor
			if !strings.Contains(string(used), strings.TrimSuffix(stem, ".vmdk")) {
				left = append(left, "h"+host+":"+f)
			}
		}
	}
	return strings.Join(left, ", ")
}
