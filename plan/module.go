package plan

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// ModuleCost is the cost, in points, of attaching an I/O module to another host.
func ModuleCost(w policy.Weights) int64 { return min(max(w.MoveModule, 0), maxPoints) }

// attach checks a step that moves an I/O module, and makes it.
func (c *checker) attach(st *Step) {
	a := st.Attach
	m := c.w.p.Snapshot.Module(a.Module.ID)
	to := c.w.hosts[a.To]
	switch {
	case m == nil:
		c.say(ConstraintModule, "there is no module %q", a.Module.ID)
		return
	case to == nil:
		c.say(ConstraintModule, "module %s: there is no host %q", m.ID, a.To)
		return
	case c.w.on[m.ID] == a.To:
		c.say(ConstraintModule, "module %s goes nowhere", m.ID)
		return
	}
	c.describedModule(m, st)
	src := c.w.p.Snapshot.Source(m.Source)
	if !src.Reachable || !src.Capabilities.AttachModules {
		c.say(ConstraintModule, "source %s cannot move module %s", m.Source, m.ID)
	}
	if _, ok := slices.BinarySearch(m.AttachableTo, a.To); !ok {
		c.say(ConstraintModule, "module %s cannot be attached to host %s", m.ID, a.To)
	}
	if to.host.Unreachable || to.host.Maintenance {
		c.say(ConstraintModule, "module %s: host %s could not be seen or is in maintenance", m.ID, a.To)
	}
	if from := c.w.hosts[c.w.on[m.ID]]; from != nil {
		if r := c.w.losing(m, from); r != "" {
			c.say(ConstraintModule, "module %s: %s", m.ID, r)
		}
	}
	if c.res == nil {
		c.w.attach(m, a.To)
		return
	}
	c.res.Mark()
	if c.res.Attach(m, a.To); c.res.Broke() {
		c.say(ConstraintReserve, "module %s: %s", m.ID, c.res.Faults())
	}
	c.res.Mark()
}

// describedModule holds what a driver will be told of a module against the snapshot.
func (c *checker) describedModule(m *fleet.IOModule, st *Step) {
	a := st.Attach
	if !reflect.ValueOf(st.Move).IsZero() || st.Level != "" || st.Bytes != 0 || len(st.Risks) > 0 || st.GivesWayTo != "" {
		c.say(ConstraintDetails, "moves a VM and module %s in one step", m.ID)
	}
	if st.Reason == "" {
		c.say(ConstraintDetails, "gives no reason")
	}
	now := c.w.on[m.ID]
	if a.From != now || a.Module.Host != now {
		c.say(ConstraintPlace, "module %s starts from host %q, but is on %q then", m.ID, a.From, now)
	}
	want := *m
	want.Host = a.Module.Host
	if a.Module.Ref != m.Ref || a.Module.Source != m.Source || a.Module.Kind != m.Kind || c.own && !reflect.DeepEqual(a.Module, want) {
		c.say(ConstraintDetails, "module %s is not described as in the snapshot", m.ID)
	}
	for _, end := range []struct {
		id  fleet.HostID
		got *fleet.Host
	}{{a.From, a.FromHost}, {a.To, a.ToHost}} {
		want := c.w.p.Snapshot.Host(end.id)
		if (want == nil) != (end.got == nil) || want != nil && (end.got.ID != want.ID || end.got.Ref != want.Ref ||
			end.got.Source != want.Source || c.own && !reflect.DeepEqual(end.got, want)) {
			c.say(ConstraintDetails, "host %q is not described as in the snapshot", end.id)
		}
	}
}

// without is h once m is taken off it.
func (w *world) without(m *fleet.IOModule, h *hostAt) hostAt {
	after, host := *h, *h.host
	host.NICs, host.Pools = m.Without(h.host, w.others(m, h.host.ID))
	after.host = &host
	return after
}

// others are the modules on a host beside m.
func (w *world) others(m *fleet.IOModule, host fleet.HostID) []*fleet.IOModule {
	var out []*fleet.IOModule
	for i := range w.p.Snapshot.Modules {
		if o := &w.p.Snapshot.Modules[i]; o.ID != m.ID && w.on[o.ID] == host {
			out = append(out, o)
		}
	}
	return out
}

// losing says what a VM on h would lose with m; "" when nothing. Of a host that could not be seen nothing is known.
func (w *world) losing(m *fleet.IOModule, h *hostAt) string {
	if h.host.Unreachable {
		return fmt.Sprintf("its host %s could not be seen", h.host.ID)
	}
	after := w.without(m, h)
	if r := after.nicRefusal(); r != "" {
		return fmt.Sprintf("%s: without it host %s has too little for the VMs there", r, h.host.ID)
	}
	ids := make([]fleet.VMID, 0, len(h.vms))
	for _, v := range h.vms {
		ids = append(ids, v.vm.ID)
	}
	slices.Sort(ids) // the first by name is told
	for _, id := range ids {
		v := w.vms[id]
		if c := v.need.NICClass; h.hasClass(c) && !after.hasClass(c) {
			return fmt.Sprintf("%s: without it host %s has no NIC of class %d for %s", ConstraintNICClass, h.host.ID, c, id)
		}
		if len(v.vm.VNICs) > 0 && len(h.host.NICs) > 0 && len(after.host.NICs) == 0 {
			return fmt.Sprintf("%s: without it host %s has no NIC at all for %s", ConstraintNICClass, h.host.ID, id)
		}
		for _, p := range v.pools() {
			if slices.Contains(h.host.Pools, p) && !slices.Contains(after.host.Pools, p) {
				return fmt.Sprintf("%s: without it host %s does not reach pool %s of %s", ConstraintPoolReach, h.host.ID, p, id)
			}
		}
	}
	return ""
}

// pools are those that the disks of v, and their backing chains, lie on.
func (v *vmAt) pools() []fleet.PoolID {
	var out []fleet.PoolID
	for i, d := range v.at.Disks {
		out = append(out, d.Pool)
		for _, l := range v.vm.Disks[i].Chain {
			if !v.flat[i] {
				out = append(out, l.Pool)
			}
		}
	}
	return out
}

// attach moves m to the host to, legal or not.
func (w *world) attach(m *fleet.IOModule, to fleet.HostID) {
	if from := w.hosts[w.on[m.ID]]; from != nil {
		after := w.without(m, from)
		from.host = after.host
	}
	h := w.hosts[to]
	host := *h.host
	host.NICs, host.Pools = m.With(h.host)
	h.host = &host
	w.on[m.ID] = to
}
