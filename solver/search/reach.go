package search

// What moves counts at both ends, so that VMs which leave a host make no room there for what is transient: comers must fit
// what the initial VMs leave of it, whoever stays. Where hosts are full that rules most pairs of a VM and a host out for
// good, and the largest VMs fit few hosts even when empty. A search that prices room must not settle where nothing can be
// mended, so such pairs are kept where pairs are not too many. Where no more than one in scarce of them is left, so are the
// hosts of each VM: a search that draws from them alone tries several times as many moves that may be.
const (
	mostPairs = 1 << 22
	scarce    = 2
)

// addReach finds the hosts that could take each VM.
func (t *tables) addReach() {
	if t.nv*t.nh > mostPairs {
		return
	}
	room := t.roomForComers()
	most := t.nv * t.nh / scarce
	never, at := make([]uint64, t.nv*t.nh/64+1), make([]int32, 1, t.nv+1)
	var can []int32
	some, few := false, true
	for v := range t.nv {
		in := int(t.initial[v])
		for h := range t.nh {
			switch {
			case !t.admits(v, h) || h != in && !t.couldFit(v, room[h*t.nr:]):
				i := v*t.nh + h
				never[i>>6] |= 1 << (i & 63)
				some = true
			case h != in && few:
				can = append(can, int32(h))
			}
		}
		few = few && len(can) <= most
		at = append(at, int32(len(can))) //nolint:gosec // at most mostPairs
	}
	if some {
		t.never = never
	}
	if few {
		t.canAt, t.can = at, can
	}
}

// roomForComers is what each host has at most for VMs that were elsewhere, by [host*nr+resource].
func (t *tables) roomForComers() []int64 {
	room := make([]int64, t.nh*t.nr)
	for h := range t.nh {
		copy(room[h*t.nr:(h+1)*t.nr], t.p.Hosts[h].Capacity)
	}
	for v, in := range t.initial {
		if in < 0 {
			continue
		}
		for r := range t.nr {
			room[int(in)*t.nr+r] -= t.dem[v*t.nr+r] - t.demBack[v*t.nr+r]
		}
	}
	return room
}

// couldFit says whether v fits that room.
func (t *tables) couldFit(v int, room []int64) bool {
	for r, d := range t.dem[v*t.nr : (v+1)*t.nr] {
		if d > room[r] && d > 0 {
			return false
		}
	}
	return true
}

// anyHost is a random host, of those that could take v if they are known; where there is none, the one that v is on.
func (x *Search) anyHost(v int32) int32 {
	s := x.s
	if s.canAt == nil {
		return int32(x.rnd.below(s.nh))
	}
	can := s.can[s.canAt[v]:s.canAt[v+1]]
	if len(can) == 0 {
		return s.host[v]
	}
	return can[x.rnd.below(len(can))]
}
