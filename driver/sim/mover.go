package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Locate says where the VM of r is now. While a lost relocation goes on, each call is one step of its time.
func (f *Fleet) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	var out fleet.Observed
	err := f.operate(ctx, OpLocate, r.VM.ID, func() error {
		g, err := f.guest(r)
		if err != nil {
			return err
		}
		f.pass(g)
		out = f.observed(g, r)
		return nil
	})
	if err != nil {
		return fleet.Observed{}, err
	}
	return out, nil
}

// guest finds the VM of r by its handle.
func (f *Fleet) guest(r fleet.Relocation) (*guest, error) {
	g := f.guests[handle(r.VM.Ref, string(r.VM.ID))]
	if g == nil {
		return nil, refuse("find", r.VM.ID, "%w", fleet.ErrNotFound)
	}
	f.touched = g
	return g, nil
}

func refuse(op Op, vm fleet.VMID, format string, args ...any) error {
	return &fleet.DriverError{Kind: fleet.Permanent, Op: string(op) + " vm " + string(vm), Err: fmt.Errorf(format, args...)}
}

// pass lets a lost relocation go on for a while, and come to its end after that.
func (f *Fleet) pass(g *guest) {
	j := g.job
	if j == nil {
		return
	}
	if j.polls > 0 {
		j.polls--
		return
	}
	f.finish(g)
}

// finish ends a lost relocation as its fault rule says.
func (f *Fleet) finish(g *guest) {
	j := g.job
	g.job = nil
	for n := 0; j.completes && n < maxPhases; n++ {
		p, err := f.next(g, j.move, j.powerOn)
		if p == nil || err != nil || p.effect() != nil {
			break
		}
		f.tick()
		f.inspect()
		f.touched = g
	}
	f.unmirror(g)
}

func (f *Fleet) unmirror(g *guest) {
	for _, v := range g.files {
		v.mirror = false
	}
}

// observed is the state of g in the names of r.
func (f *Fleet) observed(g *guest, r fleet.Relocation) fleet.Observed {
	host, def := g.main(handle(r.FromHost.Ref, string(r.FromHost.ID)))
	out := fleet.Observed{Power: def.power, Settled: true, Placement: fleet.Placement{Host: f.hosts[host].ID}}
	for _, h := range []fleet.Host{r.FromHost, r.ToHost} {
		if handle(h.Ref, string(h.ID)) == host {
			out.Placement.Host = h.ID
		}
	}
	for i, at := range def.disks {
		p := fleet.DiskPlace{Disk: g.vm.Disks[i].ID, Pool: f.pools[at.pool].ID}
		for _, known := range r.Pools {
			if handle(known.Ref, string(known.ID)) == at.pool {
				p.Pool = known.ID
			}
		}
		out.Placement.Disks = append(out.Placement.Disks, p)
	}
	switch {
	case g.job != nil || g.busy:
		out.Settled, out.Detail = false, "a relocation is going on"
	case len(g.defs) > 1:
		out.Settled, out.Detail = false, "defined on two hosts"
	case len(g.files) > len(def.disks):
		out.Settled, out.Detail = false, "volumes of a broken move are left"
	}
	return out
}

// Precheck says whether r would fail or overwrite something.
func (f *Fleet) Precheck(ctx context.Context, r fleet.Relocation) error {
	return f.operate(ctx, OpPrecheck, r.VM.ID, func() error {
		g, err := f.guest(r)
		if err != nil {
			return err
		}
		return f.precheck(g, r)
	})
}

func (f *Fleet) precheck(g *guest, r fleet.Relocation) error {
	to := f.hosts[handle(r.ToHost.Ref, string(r.ToHost.ID))]
	_, def := g.main(handle(r.FromHost.Ref, string(r.FromHost.ID)))
	switch {
	case to == nil:
		return refuse(OpPrecheck, r.VM.ID, "host %s: %w", r.To.Host, fleet.ErrNotFound)
	case to.Unreachable || to.Maintenance:
		return refuse(OpPrecheck, r.VM.ID, "host %s takes no VM", r.To.Host)
	case r.From.Host != r.To.Host && g.defs[handle(to.Ref, string(to.ID))] != nil:
		return refuse(OpPrecheck, r.VM.ID, "host %s has a VM of this name", r.To.Host)
	case def.power == fleet.Suspended:
		return refuse(OpPrecheck, r.VM.ID, "is suspended")
	}
	need := map[string]fleet.Bytes{}
	for i, at := range f.targets(g, r) {
		pool := f.pools[at.pool]
		if pool == nil || !slices.Contains(to.Pools, pool.ID) {
			return refuse(OpPrecheck, r.VM.ID, "host %s does not reach pool %s", r.To.Host, r.To.Disks[i].Pool)
		}
		if at == def.disks[i] {
			continue
		}
		if f.volumes[at] != nil {
			return refuse(OpPrecheck, r.VM.ID, "volume %s is there already", at.path)
		}
		need[at.pool] += g.vm.Disks[i].Used
		if need[at.pool] > pool.Free {
			return refuse(OpPrecheck, r.VM.ID, "pool %s has %d bytes free, %d are needed", pool.ID, pool.Free, need[at.pool])
		}
	}
	return nil
}

// targets are the places of the VM's disks once r is done.
func (f *Fleet) targets(g *guest, r fleet.Relocation) []place {
	out := make([]place, len(g.vm.Disks))
	for i, d := range r.VM.Disks {
		to := handle("", string(r.To.Disks[i].Pool))
		for _, p := range r.Pools {
			if p.ID == r.To.Disks[i].Pool {
				to = handle(p.Ref, string(p.ID))
			}
		}
		_, def := g.main("")
		file := r.File(d.ID)
		switch {
		case d.Path == "" && file != nil:
			d.Path = file.Path
		case d.Path == "": // an earlier step of the plan moved the disk: it is where it is now, or at its target already
			d.Path = def.disks[i].path
		}
		out[i] = place{to, moved(d.Path, d.Pool, r.To.Disks[i].Pool)}
		if file != nil {
			out[i].path = renamed(out[i].path, file.Name)
		}
		if r.From.Disks[i].Pool == r.To.Disks[i].Pool {
			out[i] = def.disks[i] // the disk stays where it is, whatever its path is now
		}
	}
	return out
}

// maxPhases bounds one relocation: a VM of 64 disks needs four for each.
const maxPhases = 300

// Relocate brings the VM to r.To, one phase after another; which one is next is worked out from the world
// alone.
func (f *Fleet) Relocate(
	ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes),
) error {
	var g *guest
	defer func() { f.release(g) }()
	if err := f.begin(ctx, r, &g); err != nil {
		return f.lost(err, g, r, powerOn)
	}
	var done, total fleet.Bytes
	for i, d := range r.VM.Disks {
		if r.From.Disks[i].Pool != r.To.Disks[i].Pool {
			total += d.Used
		}
	}
	for range maxPhases {
		p, err := f.plan(g, r, powerOn)
		if err != nil {
			return err
		}
		if p == nil {
			if progress != nil {
				progress(total, total)
			}
			return f.lost(f.operate(ctx, OpEnd, r.VM.ID, func() error { return nil }), g, r, powerOn)
		}
		if err := f.operate(ctx, p.op, r.VM.ID, p.effect); err != nil {
			return f.lost(err, g, r, powerOn)
		}
		if progress != nil && p.bytes > 0 {
			done += p.bytes
			progress(min(done, total), total)
		}
	}
	return refuse(OpEnd, r.VM.ID, "no end after %d phases", maxPhases)
}

// begin takes the VM for one Relocate; taken stays nil when it was not.
func (f *Fleet) begin(ctx context.Context, r fleet.Relocation, taken **guest) error {
	return f.operate(ctx, OpBegin, r.VM.ID, func() error {
		g, err := f.guest(r)
		if err != nil {
			return err
		}
		if g.busy {
			return &fleet.DriverError{Kind: fleet.Retry, Op: "relocate vm " + string(r.VM.ID), Err: errors.New("another relocation is going on")}
		}
		if g.job != nil { // it is waited for
			f.finish(g)
		}
		g.busy, *taken = true, g
		return nil
	})
}

func (f *Fleet) release(g *guest) {
	if g == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	g.busy = false
	f.unchoose(g)
	if g.job == nil {
		f.unmirror(g)
	}
}

// lost makes the rest of a relocation a job of its own when its caller was cut off.
func (f *Fleet) lost(err error, g *guest, r fleet.Relocation, powerOn bool) error {
	var cut *lostError
	if g == nil || !errors.As(err, &cut) {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	g.job = &job{move: r, powerOn: powerOn, polls: cut.polls, completes: cut.completes}
	return err
}

// phase is one change of the world.
type phase struct {
	op     Op
	bytes  fleet.Bytes // copied by it
	effect func() error
}

func (f *Fleet) plan(g *guest, r fleet.Relocation, powerOn bool) (*phase, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next(g, r, powerOn)
}

// next is the phase that brings the VM nearer to r.To; nil when it is there and nothing is left elsewhere.
func (f *Fleet) next(g *guest, r fleet.Relocation, powerOn bool) (*phase, error) {
	from, to := handle(r.FromHost.Ref, string(r.FromHost.ID)), handle(r.ToHost.Ref, string(r.ToHost.ID))
	here, there := g.defs[from], g.defs[to]
	want := f.targets(g, r)
	switch {
	case here == nil && there == nil:
		return nil, refuse(OpBegin, r.VM.ID, "on neither host: %w", fleet.ErrNotFound)
	case from == to:
		if !slices.Equal(here.disks, want) {
			return f.restore(g, r, here, want)
		}
		return f.round(g, there, powerOn), nil
	case there == nil:
		return f.cross(g, r, here, want, to)
	case here == nil:
		return f.round(g, there, powerOn), nil
	case here.power == fleet.Running || !f.current(g, there.disks):
		// What is defined at the target is of a move that broke, and older than the VM at its source.
		return g.does(f, OpUndefine, func() { delete(g.defs, to) }), nil
	default:
		return g.does(f, OpUndefine, func() { delete(g.defs, from) }), nil
	}
}

// does makes a phase of a change to g.
func (g *guest) does(f *Fleet, op Op, change func()) *phase {
	return &phase{op: op, effect: func() error {
		f.touched = g
		change()
		return nil
	}}
}

// current says whether all volumes at the places hold what the guest wrote last.
func (f *Fleet) current(g *guest, places []place) bool {
	for _, at := range places {
		if v := g.files[at]; v == nil || !v.whole || v.writes != g.writes {
			return false
		}
	}
	return true
}

// cross is the next phase on the way to another host, where the VM is not defined yet.
func (f *Fleet) cross(g *guest, r fleet.Relocation, here *definition, want []place, to string) (*phase, error) {
	if here.power == fleet.Running && r.Mode == fleet.Offline {
		return g.does(f, OpShutdown, func() { here.power = fleet.Stopped }), nil
	}
	for i := range want {
		if p, err := f.copy(g, r, here, i, want[i]); p != nil || err != nil {
			return p, err
		}
	}
	if here.power != fleet.Running {
		return g.does(f, OpDefine, func() { g.defs[to] = &definition{power: here.power, disks: want} }), nil
	}
	return g.does(f, OpSwitch, func() {
		g.defs[to] = &definition{power: fleet.Running, disks: want}
		here.power = fleet.Stopped
	}), nil
}

// restore is the next phase of a move of disks on one host.
func (f *Fleet) restore(g *guest, r fleet.Relocation, here *definition, want []place) (*phase, error) {
	if here.power == fleet.Running && r.Mode == fleet.Offline {
		return g.does(f, OpShutdown, func() { here.power = fleet.Stopped }), nil
	}
	for i := range want {
		if p, err := f.copy(g, r, here, i, want[i]); p != nil || err != nil {
			return p, err
		}
		if here.power == fleet.Running && here.disks[i] != want[i] {
			return g.does(f, OpPivot, func() {
				here.disks = slices.Clone(here.disks)
				here.disks[i] = want[i]
			}), nil
		}
	}
	return g.does(f, OpDefine, func() { here.disks = want }), nil
}

// copy is the next phase of bringing disk i to its target; nil when a current copy is there.
func (f *Fleet) copy(g *guest, r fleet.Relocation, here *definition, i int, to place) (*phase, error) {
	source := f.volumes[here.disks[i]]
	v := f.volumes[to]
	switch {
	case here.disks[i] == to:
		return nil, nil
	case source == nil:
		return nil, refuse(OpCopy, r.VM.ID, "volume %s: %w", here.disks[i].path, fleet.ErrNotFound)
	case v == nil:
		return &phase{op: OpCreate, effect: func() error { return f.create(g, r, i, to) }}, nil
	case v.owner != g:
		return nil, refuse(OpCopy, r.VM.ID, "volume %s is another VM's", to.path)
	case v.whole && v.writes == g.writes:
		return nil, nil
	}
	p := g.does(f, OpCopy, func() {
		v.whole, v.writes, v.mirror = true, g.writes, here.power == fleet.Running
		v.files = source.content()
	})
	p.bytes = source.used
	return p, nil
}

func (f *Fleet) create(g *guest, r fleet.Relocation, i int, at place) error {
	f.touched = g
	pool, used := f.pools[at.pool], g.vm.Disks[i].Used
	if pool == nil {
		return refuse(OpCreate, r.VM.ID, "pool %s: %w", at.pool, fleet.ErrNotFound)
	}
	if v := f.volumes[at]; v != nil { // another move was faster
		return refuse(OpCreate, r.VM.ID, "volume %s is there already", at.path)
	}
	if used > pool.Free {
		return refuse(OpCreate, r.VM.ID, "pool %s is full", pool.ID)
	}
	pool.Free -= used
	f.put(at, &volume{owner: g, disk: i, used: used})
	return nil
}

// round is the next phase of a VM that is at its target: its power, then what is left elsewhere.
func (f *Fleet) round(g *guest, there *definition, powerOn bool) *phase {
	if powerOn && there.power != fleet.Running {
		return g.does(f, OpStart, func() { there.power = fleet.Running })
	}
	if !powerOn && there.power == fleet.Running {
		return g.does(f, OpStop, func() { there.power = fleet.Stopped })
	}
	var rest []place
	for at := range g.files {
		if !slices.Contains(there.disks, at) {
			rest = append(rest, at)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	at := slices.MinFunc(rest, func(a, b place) int { return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.path, b.path)) })
	return g.does(f, OpClean, func() {
		f.pools[at.pool].Free += g.files[at].used
		delete(f.volumes, at)
		delete(g.files, at)
	})
}
