package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// Bounds of one step of the climber.
const (
	maxRuin   = 4  // VMs taken off a host for one that wants to come
	maxEmpty  = 16 // VMs of a host that is emptied
	maxProbes = 8  // hosts looked at for a better one
	stopEvery = 64 // steps between two questions whether to stop
)

// climb takes a few VMs off their hosts and has the placer put each at its cheapest place, again and again, and keeps what
// costs less. The placer knows all rules of the model and its exact prices, moves included, so that every answer is legal.
// A step is one such try. It gives the best answer found; `from` when there is no better one.
func climb(p *model.Problem, from *model.Assignment, seed uint64, steps int64, stop func() bool) (*model.Assignment, error) {
	at, err := online.New(p, from, online.Options{Candidates: enoughPlaces, Score: online.WorstFit})
	if err != nil {
		return nil, err
	}
	l := newLedger(p)
	l.load(from.Clone())
	c := &climber{ledger: l, at: at, rnd: seed ^ 0x9e3779b97f4a7c15, left: steps, stop: stop}
	c.find()
	c.sweep()
	for len(c.hot) > 0 && !c.over() {
		c.step()
	}
	if c.err != nil {
		return nil, c.err
	}
	return &model.Assignment{Host: c.host, Pool: c.pools}, nil
}

// climber is one run of climb. Its ledger has the present answer but for the room of pools, which the placer knows.
type climber struct {
	*ledger
	at   *online.Placer
	rnd  uint64
	left int64
	stop func() bool
	hot  []int          // VMs that could cost less elsewhere, or are on a host that costs
	paid []model.HostIx // hosts that cost, at the start
	gain int64          // of the try under way
	log  []taken
	err  error // of the placer: the answer is of no use then
}

// taken is a VM that the try under way has taken off its place.
type taken struct {
	vm    int
	host  model.HostIx
	pools []model.PoolIx
	put   bool
}

func (c *climber) over() bool {
	if c.left--; c.left < 0 || c.err != nil {
		return true
	}
	return c.left%stopEvery == 0 && c.stop != nil && c.stop()
}

// next is splitmix64.
func (c *climber) next() uint64 {
	c.rnd += 0x9e3779b97f4a7c15
	z := c.rnd
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (c *climber) below(n int) int { return int(c.next() % uint64(n)) } //nolint:gosec // n is a length

// find lists the VMs that are worth a try, those that could save most first.
func (c *climber) find() {
	costs := make([]bool, len(c.p.Hosts))
	for h := range c.p.Hosts {
		if c.hostCost(model.HostIx(h), c.use, c.count[h]) > 0 { // fewer hosts than 2^31
			costs[h] = true
			if c.count[h] > 0 {
				c.paid = append(c.paid, model.HostIx(h))
			}
		}
	}
	saves := make([]int64, len(c.p.VMs))
	fit, pool := least(c.p.Fit), least(c.p.PoolFit)
	for i := range c.p.VMs {
		v := &c.p.VMs[i]
		if v.Fixed {
			continue
		}
		saves[i] = c.potential(v, fit, pool)
		if saves[i] > 0 || costs[c.host[i]] {
			c.hot = append(c.hot, i)
		}
	}
	if int64(len(c.hot)) > c.left { // not all will have their turn: a host that is glad when one leaves counts too
		for _, i := range c.hot {
			saves[i] += c.relief(i)
		}
	}
	slices.SortStableFunc(c.hot, func(a, b int) int { return cmp.Compare(saves[b], saves[a]) })
}

// relief is what the host of VM i comes to cost less without it, its move paid.
func (c *climber) relief(i int) int64 {
	v, h := &c.p.VMs[i], c.host[i]
	price := v.Move[model.HostChange]
	if price == model.Forbidden {
		return 0
	}
	with := c.hostCost(h, c.use, c.count[h])
	c.charge(c.use, h, v.Demand, -1)
	without := c.hostCost(h, c.use, c.count[h]-1)
	c.charge(c.use, h, v.Demand, 1)
	return with - without - price
}

// sweep tries every VM that is worth it once.
func (c *climber) sweep() {
	for _, i := range c.hot {
		if c.over() {
			return
		}
		c.try(i)
	}
}

// step is one random try.
func (c *climber) step() {
	i := c.hot[c.below(len(c.hot))]
	switch kind := c.below(8); {
	case kind < 2:
		c.try(i)
	case kind == 2 && len(c.paid) > 0:
		c.empty(c.paid[c.below(len(c.paid))])
	case kind < 5 && len(c.paid) > 0:
		c.try(append([]int{i}, c.some(c.paid[c.below(len(c.paid))], i)...)...)
	default:
		if h := c.better(i); h != model.None {
			c.try(append([]int{i}, c.some(h, i)...)...)
		}
	}
}

// better is a random host that would be cheaper for VM i by itself, or one of its own class; None when none is met.
func (c *climber) better(i int) model.HostIx {
	v := &c.p.VMs[i]
	row := c.p.Fit[v.Class]
	now := row[c.p.Hosts[c.host[i]].Class]
	for range maxProbes {
		h := model.HostIx(c.below(len(c.p.Hosts))) //nolint:gosec // fewer hosts than 2^31
		if x := row[c.p.Hosts[h].Class]; c.p.Hosts[h].Open && h != c.host[i] && x != model.Forbidden && x <= now {
			return h
		}
	}
	return model.None
}

// some picks a few VMs of a host at random, i apart.
func (c *climber) some(h model.HostIx, i int) []int {
	on := c.at.VMsOn(h)
	if len(on) == 0 {
		return nil
	}
	var out []int
	for range 1 + c.below(maxRuin) {
		if j := int(on[c.below(len(on))]); j != i && !c.p.VMs[j].Fixed && !slices.Contains(out, j) {
			out = append(out, j)
		}
	}
	return out
}

// empty tries to bring all VMs of a host elsewhere.
func (c *climber) empty(h model.HostIx) {
	on := c.at.VMsOn(h)
	if len(on) == 0 || len(on) > maxEmpty || !c.p.Hosts[h].Open {
		return
	}
	list := make([]int, 0, len(on))
	for _, i := range on {
		if c.p.VMs[i].Fixed {
			return
		}
		list = append(list, int(i))
	}
	slices.SortFunc(list, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.p.VMs[b].Demand[memoryResource], c.p.VMs[a].Demand[memoryResource]), cmp.Compare(a, b))
	})
	c.tryOff(h, list)
}

// try takes the VMs off and puts them where they are cheapest, in this order; when that does not cost less, it puts all
// back.
func (c *climber) try(list ...int) { c.tryOff(model.None, list) }

func (c *climber) tryOff(off model.HostIx, list []int) {
	c.gain, c.log = 0, c.log[:0]
	for _, i := range list {
		c.take(i)
	}
	ok := true
	for n := range c.log {
		i := c.log[n].vm
		d, found := c.decide(i, off)
		if !found || c.at.CommitAt(i, d) != nil {
			ok = false
			break
		}
		c.log[n].put = true
		c.put(i, d.Host, d.Pools)
	}
	if ok && c.gain > 0 {
		return
	}
	for n := range c.log {
		if c.log[n].put {
			c.lift(c.log[n].vm)
		}
	}
	for n := len(c.log) - 1; n >= 0; n-- {
		t := &c.log[n]
		if err := c.at.Restore(t.vm, t.host, t.pools); err != nil {
			c.err = err
			return
		}
		c.put(t.vm, t.host, t.pools)
	}
}

func (c *climber) decide(i int, off model.HostIx) (online.Decision, bool) {
	if off == model.None {
		return c.at.PlaceWaiting(i)
	}
	return c.at.PlaceWaitingOn(i, func(h model.HostIx) bool { return h != off })
}

// take takes VM i off its place and remembers it.
func (c *climber) take(i int) {
	c.log = append(c.log, taken{vm: i, host: c.host[i], pools: slices.Clone(c.pools[i])})
	c.lift(i)
}

func (c *climber) lift(i int) {
	h := c.host[i]
	c.gain += c.own(i, false) + c.hostCost(h, c.use, c.count[h])
	c.charge(c.use, h, c.p.VMs[i].Demand, -1)
	c.count[h]--
	c.gain -= c.hostCost(h, c.use, c.count[h])
	if err := c.at.Displace(i); err != nil {
		c.err = err
	}
}

// put enters VM i where the placer has it.
func (c *climber) put(i int, h model.HostIx, pools []model.PoolIx) {
	c.gain += c.hostCost(h, c.use, c.count[h])
	c.charge(c.use, h, c.p.VMs[i].Demand, 1)
	c.count[h]++
	c.host[i] = h
	copy(c.pools[i], pools)
	c.gain -= c.own(i, false) + c.hostCost(h, c.use, c.count[h])
}
