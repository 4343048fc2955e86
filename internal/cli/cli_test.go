package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/journal"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/plan"
	"pgregory.net/rapid"
)

// TestExitCodes holds the errors of the other packages to the contract of docs/cli.md.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, codeOK},
		{errors.New("anything"), codeFailed},
		{usagef("x"), codeUsage},
		{fmt.Errorf("outer: %w", inputError(errors.New("x"), "")), codeInput},
		{diskimage.ErrCorrupt, codeInput},
		{diskimage.ErrNoLabel, codeNothing},
		{&dir.LockedError{Path: "x.vmdk"}, codeRefused},
		{journal.ErrLocked, codeRefused},
		{&journal.CorruptError{}, codeInput},
		{plan.ErrAltered, codeInput},
		{&executor.StaleError{}, codeRefused},
		{&executor.RiskError{}, codeRefused},
		{&executor.UnknownError{}, codeUnknown},
		{&executor.JournalError{}, codeInput},
		// The step failed and the VM is where it was, whatever the driver thought at first.
		{&executor.StepError{Err: &fleet.DriverError{Kind: fleet.Unknown, Err: errors.New("x")}}, codeFailed},
		{&fleet.DriverError{Kind: fleet.Unknown, Err: errors.New("x")}, codeUnknown},
		{&fleet.DriverError{Kind: fleet.Permanent, Err: errors.New("x")}, codeFailed},
		{errors.Join(&executor.UnknownError{}, errors.New("journal")), codeUnknown},
		{context.Canceled, codePartly},
		{fs.ErrPermission, codeFailed},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("%v: exit code %d, expected %d", c.err, got, c.want)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		codes []int
		want  int
	}{
		{nil, 0}, {[]int{0, 0}, 0}, {[]int{3, 3}, 3}, {[]int{3}, 3}, {[]int{0, 3}, 5}, {[]int{3, 4}, 1}, {[]int{3, 0, 4}, 5},
	} {
		var sum tally
		for _, code := range c.codes {
			sum.add(code)
		}
		if got := sum.code(); got != c.want {
			t.Errorf("%v: %d, expected %d", c.codes, got, c.want)
		}
	}
}

// TestPipelineOrder: whatever the number of workers, results come once each and in the order of the source.
func TestPipelineOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, jobs := rapid.IntRange(0, 300).Draw(t, "files"), rapid.IntRange(1, 9).Draw(t, "jobs")
		var want, got []string
		for i := range n {
			want = append(want, fmt.Sprint(i))
		}
		source := func(yield func(entry) bool) {
			for _, p := range want {
				if !yield(entry{path: p}) {
					return
				}
			}
		}
		pipeline(context.Background(), jobs, source, func(e entry) string { return e.path }, func(s string) { got = append(got, s) })
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, expected %v", got, want)
		}
	})
}

// TestPipelineStops: an endless source ends soon after the context does.
func TestPipelineStops(t *testing.T) {
	t.Parallel()
	for _, jobs := range []int{1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		var worked atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			pipeline(ctx, jobs, func(yield func(entry) bool) {
				for yield(entry{}) {
				}
			}, func(entry) int { return int(worked.Add(1)) }, func(n int) {
				if n > 1000 {
					cancel()
				}
			})
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d jobs: does not end", jobs)
		}
	}
}

// TestInterruptedWait: a command that waits for the next name ends with its context.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	in, names, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(names.Close(), in.Close()) }() // nothing hangs on it
	ctx, cancel := context.WithCancel(t.Context())
	a := newApp(Env{In: in, Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }})
	ended := make(chan struct{})
	seen := make(chan string, 1)
	go func() {
		defer close(ended)
		a.walk(ctx, &selection{filesFrom: "-"}, func(e entry) bool { seen <- e.path; return true })
	}()
	if _, err := names.WriteString("vm-db.vmdk\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "vm-db.vmdk" {
		t.Errorf("name %q", got)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("still waits for a name")
	}
}

func TestParseExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)
	for in, want := range map[string]string{
		"90d": "2026-05-30T12:00:00Z", "12h": "2026-03-02T00:00:00Z", "1y": "2027-03-01T12:00:00Z", "2w": "2026-03-15T12:00:00Z",
		"2027-01-31": "2027-01-31T00:00:00Z", "2027-01-31T08:00:00+02:00": "2027-01-31T06:00:00Z",
		"": "", "0d": "", "-1d": "", "9": "", "d": "", "1dd": "", "1.5d": "", "101y": "", "99999999999999999999d": "", "2026-02-30": "", "2026-01-01": "",
	} {
		got, err := parseExpiry(in, now)
		if err != nil && want == "" && codeOf(err) == codeUsage {
			continue
		}
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v, expected %q", in, got, err, want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	const want = `plan apply 'it'\''s a plan.json' '' --accept-risk=downtime`
	if got := shellQuote([]string{"plan", "apply", "it's a plan.json", "", "--accept-risk=downtime"}); got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	if got := cleanLine("a\x1b[31m\nb\tc\u202ed\x9be\xff"); got != "a?[31m b c?d??" && got != "a?[31m b c?d?e?" {
		t.Errorf("got %q", got)
	}
}

// TestJSONOnTerminal: control characters that JSON allows in strings do not get to a terminal, and mean the same.
func TestJSONOnTerminal(t *testing.T) {
	t.Parallel()
	const tag = "a\u009b31m\u202e\u007fb"
	var out strings.Builder
	a := newApp(Env{Out: &out, Getenv: func(string) string { return "" }})
	s := &fleet.Snapshot{Version: 1, Pools: []fleet.Pool{{ID: "p", Tags: []string{tag}}}}
	if err := errors.Join(writeSnapshot(a.out, s), a.out.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, terminal := range []bool{false, true} {
		a.outTTY = terminal
		if err := errors.Join(a.writeJSON([]byte(`{"Tags":["`+tag+`"]}`)), a.out.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	exported, rest, _ := strings.Cut(out.String(), `{"Tags"`)
	raw, shown, _ := strings.Cut(rest, `{"Tags"`)
	if strings.ContainsFunc(exported+shown, harmful) || !strings.Contains(raw, tag) {
		t.Errorf("exported %q, piped %q, shown %q", exported, raw, shown)
	}
	var got fleet.Snapshot
	if err := json.Unmarshal([]byte(exported), &got); err != nil || len(got.Pools) != 1 || got.Pools[0].Tags[0] != tag {
		t.Errorf("read back %+v, %v", got.Pools, err)
	}
}

// FuzzParseConfig: no text makes the parser panic, every fault has a place in the file, and what is accepted
// is whole.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{
		"version: 1\nsources:\n  - {id: a, kind: vsphere, url: https://vc/sdk}\n",
		"version: 1\ntrust: t.yaml\npolicy: /p.yaml\nsources:\n  - id: k\n    kind: libvirt\n    hosts: [{uri: \"qemu:///system\", peer: x}]\n",
		"", "- a", "version: 2\nsources: []", "version: 1\nsources: *x", "a: &a [*a]\n", "{", "version: 1\n---\nversion: 1\n", "\xff\xfe", "? {a: b}\n: c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("/site/berth.yaml", data)
		if err != nil {
			var ye *yamlError
			if !errors.As(err, &ye) || ye.line < 1 || ye.column < 1 || !strings.HasPrefix(err.Error(), "/site/berth.yaml:") {
				t.Fatalf("error without a place: %v", err)
			}
			return
		}
		if len(c.sources) == 0 {
			t.Fatal("accepted without a source")
		}
		for _, s := range c.sources {
			if s.id == "" || s.kind == "vsphere" && s.url == "" || s.kind == "libvirt" && len(s.hosts) == 0 {
				t.Fatalf("accepted a source that is not whole: %+v", s)
			}
		}
	})
}

// TestConfigHost: what libvirt cannot say of a host comes from the file to the driver.
func TestConfigHost(t *testing.T) {
	t.Parallel()
	c, err := parseConfig("/site/berth.yaml", []byte(`version: 1
sources:
  - id: k
    kind: libvirt
    hosts: [{uri: "qemu:///system", cluster: c1, chassis: rack-2, tags: ["tier:gold", "gpu"]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := hostConfig{uri: "qemu:///system", cluster: "c1", chassis: "rack-2", tags: []string{"tier:gold", "gpu"}}
	if got := c.sources[0].hosts[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err = parseConfig("/site/berth.yaml", []byte("version: 1\nsources:\n  - {id: k, kind: libvirt, hosts: [{uri: u, tags: gold}]}\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "/site/berth.yaml:3:51: sources[0].hosts[0].tags") {
		t.Errorf("tags that are no list: %v", err)
	}
}
