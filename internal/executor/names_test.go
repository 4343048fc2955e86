package executor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// alike is a fleet of VMs whose images all are called disk.qcow2, one disk of each on its host and one of vm-db on the SAN.
func alike() *fleet.Snapshot {
	s := snapshot()
	s.VMs = []fleet.VM{
		vm("vm-cache", "host-b", fleet.Running, "host-b/ssd"),
		vm("vm-db", "host-a", fleet.Running, "host-a/ssd", "san"),
		vm("vm-web", "host-c", fleet.Stopped, "host-c/ssd"),
	}
	for i := range s.VMs {
		for j := range s.VMs[i].Disks {
			d := &s.VMs[i].Disks[j]
			d.Path, d.Format = string(d.Pool)+"/disk.qcow2", "qcow2"
		}
	}
	return s
}

// alikeModes bring them all to the SAN, where one has the name, and then two of them to one host.
func alikeModes() []mode {
	there := []move{
		{"vm-cache", "host-b", fleet.Live, []fleet.PoolID{"san"}},
		{"vm-db", "host-a", fleet.Live, []fleet.PoolID{"san", "host-a/ssd"}}, // its disks change places
		{"vm-web", "host-a", fleet.Offline, []fleet.PoolID{"san"}},
	}
	on := []move{
		{"vm-db", "host-b", fleet.Offline, []fleet.PoolID{"host-b/ssd", "host-b/ssd"}},
		{"vm-web", "host-b", fleet.Offline, []fleet.PoolID{"host-b/ssd"}},
	}
	return []mode{{"one at a time", 1, [][]move{there, on}}, {"all at once", 4, [][]move{there, on}}}
}

// images are the paths of all disks now, sorted.
func images(t *testing.T, f *sim.Fleet) []string {
	t.Helper()
	now, err := f.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, v := range now.VMs {
		for _, d := range v.Disks {
			paths = append(paths, string(d.Pool)+" "+d.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// TestNamesTaken: disks of one name come to one pool, at once and one after another, and each gets a name of its own.
func TestNamesTaken(t *testing.T) {
	t.Parallel()
	for _, m := range alikeModes() {
		s := alike()
		f, l, p := sim.New(s), &log{}, makeWaves(s, m.waves...)
		d := m.deps(f, l)
		told := 0
		d.Report = func(e executor.Event) {
			if e.Kind == executor.StepStarted && strings.Contains(e.Detail, "its name is taken there") {
				told++
			}
		}
		if _, _, err := run(d, p); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		checkFleet(t, f, p)
		got := images(t, f)
		// One after another vm-web finds the name free, which vm-db has left.
		want := []string{"host-b/ssd host-b/ssd/disk-1.qcow2", "host-b/ssd host-b/ssd/disk-2.qcow2", "host-b/ssd host-b/ssd/disk.qcow2", "san san/disk-1.qcow2"}
		if m.parallel == 1 && !slices.Equal(got, want) || len(slices.Compact(slices.Clone(got))) != len(want) {
			t.Errorf("%s: images %q, expected %q", m.name, got, want)
		}
		renamed, second := 0, 0
		for _, st := range status(t, l, p) {
			for _, file := range st.Files {
				if !strings.HasSuffix(file.Path, "/"+file.Name) {
					renamed++
				}
			}
			if st.Step > 3 {
				second += len(st.Files)
			}
		}
		if renamed < 3 || told < 2 || second != 3 {
			t.Errorf("%s: %d renamed, told %d times, %d files of second steps, expected at least 3, 2, and 3", m.name, renamed, told, second)
		}
	}
}

func status(t *testing.T, l *log, p *plan.Plan) []executor.StepState {
	t.Helper()
	pr, err := executor.Status(l.records, p)
	if err != nil {
		t.Fatal(err)
	}
	return pr.Steps
}

// TestNamesTakenCrash kills such a run before and after each operation and record: whoever goes on knows the names from the
// journal.
func TestNamesTakenCrash(t *testing.T) {
	t.Parallel()
	for _, m := range alikeModes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := alike()
			p, first := makeWaves(s, m.waves...), &log{}
			n := m.countOperations(t, s, p)
			if _, _, err := run(m.deps(sim.New(s), first), p); err != nil {
				t.Fatal(err)
			}
			for _, after := range []bool{false, true} {
				for k := 1; k <= n; k++ {
					f, l := sim.New(s), &log{}
					f.Inject(sim.Fault{At: k, Action: sim.Crash, After: after})
					if _, died, err := run(m.deps(f, l), p); !died {
						t.Fatalf("crash at %d did not strike: %v", k, err)
					}
					m.resume(t, fmt.Sprintf("operation %d, after %v", k, after), f, l, p)
				}
				for k := 1; k <= first.appends; k++ {
					f, l := sim.New(s), &log{dieAt: k, kept: after}
					if _, died, err := run(m.deps(f, l), p); !died {
						t.Fatalf("append %d did not kill: %v", k, err)
					}
					m.resume(t, fmt.Sprintf("append %d, kept %v", k, after), f, l, p)
				}
			}
		})
	}
}

// TestNamesForgotten: without the journal's names a run that goes on does not find its way, so that the test above shows
// something.
func TestNamesForgotten(t *testing.T) {
	t.Parallel()
	m := alikeModes()[0]
	s := alike()
	p := makeWaves(s, m.waves...)
	f, l := sim.New(s), &log{}
	f.Inject(sim.Fault{Op: sim.OpCopy, Action: sim.Crash, After: true})
	if _, died, err := run(m.deps(f, l), p); !died {
		t.Fatal(err)
	}
	for i, raw := range l.records {
		if at, _, found := strings.Cut(string(raw), `,"files":`); found {
			l.records[i] = []byte(at + "}")
		}
	}
	if _, _, err := run(m.deps(f, &log{records: l.records}), p); err == nil {
		t.Error("a run that does not know the names it chose comes to an end")
	}
}
