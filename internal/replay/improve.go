package replay

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/berth-project/berth/plan"
)

func compareIDs(a, b *guest) int { return strings.Compare(string(a.vm.ID), string(b.vm.ID)) }

// creditUnit is one move: Options.Budget is in 1/10,000 of the live VMs an hour.
const creditUnit = 10_000 * 3600

// improve makes a plan for the fleet of the moment, has it judged, and carries it out at once. What is left of the budget
// below one move is kept for the next time, and no more, so that a quiet day saves up nothing.
func (r *run) improve() error {
	r.credit = r.credit%creditUnit + int64(len(r.running))*int64(r.o.Budget)*int64(min(r.o.Every, 86_400))
	budget := int(min(r.credit/creditUnit, plan.MaxSteps))
	if budget == 0 {
		return nil
	}
	p := r.problem()
	thorough := r.thorough()
	made, err := r.o.Improve(p, budget, thorough)
	if err != nil {
		return fmt.Errorf("improve: %w", err)
	}
	r.report.Improved++
	if thorough {
		r.report.Searched++
		r.vain, r.changed, r.searched = len(made.Steps) == 0, 0, r.now
	}
	if bad := plan.Check(p, made); len(bad) > 0 {
		r.violated(len(bad), clock(r.now)+": plan: "+bad[0].String())
		return nil // an illegal plan is not carried out
	}
	if len(made.Steps) > budget {
		return fmt.Errorf("improve: the plan has %d steps, the budget is %d", len(made.Steps), budget)
	}
	for i := range made.Steps {
		st := &made.Steps[i]
		if err := r.move(r.running[st.Move.VM.ID], st.Move.To); err != nil {
			return fmt.Errorf("step %d: %w", st.N, err)
		}
	}
	r.credit -= int64(len(made.Steps)) * creditUnit
	if len(made.Steps) == 0 {
		return nil
	}
	if err := r.reopen(); err != nil {
		return err
	}
	return r.retry(len(r.waiting))
}

// thorough says whether a search over the whole fleet is due. One that found nothing would hardly find anything in much the same fleet: the next
// waits until half as many VMs have come, gone or moved as run, so that what is searched is in proportion to what changed, or until those
// that were left alone may move again. Small fleets are searched each time: that costs little, and one move weighs much there.
func (r *run) thorough() bool {
	return !r.vain || len(r.running) < fewVMs || r.changed*changedPart >= len(r.running) || r.now-r.searched >= cmp.Or(r.o.Settle, FlipFlop)
}

// One of changedPart VMs has to have changed for a search over all, once one has found nothing, where there are fewVMs or more.
const (
	changedPart = 2
	fewVMs      = 250
)

// violated counts broken constraints and keeps the first.
func (r *run) violated(n int, detail string) {
	r.report.Violations += n
	r.report.Detail = cmp.Or(r.report.Detail, detail)
}

// broken counts the VMs that have a broken hard constraint now, as package plan sees it.
func (r *run) broken() (int, error) {
	s, err := plan.Summarize(r.problem(), &plan.Plan{})
	if err != nil {
		return 0, fmt.Errorf("judge fleet: %w", err)
	}
	return s.BrokenBefore, nil
}

// sample looks at the fleet and judges it.
func (r *run) sample() error {
	broken, err := r.broken()
	if err != nil {
		return err
	}
	r.report.Checks++
	if n := broken - r.report.BrokenAtStart; n > 0 {
		r.violated(n, fmt.Sprintf("%s: %d VMs have a broken constraint", clock(r.now), broken))
	}
	s := Sample{
		At: r.now, CPU: cents(part(r.use.cpu, r.use.cpuAll)), Memory: cents(part(r.use.memory, r.use.memoryAll)),
		HostsUsed: r.use.inUse, Live: len(r.running), Waiting: len(r.waiting), Refused: r.report.Refused - r.last.Refused,
		Moves: r.report.Moves - r.last.Moves, Violations: r.report.Violations - r.last.Violations,
	}
	if r.o.Latency != nil {
		l := r.o.Latency(false)
		s.Latency = &l
	}
	if r.o.Tell != nil {
		r.o.Tell(r.now, r.end, len(r.running))
	}
	r.last = r.report
	r.report.Samples = append(r.report.Samples, s)
	return nil
}

// finish fills in what is known at the end.
func (r *run) finish() {
	o := &r.report
	o.Reasons, o.Waiting, o.Live = reasons(r.refusals), len(r.waiting), len(r.running)
	o.Hours = cents(float64(r.now) / 3600)
	o.HostHours, o.HostsMost = cents(r.use.hostSeconds/3600), r.use.hostsMost
	if r.now > 0 {
		o.CPUMean, o.MemoryMean = cents(r.use.cpuPart/float64(r.now)), cents(r.use.memoryPart/float64(r.now))
	}
	if o.Samples == nil {
		o.Samples = []Sample{}
	}
	if r.o.Latency != nil {
		l := r.o.Latency(true)
		o.Latency = &l
	}
}
