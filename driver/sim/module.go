package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Operations on I/O modules.
const (
	OpLocateModule Op = "locate module"
	OpAttach       Op = "attach module"
)

// LocateModule says which host the module of a is attached to now; "" for none.
func (f *Fleet) LocateModule(ctx context.Context, a fleet.Attachment) (fleet.HostID, error) {
	var at fleet.HostID
	err := f.operate(ctx, OpLocateModule, "", func() error {
		m, err := f.module(a, OpLocateModule)
		if err == nil {
			at = m.Host
		}
		return err
	})
	return at, err
}

// AttachModule takes the module of a off the host that it is on, and puts it on a.To: in two operations, so that a
// caller can die between them. A module that is on a.To already stays there.
func (f *Fleet) AttachModule(ctx context.Context, a fleet.Attachment) error {
	err := f.operate(ctx, OpAttach, "", func() error {
		m, err := f.module(a, OpAttach)
		if err != nil {
			return err
		}
		to := f.hostOf(a.To)
		switch _, known := slices.BinarySearch(m.AttachableTo, a.To); {
		case to == nil || !known:
			return moduleError(OpAttach, m.ID, "cannot be attached to host %s", a.To)
		case to.Unreachable:
			return moduleError(OpAttach, m.ID, "host %s does not answer", a.To)
		case m.Host != "" && m.Host != a.To && m.Host != a.From:
			return moduleError(OpAttach, m.ID, "is on host %s, expected %s", m.Host, a.From)
		case m.Host != "" && m.Host != a.To:
			f.unplug(m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.operate(ctx, OpAttach, "", func() error {
		m, err := f.module(a, OpAttach)
		if err != nil || m.Host == a.To {
			return err
		}
		host := *f.hostOf(a.To)
		host.NICs, host.Pools = m.With(&host)
		f.hosts[handle(host.Ref, string(host.ID))] = &host
		m.Host = host.ID
		return nil
	})
}

func moduleError(op Op, id fleet.ModuleID, format string, args ...any) error {
	return &fleet.DriverError{Kind: fleet.Permanent, Op: string(op) + " " + string(id), Err: fmt.Errorf(format, args...)}
}

func (f *Fleet) module(a fleet.Attachment, op Op) (*fleet.IOModule, error) {
	i := slices.IndexFunc(f.modules, func(m fleet.IOModule) bool {
		return handle(m.Ref, string(m.ID)) == handle(a.Module.Ref, string(a.Module.ID))
	})
	if i < 0 {
		return nil, moduleError(op, a.Module.ID, "%w", fleet.ErrNotFound)
	}
	return &f.modules[i], nil
}

func (f *Fleet) hostOf(id fleet.HostID) *fleet.Host {
	if h := f.base.Host(id); h != nil {
		return f.hosts[handle(h.Ref, string(h.ID))]
	}
	return nil
}

// unplug takes m off its host. What a guest there loses by it is a violation.
func (f *Fleet) unplug(m *fleet.IOModule) {
	host := *f.hostOf(m.Host)
	var others []*fleet.IOModule
	for i := range f.modules {
		if o := &f.modules[i]; o != m && o.Host == m.Host {
			others = append(others, o)
		}
	}
	host.NICs, host.Pools = m.Without(&host, others)
	at := handle(host.Ref, string(host.ID))
	for _, h := range f.order {
		g := f.guests[h]
		if g == nil || g.defs[at] == nil {
			continue
		}
		for i, d := range g.defs[at].disks {
			if pool := f.pools[d.pool].ID; slices.Contains(f.hosts[at].Pools, pool) && !slices.Contains(host.Pools, pool) {
				f.violate("vm %s disk %s: module %s left host %s, which does not reach pool %s now", g.vm.ID, g.vm.Disks[i].ID, m.ID, host.ID, pool)
			}
		}
	}
	f.hosts[at] = &host
	m.Host = ""
}

// observeModules lists the modules of a source as they are now.
func (f *Fleet) observeModules(id fleet.SourceID, out *fleet.Snapshot) {
	for _, m := range f.modules {
		if m.Source == id {
			m.Ref = handle(m.Ref, string(m.ID))
			m.NICs, m.Pools, m.AttachableTo = slices.Clone(m.NICs), slices.Clone(m.Pools), slices.Clone(m.AttachableTo)
			out.Modules = append(out.Modules, m)
		}
	}
}
