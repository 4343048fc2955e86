package whatif

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// thing is what a name means.
type thing struct {
	kind string // of kinds
	name string
}

func (t thing) String() string { return t.kind + " " + t.name }

// kinds of what has a name, in the order in which they are listed.
var kinds = []string{"host", "chassis", "rack", "site", "module", "pool", "nic"}

// directory finds things by name.
type directory struct {
	by  map[string][]thing // without nic, which is named HOST/NIC
	all []thing
}

func newDirectory(s *fleet.Snapshot) *directory {
	d := &directory{by: map[string][]thing{}}
	add := func(kind, name string) {
		t := thing{kind, name}
		if name != "" && !slices.Contains(d.by[name], t) {
			d.by[name] = append(d.by[name], t)
			d.all = append(d.all, t)
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		add("host", string(h.ID))
		add("chassis", h.Chassis)
		add("rack", h.Rack)
		add("site", h.Site)
		for j := range h.NICs {
			if n := &h.NICs[j]; n.Module == "" {
				add("nic", string(h.ID)+"/"+string(n.ID))
			}
		}
	}
	for i := range s.Modules {
		add("module", string(s.Modules[i].ID))
	}
	for i := range s.Pools {
		add("pool", string(s.Pools[i].ID))
	}
	return d
}

// maxNear bounds the names that an error lists.
const maxNear = 3

// find gives what name means, of the kinds that are wanted.
func (d *directory) find(name string, want ...string) (thing, error) {
	plain, kind := name, ""
	if k, rest, ok := strings.Cut(name, ":"); ok && slices.Contains(kinds, k) && len(d.by[name]) == 0 {
		plain, kind = rest, k
		if !slices.Contains(want, k) {
			return thing{}, fmt.Errorf("%w %q: expected one of %s", ErrName, name, strings.Join(want, ", "))
		}
	}
	var hits []thing
	for _, t := range d.by[plain] {
		if slices.Contains(want, t.kind) && (kind == "" || t.kind == kind) {
			hits = append(hits, t)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return thing{}, d.unknown(name, plain, kind, want)
	}
	slices.SortFunc(hits, func(a, b thing) int { return cmp.Compare(slices.Index(kinds, a.kind), slices.Index(kinds, b.kind)) })
	names := make([]string, len(hits))
	for i, t := range hits {
		names[i] = t.kind + ":" + t.name
	}
	return thing{}, fmt.Errorf("%w %q is ambiguous: expected %s", ErrName, name, strings.Join(names, " or "))
}

func (d *directory) unknown(name, plain, kind string, want []string) error {
	what := strings.Join(want, ", ")
	if kind != "" {
		what = kind
	}
	if other := d.by[plain]; len(other) > 0 {
		return fmt.Errorf("%w %q is %s, expected one of %s", ErrName, name, other[0], what)
	}
	var near []string
	for _, t := range d.near(plain, want) {
		near = append(near, t.name)
	}
	if len(near) == 0 {
		return fmt.Errorf("%w %q: the fleet has no such %s", ErrName, name, what)
	}
	return fmt.Errorf("%w %q: the fleet has no such %s; near it: %s", ErrName, name, what, strings.Join(near, ", "))
}

// near lists things whose names differ little from name, the nearest first.
func (d *directory) near(name string, want []string) []thing {
	type near struct {
		thing
		far int
	}
	limit := max(2, len(name)/3)
	var list []near
	for _, t := range d.all {
		if slices.Contains(want, t.kind) && len(t.name) <= maxName && len(name) <= maxName {
			if far := distance(name, t.name); far <= limit {
				list = append(list, near{t, far})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b near) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	out := make([]thing, 0, maxNear)
	for _, n := range list[:min(len(list), maxNear)] {
		out = append(out, n.thing)
	}
	return out
}

// maxName bounds the names that are compared letter by letter.
const maxName = 128

// distance is how many bytes have to be changed, added or taken out to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
