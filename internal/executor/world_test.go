package executor_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// snapshot is a fleet of three hosts with a pool each and one that all share.
func snapshot() *fleet.Snapshot {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Sources: []fleet.Source{{ID: "lab", Kind: fleet.KVM, Reachable: true, Capabilities: fleet.Capabilities{
			LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true,
		}}},
		Pools: []fleet.Pool{{ID: "san", Source: "lab", Ref: "pool-san", Capacity: fleet.TiB, Free: fleet.TiB, Shared: true}},
	}
	for _, name := range []string{"host-a", "host-b", "host-c"} {
		local := fleet.PoolID(name + "/ssd")
		s.Hosts = append(s.Hosts, fleet.Host{
			ID: fleet.HostID(name), Source: "lab", Ref: "ref-" + name, CPU: fleet.CPUs(16), Memory: 64 * fleet.GiB,
			Pools: []fleet.PoolID{local, "san"},
		})
		s.Pools = append(s.Pools, fleet.Pool{ID: local, Source: "lab", Ref: "ref-" + string(local), Capacity: 100 * fleet.GiB, Free: 90 * fleet.GiB})
	}
	s.VMs = []fleet.VM{
		vm("vm-cache", "host-b", fleet.Running, "host-b/ssd"),
		vm("vm-db", "host-a", fleet.Running, "host-a/ssd", "san"),
		vm("vm-old", "host-c", fleet.Stopped, "san"),
		vm("vm-web", "host-a", fleet.Running, "san"),
	}
	s.Sort()
	return s
}

func vm(id fleet.VMID, host fleet.HostID, power fleet.PowerState, pools ...fleet.PoolID) fleet.VM {
	v := fleet.VM{ID: id, Source: "lab", Ref: "ref-" + string(id), Host: host, Power: power, CPU: fleet.CPUs(1), Memory: fleet.GiB}
	for i, p := range pools {
		v.Disks = append(v.Disks, fleet.Disk{
			ID: fleet.DiskID(fmt.Sprintf("vd%c", 'a'+i)), Pool: p, Path: fmt.Sprintf("%s/%s-%d.vmdk", p, id, i),
			Format: "vmdk", Size: 4 * fleet.GiB, Used: fleet.GiB,
		})
	}
	return v
}

// move is one line of a test's plan.
type move struct {
	vm    fleet.VMID
	host  fleet.HostID
	mode  fleet.Mode
	pools []fleet.PoolID
}

// moves has every kind of move: live to another host with and without disks, on one host, offline, of a
// stopped VM, and the same VM twice.
func moves() []move {
	return []move{
		{"vm-db", "host-b", fleet.Live, []fleet.PoolID{"host-b/ssd", "san"}},
		{"vm-web", "host-c", fleet.Offline, []fleet.PoolID{"host-c/ssd"}},
		{"vm-cache", "host-b", fleet.Live, []fleet.PoolID{"san"}},
		{"vm-old", "host-a", fleet.Offline, []fleet.PoolID{"san"}},
		{"vm-db", "host-c", fleet.Live, []fleet.PoolID{"san", "host-c/ssd"}},
	}
}

// waves has two waves: of four VMs, and of two that moved in the first.
func waves() [][]move {
	return [][]move{
		moves()[:4],
		{
			{"vm-db", "host-c", fleet.Live, []fleet.PoolID{"san", "host-c/ssd"}},
			{"vm-web", "host-b", fleet.Offline, []fleet.PoolID{"host-b/ssd"}},
		},
	}
}

// makePlan makes a plan with a wave for each move.
func makePlan(s *fleet.Snapshot, list ...move) *plan.Plan {
	all := make([][]move, len(list))
	for i := range list {
		all[i] = list[i : i+1]
	}
	return makeWaves(s, all...)
}

func makeWaves(s *fleet.Snapshot, all ...[]move) *plan.Plan {
	p := &plan.Plan{Version: plan.Version, ID: "p-0123456789abcdef", SnapshotID: s.Digest()}
	at := map[fleet.VMID]*fleet.VM{}
	for wave, list := range all {
		for _, m := range list {
			v := at[m.vm]
			if v == nil {
				v = s.VM(m.vm)
			}
			r := relocation(s, v, m)
			at[m.vm] = movedTo(v, r.To)
			step := plan.Step{N: len(p.Steps) + 1, Wave: wave + 1, Move: r}
			if m.mode == fleet.Offline && v.Power == fleet.Running {
				step.Risks = []plan.Risk{plan.RiskDowntime}
			}
			p.Steps = append(p.Steps, step)
		}
	}
	return p
}

func relocation(s *fleet.Snapshot, v *fleet.VM, m move) fleet.Relocation {
	from := v.Place()
	r := fleet.Relocation{
		VM: *v, From: from, To: fleet.Placement{Host: m.host}, Mode: m.mode, FromHost: *s.Host(from.Host), ToHost: *s.Host(m.host),
	}
	seen := map[fleet.PoolID]bool{}
	for j, d := range v.Disks {
		r.To.Disks = append(r.To.Disks, fleet.DiskPlace{Disk: d.ID, Pool: m.pools[j]})
		for _, id := range []fleet.PoolID{from.Disks[j].Pool, m.pools[j]} {
			if !seen[id] {
				seen[id] = true
				r.Pools = append(r.Pools, *s.Pool(id))
			}
		}
	}
	return r
}

// movedTo is v as a step to the place leaves it in the words of a plan, which does not know the new paths.
func movedTo(v *fleet.VM, to fleet.Placement) *fleet.VM {
	out := *v
	out.Host, out.Disks = to.Host, slices.Clone(v.Disks)
	for i := range out.Disks {
		if d := &out.Disks[i]; d.Pool != to.Disks[i].Pool {
			d.Pool, d.Path, d.Chain = to.Disks[i].Pool, "", nil
		}
	}
	return &out
}

// log is a journal in memory that can die at its k-th Append, before or after the record is on disk.
type log struct {
	records [][]byte
	appends int
	dieAt   int  // 0: never
	kept    bool // the record is on disk when it dies
}

func (l *log) Append(b []byte) error {
	l.appends++
	if l.appends == l.dieAt && !l.kept {
		return errDead
	}
	l.records = append(l.records, slices.Clone(b))
	if l.appends == l.dieAt {
		return errDead
	}
	return nil
}

// ticker is a clock that sleeps in no time.
type ticker struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticker) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *ticker) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return ctx.Err()
}

func deps(f *sim.Fleet, l *log) executor.Deps {
	return executor.Deps{
		Movers: func(fleet.SourceID) executor.Mover { return f }, Journal: l, Records: l.records,
		Accepted: []plan.Risk{plan.RiskDowntime}, Clock: &ticker{now: time.Unix(0, 0)},
	}
}

// checkFleet holds the world against the end of the plan: every VM at its last target, powered as at first,
// settled, and nothing forbidden ever done.
func checkFleet(t interface {
	Helper()
	Errorf(string, ...any)
}, f *sim.Fleet, p *plan.Plan) {
	t.Helper()
	for _, v := range f.Violations() {
		t.Errorf("violation: %s", v)
	}
	last := map[fleet.VMID]fleet.Relocation{}
	for _, s := range p.Steps {
		last[s.Move.VM.ID] = s.Move
	}
	for id, r := range last {
		seen, err := f.Locate(context.Background(), r)
		if err != nil {
			t.Errorf("locate %s: %v", id, err)
			continue
		}
		if !seen.Settled || !seen.Placement.Equal(r.To) || seen.Power != r.VM.Power {
			t.Errorf("%s: at %+v, expected %+v %s", id, seen, r.To, r.VM.Power)
		}
	}
}
