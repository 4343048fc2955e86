package model

import (
	"fmt"
	"slices"
)

// MaxViolations bounds what Verify and Worse report.
const MaxViolations = 1000

// Verify says which hard constraints a breaks, at most MaxViolations of them, in an order that depends on the problem
// and a alone. Nil: none. It judges a for itself, whatever the initial places break; Worse forgives those. The problem
// must have been validated. Where a is none of this problem's, that is the only violation.
func Verify(p *Problem, a *Assignment) []Violation {
	var out []Violation
	p.faults(a, func(f *fault) bool {
		out = append(out, f.violation())
		return len(out) < MaxViolations
	})
	return out
}

// Worse is Verify but for what the initial places (Start) break at least as much: a host that was too full and is no
// fuller, a VM that stays where it does not fit. Only what is worse than before is a fault of the assignment.
func Worse(p *Problem, a *Assignment) []Violation {
	before := map[key]int64{}
	broken := false
	p.faults(a, func(*fault) bool { broken = true; return false })
	if !broken {
		return nil
	}
	p.faults(p.Start(), func(f *fault) bool {
		before[f.key] = max(before[f.key], f.amount)
		return true
	})
	var out []Violation
	p.faults(a, func(f *fault) bool {
		was, ok := before[f.key]
		if ok && f.amount <= was && (f.rule != NICRule || !p.nicComers(a, f.host)) {
			return true
		}
		out = append(out, f.violation())
		return len(out) < MaxViolations
	})
	return out
}

// nicComers says whether a VM that reserves a part of a NIC came to h.
func (p *Problem) nicComers(a *Assignment, h HostIx) bool {
	for i := range p.VMs {
		if a.Host[i] == h && p.VMs[i].Initial != h && len(p.VMs[i].NICs) > 0 {
			return true
		}
	}
	return false
}

// key is what a fault is of, so that the same one can be found in the initial places. Host and pool capacity and their
// transient form are one: what leaves a host that was too full counts there for as long as it moves, which is no more
// than it was.
type key struct {
	rule    string
	a, b, c int
}

// fault is a violation before it is put in words. Amount is by how much: worse is more.
type fault struct {
	key
	rule   string
	amount int64
	vm     int
	host   HostIx
	pool   PoolIx
	detail func() string
}

func (f *fault) violation() Violation {
	return Violation{Constraint: f.rule, VM: f.vm, Host: f.host, Pool: f.pool, Detail: f.detail()}
}

// faults calls yield with each fault until it says false.
func (p *Problem) faults(a *Assignment, yield func(*fault) bool) {
	if err := p.shape(a); err != nil {
		yield(&fault{rule: ShapeRule, vm: None, host: None, pool: None, amount: 1, detail: err.Error})
		return
	}
	t := p.tally(a)
	_ = t.capacity(yield) && t.pools(yield) && p.vmFaults(a, yield) && p.groupFaults(a, yield) && p.nicFaults(a, yield)
}

func (t *tally) capacity(yield func(*fault) bool) bool {
	p, n := t.p, len(t.p.Resources)
	for h := range p.Hosts {
		for r := range n {
			use, limit := t.use[h*n+r], p.Hosts[h].Capacity[r]
			held, rule := int64(0), CapacityRule
			if p.Resources[r].Transient {
				held = t.leaving[h*n+r]
			}
			if use+held <= limit {
				continue
			}
			if use <= limit {
				rule = TransientRule
			}
			ok := yield(&fault{
				key: key{CapacityRule, h, r, 0}, rule: rule, amount: use + held - limit, vm: None, host: HostIx(h), pool: None,
				detail: func() string { return overfull(p.Resources[r].Name, use, held, 0, limit) },
			})
			if !ok {
				return false
			}
		}
	}
	return true
}

func (t *tally) pools(yield func(*fault) bool) bool {
	p, n := t.p, len(t.p.PoolResources)
	for s := range p.Pools {
		for r := range n {
			base, limit := p.Pools[s].Base[r], p.Pools[s].Capacity[r]
			use, held, rule := t.poolUse[s*n+r]+t.stuck[s*n+r], int64(0), PoolRule
			if p.PoolResources[r].Transient {
				held = t.poolHeld[s*n+r] - t.stuck[s*n+r]
			}
			if over := base + use + held - limit; over <= 0 || use+held == 0 {
				continue // full by the use of others alone, which no assignment mends
			}
			if base+use <= limit {
				rule = TransientRule
			}
			ok := yield(&fault{
				key: key{PoolRule, s, r, 0}, rule: rule, amount: base + use + held - limit, vm: None, host: None, pool: PoolIx(s),
				detail: func() string { return overfull(p.PoolResources[r].Name, use, held, base, limit) },
			})
			if !ok {
				return false
			}
		}
	}
	return true
}

func overfull(name string, use, held, base, limit int64) string {
	s := fmt.Sprintf("%s: %d used", name, use)
	if held > 0 {
		s += fmt.Sprintf(", %d held by what leaves", held)
	}
	if base > 0 {
		s += fmt.Sprintf(", %d used by others", base)
	}
	return s + fmt.Sprintf(" of %d", limit)
}

// vmFaults judges each VM by itself.
func (p *Problem) vmFaults(a *Assignment, yield func(*fault) bool) bool {
	for i := range p.VMs {
		v, h := &p.VMs[i], a.Host[i]
		if !p.vmFault(i, h, a.Pool[i], yield) {
			return false
		}
		for j := range v.Disks {
			if !p.diskFault(i, j, h, a.Pool[i][j], yield) {
				return false
			}
		}
	}
	return true
}

// one is a fault of VM i alone.
func one(rule string, i, j int, h HostIx, s PoolIx, detail func() string) *fault {
	return &fault{
		key:  key{rule, i, j, int(h)<<32 | int(uint32(s))}, //nolint:gosec // both are 32 bits wide, None too
		rule: rule, amount: 1, vm: i, host: h, pool: s, detail: detail,
	}
}

func (p *Problem) vmFault(i int, h HostIx, pools []PoolIx, yield func(*fault) bool) bool {
	v := &p.VMs[i]
	if v.Fixed && h != v.Initial &&
		!yield(one(FixedRule, i, 0, h, None, func() string { return fmt.Sprintf("must stay on host %d", v.Initial) })) {
		return false
	}
	if h == None {
		return v.Drop != 0 || v.Initial == None || v.Fixed ||
			yield(one(DropRule, i, 0, h, None, func() string { return "must have a host" }))
	}
	host := &p.Hosts[h]
	if p.Fit[v.Class][host.Class] == Forbidden && !yield(one(FitRule, i, 0, h, None, func() string {
		return fmt.Sprintf("class %d does not fit host class %d", v.Class, host.Class)
	})) {
		return false
	}
	if !host.Open && h != v.Initial &&
		!yield(one(OpenRule, i, 0, h, None, func() string { return "the host takes nothing" })) {
		return false
	}
	if v.Initial == None {
		return true
	}
	change := 0
	if h != v.Initial {
		change = HostChange
	}
	for j := range v.Disks {
		if d := &v.Disks[j]; d.Initial != None && pools[j] != d.Initial {
			change |= DiskChange
		}
	}
	return v.Move[change] != Forbidden || yield(one(MoveRule, i, 0, h, None, func() string {
		return "cannot change " + [...]string{"", "its host", "its pools", "host and pools at once"}[change]
	}))
}

func (p *Problem) diskFault(i, j int, h HostIx, s PoolIx, yield func(*fault) bool) bool {
	d := &p.VMs[i].Disks[j]
	say := func(format string, args ...any) func() string {
		return func() string { return fmt.Sprintf("disk %d: ", j) + fmt.Sprintf(format, args...) }
	}
	if d.Fixed && s != d.Initial && !yield(one(FixedRule, i, j+1, h, s, say("must stay in pool %d", d.Initial))) {
		return false
	}
	if h == None {
		return s == d.Initial || d.Fixed ||
			yield(one(DropRule, i, j+1, h, s, say("its VM has no host, so it stays where it was")))
	}
	if s == None {
		return yield(one(ReachRule, i, j+1, h, s, say("has no pool")))
	}
	if p.PoolFit[d.Class][p.Pools[s].Class] == Forbidden &&
		!yield(one(FitRule, i, j+1, h, s, say("class %d does not fit pool class %d", d.Class, p.Pools[s].Class))) {
		return false
	}
	if !p.Pools[s].Open && s != d.Initial && !yield(one(OpenRule, i, j+1, h, s, say("the pool takes nothing"))) {
		return false
	}
	if _, ok := slices.BinarySearch(p.Hosts[h].Pools, s); !ok {
		return yield(one(ReachRule, i, j+1, h, s, say("the host does not reach the pool")))
	}
	return true
}

// nicFaults packs the NICs of every host on which a VM reserves a part of one.
func (p *Problem) nicFaults(a *Assignment, yield func(*fault) bool) bool {
	// Needs by host, as one array with offsets.
	off := make([]int32, len(p.Hosts)+1)
	for i, h := range a.Host {
		if h != None {
			off[h+1] += int32(len(p.VMs[i].NICs)) //nolint:gosec // Validate bounds the sum
		}
	}
	for h := range p.Hosts {
		off[h+1] += off[h]
	}
	needs := make([]NICNeed, off[len(p.Hosts)])
	at := slices.Clone(off)
	for i, h := range a.Host {
		if h != None {
			at[h] += int32(copy(needs[at[h]:], p.VMs[i].NICs)) //nolint:gosec // as above
		}
	}
	var pack Packer
	for h := range p.Hosts {
		mine := needs[off[h]:off[h+1]]
		if len(mine) == 0 || pack.Pack(p.Hosts[h].NICs, mine) {
			continue
		}
		ok := yield(&fault{
			key: key{NICRule, h, 0, 0}, rule: NICRule, amount: 1, vm: None, host: HostIx(h), pool: None,
			detail: func() string {
				return fmt.Sprintf("no way found to give %d needs their part of %d NICs", len(mine), len(p.Hosts[h].NICs))
			},
		})
		if !ok {
			return false
		}
	}
	return true
}
