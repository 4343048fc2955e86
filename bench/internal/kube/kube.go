// Package kube drives kube-scheduler in this process: its framework, cache and default plugins, with a fake clientset
// that holds nothing. A pod is given to SchedulePod and assumed in the cache, which is all that the scheduler does before
// it binds; the API server, its watches and the binding are left out, in the scheduler's favour.
package kube

import (
	"context"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
)

// Version of k8s.io/kubernetes in go.mod; a test holds it to the build's.
const Version = "v1.36.3"

// The extended resources that queues are given as: sums over a node's NICs, since kube-scheduler knows no single NIC.
const (
	queues     = v1.ResourceName("bench.berth/queues")
	fastQueues = v1.ResourceName("bench.berth/queues-fast")
)

// Kinds are kube-scheduler as it is by default, and packing.
func Kinds() []peer.Kind {
	note := "no API server, no binding; pools not expressible, queues as sums over a node"
	return []peer.Kind{
		{Name: "kube-scheduler, default", Version: Version, Note: note, Open: opener(config.LeastAllocated)},
		{Name: "kube-scheduler, MostAllocated", Version: Version, Note: note, Open: opener(config.MostAllocated)},
	}
}

func opener(strategy config.ScoringStrategyType) func(*spec.Fleet, []int) (peer.Scheduler, error) {
	return func(f *spec.Fleet, at []int) (peer.Scheduler, error) { return open(f, at, strategy) }
}

type sched struct {
	f        *spec.Fleet
	ctx      context.Context //nolint:containedctx // the scheduler's plugins live as long as it
	stop     context.CancelFunc
	s        *scheduler.Scheduler
	fw       framework.Framework
	snapshot *internalcache.Snapshot
	nodes    map[string]int
	unitOf   []int
}

func open(f *spec.Fleet, at []int, strategy config.ScoringStrategyType) (peer.Scheduler, error) {
	klog.SetLogger(klog.Logger{})
	ctx, stop := context.WithCancel(klog.NewContext(context.Background(), klog.Logger{}))
	x := &sched{f: f, ctx: ctx, stop: stop, nodes: map[string]int{}, unitOf: make([]int, len(f.VMs))}
	if err := x.start(strategy); err != nil {
		stop()
		return nil, fmt.Errorf("start kube-scheduler: %w", err)
	}
	for i := range f.Nodes {
		n := node(&f.Nodes[i])
		x.nodes[n.Name] = i
		x.s.Cache.AddNode(klog.FromContext(ctx), n)
	}
	for i := range f.Units {
		for _, v := range f.Units[i].VMs {
			x.unitOf[v] = i
		}
	}
	for v, h := range at {
		if h == spec.None {
			continue
		}
		p := x.pod(v)
		p.Spec.NodeName = f.Nodes[h].Name
		if err := x.s.Cache.AddPod(klog.FromContext(ctx), p); err != nil {
			stop()
			return nil, fmt.Errorf("load pod %s: %w", p.Name, err)
		}
	}
	return x, nil
}

func (x *sched) start(strategy config.ScoringStrategyType) error {
	cfg, err := latest.Default()
	if err != nil {
		return fmt.Errorf("read default configuration: %w", err)
	}
	for i := range cfg.Profiles[0].PluginConfig {
		if args, ok := cfg.Profiles[0].PluginConfig[i].Args.(*config.NodeResourcesFitArgs); ok {
			args.ScoringStrategy.Type = strategy
		}
	}
	client := fake.NewClientset()
	informers := scheduler.NewInformerFactory(client, 0)
	x.s, err = scheduler.New(x.ctx, client, informers, nil, func(string) events.EventRecorderLogger { return silent{} },
		scheduler.WithProfiles(cfg.Profiles...), scheduler.WithPercentageOfNodesToScore(cfg.PercentageOfNodesToScore),
		scheduler.WithParallelism(cfg.Parallelism))
	if err != nil {
		return err
	}
	informers.Start(x.ctx.Done())
	informers.WaitForCacheSync(x.ctx.Done())
	x.fw = x.s.Profiles[v1.DefaultSchedulerName]
	snapshot, ok := x.fw.SnapshotSharedLister().(*internalcache.Snapshot)
	if !ok {
		return errors.New("the framework has no snapshot of the cache")
	}
	x.snapshot = snapshot
	return nil
}

// Place schedules one pod after another.
func (x *sched) Place(unit int) ([]int, error) {
	out := make([]int, len(x.f.Units[unit].VMs))
	logger := klog.FromContext(x.ctx)
	for i, v := range x.f.Units[unit].VMs {
		out[i] = spec.None
		pod := x.pod(v)
		if err := x.s.Cache.UpdateSnapshot(logger, x.snapshot); err != nil {
			return nil, fmt.Errorf("schedule %s: %w", pod.Name, err)
		}
		info, err := framework.NewPodInfo(pod)
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", pod.Name, err)
		}
		state := framework.NewCycleState()
		r, err := x.s.SchedulePod(x.ctx, x.fw, state, &framework.QueuedPodInfo{PodInfo: info})
		if fit := (*framework.FitError)(nil); errors.As(err, &fit) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", pod.Name, err)
		}
		pod.Spec.NodeName = r.SuggestedHost
		if err := x.s.Cache.AssumePod(logger, pod); err != nil {
			return nil, fmt.Errorf("assume %s: %w", pod.Name, err)
		}
		out[i] = x.nodes[r.SuggestedHost]
	}
	return out, nil
}

// Close ends the scheduler's goroutines.
func (x *sched) Close() { x.stop() }

func node(n *spec.Node) *v1.Node {
	r := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewMilliQuantity(n.CPU, resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(n.Memory<<20, resource.BinarySI),
		v1.ResourcePods:   *resource.NewQuantity(1000, resource.DecimalSI),
	}
	all, fast := 0, 0
	for _, c := range n.NICs {
		all += c.Queues
		if c.Class > 1 {
			fast += c.Queues
		}
	}
	if all > 0 {
		r[queues], r[fastQueues] = *resource.NewQuantity(int64(all), resource.DecimalSI), *resource.NewQuantity(int64(fast), resource.DecimalSI)
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: types.UID(n.Name), Labels: map[string]string{v1.LabelHostname: n.Name, "tier": n.Tier.String()}},
		Status:     v1.NodeStatus{Capacity: r, Allocatable: r, Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}},
	}
}

func (x *sched) pod(v int) *v1.Pod {
	vm, unit := &x.f.VMs[v], &x.f.Units[x.unitOf[v]]
	r := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewMilliQuantity(vm.CPU, resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(vm.Memory<<20, resource.BinarySI),
	}
	if vm.Queues > 0 {
		r[queues] = *resource.NewQuantity(int64(vm.Queues), resource.DecimalSI)
		if vm.Class > 1 {
			r[fastQueues] = r[queues]
		}
	}
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: vm.Name, Namespace: "default", UID: types.UID(vm.Name), Labels: map[string]string{"app": unit.Name}},
		Spec: v1.PodSpec{
			SchedulerName: v1.DefaultSchedulerName,
			Containers:    []v1.Container{{Name: "vm", Image: "vm", Resources: v1.ResourceRequirements{Requests: r, Limits: r}}},
			Affinity:      &v1.Affinity{NodeAffinity: tiers(vm.Tier)},
		},
	}
	if len(unit.VMs) > 1 {
		p.Spec.Affinity.PodAntiAffinity = &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{
			TopologyKey: v1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": unit.Name}},
		}}}
	}
	return p
}

// tiers requires at least the tier, and prefers those nearest to it, since better hardware would be wasted.
func tiers(least spec.Tier) *v1.NodeAffinity {
	if least == spec.Bronze { // all nodes will do
		return &v1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: prefer(least)}
	}
	var names []string
	for t := least; int(t) < spec.Tiers; t++ {
		names = append(names, t.String())
	}
	return &v1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: "tier", Operator: v1.NodeSelectorOpIn, Values: names}},
		}}},
		PreferredDuringSchedulingIgnoredDuringExecution: prefer(least),
	}
}

func prefer(least spec.Tier) []v1.PreferredSchedulingTerm {
	var out []v1.PreferredSchedulingTerm
	for t := least; int(t) < spec.Tiers-1; t++ {
		out = append(out, v1.PreferredSchedulingTerm{
			Weight: int32(100 - 50*(t-least)), //nolint:gosec // 100 or 50
			Preference: v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{
				{Key: "tier", Operator: v1.NodeSelectorOpIn, Values: []string{t.String()}},
			}},
		})
	}
	return out
}

// silent records no events.
type silent struct{}

func (silent) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}
func (s silent) WithLogger(klog.Logger) events.EventRecorderLogger                           { return s }
