package vsphere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// The pace of asking for a task: from 50 ms, doubled up to half a second. Asking is one small round trip; it holds no state at
// the server and survives a dropped connection, unlike WaitForUpdates.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 500 * time.Millisecond
	// maxMissed is how many questions in a row may fail before the outcome is unknown.
	maxMissed = 5
)

func (d *Driver) tasks(ctx context.Context, set types.PropertyFilterSpec) ([]mo.Task, error) {
	res, err := property.DefaultCollector(d.vim).RetrieveProperties(ctx, types.RetrieveProperties{
		SpecSet: []types.PropertyFilterSpec{set},
	})
	if err != nil {
		return nil, err
	}
	var tasks []mo.Task
	return tasks, mo.LoadObjectContent(res.Returnval, &tasks)
}

// wait asks for a task until it is over. An error in the vCenter's word is a *taskError; every other error
// leaves it open whether the task goes on, ctx's end too.
func (d *Driver) wait(ctx context.Context, ref types.ManagedObjectReference, report func(percent int32)) error {
	set := types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: ref}},
		PropSet:   []types.PropertySpec{{Type: "Task", PathSet: []string{"info"}}},
	}
	missed := 0
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		tasks, err := d.tasks(ctx, set)
		switch {
		case faultName(err) == "ManagedObjectNotFound":
			return errTaskGone
		case err != nil && (ctx.Err() != nil || missed >= maxMissed):
			return fmt.Errorf("wait for task %s: %w", ref.Value, err)
		case err != nil:
			missed++
		case len(tasks) == 1:
			missed = 0
			info := &tasks[0].Info
			report(info.Progress)
			switch info.State {
			case types.TaskInfoStateSuccess:
				return nil
			case types.TaskInfoStateError:
				if info.Error == nil {
					return errors.New("the task failed without a fault")
				}
				return &taskError{fault: info.Error.Fault, message: info.Error.LocalizedMessage}
			case types.TaskInfoStateQueued, types.TaskInfoStateRunning:
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("wait for task %s: %w", ref.Value, err)
		}
	}
}

// errTaskGone: the vCenter has forgotten the task, so it is over; the VM tells how it ended.
var errTaskGone = errors.New("the task is gone")

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// meter turns percentages into bytes that never go back.
type meter struct {
	total, done fleet.Bytes
	report      func(done, total fleet.Bytes)
}

// newMeter counts what r copies: the disks that change their pool, or the VM's memory when only the host changes.
func newMeter(r *fleet.Relocation, report func(done, total fleet.Bytes)) *meter {
	m := &meter{report: report}
	for i, disk := range r.VM.Disks {
		if i < len(r.To.Disks) && i < len(r.From.Disks) && r.To.Disks[i].Pool != r.From.Disks[i].Pool {
			m.total += disk.Used
		}
	}
	if m.total == 0 {
		m.total = r.VM.Memory
	}
	return m
}

func (m *meter) percent(p int32) {
	p = min(max(p, 0), 100)
	m.done = max(m.done, m.total/100*fleet.Bytes(p))
	m.say()
}

func (m *meter) finish() {
	m.done = m.total
	m.say()
}

func (m *meter) say() {
	if m.report != nil {
		m.report(m.done, m.total)
	}
}
