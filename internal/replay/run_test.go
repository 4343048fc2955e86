package replay

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// fleetOf is an empty fleet of hosts of one size.
func fleetOf(hosts int, memory fleet.Bytes) *fleet.Snapshot {
	shape := sim.DefaultShape()
	shape.Host = sim.HostSize{CPU: fleet.CPUs(16), Memory: memory}
	return sim.Generate(sim.Options{Hosts: hosts, Seed: 1, Shape: &shape})
}

func options() Options {
	return Options{Catalogue: policy.Default(), Open: open(false, false), Improve: solve, Every: 3600, Budget: 500, Queue: 100, Samples: 30}
}

func replayed(t interface {
	Helper()
	Fatal(args ...any)
}, s *fleet.Snapshot, tr *Trace, o Options) *Report {
	t.Helper()
	r, err := Run(s, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReplayHolds plays small random traces: nothing breaks, every VM is somewhere, and a second run is the same to the
// byte.
func TestReplayHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tr, err := Generate(Made{Hosts: 1, Days: 1, Rate: rapid.IntRange(1, 12).Draw(t, "rate"), Seed: rapid.Uint64().Draw(t, "seed")})
		if err != nil {
			t.Fatal(err)
		}
		hosts := rapid.IntRange(4, 12).Draw(t, "hosts")
		s := fleetOf(hosts, fleet.Bytes(rapid.IntRange(16, 64).Draw(t, "GiB"))*fleet.GiB)
		o := options()
		o.Open = open(false, rapid.Bool().Draw(t, "preempt"))
		o.Queue = rapid.IntRange(0, 20).Draw(t, "queue")
		for range rapid.IntRange(0, 3).Draw(t, "losses") {
			h := s.Hosts[rapid.IntRange(0, hosts-1).Draw(t, "lost")].ID
			o.Losses = append(o.Losses, Loss{Host: h, At: Second(rapid.IntRange(0, 90_000).Draw(t, "at"))})
		}
		r := replayed(t, s, tr, o)
		if r.Violations != 0 {
			t.Fatalf("%d violations: %s", r.Violations, r.Detail)
		}
		if r.Arrivals != len(tr.Arrivals) || r.Placed-r.PlacedLater+r.Refused != r.Arrivals {
			t.Fatalf("%d arrivals, %d placed (%d later), %d refused", r.Arrivals, r.Placed, r.PlacedLater, r.Refused)
		}
		if r.Live+r.Waiting+r.TurnedAway+r.Departed != r.Arrivals {
			t.Fatalf("of %d arrivals %d live, %d wait, %d were turned away, %d departed", r.Arrivals, r.Live, r.Waiting, r.TurnedAway, r.Departed)
		}
		a, b := outputs(t, r), outputs(t, replayed(t, s, tr, o))
		if !bytes.Equal(a, b) {
			t.Fatal("the same replay gave two reports")
		}
	})
}

func outputs(t interface{ Fatal(...any) }, r *Report) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var svg bytes.Buffer
	if err := r.SVG(&svg); err != nil {
		t.Fatal(err)
	}
	return append(b, svg.Bytes()...)
}

const story = header + `
vm-web,0,7200,2,8192,20,silver,,
vm-db,60,,4,8192,20,gold,,
vm-big,120,3600,8,32768,20,silver,,
vm-batch,180,600,1,1024,10,,,
vm-late,7800,600,8,32768,20,silver,,
vm-end,90000,60,1,1024,10,bronze,,
`

func read(t *testing.T, text string) *Trace {
	t.Helper()
	tr, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestReplayCounts follows a story that can be counted by hand, on 2 hosts (gold and silver) of 32 GiB.
func TestReplayCounts(t *testing.T) {
	t.Parallel()
	o := options()
	o.Every = 0
	r := replayed(t, fleetOf(2, 32*fleet.GiB), read(t, story), o)
	// Gold holds vm-web and vm-db; vm-big takes the silver host, vm-batch has room on gold. vm-late arrives when vm-big has
	// left. All but vm-db and vm-end depart.
	if r.Placed != 6 || r.Refused != 0 || r.Departed != 4 || r.Live != 2 || r.LiveMost != 4 || r.HostsMost != 2 {
		t.Errorf("report is %+v", r)
	}
	// The first host is in use from 0, since vm-db stays: 90,000 s. The second for an hour, and for 10 minutes.
	if want := cents((90_000 + 3600 + 600) / 3600.0); r.HostHours != want {
		t.Errorf("%.2f host-hours, expected %.2f", r.HostHours, want)
	}
	if r.Checks != 31 || r.Violations != 0 || len(r.Samples) != r.Checks {
		t.Errorf("%d checks, %d samples, %d violations (%s)", r.Checks, len(r.Samples), r.Violations, r.Detail)
	}
}

// TestReplayQueues lets vm-big wait for the end of vm-web, turns one away for which the queue has no room, and names
// what refused them.
func TestReplayQueues(t *testing.T) {
	t.Parallel()
	o := options()
	o.Every, o.Queue = 0, 1
	tr := read(t, header+`
vm-web,0,3600,1,30720,20,gold,,
vm-big,10,600,1,30720,20,gold,,
vm-more,20,600,1,30720,20,gold,,
vm-end,9000,60,1,1024,10,bronze,,
`)
	r := replayed(t, fleetOf(1, 32*fleet.GiB), tr, o)
	if r.Placed != 3 || r.PlacedLater != 1 || r.Refused != 2 || r.TurnedAway != 1 || r.WaitSeconds != 3590 {
		t.Errorf("report is %+v", r)
	}
	if len(r.Reasons) != 1 || r.Reasons[0] != (Reason{"memory", 2}) {
		t.Errorf("refused by %v", r.Reasons)
	}
}

// TestReplaySeesViolations holds the referee to its work: a placer that promises too much is found out, at the placement and
// by the judge.
func TestReplaySeesViolations(t *testing.T) {
	t.Parallel()
	o := options()
	o.Open, o.Every = open(true, false), 0
	r := replayed(t, fleetOf(2, 32*fleet.GiB), read(t, header+`
vm-a,0,,1,30720,20,gold,,
vm-b,0,,1,30720,20,gold,,
vm-c,3600,,1,30720,20,gold,,
`), o)
	if r.Violations < 3 || !strings.Contains(r.Detail, "vm-b: host host-0001 promises more than it has") {
		t.Errorf("%d violations, the first: %s", r.Violations, r.Detail)
	}
}

// TestReplayRestarts loses the host of a VM: it is started anew elsewhere, leaves when it would have left, and nothing runs
// on the lost host.
func TestReplayRestarts(t *testing.T) {
	t.Parallel()
	s := fleetOf(16, 32*fleet.GiB)
	o := options()
	o.Every, o.Losses = 0, []Loss{{Host: "host-0001", At: 600}}
	r := replayed(t, s, read(t, header+`
vm-db,0,1200,1,2048,20,gold,,
vm-end,7200,60,1,1024,10,bronze,,
`), o)
	if r.Restarted != 1 || r.Departed != 1 || r.Live != 1 || r.Violations != 0 || r.HostsMost != 1 {
		t.Errorf("report is %+v", r)
	}
	if want := cents(1200 / 3600.0); r.HostHours != want {
		t.Errorf("%.2f host-hours, expected %.2f", r.HostHours, want)
	}
}

func TestReplayPreempts(t *testing.T) {
	t.Parallel()
	s := fleetOf(1, 32*fleet.GiB)
	o := options()
	o.Every, o.Open = 0, open(false, true)
	tr := read(t, header+`
vm-low,0,,1,30720,20,bronze,,
vm-mid,600,60,1,2048,20,bronze,,
vm-end,7200,60,1,1024,10,bronze,,
`)
	// The placer of these tests evicts only VMs of the snapshot that it was opened with.
	s.VMs = []fleet.VM{{ID: "vm-own", Source: s.Hosts[0].Source, Host: s.Hosts[0].ID, Power: fleet.Running, CPU: 1000, Memory: 31 * fleet.GiB}}
	tr.Arrivals[0].Level = "gold"
	r := replayed(t, s, tr, o)
	if r.Preempted != 1 || r.Placed != 3 || r.Waiting != 1 || r.Violations != 0 {
		t.Errorf("report is %+v", r)
	}
}

func TestReplayRefusesOptions(t *testing.T) {
	t.Parallel()
	s, tr := fleetOf(1, 32*fleet.GiB), read(t, story)
	for name, spoil := range map[string]func(o *Options){
		"no catalogue": func(o *Options) { o.Catalogue = nil },
		"no planner":   func(o *Options) { o.Improve = nil },
		"queue":        func(o *Options) { o.Queue = MaxQueue + 1 },
		"samples":      func(o *Options) { o.Samples = -1 },
		"budget":       func(o *Options) { o.Budget = 10_001 },
		"every":        func(o *Options) { o.Every = -1 },
		"settle":       func(o *Options) { o.Settle = MaxSeconds + 1 },
		"lost host":    func(o *Options) { o.Losses = []Loss{{Host: "host-x"}} },
		"lost when":    func(o *Options) { o.Losses = []Loss{{Host: "host-0001", At: -1}} },
	} {
		o := options()
		spoil(&o)
		if _, err := Run(s, tr, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	tr.Arrivals[0].Level = "platinum"
	if _, err := Run(s, tr, options()); err == nil || !strings.Contains(err.Error(), `vm-web: level "platinum"`) {
		t.Errorf("a level that the policy has not gave %v", err)
	}
	o := options()
	o.Stop = func() bool { return true }
	long, err := Generate(Made{Hosts: 1, Days: 3, Rate: 4, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(s, long, o); err == nil || !strings.HasSuffix(err.Error(), ErrStopped.Error()) {
		t.Errorf("a replay that was stopped gave %v", err)
	}
}
