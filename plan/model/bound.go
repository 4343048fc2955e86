package model

import (
	"fmt"
	"slices"
	"strings"
)

// boundWork is what Bound spends at most on prices by host, in host-VM-resource steps: about half a second.
const boundWork = 300_000_000

// Bound says what every assignment that breaks no hard constraint costs at least, and what that is made of. Of a
// problem without such an assignment it says nothing. It is the greater of two bounds:
//
// by resource: the load above all headroom together, and the capacity stranded in all hosts together, each VM with the
// cheapest place by its class (see offers), VMs that have to move because of their group, and the fewest hosts in use.
// O(VMs log VMs).
//
// by host: the same with prices by host and resource, and capacities (see lagrange). As long as the work lasts.
func Bound(p *Problem) (Points, string) { return BoundWithin(p, boundWork) }

// BoundWithin is Bound with at most so many steps (host, VM, resource) spent on prices by host; 0 leaves them out.
// The result depends on the problem and work alone.
func BoundWithin(p *Problem, work int64) (Points, string) {
	if len(p.VMs) == 0 && len(p.Hosts) == 0 {
		return 0, "nothing to decide"
	}
	b := newBounder(p)
	total, why := b.byResource()
	group := b.groupMoves()
	if x, n := b.lagrange(total, work); x > total {
		total, why = x, []string{fmt.Sprintf("prices by host and resource %d (%d rounds)", x, n)}
	}
	if group > 0 {
		why = append(why, fmt.Sprintf("most moves of one group %d", group))
	}
	total += group
	if len(why) == 0 {
		return 0, "no term has to cost anything"
	}
	return max(0, total), strings.Join(why, " + ")
}

// bounder is what the parts of Bound share.
type bounder struct {
	p     *Problem
	off   []int32 // members of groups
	list  []int32
	of    []offer // by VM
	offer *offers
	// Uniform prices: alpha by resource (0 or Load), gamma by balance (0 or Weight), and what they come to as a price of
	// a unit of each resource, with the constant part.
	alpha, gamma []int64
	unit         []int64
	fixed        int64
}

func newBounder(p *Problem) *bounder {
	b := &bounder{p: p, of: make([]offer, len(p.VMs)), offer: newOffers(p)}
	b.off, b.list = p.members()
	for i := range p.VMs {
		b.of[i] = b.offer.of(&p.VMs[i])
	}
	b.uniform()
	return b
}

// uniform sets the uniform prices. For every alpha in [0, Load] the load of a host, Load*max(0, use-soft), is at least
// alpha*(use-soft), and for every gamma in [0, Weight] its balance is at least gamma*(target*free A - free B). Summed
// over hosts both are linear in the total use, which no assignment changes but by dropping VMs: a price of each unit
// that a VM asks for, and a constant. The better end of each interval is taken: that is load and balance of one
// host as great as all together.
func (b *bounder) uniform() {
	p, n := b.p, len(b.p.Resources)
	use, room, soft := make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range p.VMs {
		add(use, p.VMs[i].Demand)
	}
	for h := range p.Hosts {
		add(room, p.Hosts[h].Capacity)
		add(soft, p.Hosts[h].Soft)
	}
	b.alpha, b.gamma, b.unit = make([]int64, n), make([]int64, len(p.Balances)), make([]int64, n)
	for r := range p.Resources {
		if use[r] > soft[r] {
			b.alpha[r] = p.Resources[r].Load
			b.unit[r] += b.alpha[r]
			b.fixed -= b.alpha[r] * soft[r]
		}
	}
	var guard sum
	for k, w := range p.Balances {
		if w.Target*(room[w.A]-use[w.A]) <= room[w.B]-use[w.B] {
			continue
		}
		next := guard
		next.mul(w.Weight, w.Target*max(use[w.A], room[w.A]))
		next.mul(w.Weight, max(use[w.B], room[w.B]))
		if next.over || next.v > MaxSum/4 {
			continue // a bound without it is one too
		}
		guard = next
		b.gamma[k] = w.Weight
		b.unit[w.A] -= w.Weight * w.Target
		b.unit[w.B] += w.Weight
		b.fixed += w.Weight * (w.Target*room[w.A] - room[w.B])
	}
}

// priced is what v's demand comes to at the uniform prices.
func (b *bounder) priced(v *VM) int64 {
	x := int64(0)
	for r, d := range v.Demand {
		x += b.unit[r] * d
	}
	return x
}

// byResource is the first bound. Its parts may be summed: the uniform prices bound load and balance, the offers bound
// what VMs pay for themselves, forced bounds what some of them pay above their cheapest offer, and onBound bounds On,
// the only other term; the VMs that onBound counts pay onBound's share less for being dropped (see on.go).
func (b *bounder) byResource() (Points, []string) {
	on := b.onBound()
	total := b.fixed
	var own int64
	extra := make([]int64, len(b.of))
	for i := range b.of {
		o, v := b.of[i], &b.p.VMs[i]
		at := b.priced(v)
		drop := o.drop
		if drop != never {
			drop -= on.share[i]
		}
		others := min(plus(o.move, at), drop)
		best := min(plus(o.stay, at), others)
		if best == never {
			continue // no place at all: the problem has no solution
		}
		total += best
		own += min(o.stay, o.move, o.drop)
		if others != never {
			extra[i] = others - best
		}
	}
	forced := b.forced(extra)
	total += forced + on.cost
	if total <= 0 {
		return 0, nil
	}
	rest := total - forced - on.cost - own
	var why []string
	for _, x := range []struct {
		v    int64
		name string
	}{
		{rest, "load and balance of all hosts together"},
		{own, "each VM's cheapest place"},
		{forced, "moves that groups need"},
		{on.cost, fmt.Sprintf("%d hosts in use (by %s)", on.hosts, on.by)},
	} {
		if x.v != 0 {
			why = append(why, fmt.Sprintf("%s %d", x.name, x.v))
		}
	}
	return total, why
}

// forced adds, for each group, the least that those pay more who cannot stay: at least leavers(g) of its VMs take
// another offer than to stay, so that the smallest extras of so many are due. A VM is in one group only, so that groups
// may be summed.
func (b *bounder) forced(extra []int64) int64 {
	total := int64(0)
	var mine []int64
	for g := range b.p.Groups {
		vms := b.list[b.off[g]:b.off[g+1]]
		k := b.leavers(g, vms)
		if k == 0 {
			continue
		}
		mine = mine[:0]
		for _, i := range vms {
			if b.p.VMs[i].Initial != None {
				mine = append(mine, extra[i])
			}
		}
		slices.Sort(mine)
		for _, x := range mine[:min(k, len(mine))] {
			total += x
		}
	}
	return total
}

// leavers is how many VMs of group g cannot stay on their initial host, at least: for spread, each VM that leaves
// (or comes from nowhere) adds one domain at most, and each that is dropped lowers what is asked by one at most; for
// apart, of those in one domain either one that is to be apart stays, or only those that are not.
func (b *bounder) leavers(g int, vms []int32) int {
	p, group := b.p, &b.p.Groups[g]
	k, fresh := 0, 0
	var levels [MaxLevels]bool
	for _, i := range vms {
		v := &p.VMs[i]
		if v.Initial == None {
			fresh++
		}
		if v.Apart >= 0 {
			levels[v.Apart] = true
		}
	}
	count := map[int32]int{}
	strict := map[int32]int{}
	tally := func(level int) {
		clear(count)
		clear(strict)
		for _, i := range vms {
			if h := p.VMs[i].Initial; h != None {
				d := p.Hosts[h].Domain[level]
				count[d]++
				if int(p.VMs[i].Apart) == level {
					strict[d]++
				}
			}
		}
	}
	if group.Min > 1 && int(group.Min) <= len(vms) {
		tally(int(group.Level))
		k = max(k, int(group.Min)-len(count)-fresh)
	}
	for l, asked := range levels {
		if !asked || len(vms) < 2 {
			continue
		}
		tally(l)
		n := 0
		for d, c := range count {
			if s := strict[d]; s > 0 {
				n += c - max(1, c-s)
			}
		}
		k = max(k, n)
	}
	return k
}

// groupMoves bounds GroupMove: a VM that can neither stay nor be dropped moves.
func (b *bounder) groupMoves() Points {
	if b.p.GroupMove == 0 {
		return 0
	}
	most := 0
	for g := range b.p.Groups {
		vms := b.list[b.off[g]:b.off[g+1]]
		n, drops := 0, false
		for _, i := range vms {
			drops = drops || b.p.VMs[i].mayDrop()
			if o := b.of[i]; b.p.VMs[i].Initial != None && o.stay == never && o.drop == never {
				n++
			}
		}
		if !drops {
			n = max(n, b.leavers(g, vms))
		}
		most = max(most, n)
	}
	return b.p.GroupMove * int64(most)
}

// ceilDiv rounds up; b is positive.
func ceilDiv(a, b int64) int64 {
	if a <= 0 {
		return 0
	}
	return (a-1)/b + 1
}
