package plan

import (
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// kept is the witness of one failure as it was.
type kept struct {
	of             int32
	survived       bool
	plan, old      []refuge
	unsaved, stuck []int32
}

// Attach moves an I/O module to a host: a failure that counted on what it brought, or that takes another host now, is settled anew,
// and Broke says whether one is lost. back takes it back, in the reverse order of all that came after it.
func (r *Reserve) Attach(m *fleet.IOModule, to fleet.HostID) (back func()) {
	from := r.w.on[m.ID]
	ends := r.ends(from, to)
	hosts := make([]*fleet.Host, len(ends))
	for i, h := range ends {
		hosts[i] = r.hosts[h].at.host
		r.unreached(h)
	}
	r.w.attach(m, to)
	for _, h := range ends {
		r.reached(h)
	}
	added := r.moveCase(m, from, to)
	saved := r.keepCases(ends)
	for _, s := range saved {
		if f := &r.cases[s.of]; f.module != nil && f.module.ID == m.ID {
			s.survived, f.survived = false, false // another failure than before: those whom it hits now were no better off
		}
		r.resettle(s)
	}
	return func() {
		for i, h := range ends {
			r.unreached(h)
			r.hosts[h].at.host = hosts[i]
			r.reached(h)
		}
		r.w.on[m.ID] = from
		for _, s := range saved {
			r.restore(s)
		}
		if added {
			r.dropCase()
		} else {
			r.moveCase(m, to, from)
		}
		for _, s := range r.keepCases(ends) {
			if !slices.ContainsFunc(saved, func(o kept) bool { return o.of == s.of }) {
				r.resettle(s)
			}
		}
	}
}

// ends are the indexes of those of the hosts that there are.
func (r *Reserve) ends(ids ...fleet.HostID) []int32 {
	var out []int32
	for _, id := range ids {
		if h := r.Host(id); h >= 0 {
			out = append(out, int32(h)) // counted by newReserve
		}
	}
	return out
}

// unreached takes h off the lists of its pools, reached enters it.
func (r *Reserve) unreached(h int32) {
	for _, p := range r.hosts[h].at.host.Pools {
		r.reach[p] = slices.DeleteFunc(slices.Clone(r.reach[p]), func(o int32) bool { return o == h })
	}
}

func (r *Reserve) reached(h int32) {
	if _, open := slices.BinarySearch(r.open, h); !open {
		return
	}
	for _, p := range r.hosts[h].at.host.Pools {
		if at, ok := slices.BinarySearch(r.reach[p], h); !ok {
			r.reach[p] = slices.Insert(slices.Clone(r.reach[p]), at, h)
		}
	}
}

// moveCase has the loss of m hit the host that it is attached to now. One that was attached nowhere was no failure before: it is one
// from now on, and moveCase says so.
func (r *Reserve) moveCase(m *fleet.IOModule, from, to fleet.HostID) (added bool) {
	if !slices.Contains(r.w.p.Reserve.Over, policy.LossModule) {
		return false
	}
	ends := r.ends(to)
	k := slices.IndexFunc(r.cases, func(f failure) bool { return f.module != nil && f.module.ID == m.ID })
	switch {
	case len(ends) == 0 || r.hosts[ends[0]].at.host.Unreachable:
	case k < 0:
		k = len(r.cases)
		r.cases = append(r.cases, failure{Loss: policy.LossModule, name: string(m.ID), hosts: ends, module: m})
		r.hosts[ends[0]].cases = append(r.hosts[ends[0]].cases, int32(k)) // no more than hosts, chassis and modules
		return true
	default:
		for _, h := range r.ends(from) {
			r.hosts[h].cases = drop(r.hosts[h].cases, int32(k))
		}
		r.cases[k].hosts = ends
		r.hosts[ends[0]].cases = append(r.hosts[ends[0]].cases, int32(k))
		slices.Sort(r.hosts[ends[0]].cases)
	}
	return false
}

// dropCase forgets the last failure.
func (r *Reserve) dropCase() {
	k := int32(len(r.cases) - 1) // counted by moveCase
	r.release(k)
	for _, h := range r.cases[k].hosts {
		r.hosts[h].cases = drop(r.hosts[h].cases, k)
	}
	r.cases = r.cases[:k]
	is := func(o int32) bool { return o == k }
	r.failed, r.waived = slices.DeleteFunc(r.failed, is), slices.DeleteFunc(r.waived, is)
}

// keepCases copies the witnesses of the failures that hit one of the hosts, count on one, or leave somebody without a place whom one may
// help now.
func (r *Reserve) keepCases(hosts []int32) []kept {
	var out []kept
	for k := range r.cases {
		f := &r.cases[k]
		if len(f.stuck) == 0 && !slices.ContainsFunc(f.hosts, func(h int32) bool { return slices.Contains(hosts, h) }) &&
			!slices.ContainsFunc(f.plan, func(g refuge) bool { return slices.Contains(hosts, g.host) }) {
			continue
		}
		out = append(out, kept{int32(k), f.survived, slices.Clone(f.plan), slices.Clone(f.old), slices.Clone(f.unsaved), slices.Clone(f.stuck)})
	}
	return out
}

// resettle settles a failure anew. That it is not survived only because somebody could be helped who could not before is no fault;
// that somebody whom it had a place for can now go nowhere at all is one.
func (r *Reserve) resettle(s kept) {
	n := len(r.failed)
	r.settle(s.of)
	f := &r.cases[s.of]
	lost := slices.DeleteFunc(slices.Clone(f.stuck), func(v int32) bool { return slices.Contains(s.stuck, v) })
	if s.survived && len(lost) > 0 {
		for _, v := range lost {
			f.stuck = drop(f.stuck, v)
		}
		r.release(s.of)
		f.unsaved = append(f.unsaved, lost...)
		if f.survived {
			f.survived = false
			r.failed = append(r.failed, s.of)
		}
		return
	}
	if len(r.failed) > n && slices.ContainsFunc(r.cases[s.of].unsaved, func(v int32) bool { return slices.Contains(s.stuck, v) }) {
		r.failed, r.waived = r.failed[:n], append(r.waived, s.of)
	}
}

// restore puts a witness back as it was.
func (r *Reserve) restore(s kept) {
	r.release(s.of)
	f := &r.cases[s.of]
	f.survived, f.old, f.unsaved, f.stuck = s.survived, s.old, s.unsaved, s.stuck
	for _, g := range s.plan {
		f.plan = append(f.plan, g)
		r.book(s.of, g, 1)
	}
	is := func(o int32) bool { return o == s.of }
	r.failed, r.waived = slices.DeleteFunc(r.failed, is), slices.DeleteFunc(r.waived, is)
}
