package libvirt

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// memory is a journal that is kept by the test.
type memory struct{ records [][]byte }

func (j *memory) Append(b []byte) error {
	j.records = append(j.records, slices.Clone(b))
	return nil
}

// TestLabNamesApplied applies a wave of two moves of disks with one name into one pool, where a file of nobody has it as well. The run is
// cut off half-way through both copies; the next one goes on with the names in the journal, and leaves nothing behind.
func TestLabNamesApplied(t *testing.T) {
	l := startLab(t)
	const disk = "disk.qcow2"
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", disk, "qcow2", "", "gold"))
	l.vm(t, 1, "vm-b", false, l.image(t, 1, "nvme", disk, "qcow2", "", "silver"))
	l.sh(t, 2, "echo mine > "+images+"/ssd/"+disk)
	d := l.driver(t)
	s := observe(t, d)
	p := &plan.Plan{Version: plan.Version, ID: "p-0123456789abcdef"}
	for i, vm := range []fleet.VMID{"vm-a", "vm-b"} {
		p.Steps = append(p.Steps, plan.Step{N: i + 1, Wave: 1, Move: relocation(t, s, vm, "silver-1", fleet.Offline, "ssd")})
	}
	var half atomic.Int32
	d.checkpoint = func(name string) error {
		if !strings.HasPrefix(name, "created ") && half.Load() == 0 {
			return nil
		}
		half.Add(1)
		for until := time.Now().Add(10 * time.Second); half.Load() < 2 && time.Now().Before(until); {
			time.Sleep(poll / 10)
		}
		return errCut
	}
	j := &memory{}
	if err := applyIn(t, d, j, p); err == nil || half.Load() < 2 {
		t.Fatalf("%v after %d cuts, expected that both are cut off", err, half.Load())
	}
	if got := l.files(t, 2); !slices.Equal(got, []string{"ssd/disk-1.qcow2", "ssd/disk-2.qcow2", "ssd/disk.qcow2"}) {
		t.Fatalf("after the cut there are %q", got)
	}
	again := l.driver(t)
	if err := applyIn(t, again, j, p); err != nil {
		t.Fatal(err)
	}
	now := observe(t, again)
	var names []string
	for _, step := range p.Steps {
		v := now.VM(step.Move.VM.ID)
		if !v.Place().Equal(step.Move.To) || v.Pinned != "" {
			t.Errorf("%s: %+v", v.ID, v)
		}
		names = append(names, v.Disks[0].Path)
		f, err := again.OpenImage(t.Context(), *now.Pool(v.Disks[0].Pool), v.Disks[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[fleet.VMID]string{"vm-a": "gold", "vm-b": "silver"}[v.ID]; levelOf(t, f, "qcow2") != want {
			t.Errorf("%s: its label is not %s", v.ID, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{images + "/ssd/disk-1.qcow2", images + "/ssd/disk-2.qcow2"}) {
		t.Errorf("disks at %q", names)
	}
	if got := l.sh(t, 2, "cat "+images+"/ssd/"+disk); got != "mine\n" || len(l.files(t, 1)) != 0 || len(l.files(t, 2)) != 3 {
		t.Errorf("the file in the way is %q; files %q and %q", got, l.files(t, 1), l.files(t, 2))
	}
}

// applyIn applies the plan, or goes on with it, by two steps at once.
func applyIn(t *testing.T, d *Driver, j *memory, p *plan.Plan) error {
	t.Helper()
	_, err := executor.Run(t.Context(), executor.Deps{
		Movers: func(fleet.SourceID) executor.Mover { return d }, Parallel: 2, Journal: j, Records: slices.Clone(j.records),
		Limits: executor.Limits{Settle: time.Second, Poll: poll, Backoff: poll, MaxBackoff: poll},
	}, p)
	var stale *executor.StaleError
	if errors.As(err, &stale) {
		t.Fatal(err)
	}
	return err
}
