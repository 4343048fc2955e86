package bench

import (
	"archive/tar"
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Packing is an instance of vector bin packing: items go into as few equal bins as possible.
type Packing struct {
	Name     string
	Capacity []int64
	Items    [][]int64 // by item and dimension
	// Raised counts demands below nothing, which the files of one family have: they are taken as 0. A packing of the
	// items so raised is one of the instance too.
	Raised int
}

// Known is what is known of an instance.
type Known struct {
	Bound   int // no packing has fewer bins
	Optimum int // 0: not proven
	Best    int // of the published heuristics
}

// Reference is what results are compared with: the optimum, or the bound where it is not proven.
func (k Known) Reference() int {
	if k.Optimum > 0 {
		return k.Optimum
	}
	return k.Bound
}

// Limits of an instance.
const (
	maxBinDimensions = 32
	maxBinItems      = 1 << 16
	maxBinAmount     = 1 << 31
	maxPackings      = 1 << 16
	maxPackingBytes  = 16 << 20
)

// ReadPacking reads one instance: the number of dimensions, the capacities, the number of lines, and a line of demands
// and a count for each kind of item.
func ReadPacking(name string, r io.Reader) (*Packing, error) {
	s := bufio.NewScanner(io.LimitReader(r, maxPackingBytes))
	s.Split(bufio.ScanWords)
	number := func(what string, least, most int64) (int64, error) {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return 0, fmt.Errorf("read packing %s: %s: %w", name, what, err)
			}
			return 0, fmt.Errorf("read packing %s: it ends before %s", name, what)
		}
		n, err := strconv.ParseInt(s.Text(), 10, 64)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("read packing %s: %s: %q is no number from %d to %d", name, what, s.Text(), least, most)
		}
		return n, nil
	}
	dims, err := number("the number of dimensions", 1, maxBinDimensions)
	if err != nil {
		return nil, err
	}
	p := &Packing{Name: name}
	for range dims {
		c, err := number("a capacity", 1, maxBinAmount)
		if err != nil {
			return nil, err
		}
		p.Capacity = append(p.Capacity, c)
	}
	lines, err := number("the number of items", 0, maxBinItems)
	if err != nil {
		return nil, err
	}
	for range lines {
		item := make([]int64, dims)
		for d := range item {
			if item[d], err = number("a demand", -p.Capacity[d], p.Capacity[d]); err != nil {
				return nil, err
			}
			if item[d] < 0 {
				item[d] = 0
				p.Raised++
			}
		}
		n, err := number("a count", 0, maxBinItems-int64(len(p.Items)))
		if err != nil {
			return nil, err
		}
		for range n {
			p.Items = append(p.Items, item)
		}
	}
	if s.Scan() {
		return nil, fmt.Errorf("read packing %s: %q after the last item", name, s.Text())
	}
	return p, nil
}

// ReadPackings reads all *.vbp files of a tar archive, named by their base name without the ending. Files that are no
// instance are refused one by one, the others count.
func ReadPackings(r io.Reader) (packings []*Packing, refused []error, err error) {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return packings, refused, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read packings: %w", err)
		}
		base := path.Base(h.Name)
		if h.Typeflag != tar.TypeReg || !strings.HasSuffix(base, ".vbp") {
			continue
		}
		if len(packings)+len(refused) == maxPackings {
			return nil, nil, fmt.Errorf("read packings: more than %d", maxPackings)
		}
		p, err := ReadPacking(strings.TrimSuffix(base, ".vbp"), t)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		packings = append(packings, p)
	}
}

// ReadKnown reads the table of known values: instance_name, LB, OPT (-1: not proven), best_overall, and more.
func ReadKnown(r io.Reader) (map[string]Known, error) {
	c := csv.NewReader(r)
	c.Comma = '\t'
	rows, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read known values: %w", err)
	}
	if len(rows) == 0 || len(rows[0]) < 4 || rows[0][0] != "instance_name" || rows[0][1] != "LB" || rows[0][2] != "OPT" || rows[0][3] != "best_overall" {
		return nil, errors.New("read known values: line 1: want the names instance_name, LB, OPT, best_overall, ..., with tabs between")
	}
	out := map[string]Known{}
	for n, row := range rows[1:] {
		var k Known
		for j, to := range []*int{&k.Bound, &k.Optimum, &k.Best} {
			if row[j+1] == "-1" && j == 1 {
				continue // not proven
			}
			v, err := strconv.ParseFloat(row[j+1], 64)
			if err != nil || v != float64(int(v)) || v < 0 || v > maxBinItems {
				return nil, fmt.Errorf("read known values: line %d: %q is no number of bins", n+2, row[j+1])
			}
			*to = int(v)
		}
		if k.Reference() == 0 {
			return nil, fmt.Errorf("read known values: line %d: neither a bound nor an optimum", n+2)
		}
		out[row[0]] = k
	}
	return out, nil
}
