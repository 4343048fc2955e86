package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// index finds hosts by what is fixed of them (source, tier, security class, hypervisor, processor, shared pools: a bucket) and by
// what is free on them (a tree over the hosts of a bucket), without looking at every host.
type index struct {
	buckets []bucket
	bySrc   map[fleet.SourceID][]int // buckets of a source, lowest tier first
	byPool  map[poolIx][]int         // buckets whose hosts share a pool
	tops    map[fleet.SourceID][]top // of bySrc, beside one another: most buckets are passed over by a look at these
}

// top is the most that a host of a bucket has free.
type top struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	tier   policy.Rank
	queues queueSlack
}

// queueSlack is, by class, how many queues more one need of that class may ask for before what is reserved of some class passes what
// there is of it; -1 where it does already. At most 2^31-1.
type queueSlack [fleet.MaxNICClass + 1]int32

var noSlack = func() (q queueSlack) {
	for c := range q {
		q[c] = -1
	}
	return q
}()

func (q *queueSlack) rise(o *queueSlack) {
	for c := range q {
		q[c] = max(q[c], o[c])
	}
}

// lacks says whether no host below t has what a asks for.
func (t *top) lacks(a *amount) bool {
	return t.cpu < a.cpu || t.memory < a.memory || a.queues > 0 && fleet.Queues(t.queues[a.class]) < a.queues
}

type bucket struct {
	source   fleet.SourceID
	tier     policy.Rank
	security int
	shared   []poolIx    // pools that several hosts reach, and all hosts of the bucket do
	local    policy.Rank // highest tier of a pool that one host of the bucket has for itself
	hosts    []hostIx
	top      int        // of its source's tops
	tree     []treeNode // 1-based heap order; leaves from len/2
	freed    int        // the state's clock when a host of it, or a pool of one, was last left by anything
}

// treeNode holds the most that any host below it has free.
type treeNode struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	score  int64 // headroom
	queues queueSlack
	rate   [fleet.MaxNICClass + 1]fleet.Mbps // left on NICs of the class or above
}

// amount is what a host must have free at least to be looked at.
type amount struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	class  fleet.NICClass
	queues fleet.Queues
	fast   fleet.NICClass // the class of rate
	rate   fleet.Mbps
}

func (n *treeNode) has(a *amount) bool {
	return n.cpu >= a.cpu && n.memory >= a.memory && (a.queues == 0 || fleet.Queues(n.queues[a.class]) >= a.queues) &&
		(a.rate == 0 || n.rate[0] >= a.rate && n.rate[a.fast] >= a.rate)
}

func newIndex(s *state) index {
	ix := index{bySrc: map[fleet.SourceID][]int{}, byPool: map[poolIx][]int{}, tops: map[fleet.SourceID][]top{}}
	byKey := map[string]int{}
	for i := range s.hosts {
		h := &s.hosts[i]
		h.bucket = none
		if !h.open {
			continue
		}
		var shared []poolIx
		var key strings.Builder
		fmt.Fprintf(&key, "%s\x00%d\x00%d\x00%s\x00%q\x00%q", h.snap.Source, h.facts.Tier, h.facts.Security, h.snap.Hypervisor, h.snap.Guests,
			h.snap.CPUBaselines)
		for _, p := range h.pools {
			if len(s.pools[p].hosts) > 1 {
				shared = append(shared, p)
				fmt.Fprintf(&key, "\x00%d", p)
			}
		}
		b, ok := byKey[key.String()]
		if !ok {
			b = len(ix.buckets)
			byKey[key.String()] = b
			ix.buckets = append(ix.buckets, bucket{source: h.snap.Source, tier: h.facts.Tier, security: h.facts.Security, shared: shared})
		}
		h.bucket, h.slot = b, len(ix.buckets[b].hosts)
		ix.buckets[b].hosts = append(ix.buckets[b].hosts, hostIx(i)) // fewer hosts than 2^31
		for _, p := range h.pools {
			if len(s.pools[p].hosts) == 1 {
				ix.buckets[b].local = max(ix.buckets[b].local, s.pools[p].facts.Tier)
			}
		}
	}
	ix.plant(s)
	return ix
}

// plant orders the buckets and grows their trees.
func (ix *index) plant(s *state) {
	for i := range ix.buckets {
		b := &ix.buckets[i]
		ix.bySrc[b.source] = append(ix.bySrc[b.source], i)
		for _, p := range b.shared {
			ix.byPool[p] = append(ix.byPool[p], i)
		}
		n := 1
		for n < len(b.hosts) {
			n *= 2
		}
		b.tree = slices.Repeat([]treeNode{{cpu: -1 << 62, memory: -1 << 62, score: -1 << 62}}, 2*n)
		for j, h := range b.hosts {
			b.tree[n+j] = s.leaf(&s.hosts[h])
		}
		for j := n - 1; j > 0; j-- {
			b.tree[j] = join(&b.tree[2*j], &b.tree[2*j+1])
		}
	}
	for source, list := range ix.bySrc {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(ix.buckets[a].tier, ix.buckets[b].tier) })
		ix.tops[source] = make([]top, len(list))
		for n, i := range list {
			ix.buckets[i].top = n
			ix.surface(&ix.buckets[i])
		}
	}
}

// surface notes the top of b.
func (ix *index) surface(b *bucket) {
	ix.tops[b.source][b.top] = top{b.tree[1].cpu, b.tree[1].memory, b.tier, b.tree[1].queues}
}

func (s *state) leaf(h *hostState) treeNode {
	n := treeNode{cpu: h.freeCPU(), memory: h.freeMemory(), score: h.headroom()}
	n.queues = h.queueSlack()
	for c := range n.rate {
		n.rate[c] = h.nics.room[c].rate - h.nics.need[c].rate
	}
	return n
}

func join(a, b *treeNode) treeNode {
	n := treeNode{cpu: max(a.cpu, b.cpu), memory: max(a.memory, b.memory), score: max(a.score, b.score), queues: a.queues}
	n.queues.rise(&b.queues)
	for c := range n.rate {
		n.rate[c] = max(a.rate[c], b.rate[c])
	}
	return n
}

func (ix *index) update(s *state, h hostIx) {
	host := &s.hosts[h]
	if host.bucket == none || len(ix.buckets) == 0 {
		return
	}
	b := &ix.buckets[host.bucket]
	i := len(b.tree)/2 + host.slot
	b.tree[i] = s.leaf(host)
	for i /= 2; i > 0; i /= 2 {
		b.tree[i] = join(&b.tree[2*i], &b.tree[2*i+1])
	}
	ix.surface(b)
}

// left notes that something has left h.
func (s *state) left(h hostIx) {
	s.clock++
	if b := s.hosts[h].bucket; b != none && len(s.index.buckets) > 0 {
		s.index.buckets[b].freed = s.clock
	}
}

// leftPool notes that something has left p.
func (s *state) leftPool(p poolIx) {
	if hosts := s.pools[p].hosts; len(hosts) == 1 {
		s.left(hosts[0])
		return
	}
	s.clock++
	for _, b := range s.index.byPool[p] {
		s.index.buckets[b].freed = s.clock
	}
}

// walk calls visit with the hosts of b that have the amount a free, those with most headroom first, until
// visit says stop. The queue is handed in to be used again.
func (b *bucket) walk(a amount, queue []int32, visit func(hostIx) (stop bool)) []int32 {
	queue = queue[:0]
	if b.tree[1].has(&a) {
		queue = append(queue, 1)
	}
	half := int32(len(b.tree) / 2) // at most twice the hosts
	for len(queue) > 0 {
		n := queue[0]
		last := len(queue) - 1
		queue[0] = queue[last]
		queue = queue[:last]
		b.sink(queue)
		if n >= half {
			if int(n-half) < len(b.hosts) && visit(b.hosts[n-half]) {
				return queue
			}
			continue
		}
		for _, c := range [2]int32{2 * n, 2*n + 1} {
			if b.tree[c].has(&a) {
				queue = append(queue, c)
				b.rise(queue)
			}
		}
	}
	return queue
}

// before orders the queue: more headroom first, then the host that comes first by name.
func (b *bucket) before(x, y int32) bool {
	if c := cmp.Compare(b.tree[y].score, b.tree[x].score); c != 0 {
		return c < 0
	}
	return b.first(x) < b.first(y)
}

// first is the leaf furthest left below n.
func (b *bucket) first(n int32) int32 {
	for int(n) < len(b.tree)/2 {
		n *= 2
	}
	return n
}

func (b *bucket) rise(q []int32) {
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if !b.before(q[i], q[up]) {
			return
		}
		q[i], q[up] = q[up], q[i]
		i = up
	}
}

func (b *bucket) sink(q []int32) {
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(q) {
			return
		}
		if c+1 < len(q) && b.before(q[c+1], q[c]) {
			c++
		}
		if !b.before(q[c], q[i]) {
			return
		}
		q[i], q[c] = q[c], q[i]
		i = c
	}
}
