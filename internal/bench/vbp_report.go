package bench

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// VBPOptions say what to run.
type VBPOptions struct {
	Dir      string
	Families []string // names of the archives before "_instances.tar.gz"
	MaxItems int      // larger instances are left out
	Pack     PackOptions
	// Every takes one instance in so many; 1: all.
	Every int
	Say   func(string)
}

// VBPRow is one family, its smaller or its larger instances.
type VBPRow struct {
	Family    string `json:"family"`
	Items     string `json:"items"` // "<= 200" or "> 200"
	Instances int    `json:"instances"`
	// Raised counts instances with demands below nothing, which are taken as 0: no easier than they are.
	Raised    int     `json:"raised"`
	Over      float64 `json:"bins_over_reference_percent"`
	Published float64 `json:"best_published_percent"`
	// AtReference counts instances with as few bins as the optimum, or as the bound where that is not proven.
	AtReference int `json:"at_reference"`
	// Fewer and More count instances with fewer and more bins than the best published heuristic.
	Fewer   int     `json:"fewer_than_published"`
	More    int     `json:"more_than_published"`
	Seconds float64 `json:"seconds_per_instance"`
	Slowest float64 `json:"slowest_seconds"`
}

// VBP is what the benchmark came to.
type VBP struct {
	Rows      []VBPRow   `json:"rows"`
	Refused   []string   `json:"refused"` // files that are no instance
	Published []Baseline `json:"published"`
}

// smallPacking is up to how many items the published figures are of.
const smallPacking = 200

// packed is one instance and what came of it.
type packed struct {
	p    *Packing
	k    Known
	bins int
	took time.Duration
}

// RunVBP packs the instances of the families, one worker a core.
func RunVBP(o VBPOptions) (*VBP, error) {
	out := &VBP{Rows: []VBPRow{}, Refused: []string{}}
	var err error
	if out.Published, err = baselines(o.Dir, "vbp"); err != nil {
		return nil, err
	}
	for _, family := range o.Families {
		list, err := out.read(o, family)
		if err != nil {
			return nil, err
		}
		o.Say(fmt.Sprintf("%s: %d instances", family, len(list)))
		if err := packAll(list, o.Pack); err != nil {
			return nil, err
		}
		small := slices.IndexFunc(list, func(x packed) bool { return len(x.p.Items) > smallPacking })
		if small < 0 {
			small = len(list)
		}
		out.add(family, "<= 200", list[:small])
		out.add(family, "> 200", list[small:])
		if o.Pack.Stop() {
			break
		}
	}
	return out, nil
}

// read reads a family, the instances with the fewest items first.
func (v *VBP) read(o VBPOptions, family string) ([]packed, error) {
	r, done, err := open(o.Dir, "vbp", family+"_instances.tar.gz")
	if err != nil {
		return nil, err
	}
	all, refused, err := ReadPackings(r)
	if err = errors.Join(err, done()); err != nil {
		return nil, fmt.Errorf("%s_instances.tar.gz: %w", family, err)
	}
	for _, e := range refused {
		v.Refused = append(v.Refused, e.Error())
	}
	if r, done, err = open(o.Dir, "vbp", family+"_summary_known.csv"); err != nil {
		return nil, err
	}
	known, err := ReadKnown(r)
	if err = errors.Join(err, done()); err != nil {
		return nil, fmt.Errorf("%s_summary_known.csv: %w", family, err)
	}
	slices.SortFunc(all, func(a, b *Packing) int {
		return cmp.Or(cmp.Compare(len(a.Items), len(b.Items)), cmp.Compare(a.Name, b.Name))
	})
	var list []packed
	for n, p := range all {
		k, ok := known[p.Name]
		if !ok {
			return nil, fmt.Errorf("read known values of %s: none of %s", family, p.Name)
		}
		if len(p.Items) <= o.MaxItems && n%o.Every == 0 {
			list = append(list, packed{p: p, k: k})
		}
	}
	return list, nil
}

func packAll(list []packed, o PackOptions) error {
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := w; n < len(list) && errs[w] == nil && !o.Stop(); n += workers {
				from := time.Now()
				list[n].bins, errs[w] = list[n].p.Pack(o)
				list[n].took = time.Since(from)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (v *VBP) add(family, items string, list []packed) {
	row := VBPRow{Family: family, Items: items}
	for _, x := range list {
		if x.bins == 0 {
			continue // stopped before it
		}
		reference := float64(x.k.Reference())
		row.Instances++
		row.Over += 100 * (float64(x.bins)/reference - 1)
		row.Published += 100 * (float64(x.k.Best)/reference - 1)
		row.Seconds += x.took.Seconds()
		row.Slowest = max(row.Slowest, x.took.Seconds())
		if float64(x.bins) <= reference {
			row.AtReference++
		}
		if x.p.Raised > 0 {
			row.Raised++
		}
		if x.bins < x.k.Best {
			row.Fewer++
		}
		if x.bins > x.k.Best {
			row.More++
		}
	}
	if n := float64(row.Instances); n > 0 {
		row.Over, row.Published, row.Seconds = row.Over/n, row.Published/n, row.Seconds/n
		v.Rows = append(v.Rows, row)
	}
}
