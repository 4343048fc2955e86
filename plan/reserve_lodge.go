package plan

import "slices"

// maxRefuge bounds the hosts that one search for a witness looks at, beyond those of its first dive.
const maxRefuge = 256

// lodge finds places for all of list in the case k: first fit, and where that fails other hosts for those before, as far as the
// budget goes. It leaves no charge when it fails.
func (r *Reserve) lodge(k int32, list []int32, budget *int) bool {
	if len(list) == 0 {
		return true
	}
	hosts := r.near(list[0])
	start := r.after(k, hosts)
	for n := range hosts {
		h := hosts[(start+n)%len(hosts)]
		if !r.fits(k, list[0], h) {
			continue
		}
		r.charge(k, list[0], h)
		if r.lodge(k, list[1:], budget) {
			return true
		}
		r.unbook(k, list[0])
		if *budget -= n + 1; *budget < 0 {
			return false
		}
	}
	r.hard.note(list)
	*budget -= len(hosts)
	return false
}

// maxReorders bounds how often a search for a witness begins anew.
const maxReorders = 8

// hardest is whom a search found no place for after it had found one for most of the others.
type hardest struct {
	vm   int32 // -1: nobody
	left int   // who had none yet, itself among them
}

func (h *hardest) note(list []int32) {
	if h.vm < 0 || len(list) < h.left {
		h.vm, h.left = list[0], len(list)
	}
}

// lodgeAll is lodge with the largest first, and where that fails anew with the one in front that there was no place for; once alone where it
// is only asked whether a VM may come.
func (r *Reserve) lodgeAll(k int32, list []int32) bool {
	for n := range maxReorders {
		r.hard = hardest{vm: -1}
		budget := maxRefuge
		if r.lodge(k, list, &budget) {
			return true
		}
		at := slices.Index(list, r.hard.vm)
		if r.probe || at <= 0 { // nobody, or the first: it has no place whatever the others do
			return false
		}
		if n == 0 {
			list = slices.Clone(list) // the caller counts on the largest first
		}
		first := list[at]
		copy(list[1:at+1], list[:at])
		list[0] = first
	}
	return false
}
