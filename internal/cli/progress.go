package cli

import (
	"fmt"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows a run on standard error: bars where a person looks, lines elsewhere.
type progress interface {
	event(e executor.Event)
	finish()
}

func (a *app) newProgress(p *plan.Plan) progress {
	l := &lines{app: a, plan: p}
	if !a.errTTY || a.env.Getenv("TERM") == "dumb" {
		return l
	}
	return newBars(l, mpb.WithOutput(a.env.Err))
}

// maxTitle bounds the column of the titles before the bars.
const maxTitle = 72

func newBars(l *lines, opts ...mpb.ContainerOption) *bars {
	b := &bars{lines: l, box: mpb.New(append(opts, mpb.WithWidth(30), mpb.PopCompletedMode())...)}
	for i := range l.plan.Steps {
		s := &l.plan.Steps[i]
		b.width = max(b.width, lipgloss.Width(l.title(executor.Event{Step: s.N, Steps: len(l.plan.Steps), VM: s.Move.VM.ID})))
	}
	b.width = min(b.width, maxTitle) + 2
	return b
}

// lines writes one line for each thing that happens.
type lines struct {
	app  *app
	plan *plan.Plan
	last time.Time // of the last line of progress
}

// progressEvery is how often a line of progress is written.
const progressEvery = 10 * time.Second

func (l *lines) event(e executor.Event) {
	if e.Kind == executor.StepProgress {
		now := l.app.env.Now()
		if e.Total <= 0 || now.Sub(l.last) < progressEvery {
			return
		}
		l.last = now
	}
	if s := l.describe(e); s != "" {
		l.app.note("%s: %s", l.title(e), s)
	}
}

func (l *lines) finish() {}

// title names a step: "[2/5] vm-db host-a -> host-c".
func (l *lines) title(e executor.Event) string {
	if e.Step < 1 || e.Step > len(l.plan.Steps) {
		return "plan " + l.plan.ID
	}
	s := &l.plan.Steps[e.Step-1]
	return fmt.Sprintf("[%d/%d] %s: %s", e.Step, e.Steps, objectText(s), moveText(s))
}

// objectText names what a step moves.
func objectText(s *plan.Step) string {
	if s.Attach != nil {
		return "module " + string(s.Attach.Module.ID)
	}
	return string(s.Move.VM.ID)
}

// moveText is what a step changes, in a few words.
func moveText(s *plan.Step) string {
	disks := diskChange(s)
	switch {
	case disks == "stay":
		return hostChange(s)
	case s.Move.From.Host == s.Move.To.Host:
		return disks
	default:
		return hostChange(s) + ", " + disks
	}
}

func (l *lines) describe(e executor.Event) string {
	switch e.Kind {
	case executor.StepStarted:
		return "moving"
	case executor.StepResumed:
		return "going on; " + e.Detail
	case executor.StepProgress:
		return fmt.Sprintf("%s of %s", fleet.FormatBytes(e.Done), fleet.FormatBytes(e.Total))
	case executor.StepWaiting:
		if e.Err != nil {
			return "waiting: " + e.Err.Error()
		}
		return "waiting: " + e.Detail
	case executor.StepRetried:
		return fmt.Sprintf("attempt %d after: %v", e.Attempt, e.Err)
	case executor.StepFinished:
		return "done"
	case executor.StepSkipped:
		return "is there already"
	default: // what stopped the run is the command's error
		return ""
	}
}

// bars shows a bar for each step that has begun.
type bars struct {
	*lines
	box *mpb.Progress
	bar *mpb.Bar // of the step under way; nil: none
	// total of bar. A bar that was made with a total would end by itself and no longer obey SetTotal.
	total int64
	width int // of the column of titles
}

func (b *bars) event(e executor.Event) {
	switch e.Kind {
	case executor.StepStarted, executor.StepResumed:
		b.start(e)
	case executor.StepProgress:
		if b.bar != nil && e.Total > 0 {
			b.total = int64(e.Total)
			b.bar.SetTotal(b.total, false)
			b.bar.SetCurrent(min(int64(e.Done), b.total))
		}
	case executor.StepFinished, executor.StepSkipped:
		if b.bar == nil {
			b.start(e)
		}
		b.bar.SetTotal(b.total, true)
		b.bar = nil
	case executor.StepStopped:
		b.drop()
	default:
		_, _ = fmt.Fprintln(b.box, clean(b.title(e)+": "+b.describe(e)))
	}
}

func (b *bars) start(e executor.Event) {
	b.drop()
	b.total = max(1, int64(b.plan.Steps[e.Step-1].Bytes))
	b.bar = b.box.AddBar(0,
		mpb.PrependDecorators(decor.Name(cleanLine(b.title(e)), decor.WC{W: b.width, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.OnComplete(decor.Percentage(decor.WC{W: 5}), " done")))
	b.bar.SetTotal(b.total, false)
}

func (b *bars) drop() {
	if b.bar != nil {
		b.bar.Abort(false)
		b.bar = nil
	}
}

func (b *bars) finish() {
	b.drop()
	b.box.Wait()
}
