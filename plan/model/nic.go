package model

import (
	"cmp"
	"slices"
)

// maxPackNodes bounds the search of Pack. Hosts have a handful of NICs and equal needs are common, so that real hosts
// take a node a need.
const maxPackNodes = 20_000

// Packer packs NICs with memory that is used again, so that many calls allocate nothing. The zero value is ready; not for use
// by two at once.
type Packer struct {
	rooms []NIC
	needs []NICNeed
	nodes int
}

// Pack says whether every need gets its queues and its rate on one NIC of its class at least, no NIC giving more than
// it has. Exact up to a limit of steps; beyond, the answer is no, so that a yes is always true. It changes neither
// slice.
func (k *Packer) Pack(rooms []NIC, needs []NICNeed) bool {
	k.needs = k.needs[:0]
	for _, n := range needs {
		if n != (NICNeed{}) {
			k.needs = append(k.needs, n)
		}
	}
	if len(k.needs) == 0 {
		return true
	}
	k.rooms = append(k.rooms[:0], rooms...)
	// Least class and then least room first keeps the better NICs for those who need them; the greatest need first
	// makes the first dive of the search best fit decreasing.
	slices.SortFunc(k.rooms, func(a, b NIC) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rate, b.Rate), cmp.Compare(a.Queues, b.Queues))
	})
	slices.SortFunc(k.needs, func(a, b NICNeed) int {
		return cmp.Or(cmp.Compare(b.Class, a.Class), cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Queues, a.Queues))
	})
	if !k.enough() {
		return false
	}
	k.nodes = maxPackNodes
	return k.pack(0, 0)
}

// enough compares sums: what needs of a class and above ask for, with what NICs of the class and above have. Needs
// come from the highest class down, so that each prefix is one such sum.
func (k *Packer) enough() bool {
	var queues, rate int64
	r := len(k.rooms)
	for i := range k.needs {
		n := &k.needs[i]
		for r > 0 && k.rooms[r-1].Class >= n.Class {
			r--
			queues += int64(k.rooms[r].Queues)
			rate += k.rooms[r].Rate
		}
		queues -= int64(n.Queues)
		rate -= n.Rate
		if (i+1 == len(k.needs) || k.needs[i+1].Class != n.Class) && (queues < 0 || rate < 0 || r == len(k.rooms)) {
			return false
		}
	}
	return true
}

// pack places need i and all after it, need i on no NIC before from. Equal needs may be swapped, so that of two equal
// ones the later goes to no earlier NIC; equal NICs may be swapped too, so that of those only the first is tried. Both
// at once lose nothing: a packing that puts a need on the second of two equal NICs, and its equals behind it, becomes
// one with the first when the two NICs are swapped, and no need comes to lie before its own first place.
func (k *Packer) pack(i, from int) bool {
	if i == len(k.needs) {
		return true
	}
	if k.nodes--; k.nodes < 0 {
		return false
	}
	n := k.needs[i]
	for j := from; j < len(k.rooms); j++ {
		r := &k.rooms[j]
		if r.Class < n.Class || r.Queues < n.Queues || r.Rate < n.Rate || slices.Contains(k.rooms[from:j], *r) {
			continue
		}
		next := 0
		if i+1 < len(k.needs) && k.needs[i+1] == n {
			next = j
		}
		r.Queues -= n.Queues
		r.Rate -= n.Rate
		ok := k.pack(i+1, next)
		r.Queues += n.Queues
		r.Rate += n.Rate
		if ok {
			return true
		}
	}
	return false
}
