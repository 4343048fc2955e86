package sim

import "github.com/berth-project/berth/fleet"

// What people do to a fleet by hand while a plan is made or applied.

// SetPower puts a VM into a power state.
func (f *Fleet) SetPower(id fleet.VMID, p fleet.PowerState) {
	f.change(id, func(g *guest) {
		_, def := g.main("")
		def.power = p
	})
}

// Teleport puts a VM on another host; its disks stay where they are.
func (f *Fleet) Teleport(id fleet.VMID, to fleet.HostID) {
	h := f.base.Host(to)
	f.change(id, func(g *guest) {
		from, def := g.main("")
		delete(g.defs, from)
		g.defs[handle(h.Ref, string(h.ID))] = def
	})
}

// Remove deletes a VM with its volumes.
func (f *Fleet) Remove(id fleet.VMID) {
	f.change(id, func(g *guest) {
		for at, v := range g.files {
			f.pools[at.pool].Free += v.used
			delete(f.volumes, at)
		}
		delete(f.guests, handle(g.vm.Ref, string(g.vm.ID)))
	})
}

// SetFree changes the free room of a pool, as if other files came or went.
func (f *Fleet) SetFree(id fleet.PoolID, free fleet.Bytes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pools[f.poolHandle(id)].Free = free
}

// change alters the VM named; one that is not there is left alone.
func (f *Fleet) change(id fleet.VMID, alter func(g *guest)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.guests {
		if g.vm.ID == id {
			alter(g)
			return
		}
	}
}
