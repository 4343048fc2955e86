package bench

import (
	"container/heap"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// Numa is the machine of the SPANE protocol: two nodes of so many cores and GB. A VM of more than Split GB takes half of
// what it asks for of each node, a smaller one sits on one node.
type Numa struct {
	CPU, Memory, Split int64
}

// SpaneNuma is the machine that the published values are of.
var SpaneNuma = Numa{CPU: 40, Memory: 90, Split: 10}

// spaneMore is by how many VMs the queue is longer than what first fit places before its first failure.
const spaneMore = 40

// Forms are the VM in the planner's model, in half cores and half GB: on the first node, on the second, or split.
func (n Numa) Forms(v TraceVM) []model.VM {
	vm := func(d ...int64) model.VM {
		return model.VM{Demand: d, Group: model.None, Apart: model.None, Initial: model.None}
	}
	if v.Memory > n.Split {
		return []model.VM{vm(v.CPU, v.Memory, v.CPU, v.Memory)}
	}
	return []model.VM{vm(2*v.CPU, 2*v.Memory, 0, 0), vm(0, 0, 2*v.CPU, 2*v.Memory)}
}

func (n Numa) problem(hosts int) *model.Problem {
	p := &model.Problem{Fit: [][]model.Points{{0}}}
	for _, name := range []string{"cores of node 0", "GB of node 0", "cores of node 1", "GB of node 1"} {
		p.Resources = append(p.Resources, model.Resource{Name: name})
	}
	limit := []int64{2 * n.CPU, 2 * n.Memory, 2 * n.CPU, 2 * n.Memory}
	for range hosts {
		p.Hosts = append(p.Hosts, model.Host{Capacity: limit, Soft: limit, Open: true})
	}
	return p
}

// BalanceFit is the published baseline: a VM of one node goes to the host whose nodes differ most in what they have
// left, there to the emptier node; a VM of both goes to the first host.
type BalanceFit struct{ Numa }

// Rate implements online.Rater.
func (b BalanceFit) Rate(x *online.Placer, h model.HostIx, vm *model.VM) int64 {
	if vm.Demand[1] > 0 && vm.Demand[3] > 0 {
		return 0
	}
	use := x.Use(h)
	left := func(k int) float64 { // as the published code computes it, to the last bit
		return math.Min((float64(2*b.CPU-use[k])/2)/float64(b.CPU), (float64(2*b.Memory-use[k+1])/2)/float64(b.Memory))
	}
	first, second := left(0), left(2)
	rate := -2 * int64(math.Float64bits(math.Abs(first-second))) //nolint:gosec // at most 1, which is under 1<<62
	if rate != 0 && (vm.Demand[1] > 0) != (first >= second) {
		rate++ // the other node
	}
	return rate
}

// spaneRun is one queue on its way.
type spaneRun struct {
	trace []TraceVM
	numa  Numa
	x     *online.Placer
	leave departures
	now   int64
}

func newSpane(trace []TraceVM, hosts int, n Numa, o online.Options) (*spaneRun, error) {
	x, err := online.New(n.problem(hosts), nil, o)
	if err != nil {
		return nil, err
	}
	return &spaneRun{trace: trace, numa: n, x: x}, nil
}

func (s *spaneRun) release(until int64) error {
	for len(s.leave) > 0 && s.leave[0].at <= until {
		d := heap.Pop(&s.leave).(departure)
		s.x.Tick(d.at)
		if err := s.x.Remove(d.ix); err != nil {
			return err
		}
	}
	return nil
}

func (s *spaneRun) fits(i int) bool {
	_, ok := s.x.Place(s.numa.Forms(s.trace[i])...)
	return ok
}

// put places VM i now.
func (s *spaneRun) put(i int) error {
	s.x.Tick(s.now)
	forms := s.numa.Forms(s.trace[i])
	d, ok := s.x.Place(forms...)
	if !ok {
		return fmt.Errorf("place VM %d: no room for it", i)
	}
	heap.Push(&s.leave, departure{s.now + s.trace[i].Life, i, s.x.Commit(forms[d.Form], d)})
	return nil
}

// advance goes on to when VM i can be placed: VMs that leave by its arrival, and then those that leave one moment after
// another until it fits.
func (s *spaneRun) advance(i int) error {
	at := s.trace[i].At
	if err := s.release(at); err != nil {
		return err
	}
	s.now = max(s.now, at)
	for !s.fits(i) {
		if len(s.leave) == 0 {
			return fmt.Errorf("place VM %d: larger than a host", i)
		}
		s.now = s.leave[0].at
		if err := s.release(s.now); err != nil {
			return err
		}
	}
	return nil
}

// SpaneLength is how many VMs the queue from a start has: what first fit places before the next VM has no room at the
// moment the last one was placed, and spaneMore.
func SpaneLength(trace []TraceVM, start, hosts int, n Numa) (int, error) {
	s, err := newSpane(trace, hosts, n, online.Options{})
	if err != nil {
		return 0, err
	}
	for i := start; ; i++ {
		if i == len(trace)-1 {
			return 0, fmt.Errorf("measure queue from VM %d: the trace ends first", start)
		}
		if i > start && !s.fits(i) {
			return i - start + spaneMore, nil
		}
		if err := s.advance(i); err != nil {
			return 0, err
		}
		if err := s.put(i); err != nil {
			return 0, err
		}
	}
}

// SpaneWait is how long the VMs of a queue waited in all, in seconds. They are placed one after another: none passes
// another that waits.
func SpaneWait(trace []TraceVM, start, length, hosts int, n Numa, o online.Options) (int64, error) {
	if start+length >= len(trace)-1 {
		return 0, fmt.Errorf("place queue from VM %d: the trace ends first", start)
	}
	s, err := newSpane(trace, hosts, n, o)
	if err != nil {
		return 0, err
	}
	wait := int64(0)
	for i := start; i < start+length; i++ {
		if err := s.advance(i); err != nil {
			return 0, err
		}
		if err := s.put(i); err != nil {
			return 0, err
		}
		wait += s.now - trace[i].At
	}
	if f := model.Verify(s.x.Problem(), s.x.Assignment()); f != nil {
		return 0, fmt.Errorf("place queue from VM %d: %s of host %d: %s", start, f[0].Constraint, f[0].Host, f[0].Detail)
	}
	return wait, nil
}

// TrimmedMean leaves out the lowest and the highest tenth.
func TrimmedMean(x []int64) (float64, error) {
	x = slices.Sorted(slices.Values(x))
	k := len(x) / 10
	if len(x) == 0 {
		return 0, errors.New("trimmed mean: no values")
	}
	x = x[k : len(x)-k]
	sum := 0.0
	for _, v := range x {
		sum += float64(v)
	}
	return sum / float64(len(x)), nil
}

// ObservedSizes counts the sizes of the VMs of a trace, in the order in which they first came.
func (n Numa) ObservedSizes(trace []TraceVM) []online.Size {
	at := map[[2]int64]int{}
	var out []online.Size
	for _, v := range trace {
		k, ok := at[[2]int64{v.CPU, v.Memory}]
		if !ok {
			k = len(out)
			at[[2]int64{v.CPU, v.Memory}] = k
			out = append(out, online.Size{})
			for _, f := range n.Forms(v) {
				out[k].Forms = append(out[k].Forms, f.Demand)
			}
		}
		out[k].Count++
	}
	return out
}
