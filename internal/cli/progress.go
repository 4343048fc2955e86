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
	l := newLines(a, p)
	if !a.errTTY || a.env.Getenv("TERM") == "dumb" {
		return l
	}
	return newBars(l, mpb.WithOutput(a.env.Err))
}

// maxTitle bounds the column of the titles before the bars.
const maxTitle = 72

func newBars(l *lines, opts ...mpb.ContainerOption) *bars {
	b := &bars{lines: l, open: map[int]*stepBar{}, box: mpb.New(append(opts, mpb.WithWidth(30), mpb.PopCompletedMode())...)}
	for i := range l.plan.Steps {
		s := &l.plan.Steps[i]
		b.width = max(b.width, lipgloss.Width(l.title(executor.Event{Step: s.N, Steps: len(l.plan.Steps), VM: s.Move.VM.ID})))
	}
	b.width = min(b.width, maxTitle) + 2
	return b
}

// lines writes one line for each thing that happens. Like every progress it is told of one event at a time.
type lines struct {
	app  *app
	plan *plan.Plan
	// under has the steps under way, with the time of the last line of progress of each.
	under map[int]time.Time
}

func newLines(a *app, p *plan.Plan) *lines {
	return &lines{app: a, plan: p, under: map[int]time.Time{}}
}

// progressEvery is how often a line of progress is written of each step.
const progressEvery = 10 * time.Second

func (l *lines) event(e executor.Event) {
	if e.Kind == executor.StepProgress {
		now := l.app.env.Now()
		if e.Total <= 0 || now.Sub(l.under[e.Step]) < progressEvery {
			return
		}
		l.under[e.Step] = now
	}
	l.track(e)
	if s := l.describe(e); s != "" {
		l.app.note("%s: %s", l.title(e), s)
	}
}

// track keeps which steps are under way.
func (l *lines) track(e executor.Event) {
	switch e.Kind {
	case executor.StepStarted, executor.StepResumed:
		l.under[e.Step] = time.Time{}
	case executor.StepFinished, executor.StepSkipped, executor.StepStopped:
		delete(l.under, e.Step)
	case executor.StepProgress, executor.StepWaiting, executor.StepRetried:
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
		if e.Detail != "" {
			return "moving; " + e.Detail
		}
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
	case executor.StepStopped:
		if len(l.under) > 0 { // the command's error, which says it too, comes when these have ended
			return fmt.Sprintf("stopped: %v; %s under way, no other is begun", e.Err, count(len(l.under), "move"))
		}
		return ""
	default:
		return ""
	}
}

// bars shows a bar for each step that has begun.
type bars struct {
	*lines
	box   *mpb.Progress
	open  map[int]*stepBar // of the steps under way
	width int              // of the column of titles
}

// stepBar is the bar of one step.
type stepBar struct {
	*mpb.Bar
	// total of the bar. One that was made with a total would end by itself and no longer obey SetTotal.
	total int64
}

func (b *bars) event(e executor.Event) {
	b.track(e)
	bar := b.open[e.Step]
	switch e.Kind {
	case executor.StepStarted, executor.StepResumed:
		b.start(e)
	case executor.StepProgress:
		if bar != nil && e.Total > 0 {
			bar.total = int64(e.Total)
			bar.SetTotal(bar.total, false)
			bar.SetCurrent(min(int64(e.Done), bar.total))
		}
	case executor.StepFinished, executor.StepSkipped:
		if bar == nil {
			bar = b.start(e)
		}
		bar.SetTotal(bar.total, true)
		delete(b.open, e.Step)
	case executor.StepStopped:
		b.drop(e.Step)
		b.line(e)
	case executor.StepWaiting, executor.StepRetried:
		b.line(e)
	}
}

// line writes a line above the bars.
func (b *bars) line(e executor.Event) {
	if s := b.describe(e); s != "" {
		_, _ = fmt.Fprintln(b.box, clean(b.title(e)+": "+s))
	}
}

func (b *bars) start(e executor.Event) *stepBar {
	b.drop(e.Step)
	bar := &stepBar{total: max(1, int64(b.plan.Steps[e.Step-1].Bytes))}
	bar.Bar = b.box.AddBar(0, mpb.BarPriority(e.Step),
		mpb.PrependDecorators(decor.Name(cleanLine(b.title(e)), decor.WC{W: b.width, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.OnComplete(decor.Percentage(decor.WC{W: 5}), " done")))
	bar.SetTotal(bar.total, false)
	b.open[e.Step] = bar
	return bar
}

func (b *bars) drop(step int) {
	if bar := b.open[step]; bar != nil {
		bar.Abort(false)
		delete(b.open, step)
	}
}

func (b *bars) finish() {
	for step := range b.open {
		b.drop(step)
	}
	b.box.Wait()
}
