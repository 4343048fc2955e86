// Package nomad drives Nomad's service scheduler the way its own benchmarks do: a state store in memory, and the plan
// builder of its testing harness in the place of the leader. Raft, the evaluation broker and the plan queue are left out,
// in the scheduler's favour.
package nomad

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/client/lib/idset"
	"github.com/hashicorp/nomad/client/lib/numalib"
	"github.com/hashicorp/nomad/client/lib/numalib/hw"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/state"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/scheduler"
	sstructs "github.com/hashicorp/nomad/scheduler/structs"

	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
)

// Version of github.com/hashicorp/nomad in go.mod; a test holds it to the build's.
const Version = "v1.11.3"

// Kinds are Nomad as it is by default, and spreading.
func Kinds() []peer.Kind {
	note := "no Raft, no broker; a service's replicas are one evaluation; pools and queues not expressible"
	return []peer.Kind{
		{Name: "Nomad, binpack (default)", Version: Version, Note: note, Open: opener(structs.SchedulerAlgorithmBinpack)},
		{Name: "Nomad, spread", Version: Version, Note: note, Open: opener(structs.SchedulerAlgorithmSpread)},
	}
}

func opener(a structs.SchedulerAlgorithm) func(*spec.Fleet, []int) (peer.Scheduler, error) {
	return func(f *spec.Fleet, at []int) (peer.Scheduler, error) { return open(f, at, a) }
}

type sched struct {
	f     *spec.Fleet
	plans *sstructs.PlanBuilder
	nodes map[string]int
	log   hclog.Logger
	dead  chan any
}

func open(f *spec.Fleet, at []int, a structs.SchedulerAlgorithm) (peer.Scheduler, error) {
	x := &sched{f: f, nodes: map[string]int{}, log: hclog.NewNullLogger(), dead: make(chan any)}
	store, err := state.NewStateStore(&state.StateStoreConfig{Logger: x.log, Region: "global", JobTrackedVersions: structs.JobDefaultTrackedVersions})
	if err != nil {
		return nil, fmt.Errorf("open Nomad's state: %w", err)
	}
	go func() {
		for range x.dead { // port collisions: there are no ports
		}
	}()
	x.plans = sstructs.NewPlanWithStateAndIndex(store, 1000, true)
	if err := store.SchedulerSetConfig(x.plans.NextIndex(), &structs.SchedulerConfiguration{SchedulerAlgorithm: a}); err != nil {
		return nil, fmt.Errorf("configure Nomad: %w", err)
	}
	ids := make([]string, len(f.Nodes))
	for i := range f.Nodes {
		n, err := node(&f.Nodes[i])
		if err != nil {
			return nil, err
		}
		ids[i], x.nodes[n.ID] = n.ID, i
		if err := store.UpsertNode(structs.MsgTypeTestSetup, x.plans.NextIndex(), n); err != nil {
			return nil, fmt.Errorf("load node %s: %w", n.Name, err)
		}
	}
	if err := x.load(at, ids); err != nil {
		return nil, err
	}
	return x, nil
}

// load enters the jobs that run already.
func (x *sched) load(at []int, ids []string) error {
	if at == nil {
		return nil
	}
	for u := range x.f.Units {
		var allocs []*structs.Allocation
		job := x.job(u)
		for i, v := range x.f.Units[u].VMs {
			if at[v] == spec.None {
				continue
			}
			allocs = append(allocs, alloc(job, i, ids[at[v]]))
		}
		if len(allocs) == 0 {
			continue
		}
		if err := x.plans.State.UpsertJob(structs.MsgTypeTestSetup, x.plans.NextIndex(), nil, job); err != nil {
			return fmt.Errorf("load job %s: %w", job.ID, err)
		}
		if err := x.plans.State.UpsertAllocs(structs.MsgTypeTestSetup, x.plans.NextIndex(), allocs); err != nil {
			return fmt.Errorf("load job %s: %w", job.ID, err)
		}
	}
	return nil
}

// Place registers the unit as a job and processes its evaluation.
func (x *sched) Place(unit int) ([]int, error) {
	job := x.job(unit)
	store := x.plans.State
	if err := store.UpsertJob(structs.MsgTypeTestSetup, x.plans.NextIndex(), nil, job); err != nil {
		return nil, fmt.Errorf("register %s: %w", job.ID, err)
	}
	eval := &structs.Evaluation{
		Namespace: job.Namespace, ID: uuid.Generate(), Priority: job.Priority, Type: job.Type,
		TriggeredBy: structs.EvalTriggerJobRegister, JobID: job.ID, Status: structs.EvalStatusPending,
	}
	if err := store.UpsertEvals(structs.MsgTypeTestSetup, x.plans.NextIndex(), []*structs.Evaluation{eval}); err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", job.ID, err)
	}
	snapshot, err := store.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", job.ID, err)
	}
	if err := scheduler.NewServiceScheduler(x.log, x.dead, snapshot, x.plans).Process(eval); err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", job.ID, err)
	}
	out := make([]int, len(x.f.Units[unit].VMs))
	n := 0
	for _, p := range x.plans.Plans {
		for id, allocs := range p.NodeAllocation {
			for range allocs {
				if n == len(out) {
					return nil, fmt.Errorf("evaluate %s: more places than VMs", job.ID)
				}
				out[n] = x.nodes[id]
				n++
			}
		}
	}
	for ; n < len(out); n++ {
		out[n] = spec.None
	}
	x.plans.Plans, x.plans.Evals, x.plans.CreateEvals = nil, nil, nil
	return out, nil
}

// Close ends the goroutine that hears of events.
func (x *sched) Close() { close(x.dead) }

func node(n *spec.Node) (*structs.Node, error) {
	top := &numalib.Topology{
		Distances:            numalib.SLIT{[]numalib.Cost{10}},
		Cores:                []numalib.Core{{Grade: numalib.Performance, BaseSpeed: 1000}},
		OverrideTotalCompute: hw.MHz(n.CPU), //nolint:gosec // positive by Generate
	}
	top.SetNodes(idset.From[hw.NodeID]([]hw.NodeID{0}))
	out := &structs.Node{
		ID: uuid.Generate(), SecretID: uuid.Generate(), Datacenter: "dc1", Name: n.Name,
		Drivers:    map[string]*structs.DriverInfo{"exec": {Detected: true, Healthy: true}},
		Attributes: map[string]string{"kernel.name": "linux", "arch": "x86", "driver.exec": "1", "nomad.version": "1.11.3"},
		Meta:       map[string]string{"tier": n.Tier.String()},
		NodeResources: &structs.NodeResources{
			Processors: structs.NodeProcessorResources{Topology: top},
			Memory:     structs.NodeMemoryResources{MemoryMB: n.Memory},
			Disk:       structs.NodeDiskResources{DiskMB: 1 << 30},
			// Without a host network a node takes nothing.
			Networks:     []*structs.NetworkResource{{Mode: "host", Device: "eth0", CIDR: "192.0.2.1/32", MBits: 1000}},
			NodeNetworks: []*structs.NodeNetworkResource{{Mode: "host", Device: "eth0", Speed: 1000}},
		},
		ReservedResources: &structs.NodeReservedResources{},
		NodePool:          structs.NodePoolDefault, Status: structs.NodeStatusReady, SchedulingEligibility: structs.NodeSchedulingEligible,
	}
	if err := out.ComputeClass(); err != nil {
		return nil, fmt.Errorf("load node %s: %w", n.Name, err)
	}
	out.NodeResources.Compatibility()
	return out, nil
}

func (x *sched) job(unit int) *structs.Job {
	u := &x.f.Units[unit]
	vm := &x.f.VMs[u.VMs[0]]
	g := &structs.TaskGroup{
		Name: "g", Count: len(u.VMs), EphemeralDisk: &structs.EphemeralDisk{SizeMB: 10},
		RestartPolicy:    structs.NewRestartPolicy(structs.JobTypeService),
		ReschedulePolicy: structs.NewReschedulePolicy(structs.JobTypeService),
		Migrate:          structs.DefaultMigrateStrategy(),
		Tasks: []*structs.Task{{
			Name: "vm", Driver: "exec", LogConfig: &structs.LogConfig{MaxFiles: 1, MaxFileSizeMB: 1},
			Resources: &structs.Resources{CPU: int(vm.CPU), MemoryMB: int(vm.Memory)},
		}},
	}
	j := &structs.Job{
		Region: "global", ID: u.Name, Name: u.Name, Namespace: structs.DefaultNamespace, NodePool: structs.NodePoolDefault,
		Type: structs.JobTypeService, Priority: structs.JobDefaultPriority, Datacenters: []string{"dc1"},
		TaskGroups: []*structs.TaskGroup{g}, Status: structs.JobStatusPending, SubmitTime: time.Now().UnixNano(),
	}
	if vm.Tier > spec.Bronze {
		names := ""
		for t := vm.Tier; int(t) < spec.Tiers; t++ {
			names += "," + t.String()
		}
		j.Constraints = append(j.Constraints, &structs.Constraint{LTarget: "${meta.tier}", RTarget: names[1:], Operand: structs.ConstraintSetContainsAny})
	}
	for t := vm.Tier; int(t) < spec.Tiers-1; t++ { // better hardware than asked for would be wasted
		j.Affinities = append(j.Affinities, &structs.Affinity{
			LTarget: "${meta.tier}", RTarget: t.String(), Operand: "=", Weight: int8(100 - 50*(t-vm.Tier)), //nolint:gosec // 100 or 50
		})
	}
	if len(u.VMs) > 1 {
		j.Constraints = append(j.Constraints, &structs.Constraint{Operand: structs.ConstraintDistinctHosts})
	}
	j.Canonicalize()
	return j
}

func alloc(job *structs.Job, i int, node string) *structs.Allocation {
	t := job.TaskGroups[0].Tasks[0]
	return &structs.Allocation{
		ID: uuid.Generate(), EvalID: uuid.Generate(), Name: structs.AllocName(job.ID, "g", uint(i)), Namespace: job.Namespace, //nolint:gosec // an index
		NodeID: node, Job: job, JobID: job.ID, TaskGroup: "g",
		DesiredStatus: structs.AllocDesiredStatusRun, ClientStatus: structs.AllocClientStatusRunning,
		AllocatedResources: &structs.AllocatedResources{
			Tasks: map[string]*structs.AllocatedTaskResources{"vm": {
				Cpu:    structs.AllocatedCpuResources{CpuShares: int64(t.Resources.CPU)},
				Memory: structs.AllocatedMemoryResources{MemoryMB: int64(t.Resources.MemoryMB)},
			}},
			Shared: structs.AllocatedSharedResources{DiskMB: 10},
		},
	}
}
