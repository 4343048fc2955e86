package cli

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
	"github.com/vbauerster/mpb/v8"
)

func somePlan(steps int) *plan.Plan {
	p := &plan.Plan{ID: "p-0000000000000001"}
	for i := range steps {
		p.Steps = append(p.Steps, plan.Step{N: i + 1, Bytes: fleet.Bytes(i) * fleet.MiB, Move: fleet.Relocation{
			VM:   fleet.VM{ID: "vm-db"},
			From: fleet.Placement{Host: "host-a", Disks: []fleet.DiskPlace{{Disk: "vda", Pool: "hdd"}}},
			To:   fleet.Placement{Host: "host-b", Disks: []fleet.DiskPlace{{Disk: "vda", Pool: "nvme"}}},
		}})
	}
	return p
}

// TestBarsEnd: whatever the order of events, finish returns: a bar that never ends would hang the command.
func TestBarsEnd(t *testing.T) {
	t.Parallel()
	const mib = fleet.MiB
	runs := map[string][]executor.Event{
		"nothing":       nil,
		"no bytes":      {{Kind: executor.StepStarted, Step: 1}, {Kind: executor.StepFinished, Step: 1}},
		"no progress":   {{Kind: executor.StepStarted, Step: 3}, {Kind: executor.StepFinished, Step: 3}},
		"full progress": {{Kind: executor.StepStarted, Step: 2}, {Kind: executor.StepProgress, Step: 2, Done: mib, Total: mib}, {Kind: executor.StepFinished, Step: 2}},
		"other total": {{Kind: executor.StepStarted, Step: 2}, {Kind: executor.StepProgress, Step: 2, Done: 5 * mib, Total: 9 * mib},
			{Kind: executor.StepProgress, Step: 2, Done: 3 * mib, Total: 4 * mib}, {Kind: executor.StepFinished, Step: 2}},
		"skipped": {{Kind: executor.StepSkipped, Step: 1}, {Kind: executor.StepResumed, Step: 2}, {Kind: executor.StepFinished, Step: 2}},
		"waits":   {{Kind: executor.StepStarted, Step: 1}, {Kind: executor.StepWaiting, Step: 1}, {Kind: executor.StepRetried, Step: 1, Attempt: 2, Err: errors.New("cut")}, {Kind: executor.StepFinished, Step: 1}},
		"stopped": {{Kind: executor.StepStarted, Step: 2}, {Kind: executor.StepProgress, Step: 2, Done: 1, Total: mib}, {Kind: executor.StepStopped, Step: 2, Err: errors.New("full")}},
		"cut off": {{Kind: executor.StepStarted, Step: 1}, {Kind: executor.StepFinished, Step: 1}, {Kind: executor.StepStarted, Step: 2}},
		"twice":   {{Kind: executor.StepStarted, Step: 2}, {Kind: executor.StepResumed, Step: 2}, {Kind: executor.StepFinished, Step: 2}},
		"two at once": {{Kind: executor.StepStarted, Step: 1}, {Kind: executor.StepResumed, Step: 2}, {Kind: executor.StepProgress, Step: 1, Done: 1, Total: mib},
			{Kind: executor.StepFinished, Step: 2}, {Kind: executor.StepStopped, Step: 1, Err: errors.New("full")}},
		"one fails": {{Kind: executor.StepStarted, Step: 1}, {Kind: executor.StepStarted, Step: 2}, {Kind: executor.StepStopped, Step: 1, Err: errors.New("full")},
			{Kind: executor.StepProgress, Step: 2, Done: mib, Total: mib}, {Kind: executor.StepFinished, Step: 2}},
		"late bytes": {{Kind: executor.StepProgress, Step: 1, Done: 1, Total: 2}, {Kind: executor.StepStopped}},
	}
	for name, events := range runs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApp(Env{In: bytes.NewReader(nil), Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }, Now: time.Now})
			b := newBars(newLines(a, somePlan(3)), mpb.WithOutput(io.Discard), mpb.WithAutoRefresh())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for _, e := range events {
					e.Steps, e.VM = 3, "vm-db"
					b.event(e)
				}
				b.finish()
			}()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("finish does not return")
			}
		})
	}
}

// TestLines checks the lines that stand for bars where nobody looks.
func TestLines(t *testing.T) {
	t.Parallel()
	var diag bytes.Buffer
	a := newApp(Env{In: bytes.NewReader(nil), Out: io.Discard, Err: &diag, Getenv: func(string) string { return "" }, Now: time.Now})
	p := a.newProgress(somePlan(2))
	p.event(executor.Event{Kind: executor.StepStarted, Step: 2, Steps: 2, VM: "vm-db"})
	p.event(executor.Event{Kind: executor.StepFinished, Step: 2, Steps: 2, VM: "vm-db"})
	p.event(executor.Event{Kind: executor.StepStopped, Err: errors.New("said by the command")})
	p.finish()
	const want = "[2/2] vm-db: host-a -> host-b, hdd -> nvme: moving\n[2/2] vm-db: host-a -> host-b, hdd -> nvme: done\n"
	if diag.String() != want {
		t.Errorf("got %q, expected %q", diag.String(), want)
	}
}

// TestLinesOfSteps: each step under way has lines of its own progress, and a failure is told at once while others go on.
func TestLinesOfSteps(t *testing.T) {
	t.Parallel()
	var diag bytes.Buffer
	now := time.Unix(1000, 0)
	a := newApp(Env{In: bytes.NewReader(nil), Out: io.Discard, Err: &diag, Getenv: func(string) string { return "" }, Now: func() time.Time { return now }})
	p := a.newProgress(somePlan(3))
	tell := func(kind executor.EventKind, step int, done fleet.Bytes) {
		p.event(executor.Event{Kind: kind, Step: step, Steps: 3, VM: "vm-db", Done: done * fleet.MiB, Total: 8 * fleet.MiB, Err: errors.New("no room")})
	}
	tell(executor.StepStarted, 1, 0)
	tell(executor.StepStarted, 2, 0)
	for _, later := range []time.Duration{0, progressEvery - 1, 1} { // the second is too early for both steps
		now = now.Add(later)
		tell(executor.StepProgress, 1, 1)
		tell(executor.StepProgress, 2, 2)
	}
	tell(executor.StepStopped, 2, 0)
	tell(executor.StepFinished, 1, 0)
	tell(executor.StepStopped, 3, 0) // nothing else is under way: the command says it
	p.finish()
	const move = " vm-db: host-a -> host-b, hdd -> nvme: "
	want := ""
	for _, line := range []string{
		"[1/3]" + move + "moving", "[2/3]" + move + "moving",
		"[1/3]" + move + "1 MiB of 8 MiB", "[2/3]" + move + "2 MiB of 8 MiB",
		"[1/3]" + move + "1 MiB of 8 MiB", "[2/3]" + move + "2 MiB of 8 MiB",
		"[2/3]" + move + "stopped: no room; 1 move under way, no other is begun", "[1/3]" + move + "done",
	} {
		want += line + "\n"
	}
	if diag.String() != want {
		t.Errorf("got\n%s\nexpected\n%s", diag.String(), want)
	}
}
