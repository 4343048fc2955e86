package model

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// MaxLP bounds the places (VM and host, disk and pool, need and NIC) of a problem that NewProgram writes.
const MaxLP = 1 << 20

// Program is a problem as a mixed integer program in the CPLEX LP format, for a solver that knows nothing of this code
// (GLPK, CBC, HiGHS): an oracle for small problems. Its optimum is the least Evaluate of an assignment without
// violations.
type Program struct {
	Text []byte
	// Columns are the variables, in the order of their first appearance in Text, which is how solvers number them.
	Columns []string

	p *Problem
	// Of the section in the making.
	seen     map[string]bool
	ints     []string
	unit     []string // between 0 and 1, whole only by the others
	body     bytes.Buffer
	price    []term
	terms    []term
	rows     int
	off, who []int32
}

// term is a variable with a factor.
type term struct {
	k    int64
	name string
}

// NewProgram writes p, which must have been validated.
func NewProgram(p *Problem) (*Program, error) {
	size := int64(0)
	for i := range p.VMs {
		size += int64(len(p.Hosts))*int64(1+len(p.VMs[i].NICs)*MaxNICs) + int64(len(p.VMs[i].Disks))*int64(len(p.Pools))
	}
	if size > MaxLP*8 {
		return nil, fmt.Errorf("write program: %d places, at most %d", size, MaxLP*8)
	}
	w := &Program{p: p, seen: map[string]bool{}}
	w.off, w.who = p.members()
	for i := range p.VMs {
		w.vm(i)
	}
	w.hosts()
	w.pools()
	w.groups()
	w.nics()
	w.finish()
	return w, nil
}

func name(kind string, ix ...int) string {
	b := []byte(kind)
	for _, i := range ix {
		b = strconv.AppendInt(append(b, '_'), int64(i), 10)
	}
	return string(b)
}

// at is the variable that VM i is on host h; ok where that is possible at all.
func (w *Program) at(i, h int) (string, bool) {
	v, host := &w.p.VMs[i], &w.p.Hosts[h]
	ok := w.p.Fit[v.Class][host.Class] != Forbidden && (host.Open || int(v.Initial) == h) && (!v.Fixed || int(v.Initial) == h)
	return name("x", i, h), ok
}

// in is the variable that disk j of VM i, which has a host, is in pool s.
func (w *Program) in(i, j, s int) (string, bool) {
	d, pool := &w.p.VMs[i].Disks[j], &w.p.Pools[s]
	ok := w.p.PoolFit[d.Class][pool.Class] != Forbidden && (pool.Open || int(d.Initial) == s) && (!d.Fixed || int(d.Initial) == s)
	return name("d", i, j, s), ok
}

// plus puts a term into the row in the making.
func (w *Program) plus(k int64, x string) { w.terms = append(w.terms, term{k, x}) }

// row ends a row.
func (w *Program) row(sign string, right int64) {
	if len(w.terms) == 0 {
		w.plus(0, "zero")
	}
	fmt.Fprintf(&w.body, " r%d:", w.rows)
	w.rows++
	w.write(&w.body, w.terms)
	fmt.Fprintf(&w.body, " %s %d\n", sign, right)
	w.terms = w.terms[:0]
}

func (w *Program) write(b *bytes.Buffer, terms []term) {
	for n, t := range terms {
		if n > 0 && n%8 == 0 {
			b.WriteString("\n  ")
		}
		fmt.Fprintf(b, " %+d %s", t.k, t.name)
	}
}

// whole declares x as 0 or 1, at a price.
func (w *Program) whole(x string, price int64) {
	if !w.seen[x] {
		w.seen[x] = true
		w.ints = append(w.ints, x)
	}
	if price != 0 {
		w.price = append(w.price, term{price, x})
	}
}

// vm: one host or none, its disks, what it pays for itself.
func (w *Program) vm(i int) {
	p, v := w.p, &w.p.VMs[i]
	for h := range p.Hosts {
		if x, ok := w.at(i, h); ok {
			cost := p.Fit[v.Class][p.Hosts[h].Class]
			if v.Initial != None && int(v.Initial) != h {
				cost += p.hop(v.Initial, HostIx(h)) //nolint:gosec // MaxHosts
			}
			w.whole(x, cost)
			w.plus(1, x)
		}
	}
	if v.mayDrop() {
		_, _, disks := (&offers{p: p, pool: make([]int64, len(p.PoolFit))}).disks(v)
		w.whole(name("z", i), v.Drop+disks)
		w.plus(1, name("z", i))
	}
	w.row("=", 1)
	for j := range v.Disks {
		w.disk(i, j)
	}
	if v.Initial != None {
		w.changes(i)
	}
}

func (w *Program) disk(i, j int) {
	v, d := &w.p.VMs[i], &w.p.VMs[i].Disks[j]
	for s := range w.p.Pools {
		if x, ok := w.in(i, j, s); ok {
			cost := w.p.PoolFit[d.Class][w.p.Pools[s].Class] * d.Weight
			if d.Initial != None && int(d.Initial) != s {
				cost += d.Copy
			}
			w.whole(x, cost)
			w.plus(1, x)
		}
	}
	if v.mayDrop() {
		w.plus(1, name("z", i))
	}
	w.row("=", 1)
	for s := range w.p.Pools {
		x, ok := w.in(i, j, s)
		if !ok {
			continue
		}
		w.plus(1, x) // only where its VM's host reaches it
		for h := range w.p.Hosts {
			if y, ok := w.at(i, h); ok && slices.Contains(w.p.Hosts[h].Pools, PoolIx(s)) { //nolint:gosec // MaxPools
				w.plus(-1, y)
			}
		}
		w.row("<=", 0)
	}
}

// changes: c1 the host, c2 a disk, c3 both, none of them nothing.
func (w *Program) changes(i int) {
	v := &w.p.VMs[i]
	away := func(k int64) { // the variables of the host's change
		for h := range w.p.Hosts {
			if x, ok := w.at(i, h); ok && h != int(v.Initial) {
				w.plus(k, x)
			}
		}
	}
	for k := 1; k <= 3; k++ {
		c := name("c", i, k)
		w.whole(c, price(v.Move[k]))
		if v.Move[k] == Forbidden {
			w.plus(1, c)
			w.row("=", 0)
		}
	}
	c1, c2, c3 := name("c", i, 1), name("c", i, 2), name("c", i, 3)
	w.plus(1, c1)
	w.plus(1, c3)
	away(-1)
	w.row("=", 0)
	// c2 or c3 is just when some disk changes.
	all := []term{}
	for j := range v.Disks {
		for s := range w.p.Pools {
			if x, ok := w.in(i, j, s); ok && v.Disks[j].Initial != None && int(v.Disks[j].Initial) != s {
				all = append(all, term{-1, x})
				w.plus(1, c2)
				w.plus(1, c3)
				w.plus(-1, x)
				w.row(">=", 0)
			}
		}
	}
	w.plus(1, c2)
	w.plus(1, c3)
	w.terms = append(w.terms, all...)
	w.row("<=", 0)
	w.plus(1, c1)
	w.plus(1, c2)
	w.plus(1, c3)
	w.row("<=", 1)
}

// finish puts the sections together.
func (w *Program) finish() {
	var b bytes.Buffer
	b.WriteString("\\ A problem of plan/model: x VM on host, z VM dropped, d disk in pool, c change, y host in use.\nMinimize\n obj:")
	if len(w.price) == 0 {
		w.price = append(w.price, term{0, "zero"})
	}
	w.write(&b, w.price)
	b.WriteString("\nSubject To\n")
	w.plus(1, "zero")
	w.row("=", 0)
	b.Write(w.body.Bytes())
	b.WriteString("Bounds\n")
	for _, x := range w.unit {
		fmt.Fprintf(&b, " 0 <= %s <= 1\n", x)
	}
	b.WriteString("Binaries\n zero\n") // one at least, so that every solver takes it for a program in whole numbers
	for _, x := range w.ints {
		fmt.Fprintf(&b, " %s\n", x)
	}
	b.WriteString("End\n")
	w.Text = b.Bytes()
	w.Columns = columns(w.Text)
	w.body, w.seen, w.terms, w.price = bytes.Buffer{}, nil, nil, nil
}

// columns lists the variables of objective and rows in the order of appearance.
func columns(text []byte) []string {
	var out []string
	seen := map[string]bool{}
	_, rest, _ := bytes.Cut(text, []byte(" obj:"))
	head, _, _ := bytes.Cut(rest, []byte("\nBounds\n"))
	for f := range bytes.FieldsSeq(head) {
		if c := f[0]; c < 'a' || c > 'z' || bytes.HasSuffix(f, []byte(":")) || seen[string(f)] {
			continue
		}
		seen[string(f)] = true
		out = append(out, string(f))
	}
	return out
}

// Assignment reads a solution back: value says what a column is.
func (w *Program) Assignment(value func(column string) float64) *Assignment {
	a := w.p.Start()
	for i := range w.p.VMs {
		a.Host[i] = None
		for h := range w.p.Hosts {
			if x, ok := w.at(i, h); ok && value(x) > 0.5 {
				a.Host[i] = HostIx(h) //nolint:gosec // MaxHosts
			}
		}
		for j := range a.Pool[i] {
			for s := range w.p.Pools {
				if x, ok := w.in(i, j, s); ok && a.Host[i] != None && value(x) > 0.5 {
					a.Pool[i][j] = PoolIx(s) //nolint:gosec // MaxPools
				}
			}
		}
	}
	return a
}
