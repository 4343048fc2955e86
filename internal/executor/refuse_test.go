package executor_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

func TestRefusesUnacceptedRisk(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
	d := deps(f, l)
	d.Accepted = nil
	_, _, err := run(d, p)
	var re *executor.RiskError
	if !errors.As(err, &re) || re.Step != 2 || re.VM != "vm-web" || re.Risk != plan.RiskDowntime {
		t.Fatalf("%v, expected a RiskError of step 2", err)
	}
	if len(l.records) != 0 || f.Operations() != 0 {
		t.Errorf("%d records, %d operations, expected that nothing was done", len(l.records), f.Operations())
	}
}

func TestRefusesAnotherJournal(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makePlan(s, moves()...)
	l := &log{}
	if _, _, err := run(deps(sim.New(s), l), p); err != nil {
		t.Fatal(err)
	}
	other, altered, shorter := makePlan(s, moves()...), makePlan(s, moves()...), makePlan(s, moves()[:3]...)
	other.ID = "p-fedcba9876543210"
	altered.Steps[4].Move.To.Host = "host-a"
	for _, c := range []struct {
		name, reason string
		p            *plan.Plan
		records      [][]byte
	}{
		{"another plan", "belongs to plan p-0123456789abcdef", other, l.records},
		{"an altered plan", "was altered", altered, l.records},
		{"a shortened plan", "was altered", shorter, l.records},
		{"no first record", `phase is "intent"`, p, l.records[1:]},
		{"a record twice", "cannot follow", p, slices.Insert(slices.Clone(l.records), 2, l.records[1])},
		{"a record left out", "step 2 comes before step 1 of an earlier wave is done", p, slices.Delete(slices.Clone(l.records), 2, 3)},
		{"a second begin", "step 0", p, append(slices.Clone(l.records), l.records[0])},
		{"no JSON", "record 1", p, [][]byte{[]byte("{")}},
		{"an unknown field", "unknown field", p, [][]byte{[]byte(`{"version":1,"colour":"red"}`)}},
		{"a later version", "version is 2", p, [][]byte{[]byte(`{"version":2}`)}},
	} {
		f := sim.New(s)
		_, _, err := run(deps(f, &log{records: c.records}), c.p)
		var je *executor.JournalError
		if !errors.As(err, &je) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, expected a JournalError with %q", c.name, err, c.reason)
		}
		if f.Operations() != 0 {
			t.Errorf("%s: %d operations", c.name, f.Operations())
		}
	}
}

func TestRefusesIncompletePlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		spoil  func(s *plan.Step)
	}{
		{"steps[0].n: is 7, expected 1", func(s *plan.Step) { s.N = 7 }},
		{"describes host-a and host-z", func(s *plan.Step) { s.Move.ToHost.ID = "host-z" }},
		{"from source lab to source other", func(s *plan.Step) { s.Move.ToHost.Source = "other" }},
		{`mode "warm"`, func(s *plan.Step) { s.Move.Mode = "warm" }},
		{"1 disks at host-b, the VM has 2", func(s *plan.Step) { s.Move.To.Disks = s.Move.To.Disks[:1] }},
		{"disk vdb on pool san is not described", func(s *plan.Step) { slices.Reverse(s.Move.From.Disks) }},
		{"on pool host-b/ssd is not described", func(s *plan.Step) { s.Move.Pools[1].ID = "x" }},
		{`no driver for source "lost"`, func(s *plan.Step) {
			s.Move.VM.Source, s.Move.FromHost.Source, s.Move.ToHost.Source = "lost", "lost", "lost"
		}},
	} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
		c.spoil(&p.Steps[0])
		d := deps(f, l)
		d.Movers = func(id fleet.SourceID) executor.Mover {
			if id == "lost" {
				return nil
			}
			return f
		}
		if _, _, err := run(d, p); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%v, expected %q", err, c.reason)
		}
		if len(l.records) > 0 || f.Operations() > 0 {
			t.Errorf("%s: something was done", c.reason)
		}
	}
}

func FuzzStatus(f *testing.F) {
	s := snapshot()
	p := makeWaves(s, waves()...)
	l := &log{}
	if _, _, err := run(deps(sim.New(s), l), p); err != nil {
		f.Fatal(err)
	}
	for i := range l.records {
		f.Add(i, l.records[i])
		f.Add((i+1)%len(l.records), l.records[i])
	}
	f.Add(1, []byte(`{"version":1,"phase":"failed","planId":"p-0123456789abcdef","step":1,"vm":"vm-db"}`))
	f.Add(2, []byte(`{"version":1,"phase":"unknown","planId":"p-0123456789abcdef","step":1,"vm":"vm-db","error":"x"}`))
	f.Add(3, []byte(`{"version":1,"phase":"intent","planId":"p-0123456789abcdef","step":5,"vm":"vm-db"}`))
	f.Fuzz(func(t *testing.T, at int, record []byte) {
		records := slices.Clone(l.records)
		if at < 0 || at >= len(records) {
			return
		}
		records[at] = record
		got, err := executor.Status(records, p)
		if err != nil {
			return
		}
		undone := 0 // the first wave with a step that is not done
		for i, st := range got.Steps {
			wave := p.Steps[i].Wave
			if st.Phase != executor.NotBegun && undone > 0 && wave > undone {
				t.Fatalf("step %d of wave %d is %q, and wave %d is not done: %+v", st.Step, wave, st.Phase, undone, got)
			}
			if st.Phase != executor.Done && undone == 0 {
				undone = wave
			}
		}
	})
}

func TestRefusesStalePlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		found string
		alter func(f *sim.Fleet)
	}{
		{"moved by hand", "host-c (vda: host-a/ssd, vdb: san), running", func(f *sim.Fleet) { f.Teleport("vm-db", "host-c") }},
		{"shut down", "host-a (vda: host-a/ssd, vdb: san), stopped", func(f *sim.Fleet) { f.SetPower("vm-db", fleet.Stopped) }},
		{"suspended", "host-a (vda: host-a/ssd, vdb: san), suspended", func(f *sim.Fleet) { f.SetPower("vm-db", fleet.Suspended) }},
		{"deleted", "nowhere: find vm vm-db: not found", func(f *sim.Fleet) { f.Remove("vm-db") }},
	} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
		c.alter(f)
		res, _, err := run(deps(f, l), p)
		var se *executor.StaleError
		if !errors.As(err, &se) || se.Step != 1 || se.VM != "vm-db" || se.Found != c.found ||
			se.Expected != "host-a (vda: host-a/ssd, vdb: san), running" {
			t.Errorf("%s: %v, expected a StaleError of vm-db with %q", c.name, err, c.found)
		}
		if len(l.records) != 1 || len(res.Remaining) != len(p.Steps) {
			t.Errorf("%s: %d records, %+v, expected no step begun", c.name, len(l.records), res)
		}
	}
}

// TestRefusesBusyVM: something else works on the VM; a job that ends is waited for, one that does not is not.
func TestRefusesBusyVM(t *testing.T) {
	t.Parallel()
	for _, polls := range []int{5, 1e6} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
		f.Inject(sim.Fault{Op: sim.OpCreate, Action: sim.Lose, Polls: polls})
		if err := f.Relocate(t.Context(), p.Steps[0].Move, true, nil); err == nil {
			t.Fatal("no fault")
		}
		_, _, err := run(deps(f, l), p)
		if polls < 10 {
			if err != nil {
				t.Errorf("a job that ended: %v", err)
			}
			continue
		}
		var se *executor.StaleError
		if !errors.As(err, &se) || !strings.Contains(se.Found, "not settled: a relocation is going on") || len(l.records) != 1 {
			t.Errorf("%v, %d records, expected a StaleError that names the job, and no intent", err, len(l.records))
		}
	}
}

// TestRefusesStaleResume has the world changed by hand after a run died.
func TestRefusesStaleResume(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		crash  sim.Fault
		step   int
		change func(f *sim.Fleet)
	}{
		{"moved with an open intent", sim.Fault{Op: sim.OpBegin, Action: sim.Crash}, 1, func(f *sim.Fleet) { f.Teleport("vm-db", "host-c") }},
		{"deleted with an open intent", sim.Fault{Op: sim.OpBegin, Action: sim.Crash}, 1, func(f *sim.Fleet) { f.Remove("vm-db") }},
		{"moved after it was done", sim.Fault{Op: sim.OpBegin, VM: "vm-web", Action: sim.Crash}, 1, func(f *sim.Fleet) { f.Teleport("vm-db", "host-c") }},
		{"deleted after it was done", sim.Fault{Op: sim.OpBegin, VM: "vm-web", Action: sim.Crash}, 1, func(f *sim.Fleet) { f.Remove("vm-db") }},
	} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:3]...)
		f.Inject(c.crash)
		if _, died, err := run(deps(f, l), p); !died {
			t.Fatalf("%s: did not die: %v", c.name, err)
		}
		c.change(f)
		_, _, err := run(deps(f, l), p)
		var se *executor.StaleError
		if !errors.As(err, &se) || se.Step != c.step || se.VM != "vm-db" {
			t.Errorf("%s: %v, expected a StaleError of step %d", c.name, err, c.step)
		}
	}
}
