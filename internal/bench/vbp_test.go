package bench

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReadPacking(t *testing.T) {
	t.Parallel()
	p, err := ReadPacking("small", strings.NewReader("2\n10 20\n3\n5 6 2\n10 20 1\n-1 3 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]int64{{5, 6}, {5, 6}, {10, 20}, {0, 3}}
	if !slices.EqualFunc(p.Items, want, slices.Equal) || !slices.Equal(p.Capacity, []int64{10, 20}) || p.Raised != 1 {
		t.Fatalf("read %+v", p)
	}
	for _, bad := range []string{
		"", "0", "33", "1 0", "1 10 1", "1 10 1 11 1", "1 10 1 5 70000", "1 10 70000", "1 10 1 5 1 9", "1 10 1 -11 1",
		"1 10 1 5 -1", "1 9999999999 0", "x",
	} {
		if p, err := ReadPacking("bad", strings.NewReader(bad)); err == nil {
			t.Errorf("%q: read as %+v", bad, p)
		}
	}
}

func TestReadKnown(t *testing.T) {
	t.Parallel()
	k, err := ReadKnown(strings.NewReader("instance_name\tLB\tOPT\tbest_overall\na\t3\t-1\t5\nb\t3\t4\t5\n"))
	if err != nil {
		t.Fatal(err)
	}
	if k["a"].Reference() != 3 || k["b"].Reference() != 4 || k["a"].Best != 5 {
		t.Fatalf("read %+v", k)
	}
	for _, bad := range []string{"", "a\tb\tc\td\n", "instance_name\tLB\tOPT\tbest_overall\na\tx\t1\t2\n", "instance_name\tLB\tOPT\tbest_overall\na\t0\t-1\t2\n"} {
		if k, err := ReadKnown(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: read as %+v", bad, k)
		}
	}
}

// TestPack: no more bins than items, no fewer than their sums fill, the same for the same seed, and no more with more steps
// than without. Pack itself asks the referee.
func TestPack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := &Packing{Name: "drawn"}
		for range rapid.IntRange(1, 4).Draw(t, "dimensions") {
			p.Capacity = append(p.Capacity, rapid.Int64Range(5, 30).Draw(t, "capacity"))
		}
		for range rapid.IntRange(1, 25).Draw(t, "items") {
			var item []int64
			for _, c := range p.Capacity {
				item = append(item, rapid.Int64Range(0, c).Draw(t, "demand"))
			}
			p.Items = append(p.Items, item)
		}
		first, err := p.Pack(PackOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o := PackOptions{Steps: 100, Tries: 2, Seed: rapid.Uint64().Draw(t, "seed")}
		bins, err := p.Pack(o)
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.Pack(o)
		if err != nil {
			t.Fatal(err)
		}
		least := int64(1)
		for d, c := range p.Capacity {
			sum := int64(0)
			for _, item := range p.Items {
				sum += item[d]
			}
			least = max(least, (sum+c-1)/c)
		}
		if bins != again || bins > first || first > len(p.Items) || int64(bins) < least {
			t.Fatalf("%d bins, %d the second time, %d before bins are freed, at least %d", bins, again, first, least)
		}
	})
}

// TestPackFreesBins: items of which first fit decreasing wastes a bin, and ejection does not.
func TestPackFreesBins(t *testing.T) {
	t.Parallel()
	p := &Packing{Name: "pairs", Capacity: []int64{100}}
	for _, n := range []int64{44, 24, 24, 22, 21, 17, 8, 8, 6, 6} { // 24+24+22+... fills two bins of ninety exactly
		p.Items = append(p.Items, []int64{n})
	}
	p.Capacity[0] = 90
	bins, err := p.Pack(PackOptions{Steps: 2000, Tries: 4})
	if err != nil {
		t.Fatal(err)
	}
	if bins != 2 {
		t.Fatalf("%d bins, two hold all", bins)
	}
}

func FuzzReadPacking(f *testing.F) {
	f.Add("2\n10 20\n3\n5 6 2\n10 20 1\n1 3 1\n")
	f.Add("1 10 1 -3 2")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ReadPacking("fuzzed", strings.NewReader(s))
		if err != nil {
			return
		}
		if len(p.Items) > maxBinItems {
			t.Fatalf("%d items", len(p.Items))
		}
		if len(p.Items) > 0 {
			if err := p.Problem().Validate(); err != nil && len(p.Items) < 100 {
				t.Fatal(err)
			}
		}
	})
}

func FuzzReadPackings(f *testing.F) {
	f.Add([]byte("class1.vbp"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if _, _, err := ReadPackings(strings.NewReader(string(b))); err != nil {
			return
		}
	})
}

func FuzzReadKnown(f *testing.F) {
	f.Add("instance_name\tLB\tOPT\tbest_overall\na\t3\t-1\t5\n")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ReadKnown(strings.NewReader(s))
		if err != nil {
			return
		}
		for name, v := range k {
			if v.Reference() < 1 {
				t.Fatalf("%s: %+v", name, v)
			}
		}
	})
}
