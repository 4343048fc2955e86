package audit_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

// merge runs a walk over a record and gives the results by name, and the record that follows.
func merge(t interface{ Fatal(...any) }, old []audit.Entry, walk map[string]audit.Present, set func(*audit.Merge)) (map[string]audit.Result, []audit.Entry) {
	r, err := audit.NewReader(bytes.NewReader(record(t, "s", old...)), "s")
	if err != nil {
		t.Fatal(err)
	}
	m := audit.NewMerge(r)
	results := map[string]audit.Result{}
	var next []audit.Entry
	m.Emit = func(r audit.Result) error {
		if _, twice := results[r.Name]; twice {
			t.Fatal("twice: ", r.Name)
		}
		results[r.Name] = r
		if r.Next.Labelled() {
			next = append(next, audit.Entry{Name: r.Name, Seen: r.Next})
		}
		return nil
	}
	if set != nil {
		set(m)
	}
	for _, name := range slices.SortedFunc(maps.Keys(walk), audit.Compare) {
		if err := m.Disk(name, walk[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	return results, next
}

// TestMergeIsJudgeByName: the merge comes to the same as a look-up of each name in the whole record, and the new record
// is sorted.
func TestMergeIsJudgeByName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-c.]{1,2}(/[a-c.]{1,2}){0,2}`)
		old := map[string]audit.Entry{}
		for _, n := range rapid.SliceOfN(name, 0, 12).Draw(t, "recorded") {
			old[n] = entry(n)
		}
		walk := map[string]audit.Present{}
		for _, n := range rapid.SliceOfN(name, 0, 12).Draw(t, "walked") {
			walk[n] = rapid.SampledFrom([]audit.Present{
				signed(3, n), signed(2, n), signed(4, n), unsigned(3, n), {}, {Kind: audit.NotRead}, invalid(label.CauseExpired),
			}).Draw(t, "present")
		}
		accept := rapid.Bool().Draw(t, "accept")
		list := slices.SortedFunc(maps.Values(old), func(a, b audit.Entry) int { return audit.Compare(a.Name, b.Name) })
		results, next := merge(t, list, walk, func(m *audit.Merge) { m.Accept = accept })
		for n, p := range walk {
			var was *audit.Seen
			if e, ok := old[n]; ok {
				was = &e.Seen
			}
			want := audit.Judge(p, was, accept)
			if got := results[n]; got.Status != want.Status || got.Next != want.Next {
				t.Fatalf("%s: %+v, expected %+v", n, got, want)
			}
		}
		for n, e := range old {
			if _, there := walk[n]; there {
				continue
			}
			if got := results[n]; got.Status != audit.Gone || got.Next.Labelled() == accept || !accept && got.Next != e.Seen {
				t.Fatalf("%s: %+v, expected it to be gone", n, got)
			}
		}
		if !slices.IsSortedFunc(next, func(a, b audit.Entry) int { return audit.Compare(a.Name, b.Name) }) {
			t.Fatalf("not sorted: %+v", next)
		}
		if again, _ := merge(t, next, walk, nil); len(again) < len(walk) {
			t.Fatal("the new record cannot be merged")
		}
	})
}

// TestUnseenIsKept: what could not have been seen is neither gone nor forgotten, not even with Accept.
func TestUnseenIsKept(t *testing.T) {
	t.Parallel()
	results, next := merge(t, []audit.Entry{entry("a"), entry("b/c"), entry("d")}, map[string]audit.Present{"d": signed(3, "d")},
		func(m *audit.Merge) {
			m.Accept = true
			m.Unseen = func(name string) bool { return name == "b/c" }
		})
	if results["a"].Status != audit.Gone || results["b/c"].Status != "" || results["d"].Status != audit.Signed {
		t.Errorf("results %+v", results)
	}
	if !slices.Equal(next, []audit.Entry{entry("b/c"), entry("d")}) {
		t.Errorf("recorded %+v", next)
	}
}

func TestMergeOrder(t *testing.T) {
	t.Parallel()
	m := audit.NewMerge(nil)
	m.Emit = func(audit.Result) error { return nil }
	if err := m.Disk("b", audit.Present{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "a"} {
		if err := m.Disk(name, audit.Present{}); err == nil {
			t.Errorf("%s after b: no error", name)
		}
	}
}

// TestOther: a file that is no image counts only when it had a label, as a raw disk whose sidecar was taken away.
func TestOther(t *testing.T) {
	t.Parallel()
	r, err := audit.NewReader(bytes.NewReader(record(t, "s", entry("b"))), "s")
	if err != nil {
		t.Fatal(err)
	}
	m := audit.NewMerge(r)
	var got []audit.Result
	m.Emit = func(r audit.Result) error {
		got = append(got, r)
		return nil
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := m.Other(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Finish(); err != nil || len(got) != 1 || got[0].Name != "b" || got[0].Status != audit.Lost {
		t.Errorf("%+v, %v", got, err)
	}
}
