package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// index finds hosts by what is fixed of them (source, tier, security class, shared pools: a bucket) and by
// what is free on them (a tree over the hosts of a bucket), without looking at every host.
type index struct{ buckets []bucket }

type bucket struct {
	source   fleet.SourceID
	tier     policy.Rank
	security int
	shared   []poolIx // pools that several hosts reach, and all hosts of the bucket do
	hosts    []hostIx
	tree     []treeNode // 1-based heap order; leaves from len/2
}

// treeNode holds the most that any host below it has free.
type treeNode struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	score  int64 // headroom
}

func newIndex(s *state) index {
	var ix index
	byKey := map[string]int{}
	for i := range s.hosts {
		h := &s.hosts[i]
		h.bucket = none
		if !h.open {
			continue
		}
		var shared []poolIx
		var key strings.Builder
		fmt.Fprintf(&key, "%s\x00%d\x00%d", h.snap.Source, h.facts.Tier, h.facts.Security)
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
		ix.buckets[b].hosts = append(ix.buckets[b].hosts, hostIx(i)) //nolint:gosec // fewer hosts than 2^31
	}
	for i := range ix.buckets {
		b := &ix.buckets[i]
		n := 1
		for n < len(b.hosts) {
			n *= 2
		}
		b.tree = slices.Repeat([]treeNode{{-1, -1, -1 << 62}}, 2*n)
		for j, h := range b.hosts {
			b.tree[n+j] = leaf(&s.hosts[h])
		}
		for j := n - 1; j > 0; j-- {
			b.tree[j] = join(b.tree[2*j], b.tree[2*j+1])
		}
	}
	return ix
}

func leaf(h *hostState) treeNode { return treeNode{h.freeCPU(), h.freeMemory(), h.headroom()} }

func join(a, b treeNode) treeNode {
	return treeNode{max(a.cpu, b.cpu), max(a.memory, b.memory), max(a.score, b.score)}
}

func (ix *index) update(s *state, h hostIx) {
	host := &s.hosts[h]
	if host.bucket == none || len(ix.buckets) == 0 {
		return
	}
	b := &ix.buckets[host.bucket]
	i := len(b.tree)/2 + host.slot
	b.tree[i] = leaf(host)
	for i /= 2; i > 0; i /= 2 {
		b.tree[i] = join(b.tree[2*i], b.tree[2*i+1])
	}
}

// walk calls visit with the hosts of b that have cpu and memory free, those with most headroom first, until
// visit says stop. The queue is handed in to be used again.
func (b *bucket) walk(cpu fleet.MilliCPU, memory fleet.Bytes, queue []int32, visit func(hostIx) (stop bool)) []int32 {
	queue = queue[:0]
	fits := func(n int32) bool { return b.tree[n].cpu >= cpu && b.tree[n].memory >= memory }
	if fits(1) {
		queue = append(queue, 1)
	}
	half := int32(len(b.tree) / 2) //nolint:gosec // at most twice the hosts
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
			if fits(c) {
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
