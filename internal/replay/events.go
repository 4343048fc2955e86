package replay

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// arrive places a VM, or lets it wait.
func (r *run) arrive(g *guest) error {
	placed, refused, err := r.place(g)
	if err != nil {
		return err
	}
	if placed {
		r.report.Placed++
		return nil
	}
	r.report.Refused++
	r.refusals[refused]++
	r.wait(g)
	return nil
}

// place asks the placer for a place and makes it so, with all that the answer moves and evicts.
func (r *run) place(g *guest) (placed bool, refused string, err error) {
	answer, err := r.ask(g)
	if err != nil || !answer.Placed {
		return false, answer.Refused, err
	}
	for _, m := range answer.Moved {
		if err := r.give(m.VM, g); err != nil {
			return false, "", err
		}
		if err := r.move(r.running[m.VM], m.To); err != nil {
			return false, "", err
		}
		r.report.Preempted++
	}
	evicted := make([]*guest, 0, len(answer.Evicted))
	for _, id := range answer.Evicted {
		if err := r.give(id, g); err != nil {
			return false, "", err
		}
		r.report.Preempted++
		evicted = append(evicted, r.running[id])
		r.stop(r.running[id])
	}
	if err := r.start(g, answer.To); err != nil {
		return false, "", err
	}
	for _, e := range evicted {
		if err := r.again(e); err != nil {
			return false, "", err
		}
	}
	return true, "", nil
}

// ask asks for a place on each source, the least used first: what arrives belongs to none yet. A refusal is that of the first.
func (r *run) ask(g *guest) (Answer, error) {
	var refused Answer
	for i, id := range r.use.bySource() {
		g.vm.Source = id
		answer, err := r.placer.Place(g.vm, g.need)
		if err != nil {
			return Answer{}, fmt.Errorf("place vm %s: %w", g.vm.ID, err)
		}
		if answer.Placed {
			return answer, nil
		}
		if i == 0 {
			refused = answer
		}
	}
	return refused, nil
}

// give holds a VM that gives way to the rule that only lower priorities do.
func (r *run) give(id fleet.VMID, to *guest) error {
	v := r.running[id]
	if v == nil {
		return fmt.Errorf("place vm %s: vm %s gives way to it, which does not run", to.vm.ID, id)
	}
	if v.need.Priority >= to.need.Priority {
		r.violated(1, fmt.Sprintf("%s: vm %s of priority %d gave way to %s of %d", clock(r.now), id, v.need.Priority, to.vm.ID, to.need.Priority))
	}
	return nil
}

// again places a VM that lost its place, or puts it among those that wait.
func (r *run) again(g *guest) error {
	placed, _, err := r.place(g)
	if err != nil || placed {
		return err
	}
	r.wait(g)
	return nil
}

// start lets a VM run in a place, and its departure come.
func (r *run) start(g *guest, to fleet.Placement) error {
	if err := r.put(g, to); err != nil {
		return err
	}
	r.changed++
	r.running[g.vm.ID] = g
	r.report.LiveMost = max(r.report.LiveMost, len(r.running))
	if g.starts++; g.starts == 1 {
		g.ends = r.now + g.life
	}
	if g.life >= 0 { // one that is started anew lives no longer for that
		heap.Push(&r.due, departure{at: max(r.now, g.ends), g: g, start: g.starts})
	}
	return nil
}

// put writes a place into a VM and counts what it takes there. That no host or pool takes more than it has is held here,
// of every single placement.
func (r *run) put(g *guest, to fleet.Placement) error {
	h := r.snap.Host(to.Host)
	if h == nil || len(to.Disks) != len(g.vm.Disks) {
		return fmt.Errorf("place vm %s: the answer is host %q with %d disks: there is no such host, or it has %d disks",
			g.vm.ID, to.Host, len(to.Disks), len(g.vm.Disks))
	}
	g.vm.Source, g.vm.Host = h.Source, h.ID
	g.vm.Disks = slices.Clone(g.vm.Disks)
	for i := range g.vm.Disks {
		d := &g.vm.Disks[i]
		pool := r.snap.Pool(to.Disks[i].Pool)
		if pool == nil {
			return fmt.Errorf("place vm %s: disk %s: there is no pool %q", g.vm.ID, d.ID, to.Disks[i].Pool)
		}
		d.Pool = pool.ID
		if pool.Free -= d.Used; pool.Free < r.base.Pools[pool.ID].Reserve {
			r.violated(1, fmt.Sprintf("%s: vm %s: pool %s has less than its reserve left", clock(r.now), g.vm.ID, pool.ID))
			pool.Free = max(pool.Free, 0)
		}
	}
	r.use.enter(&g.vm)
	if r.use.over(h.ID) {
		r.violated(1, fmt.Sprintf("%s: vm %s: host %s promises more than it has", clock(r.now), g.vm.ID, h.ID))
	}
	return nil
}

// lift takes back what put counted.
func (r *run) lift(g *guest) {
	r.use.leave(&g.vm)
	for i := range g.vm.Disks {
		pool := r.snap.Pool(g.vm.Disks[i].Pool)
		pool.Free = min(pool.Free+g.vm.Disks[i].Used, pool.Capacity)
	}
}

// stop takes a VM away.
func (r *run) stop(g *guest) {
	r.changed++
	r.lift(g)
	delete(r.running, g.vm.ID)
}

// move takes a VM to another place, and counts it as undecided when it was there a short time ago.
func (r *run) move(g *guest, to fleet.Placement) error {
	if g == nil {
		return errors.New("move vm: it does not run")
	}
	g.left = slices.DeleteFunc(g.left, func(s stay) bool { return r.now-s.at > FlipFlop })
	if to.Host != g.vm.Host {
		if slices.ContainsFunc(g.left, func(s stay) bool { return s.host == to.Host }) {
			r.report.FlipFlops++
		}
		g.left = append(g.left, stay{g.vm.Host, r.now})
	}
	g.moved = r.now
	r.changed++
	r.report.Moves++
	r.lift(g)
	g.vm.Disks = slices.Clone(g.vm.Disks)
	for i := range min(len(to.Disks), len(g.vm.Disks)) {
		d := &g.vm.Disks[i]
		if to.Disks[i].Pool == d.Pool {
			continue
		}
		r.report.MovedBytes += d.Used
		if len(d.Chain) > 0 { // other disks may share the chain: the pool gets nothing back, and the copy is flat
			pool := r.snap.Pool(d.Pool)
			pool.Free, d.Chain = max(pool.Free-d.Used, 0), nil
		}
	}
	return r.put(g, to)
}

// wait puts a VM among those that wait, by priority and then arrival, unless the queue is full.
func (r *run) wait(g *guest) {
	if len(r.waiting) >= r.o.Queue {
		r.report.TurnedAway++
		return
	}
	g.since = r.now
	at, _ := slices.BinarySearchFunc(r.waiting, g, func(a, b *guest) int {
		if a.need.Priority != b.need.Priority {
			return int(b.need.Priority) - int(a.need.Priority)
		}
		return a.seq - b.seq
	})
	r.waiting = slices.Insert(r.waiting, at, g)
}

// retry tries to place up to n of those that wait, first come first.
func (r *run) retry(n int) error {
	for i := 0; i < len(r.waiting) && n > 0; n-- {
		g := r.waiting[i]
		before := len(r.waiting)
		placed, _, err := r.place(g)
		if err != nil {
			return err
		}
		if !placed {
			i++
			continue
		}
		if len(r.waiting) != before { // VMs that gave way joined the queue
			i = slices.Index(r.waiting, g)
		}
		r.waiting = slices.Delete(r.waiting, i, i+1)
		if g.starts == 1 {
			r.report.Placed++
			r.report.PlacedLater++
			r.report.WaitSeconds += int64(r.now - g.since)
		}
	}
	return nil
}

// depart ends the VM whose time it is.
func (r *run) depart() error {
	d := heap.Pop(&r.due).(departure) //nolint:forcetypeassert // of our own heap
	if d.start != d.g.starts || r.running[d.g.vm.ID] != d.g {
		return nil // it was started anew since, or waits to be
	}
	if err := r.placer.Remove(d.g.vm.ID); err != nil {
		return fmt.Errorf("remove vm %s: %w", d.g.vm.ID, err)
	}
	r.stop(d.g)
	r.report.Departed++
	return r.retry(retries)
}

// lose makes a host fail: its VMs are started anew elsewhere, by priority.
func (r *run) lose() error {
	id := r.losses[0].Host
	r.losses = r.losses[1:]
	h := r.snap.Host(id)
	if h.Unreachable {
		return nil
	}
	h.Unreachable = true
	r.use.lose(id)
	var hit []*guest
	for _, g := range r.running {
		if g.vm.Host == id {
			hit = append(hit, g)
		}
	}
	slices.SortFunc(hit, func(a, b *guest) int {
		if a.need.Priority != b.need.Priority {
			return int(b.need.Priority) - int(a.need.Priority)
		}
		if a.seq != b.seq {
			return a.seq - b.seq
		}
		return compareIDs(a, b)
	})
	for _, g := range hit {
		r.stop(g)
	}
	if err := r.reopen(); err != nil {
		return err
	}
	for _, g := range hit {
		r.report.Restarted++
		if err := r.again(g); err != nil {
			return err
		}
	}
	return nil
}

// reopen makes a placer of the fleet as it is now.
func (r *run) reopen() error {
	var err error
	if r.placer, err = r.o.Open(r.problem()); err != nil {
		return fmt.Errorf("open placer: %w", err)
	}
	return nil
}
