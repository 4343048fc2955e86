package search

// shift moves v to b.
func (s *state) shift(v, b int32) {
	a, m := s.host[v], &s.movers[v]
	if s.rule > 0 && int(m.ruling) < s.ng {
		s.broken += s.breaks(m.ruling, a, b)
	}
	price := s.hostPrice(v, b)
	s.total += price - s.vmCost[v] - s.hostCost[a] - s.hostCost[b]
	s.vmCost[v] = price
	s.unlist(v, a)
	s.enlist(v, b)
	x := s.dimDem[int(v)*s.nk:][:s.nk]
	s.exchange(a, s.need(v, a), s.nothing, x, s.nothing)
	s.exchange(b, s.nothing, s.need(v, b), s.nothing, x)
	s.total += s.hostCost[a] + s.hostCost[b]
	if int(m.ruling) < s.ng {
		s.carry(v, a, b)
	}
	s.host[v] = b
	if d := m.change(a, b); d != 0 && m.group >= 0 {
		s.countMove(m.group, d)
	}
}

// swap changes the hosts of v and w.
func (s *state) swap(v, w int32) {
	a, b := s.host[v], s.host[w]
	m, n := &s.movers[v], &s.movers[w]
	if s.rule > 0 {
		s.broken += s.breaksSwap(v, w)
	}
	pv, pw := s.hostPrice(v, b), s.hostPrice(w, a)
	s.total += pv + pw - s.vmCost[v] - s.vmCost[w] - s.hostCost[a] - s.hostCost[b]
	s.vmCost[v], s.vmCost[w] = pv, pw
	s.unlist(v, a)
	s.unlist(w, b)
	s.enlist(v, b)
	s.enlist(w, a)
	x, y := s.dimDem[int(v)*s.nk:][:s.nk], s.dimDem[int(w)*s.nk:][:s.nk]
	s.exchange(a, s.need(v, a), s.need(w, a), x, y)
	s.exchange(b, s.need(w, b), s.need(v, b), y, x)
	s.total += s.hostCost[a] + s.hostCost[b]
	if m.ruling != n.ruling { // who of a group sits where changes no count
		if int(m.ruling) < s.ng {
			s.carry(v, a, b)
		}
		if int(n.ruling) < s.ng {
			s.carry(w, b, a)
		}
	}
	s.host[v], s.host[w] = b, a
	if d := m.change(a, b); d != 0 && m.group >= 0 {
		s.countMove(m.group, d)
	}
	if d := n.change(b, a); d != 0 && n.group >= 0 {
		s.countMove(n.group, d)
	}
}

// unlist takes v off the list of host h, the last of which takes its position.
func (s *state) unlist(v, h int32) {
	list := s.vms[h]
	last := list[len(list)-1]
	list[s.at[v]] = last
	s.at[last] = s.at[v]
	s.vms[h] = list[:len(list)-1]
}

// enlist puts v at the end of the list of host h.
func (s *state) enlist(v, h int32) {
	s.at[v] = int32(len(s.vms[h]))
	s.vms[h] = append(s.vms[h], v)
}

// exchange brings the sums of host h, whose list is as it will be, up to date: who has left gives back `out` of its room and x
// of its dims, who has come takes `in` and y. At least one of each is as long as what there is; all that is missing is nothing.
func (s *state) exchange(h int32, out, in, x, y []int64) {
	nr, nk := s.nr, s.nk
	slack := s.slack[int(h)*nr:][:nr]
	out, in = out[:nr], in[:nr]
	if s.price == nil {
		for r := range slack {
			slack[r] += out[r] - in[r]
		}
	} else {
		price, c := s.price[:nr], int64(0)
		for r := range slack {
			free := slack[r] + out[r] - in[r]
			slack[r] = free
			c += price[r] * max(0, -free)
		}
		s.shortTotal += c - s.short[h]
		s.short[h] = c
	}
	over, weight := s.over[int(h)*nk:][:nk], s.weight[:nk]
	x, y = x[:nk], y[:nk]
	c := int64(0)
	if len(s.vms[h]) > 0 {
		c = s.hostVM[h]
	}
	for k := range over {
		o := over[k] + y[k] - x[k]
		over[k] = o
		c += weight[k] * max(0, o)
	}
	s.hostCost[h] = c
}
