package solver

import (
	"slices"

	"github.com/berth-project/berth/policy"
)

// SlackAgainstPacking asks every host about every VM alone, by what its queues have left and by packing them. It counts the refusals of both,
// and names a pair that the slack refuses and the packing does not.
func SlackAgainstPacking(p *policy.Problem) (bySlack, byPacking int, wrong string, err error) {
	s, err := newState(p)
	if err != nil {
		return 0, 0, "", err
	}
	for i := range s.units {
		u := &s.units[i]
		for h := range s.hosts {
			host := &s.hosts[h]
			if len(u.vms) > 1 || u.queues == 0 || s.vms[u.vms[0]].host == hostIx(h) {
				continue
			}
			slack := host.queueSlack()
			a := amount{cpu: -maxTotal, memory: -maxTotal, class: u.class, queues: u.queues}
			t := top{queues: slack}
			short, refused := t.lacks(&a), s.nicRefusal(host, hostIx(h), u) != ""
			if short {
				bySlack++
			}
			if refused {
				byPacking++
			} else if short {
				wrong = string(s.vms[u.vms[0]].snap.ID) + " on " + string(host.snap.ID)
			}
		}
	}
	return bySlack, byPacking, wrong, nil
}

// IndexIsCurrent says whether every tree of the index is as one grown anew, once p has been repaired.
func IndexIsCurrent(p *policy.Problem) (bool, error) {
	s, err := newState(p)
	if err != nil {
		return false, err
	}
	x := newSearch(s, Options{Effort: -1})
	x.run()
	fresh := newIndex(s)
	for i := range s.index.buckets {
		if !slices.Equal(s.index.buckets[i].tree, fresh.buckets[i].tree) {
			return false, nil
		}
	}
	for source := range fresh.tops {
		if !slices.Equal(s.index.tops[source], fresh.tops[source]) {
			return false, nil
		}
	}
	return len(fresh.tops) > 0, nil
}
