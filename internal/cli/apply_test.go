package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// simConn is a simulated fleet as a connection.
type simConn struct{ *sim.Fleet }

func (simConn) Close() error { return nil }

// trial is a plan for a simulated fleet, ready to be applied to a world.
type trial struct {
	out, diag bytes.Buffer
	app       *app
	snapshot  *fleet.Snapshot // as generated
	plan      *loadedPlan
	journal   string
}

// applier applies the trial's plan to w.
func (tr *trial) applier(w *world) *applier {
	return &applier{app: tr.app, plan: tr.plan, world: w, accepted: []plan.Risk{plan.RiskDowntime}, path: tr.journal, again: "berth plan apply p"}
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	tr := &trial{snapshot: sim.Generate(sim.Options{Hosts: 8, VMs: 40, Seed: 5}), journal: filepath.Join(t.TempDir(), "journal", "p")}
	tr.app = newApp(Env{In: strings.NewReader(""), Out: &tr.out, Err: &tr.diag, Getenv: func(string) string { return "" },
		Now: func() time.Time { return tr.snapshot.Taken }})
	before := tr.see(t, worldOf(sim.New(tr.snapshot)))
	f, err := before.plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Plan.Steps) < 3 {
		t.Fatalf("a plan of %d steps shows little", len(f.Plan.Steps))
	}
	tr.plan = &loadedPlan{File: f, catalogue: before.catalogue, problem: before.problem}
	return tr
}

func worldOf(f *sim.Fleet) *world { return &world{conns: []connection{simConn{f}}} }

func (tr *trial) see(t *testing.T, w *world) *situation {
	t.Helper()
	s, err := w.observe(t.Context(), tr.app, nil)
	if err != nil {
		t.Fatal(err)
	}
	cat := policy.Default()
	p, err := policy.Resolve(cat, s)
	if err != nil {
		t.Fatal(err)
	}
	return &situation{snapshot: s, catalogue: cat, problem: p}
}

func TestApply(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	w := worldOf(sim.New(tr.snapshot))
	if err := tr.applier(w).apply(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tr.diag.String())
	}
	_ = tr.app.out.Flush()
	if out := tr.out.String(); strings.Contains(out, "not as planned") || strings.Count(out, ": as planned") == 0 {
		t.Errorf("output:\n%s", out)
	}
	after := tr.see(t, w)
	all := &appliedView{}
	if wrong := wrongVMs(after.problem, &tr.plan.Plan, all); len(wrong) > 0 {
		t.Errorf("wrong afterwards: %v", wrong)
	}
}

// TestWrongVMs: the demo's own judgement finds fault with a fleet that nothing was done to.
func TestWrongVMs(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	if wrong := wrongVMs(tr.plan.problem, &plan.Plan{}, &appliedView{}); len(wrong) == 0 {
		t.Error("an unmended fleet is found right")
	}
	vm := tr.plan.Plan.Steps[0].Move.VM.ID
	elsewhere := &appliedView{VMs: []vmOutcome{{VM: vm}}}
	if wrong := wrongVMs(tr.plan.problem, &plan.Plan{Unplaced: []plan.Unplaced{{VM: vm}}}, elsewhere); len(wrong) == 0 || wrong[0] != vm && len(wrong) < 2 {
		t.Errorf("a VM that is not where the plan put it is not found: %v", wrong)
	}
}

// TestApplyRefuses: what is refused is refused before anything is done, journal included.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world func(tr *trial) *world
		says  string
	}{
		"native balancer": {func(tr *trial) *world {
			tr.snapshot.Sources[0].NativeBalancer = "DRS (fullyAutomated) on cluster-1"
			return worldOf(sim.New(tr.snapshot))
		}, "DRS (fullyAutomated) on cluster-1 is on"},
		"unreachable": {func(tr *trial) *world {
			return &world{conns: []connection{unreachable{id: tr.snapshot.Sources[0].ID, err: errors.New("no route")}}}
		}, "cannot be reached"},
		"another fleet": {func(*trial) *world { return &world{} }, "is not configured"},
		"moved on": {func(tr *trial) *world {
			m := tr.plan.Plan.Steps[0].Move
			tr.snapshot.VM(m.VM.ID).Host = m.To.Host
			return worldOf(sim.New(tr.snapshot))
		}, "the plan is stale"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			w := c.world(tr)
			err := tr.applier(w).apply(t.Context())
			if codeOf(err) != codeRefused || !strings.Contains(err.Error(), c.says) || hintOf(err) == "" {
				t.Errorf("code %d, %v, hint %q", codeOf(err), err, hintOf(err))
			}
			if left, err := filepath.Glob(filepath.Dir(tr.journal)); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestApplyIsStale changes one thing of the world between plan and apply that the first step of a live move needs.
func TestApplyIsStale(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *fleet.Snapshot, m *fleet.Relocation){
		"powered off":  func(s *fleet.Snapshot, m *fleet.Relocation) { s.VM(m.VM.ID).Power = fleet.Stopped },
		"suspended":    func(s *fleet.Snapshot, m *fleet.Relocation) { s.VM(m.VM.ID).Power = fleet.Suspended },
		"pinned":       func(s *fleet.Snapshot, m *fleet.Relocation) { s.VM(m.VM.ID).Pinned = "by hand" },
		"made larger":  func(s *fleet.Snapshot, m *fleet.Relocation) { s.VM(m.VM.ID).Memory *= 2 },
		"another UUID": func(s *fleet.Snapshot, m *fleet.Relocation) { s.VM(m.VM.ID).UUID = "4711" },
		"blocked": func(s *fleet.Snapshot, m *fleet.Relocation) {
			s.VM(m.VM.ID).Blocked = []fleet.Blocker{{Change: fleet.ChangeHost, Reason: "a USB stick"}, {Change: fleet.ChangeStorage, Reason: "a snapshot"}}
		},
		"deleted": func(s *fleet.Snapshot, m *fleet.Relocation) {
			s.VMs = slices.DeleteFunc(s.VMs, func(v fleet.VM) bool { return v.ID == m.VM.ID })
		},
		"a disk added": func(s *fleet.Snapshot, m *fleet.Relocation) {
			v := s.VM(m.VM.ID)
			d := v.Disks[0]
			d.ID, d.Path = "new", ""
			v.Disks = append(v.Disks, d)
		},
		"maintenance": func(s *fleet.Snapshot, m *fleet.Relocation) { s.Host(m.To.Host).Maintenance = true },
		"unreachable": func(s *fleet.Snapshot, m *fleet.Relocation) { s.Host(m.To.Host).Unreachable = true },
		"no such tier": func(s *fleet.Snapshot, m *fleet.Relocation) {
			h := s.Host(m.To.Host)
			h.Tags, h.Cluster = nil, ""
		},
		"host full": func(s *fleet.Snapshot, m *fleet.Relocation) { s.Host(m.To.Host).Memory = fleet.GiB },
		"pools full": func(s *fleet.Snapshot, m *fleet.Relocation) {
			for _, d := range m.To.Disks {
				s.Pool(d.Pool).Free = 0
			}
		},
		"pool out of reach": func(s *fleet.Snapshot, m *fleet.Relocation) { s.Host(m.To.Host).Pools = nil },
		"no network":        func(s *fleet.Snapshot, m *fleet.Relocation) { s.Host(m.To.Host).Networks = []string{"elsewhere"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			i := slices.IndexFunc(tr.plan.Plan.Steps, func(st plan.Step) bool {
				m := &st.Move
				return m.Mode == fleet.Live && m.From.Host != m.To.Host && st.Bytes > 0 && len(m.VM.VNICs) > 0
			})
			if i < 0 {
				t.Fatal("no live step to another host and pool")
			}
			change(tr.snapshot, &tr.plan.Plan.Steps[i].Move)
			f := sim.New(tr.snapshot)
			before := f.Operations()
			err := tr.applier(worldOf(f)).apply(t.Context())
			if codeOf(err) != codeRefused || !strings.Contains(err.Error(), "stale") {
				t.Errorf("code %d, %v", codeOf(err), err)
			}
			if _, err := os.Stat(tr.journal); err == nil || f.Operations() == before {
				t.Error("something was begun, or nothing looked at")
			}
		})
	}
}

// TestApplyOverOthersJournal: what lies where the journal should, and is not this plan's, is refused and kept.
func TestApplyOverOthersJournal(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	f := sim.New(tr.snapshot)
	if err := tr.applier(worldOf(f)).apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(tr.journal)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 1
	for name, content := range map[string][]byte{
		"of another plan": good, "altered": flipped, "no journal": []byte("a letter to a friend, of some length"),
	} {
		other := *tr.plan.File
		other.Plan.Steps = slices.Clone(other.Plan.Steps)
		other.Plan.Steps[0].Reason = "another one"
		if err := other.Plan.Seal(); err != nil {
			t.Fatal(err)
		}
		ap := tr.applier(worldOf(sim.New(tr.snapshot)))
		if name == "of another plan" {
			ap.plan = &loadedPlan{File: &other, catalogue: tr.plan.catalogue, problem: tr.plan.problem}
		}
		ap.path = filepath.Join(t.TempDir(), "journal", "p")
		if err := os.MkdirAll(filepath.Dir(ap.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ap.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		err := ap.apply(t.Context())
		if codeOf(err) != codeInput || hintOf(err) == "" {
			t.Errorf("%s: code %d, %v, hint %q", name, codeOf(err), err, hintOf(err))
		}
		if now, err := os.ReadFile(ap.path); err != nil || !bytes.Equal(now, content) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
}

// TestApplyGoesOn: a run that failed at a step is partly done, and the next one does the rest.
func TestApplyGoesOn(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	f := sim.New(tr.snapshot)
	second := tr.plan.Plan.Steps[1].Move.VM.ID
	f.Inject(sim.Fault{Op: sim.OpBegin, VM: second, Kind: fleet.Permanent})
	ap := tr.applier(worldOf(f))
	ap.parallel = 1
	err := ap.apply(t.Context())
	if codeOf(err) != codePartly || !strings.Contains(err.Error(), string(second)) || hintOf(err) != "to go on: berth plan apply p" {
		t.Fatalf("code %d, %v, hint %q", codeOf(err), err, hintOf(err))
	}
	tr.out.Reset()
	if err := tr.applier(worldOf(f)).apply(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tr.diag.String())
	}
	_ = tr.app.out.Flush()
	if !strings.Contains(tr.out.String(), " 1 done before, 0 not done") {
		t.Errorf("output:\n%s", tr.out.String())
	}
}

// TestApplyAtOnce: several moves fail at once. One line says so, and the next run does what is left.
func TestApplyAtOnce(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	f := sim.New(tr.snapshot)
	f.Inject(sim.Fault{Op: sim.OpBegin, Kind: fleet.Permanent, Times: 3})
	err := tr.applier(worldOf(f)).apply(t.Context())
	if code := codeOf(err); code != codeFailed && code != codePartly || strings.Contains(err.Error(), "\n") {
		t.Fatalf("code %d, %v", code, err)
	}
	f.ClearFaults()
	tr.out.Reset()
	tr.app.json = true
	if err := tr.applier(worldOf(f)).apply(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tr.diag.String())
	}
	_ = tr.app.out.Flush()
	if out := tr.out.String(); !strings.Contains(out, `"parallel": 4,`) || !strings.Contains(out, `"remaining": []`) {
		t.Errorf("output:\n%s", out)
	}
}

// TestApplyChecksTheRest: a run died in its first step, and what a later one needs is gone since. The first is
// brought to its end, and no other is begun.
func TestApplyChecksTheRest(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	f := sim.New(tr.snapshot)
	ap := tr.applier(worldOf(f))
	ap.parallel = 1 // and so the simulated crash comes to this goroutine
	func() {
		defer func() {
			if r := recover(); r == nil {
				t.Fatal("it did not die")
			}
		}()
		f.Inject(sim.Fault{Op: sim.OpBegin, Action: sim.Crash, After: true})
		_ = ap.apply(t.Context())
	}()
	f.ClearFaults()
	last := &tr.plan.Plan.Steps[len(tr.plan.Plan.Steps)-1].Move
	tr.snapshot.VM(last.VM.ID).Pinned = "by hand"
	f = sim.New(tr.snapshot) // nothing had moved yet
	err := tr.applier(worldOf(f)).apply(t.Context())
	if codeOf(err) != codePartly || !strings.Contains(err.Error(), "stale") || !strings.Contains(hintOf(err), "plan make") {
		t.Errorf("code %d, %v, hint %q", codeOf(err), err, hintOf(err))
	}
	_ = tr.app.out.Flush()
	if want := fmt.Sprintf(": 1 done, 0 done before, %d not done", len(tr.plan.Plan.Steps)-1); !strings.Contains(tr.out.String(), want) {
		t.Errorf("expected %q in\n%s", want, tr.out.String())
	}
}

// TestApplyOneAtATime: another plan that is applied with the same state folder keeps this one out, and ends without
// a trace.
func TestApplyOneAtATime(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	f := sim.New(tr.snapshot)
	other := tr.applier(worldOf(f))
	other.path = filepath.Join(filepath.Dir(tr.journal), "p-other")
	held, err := other.lock()
	if err != nil {
		t.Fatal(err)
	}
	pid := fmt.Sprintf("process %d", os.Getpid())
	err = tr.applier(worldOf(f)).apply(t.Context())
	if codeOf(err) != codeRefused || !strings.Contains(err.Error(), pid) || !strings.Contains(hintOf(err), pid) {
		t.Errorf("code %d, %v, hint %q", codeOf(err), err, hintOf(err))
	}
	if _, err := os.Stat(tr.journal); err == nil {
		t.Error("it has made a journal")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first run gives the lock back
		if err := tr.applier(worldOf(f)).apply(t.Context()); err != nil {
			t.Fatalf("%v\n%s", err, tr.diag.String())
		}
	}
}

// TestApplyInterrupted: a context that has ended stops before the first step, and nothing has moved.
func TestApplyInterrupted(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	w := worldOf(sim.New(tr.snapshot))
	ap := tr.applier(w)
	if err := ap.openJournal(); err != nil {
		t.Fatal(err)
	}
	defer ap.closeJournal()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := ap.execute(ctx)
	if len(result.Done) > 0 || codeOf(ap.conclude(result, err, nil, nil)) != codePartly {
		t.Errorf("%v, %v", result, err)
	}
}
