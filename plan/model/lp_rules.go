package model

// hosts: capacity, what leaves, load, balance, on.
func (w *Program) hosts() {
	p := w.p
	for h := range p.Hosts {
		host := &p.Hosts[h]
		for r := range p.Resources {
			res := &p.Resources[r]
			right := host.Capacity[r]
			for i := range p.VMs {
				v := &p.VMs[i]
				d, x := v.Demand[r], name("x", i, h)
				_, ok := w.at(i, h)
				switch {
				case d == 0:
				case res.Transient && int(v.Initial) == h: // there or left, but for a drop
					right -= d
					if v.mayDrop() {
						w.plus(-d, name("z", i))
					}
				case ok:
					w.plus(d, x)
				}
			}
			w.row("<=", right)
			if res.Load > 0 {
				over := name("o", h, r)
				w.price = append(w.price, term{res.Load, over})
				w.plus(1, over)
				w.use(h, r, -1)
				w.row(">=", -host.Soft[r])
			}
		}
		for b, q := range p.Balances {
			if q.Weight > 0 {
				short := name("b", h, b)
				w.price = append(w.price, term{q.Weight, short})
				w.plus(1, short)
				w.use(h, q.A, q.Target)
				w.use(h, q.B, -1)
				w.row(">=", q.Target*host.Capacity[q.A]-host.Capacity[q.B])
			}
		}
		if host.On > 0 {
			w.inUse(h)
		}
	}
}

// use puts k times the use of a host's resource into the row. A resource that is balanced against itself would come
// twice: rows are sums, which solvers refuse to see a column in twice, so that terms are joined.
func (w *Program) use(h, r int, k int64) {
	for i := range w.p.VMs {
		x, ok := w.at(i, h)
		d := w.p.VMs[i].Demand[r] * k
		if !ok || d == 0 {
			continue
		}
		joined := false
		for n := range w.terms {
			if w.terms[n].name == x {
				w.terms[n].k += d
				joined = true
			}
		}
		if !joined {
			w.plus(d, x)
		}
	}
}

func (w *Program) inUse(h int) {
	y := name("y", h)
	w.whole(y, w.p.Hosts[h].On)
	for i := range w.p.VMs {
		if x, ok := w.at(i, h); ok {
			w.plus(1, x)
			w.plus(-1, y)
			w.row("<=", 0)
		}
	}
}

// pools: capacity, what leaves, what sticks.
func (w *Program) pools() {
	p := w.p
	for s := range p.Pools {
		for r := range p.PoolResources {
			right := max(0, p.Pools[s].Capacity[r]-p.Pools[s].Base[r])
			for i := range p.VMs {
				for j := range p.VMs[i].Disks {
					d := &p.VMs[i].Disks[j]
					n := d.Demand[r]
					x, ok := w.in(i, j, s)
					switch {
					case n == 0:
					case int(d.Initial) == s && (d.Sticky || p.PoolResources[r].Transient):
						right -= n
					case int(d.Initial) == s:
						if ok {
							w.plus(n, x)
						}
						if p.VMs[i].mayDrop() {
							w.plus(n, name("z", i))
						}
					case ok:
						w.plus(n, x)
					}
				}
			}
			w.join()
			w.row("<=", right)
		}
	}
}

// join sums terms of the same column.
func (w *Program) join() {
	at := map[string]int{}
	out := w.terms[:0]
	for _, t := range w.terms {
		if k, ok := at[t.name]; ok {
			out[k].k += t.k
			continue
		}
		at[t.name] = len(out)
		out = append(out, t)
	}
	w.terms = out
}

// groups: apart, spread, needs, and the moves of one group.
func (w *Program) groups() {
	for g := range w.p.Groups {
		vms := w.who[w.off[g]:w.off[g+1]]
		w.apart(vms)
		w.spread(g, vms)
		w.needs(g, vms)
		if w.p.GroupMove > 0 {
			w.plus(1, "m")
			for _, i := range vms {
				for h := range w.p.Hosts {
					if x, ok := w.at(int(i), h); ok && w.p.VMs[i].Initial != None && int(w.p.VMs[i].Initial) != h {
						w.plus(-1, x)
					}
				}
			}
			w.row(">=", 0)
		}
	}
	if w.p.GroupMove > 0 && len(w.p.Groups) > 0 {
		w.price = append(w.price, term{w.p.GroupMove, "m"})
	}
}

// inDomain puts k times each variable of a VM in a domain into the row.
func (w *Program) inDomain(i int32, level int, d int32, k int64) {
	for h := range w.p.Hosts {
		if x, ok := w.at(int(i), h); ok && w.p.Hosts[h].Domain[level] == d {
			w.plus(k, x)
		}
	}
}

// domains lists those of a level.
func (w *Program) domains(level int) []int32 {
	var out []int32
	seen := map[int32]bool{}
	for h := range w.p.Hosts {
		if d := w.p.Hosts[h].Domain[level]; !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

// apart: of those that are to be apart one is in a domain at most, with each other VM of the group in turn.
func (w *Program) apart(vms []int32) {
	if len(vms) < 2 {
		return
	}
	for level := range w.p.Hosts[0].Domain {
		var strict []int32
		others := []int32{None}
		for _, i := range vms {
			if int(w.p.VMs[i].Apart) == level {
				strict = append(strict, i)
			} else {
				others = append(others, i)
			}
		}
		if len(strict) == 0 {
			continue
		}
		for _, d := range w.domains(level) {
			for _, o := range others {
				for _, i := range strict {
					w.inDomain(i, level, d, 1)
				}
				if o != None {
					w.inDomain(o, level, d, 1)
				}
				w.row("<=", 1)
			}
		}
	}
}

// spread: u says that a domain is in use; of q or not, the weaker demand.
func (w *Program) spread(g int, vms []int32) {
	group := &w.p.Groups[g]
	if group.Min <= 1 {
		return
	}
	least, n := int64(group.Min), int64(len(vms))
	var used []string
	for _, d := range w.domains(int(group.Level)) {
		e := name("u", g, int(d))
		w.unit = append(w.unit, e)
		used = append(used, e)
		w.plus(1, e)
		for _, i := range vms {
			w.inDomain(i, int(group.Level), d, -1)
		}
		w.row("<=", 0)
	}
	var drops []string
	for _, i := range vms {
		if w.p.VMs[i].mayDrop() {
			drops = append(drops, name("z", int(i)))
		}
	}
	sum := func() {
		for _, e := range used {
			w.plus(1, e)
		}
	}
	if len(drops) == 0 {
		sum()
		w.row(">=", least)
		return
	}
	q := name("q", g)
	w.whole(q, 0)
	sum()
	w.plus(least, q)
	w.row(">=", least)
	sum() // used >= placed when q, where placed is n minus the dropped
	for _, z := range drops {
		w.plus(1, z)
	}
	w.plus(-n, q)
	w.row(">=", 0)
	w.plus(1, q)
	for _, z := range drops {
		w.plus(-1, z)
	}
	w.row("<=", 0)
}

// needs: in each zone, a VM of the group only with one of the needed group.
func (w *Program) needs(g int, vms []int32) {
	zones := map[int32]bool{}
	for h := range w.p.Hosts {
		z := w.p.Hosts[h].Zone
		if zones[z] {
			continue
		}
		zones[z] = true
		for _, n := range w.p.Groups[g].Needs {
			for _, i := range vms {
				if int(n) == g {
					continue
				}
				w.inZone(i, z, 1)
				for _, k := range w.who[w.off[n]:w.off[n+1]] {
					w.inZone(k, z, -1)
				}
				w.row("<=", 0)
			}
		}
	}
}

func (w *Program) inZone(i, z int32, k int64) {
	for h := range w.p.Hosts {
		if x, ok := w.at(int(i), h); ok && w.p.Hosts[h].Zone == z {
			w.plus(k, x)
		}
	}
}

// nics: each need of a VM on a host is on one NIC of it.
func (w *Program) nics() {
	p := w.p
	for h := range p.Hosts {
		queues, rate := make([][]term, len(p.Hosts[h].NICs)), make([][]term, len(p.Hosts[h].NICs))
		for i := range p.VMs {
			x, ok := w.at(i, h)
			for k, n := range p.VMs[i].NICs {
				if !ok || n == (NICNeed{}) {
					continue
				}
				w.plus(1, x)
				for c, nic := range p.Hosts[h].NICs {
					if nic.Class < n.Class {
						continue
					}
					f := name("f", i, k, h, c)
					w.whole(f, 0)
					w.plus(-1, f)
					queues[c] = append(queues[c], term{int64(n.Queues), f})
					rate[c] = append(rate[c], term{n.Rate, f})
				}
				w.row("=", 0)
			}
		}
		for c, nic := range p.Hosts[h].NICs {
			if len(queues[c]) > 0 {
				w.terms = append(w.terms, queues[c]...)
				w.row("<=", int64(nic.Queues))
				w.terms = append(w.terms, rate[c]...)
				w.row("<=", nic.Rate)
			}
		}
	}
}
