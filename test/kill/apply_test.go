package kill_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// berth is the binary under test, built once.
var berth string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bk")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	berth = filepath.Join(dir, "berth")
	cmd := exec.Command("go", "build", "-o", berth, "../../cmd/berth")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build berth:", err)
		return 1
	}
	return m.Run()
}

// site is a fleet with what is needed to plan and apply on it.
type site struct {
	config string
	dir    string
	env    []string
	after  func(kills int) // looks at the world after each kill
}

func (s *site) berth(ctx context.Context, t *testing.T, arg ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, berth, arg...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir = s.dir
	return cmd
}

func (s *site) must(t *testing.T, arg ...string) []byte {
	t.Helper()
	cmd := s.berth(t.Context(), t, arg...)
	var diag strings.Builder
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("berth %s: %v\n%s%s", strings.Join(arg, " "), err, out, diag.String())
	}
	return out
}

// makePlan plans the site's fleet as it is, and wants at least one step.
func (s *site) makePlan(t *testing.T) (path string, file *plan.File) {
	t.Helper()
	path = filepath.Join(s.dir, "plan.json")
	s.must(t, "plan", "make", "--config", s.config, "-o", path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if file, err = plan.DecodeFile(path, data); err != nil {
		t.Fatal(err)
	}
	if len(file.Plan.Steps) == 0 {
		t.Fatal("the plan has no step: nothing to kill")
	}
	return path, file
}

func (s *site) apply(path string) []string {
	return []string{"plan", "apply", path, "--config", s.config, "--accept-risk=downtime", "--state", filepath.Join(s.dir, "state")}
}

// records reads the journal from outside while it is written, by its documented format: whole records only.
func (s *site) records(t *testing.T) []executor.Record {
	t.Helper()
	var all []executor.Record
	files, err := filepath.Glob(filepath.Join(s.dir, "state", "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for b = b[min(16, len(b)):]; len(b) >= 8; {
			n := int(binary.LittleEndian.Uint32(b))
			if len(b) < 8+n {
				break
			}
			var r executor.Record
			if err := json.Unmarshal(b[8:8+n], &r); err != nil {
				t.Fatalf("journal %s: %v", f, err)
			}
			all = append(all, r)
			b = b[8+n:]
		}
	}
	return all
}

// killAt runs apply and kills it with SIGKILL once the journal holds want records, or after the time given
// when that is sooner (0: never). It says whether apply came to its end by itself before that.
func (s *site) killAt(t *testing.T, path string, want int, after time.Duration) (finished bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := s.berth(ctx, t, s.apply(path)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for len(s.records(t)) < want && (after == 0 || time.Since(begun) < after) {
		select {
		case err := <-exited:
			if err != nil {
				t.Fatalf("apply, to be killed at record %d: %v\n%s", want, err, out.String())
			}
			return true
		case <-time.After(time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return <-exited == nil
}

// open are the steps that the journal says are under way.
func open(all []executor.Record) map[int]bool {
	steps := map[int]bool{}
	for _, r := range all {
		switch r.Phase {
		case executor.Intent, executor.Unknown:
			steps[r.Step] = true
		case executor.Done, executor.Failed:
			delete(steps, r.Step)
		case executor.Planned, executor.NotBegun:
		}
	}
	return steps
}

// next is how many records are to come before the next kill: one, but two where a wave is about to begin two steps or more, so
// that both are open then.
func next(all []executor.Record, file *plan.File) int {
	done := map[int]bool{}
	for _, r := range all {
		if r.Phase == executor.Done {
			done[r.Step] = true
		}
	}
	for _, wave := range plan.Waves(file.Plan.Steps) {
		left := 0
		for i := range wave {
			if !done[wave[i].N] {
				left++
			}
		}
		if left > 1 && len(open(all)) == 0 && len(all) > 0 {
			return 2
		}
		if left > 0 {
			break
		}
	}
	return 1
}

// killEverywhere kills one application of the plan at each of its records, or when two steps are open, and between them at a
// random moment within the step that the record begins. Every run goes on from what the killed one left.
func (s *site) killEverywhere(t *testing.T, path string, file *plan.File, within time.Duration) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	died := map[int]int{} // how often apply died while a step was open
	kills, most := 0, 0
	for finished := false; !finished; kills++ {
		if kills > 300 {
			t.Fatal("300 kills and no end: apply makes no progress")
		}
		var after time.Duration
		if kills%2 == 1 {
			after = 1 + time.Duration(rng.Int64N(int64(within)))
		}
		finished = s.killAt(t, path, len(s.records(t))+next(s.records(t), file), after)
		under := open(s.records(t))
		for step := range under {
			died[step]++
		}
		if !finished {
			most = max(most, len(under))
		}
		if s.after != nil {
			s.after(kills + 1)
		}
	}
	t.Logf("seed %d: %d kills over %d steps, %d records; at most %d steps open", seed, kills-1, len(file.Plan.Steps), len(s.records(t)), most)
	if len(plan.Waves(file.Plan.Steps)) < len(file.Plan.Steps) && most < 2 {
		t.Error("there are steps that may run at once, and never were two of them open")
	}
	for _, st := range file.Plan.Steps {
		if died[st.N] == 0 {
			t.Errorf("step %d was never killed while it was open: %v", st.N, died)
		}
	}
	t.Logf("applied again after the end:\n%s", s.must(t, s.apply(path)...))
}

// checkEnd observes the fleet anew and holds it against what the plan promised: no VM lost or new, each where
// its last step put it or where it was, powered as before, its labels as before.
func (s *site) checkEnd(t *testing.T, file *plan.File) {
	t.Helper()
	now, err := fleet.DecodeSnapshot("fleet export", s.must(t, "fleet", "export", "--config", s.config))
	if err != nil {
		t.Fatal(err)
	}
	want := map[fleet.VMID]fleet.Placement{}
	for _, v := range file.Snapshot.VMs {
		want[v.ID] = v.Place()
	}
	for _, st := range file.Plan.Steps {
		want[st.Move.VM.ID] = st.Move.To
	}
	if len(now.VMs) != len(want) {
		t.Errorf("%d VMs now, %d before", len(now.VMs), len(want))
	}
	for i := range now.VMs {
		v := &now.VMs[i]
		before := file.Snapshot.VM(v.ID)
		if before == nil {
			t.Errorf("%s was not there before", v.ID)
			continue
		}
		if !v.Place().Equal(want[v.ID]) {
			t.Errorf("%s is at %+v, want %+v", v.ID, v.Place(), want[v.ID])
		}
		if v.Power != before.Power {
			t.Errorf("%s is %s, was %s", v.ID, v.Power, before.Power)
		}
		for j := range v.Disks {
			if diff := cmp.Diff(before.Disks[j].Label, v.Disks[j].Label); diff != "" {
				t.Errorf("%s disk %s: the label changed (-before +now):\n%s", v.ID, v.Disks[j].ID, diff)
			}
		}
	}
}
