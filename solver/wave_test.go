package solver_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// phase is how far a step of a wave has come.
type phase int

const (
	waiting phase = iota
	under         // its VM counts at both ends
	done
)

// maxBrute bounds the waves that are tried in all their states: 3^6 of them.
const maxBrute = 6

// drawEither is a fleet with everything in it, or one in which much moves.
func drawEither(t *rapid.T) *policy.Problem {
	if rapid.IntRange(0, 2).Draw(t, "busy") == 0 {
		return drawProblem(t)
	}
	return drawBusy(t)
}

func drawLimits(t *rapid.T, p *policy.Problem) {
	p.Moves = policy.MoveLimits{
		PerHost: rapid.IntRange(0, 3).Draw(t, "per host"), PerLink: rapid.IntRange(0, 2).Draw(t, "per link"),
		PerPool: rapid.IntRange(0, 3).Draw(t, "per pool"), PerWave: maxBrute,
	}
}

// TestEveryStateOfAWaveIsLegal tries each wave of a plan in every state that it can be in: any of its steps not begun, any under way, any
// done. No host, pool or NIC that something has come to may have promised too much then, and no two VMs of a spread group may be
// nearer than before. It counts by itself, without the code of plan or solver but for the packing of NICs.
func TestEveryStateOfAWaveIsLegal(t *testing.T) {
	t.Parallel()
	parallel := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawEither(t)
		drawLimits(t, p)
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Error(v)
		}
		eachWave(p, pl, func(now *policy.Problem, wave []plan.Step) {
			if len(wave) > 1 {
				parallel++
			}
			eachState(wave, func(at []phase) {
				for _, fault := range stateFaults(now, wave, at) {
					t.Errorf("wave %d in the state %v: %s", wave[0].Wave, at, fault)
				}
			})
			for _, fault := range limitFaults(p.Moves, wave) {
				t.Errorf("wave %d: %s", wave[0].Wave, fault)
			}
		})
	})
	if parallel < 20 {
		t.Errorf("only %d waves of more than one step: nothing is tested", parallel)
	}
}

// eachWave calls visit with each wave that moves VMs, and the problem as it is before it.
func eachWave(p *policy.Problem, pl *plan.Plan, visit func(now *policy.Problem, wave []plan.Step)) {
	for i := 0; i < len(pl.Steps); {
		n := i + 1
		for n < len(pl.Steps) && pl.Steps[n].Wave == pl.Steps[i].Wave {
			n++
		}
		if pl.Steps[i].Attach == nil {
			visit(after(p, pl.Steps[:i]), pl.Steps[i:n])
		}
		i = n
	}
}

func eachState(wave []plan.Step, visit func(at []phase)) {
	if len(wave) > maxBrute {
		return
	}
	at := make([]phase, len(wave))
	var try func(i int)
	try = func(i int) {
		if i == len(wave) {
			visit(at)
			return
		}
		for _, ph := range []phase{waiting, under, done} {
			at[i] = ph
			try(i + 1)
		}
	}
	try(0)
}

// ends are the hosts that v counts on while the wave is in the state at.
func ends(v *fleet.VM, wave []plan.Step, at []phase) []fleet.HostID {
	for i := range wave {
		if to := wave[i].Move.To.Host; wave[i].Move.VM.ID == v.ID && to != v.Host {
			return map[phase][]fleet.HostID{waiting: {v.Host}, under: {v.Host, to}, done: {to}}[at[i]]
		}
	}
	return []fleet.HostID{v.Host}
}

func stateFaults(p *policy.Problem, wave []plan.Step, at []phase) []string {
	var out []string
	for i := range wave {
		if at[i] == waiting {
			continue
		}
		m := &wave[i].Move
		v := p.Snapshot.VM(m.VM.ID)
		if m.To.Host != v.Host {
			out = append(out, hostFaults(p, v, m.To.Host, wave, at)...)
			out = append(out, spreadFaults(p, v, m.To.Host, wave, at)...)
		}
		for j, d := range m.To.Disks {
			if d.Pool == v.Disks[j].Pool {
				continue
			}
			if free := freeIn(p, d.Pool, wave, at); free < p.Pools[d.Pool].Reserve {
				out = append(out, fmt.Sprintf("%d free in pool %s, its reserve is %d", free, d.Pool, p.Pools[d.Pool].Reserve))
			}
		}
	}
	return out
}

func hostFaults(p *policy.Problem, came *fleet.VM, id fleet.HostID, wave []plan.Step, at []phase) []string {
	var out []string
	var cpu fleet.MilliCPU
	var memory fleet.Bytes
	var needs []plan.QueueNeed
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		if need := p.VMs[v.ID]; slices.Contains(ends(v, wave, at), id) {
			cpu, memory = cpu+v.CPU, memory+v.Memory
			needs = append(needs, plan.NICNeeds(v, &need)...)
		}
	}
	if came.CPU > 0 && cpu > p.Hosts[id].CPU {
		out = append(out, fmt.Sprintf("host %s has promised %s of %s threads", id, cpu, p.Hosts[id].CPU))
	}
	if came.Memory > 0 && memory > p.Hosts[id].Memory {
		out = append(out, fmt.Sprintf("host %s has promised %d of %d bytes", id, memory, p.Hosts[id].Memory))
	}
	var rooms []plan.QueueRoom
	for _, n := range p.Snapshot.Host(id).NICs {
		rooms = append(rooms, plan.QueueRoom{Class: n.Class, Free: n.Queues, Rate: n.Guarantee})
	}
	if need := p.VMs[came.ID]; len(plan.NICNeeds(came, &need)) > 0 && !plan.PackQueues(rooms, needs) {
		out = append(out, fmt.Sprintf("host %s has promised too much of its NICs", id))
	}
	return out
}

func spreadFaults(p *policy.Problem, v *fleet.VM, to fleet.HostID, wave []plan.Step, at []phase) []string {
	var out []string
	need := p.VMs[v.ID]
	for i := range p.Snapshot.VMs {
		u := &p.Snapshot.VMs[i]
		other := p.VMs[u.ID]
		if u.ID == v.ID || need.SpreadGroup == "" || other.SpreadGroup != need.SpreadGroup {
			continue
		}
		before := shares(need, other, p.Snapshot.Host(v.Host), p.Snapshot.Host(u.Host))
		for _, h := range ends(u, wave, at) {
			if !before && shares(need, other, p.Snapshot.Host(to), p.Snapshot.Host(h)) {
				out = append(out, fmt.Sprintf("%s on %s meets %s on %s", v.ID, to, u.ID, h))
			}
		}
	}
	return out
}

func freeIn(p *policy.Problem, id fleet.PoolID, wave []plan.Step, at []phase) fleet.Bytes {
	pool := p.Snapshot.Pool(id)
	var gone, back fleet.Bytes
	for i := range wave {
		v := p.Snapshot.VM(wave[i].Move.VM.ID)
		for j, d := range wave[i].Move.To.Disks {
			switch from := v.Disks[j].Pool; {
			case at[i] == waiting || from == d.Pool:
			case d.Pool == id:
				gone += v.Disks[j].Used
			case from == id && at[i] == done && len(v.Disks[j].Chain) == 0:
				back += v.Disks[j].Used
			}
		}
	}
	return min(pool.Free-gone+back, pool.Capacity)
}

func limitFaults(l policy.MoveLimits, wave []plan.Step) []string {
	var out []string
	n := map[string]int{}
	use := func(limit int, what string) {
		if n[what]++; limit > 0 && n[what] == limit+1 {
			out = append(out, fmt.Sprintf("more than %d %s", limit, what))
		}
	}
	for _, st := range wave {
		from, to := st.Move.From, st.Move.To
		use(l.PerWave, "in all")
		use(l.PerHost, "on "+string(from.Host))
		if from.Host != to.Host {
			use(l.PerHost, "on "+string(to.Host))
			use(l.PerLink, string(from.Host)+" to "+string(to.Host))
		}
		used := map[fleet.PoolID]bool{}
		for i := range to.Disks {
			if from.Disks[i].Pool != to.Disks[i].Pool {
				used[from.Disks[i].Pool], used[to.Disks[i].Pool] = true, true
			}
		}
		for id := range used { // one count each: the order does not matter
			use(l.PerPool, "in "+string(id))
		}
	}
	return out
}

// TestStepsAreLegalOneByOneFromAnyPoint holds what remains of a plan, wherever it was stopped, against CheckSteps.
func TestStepsAreLegalOneByOneFromAnyPoint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawEither(t)
		drawLimits(t, p)
		pl := mustSolve(t, p)
		if len(pl.Steps) == 0 {
			return
		}
		n := rapid.IntRange(0, len(pl.Steps)-1).Draw(t, "done")
		if slices.ContainsFunc(pl.Steps[:n], func(st plan.Step) bool { return st.Attach != nil }) {
			return // what a module brings is not in the snapshot that after makes
		}
		for _, v := range plan.CheckSteps(after(p, pl.Steps[:n]), pl.Steps[n:]) {
			if v.Constraint != plan.ConstraintAffinity { // a group of which a part has moved is apart already
				t.Error(v)
			}
		}
	})
}

func TestMoreLimitsNeverForbidAPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawEither(t)
		p.Moves = policy.MoveLimits{}
		free := mustSolve(t, p)
		p.Moves = policy.MoveLimits{PerHost: 1, PerLink: 1, PerPool: 1, PerWave: 1}
		tight, err := solver.Solve(p, solver.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(tight.Steps) != len(free.Steps) {
			t.Errorf("%d steps with limits, %d without", len(tight.Steps), len(free.Steps))
		}
		if n := len(tight.Steps); n > 0 && tight.Steps[n-1].Wave != n {
			t.Errorf("one move a wave: %d steps in %d waves", n, tight.Steps[n-1].Wave)
		}
	})
}
