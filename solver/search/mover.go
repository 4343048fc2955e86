package search

// mover is what a step asks about one VM besides its demand, in half a cache line.
type mover struct {
	move    int64 // what any move of it costs, the way that it goes apart
	initial int32 // host, or None
	group   int32 // or None
	ruling  int32 // of rulings: its group's, or the last one, which has no rules
	place   int32 // of the initial host
	fit     int32 // first of its class in fit
	slow    bool  // has disks or NICs
}

// addMovers lays out what the other tables say, when they are complete.
func (t *tables) addMovers() {
	t.movers = make([]mover, t.nv)
	for v := range t.movers {
		m := mover{
			move: max(0, t.moveCost[v]), initial: t.initial[v], group: t.group[v], ruling: int32(t.ng),
			fit: t.class[v] * int32(t.classes), slow: t.slow[v],
		}
		if m.initial >= 0 {
			m.place = t.place[m.initial]
		}
		if m.group >= 0 && t.ruled[m.group] {
			m.ruling = m.group
		}
		t.movers[v] = m
	}
}
