package solver

import (
	"slices"
	"sort"
)

// line is an amount over the waves: free[k] holds from the wave from[k] until the next.
type line struct {
	from []int32
	free []int64
}

func newLine(free int64) line { return line{from: []int32{1}, free: []int64{free}} }

// add changes the amount from a wave on.
func (l *line) add(wave int32, n int64) {
	if n == 0 {
		return
	}
	k := sort.Search(len(l.from), func(i int) bool { return l.from[i] >= wave })
	if k == len(l.from) || l.from[k] != wave {
		l.from = slices.Insert(l.from, k, wave)
		l.free = slices.Insert(l.free, k, l.free[k-1]) // the first is from wave 1, and no wave is less
	}
	for ; k < len(l.free); k++ {
		l.free[k] += n
	}
}

// earliest is the first wave from which on n is free for good; behind the last wave it has to be.
func (l *line) earliest(n int64) int32 {
	k := len(l.free) - 1
	if l.free[k] < n {
		return l.from[k] + 1 // the log was legal, so that this is for a caller's mistake alone
	}
	for k > 0 && l.free[k-1] >= n {
		k--
	}
	return l.from[k]
}

// quota counts moves by wave against a limit, and knows the next wave that is not full.
type quota struct {
	count []int32
	next  []int32 // of a full wave: a later one that may not be
}

// from is the first wave from at on that is not full.
func (q *quota) from(at int32) int32 {
	root := at
	for int(root) < len(q.next) && q.next[root] != root {
		root = q.next[root]
	}
	for int(at) < len(q.next) && q.next[at] != root { // so that nobody walks this way again
		at, q.next[at] = q.next[at], root
	}
	return root
}

// take counts a move; a limit of 0 fills no wave.
func (q *quota) take(at int32, limit int) {
	for int(at) >= len(q.count) {
		q.next = append(q.next, int32(len(q.count))) // a plan has fewer waves than 2^31
		q.count = append(q.count, 0)
	}
	q.count[at]++
	if limit > 0 && int(q.count[at]) >= limit {
		q.next[at] = at + 1
	}
}
