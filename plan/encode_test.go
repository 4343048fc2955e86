package plan_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

func file(t *testing.T) *plan.File {
	t.Helper()
	p := site()
	pl := seal(t, p, move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-web", "gold-2", "gold-2/nvme"))
	pl.Steps[0].Reason = "host-a -> gold-1 & back"
	if err := pl.Seal(); err != nil {
		t.Fatal(err)
	}
	return &plan.File{Plan: *pl, Policy: "levels: {}\n", Snapshot: *p.Snapshot}
}

func TestEncodeIsCanonicalAndReadable(t *testing.T) {
	t.Parallel()
	b, err := file(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := file(t).Encode()
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("equal plans, other bytes (%v)", err)
	}
	back, err := plan.DecodeFile("plan.json", b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err = back.Encode(); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("decoded and encoded, other bytes (%v):\n%s\n%s", err, b, again)
	}
	lines := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, `      {"n":`) {
			lines++
		}
	}
	if lines != 2 || !bytes.Contains(b, []byte("host-a -> gold-1 & back")) {
		t.Errorf("expected each of the 2 steps on a line of its own, unescaped:\n%s", b)
	}
}

// TestSealIsOfTheWholeText: the digest is formed piece by piece, and has to be that of the text in one.
func TestSealIsOfTheWholeText(t *testing.T) {
	t.Parallel()
	for _, steps := range []int{1, 50, 3000} {
		pl := file(t).Plan
		first := pl.Steps[0]
		pl.Steps = pl.Steps[:0:0]
		for n := range steps {
			first.N = n + 1
			pl.Steps = append(pl.Steps, first)
		}
		if err := pl.Seal(); err != nil {
			t.Fatal(err)
		}
		text, err := plan.Sealed(&pl)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		if want := "p-" + hex.EncodeToString(sum[:8]); pl.ID != want {
			t.Errorf("%d steps, %d bytes: sealed as %s, the text gives %s", steps, len(text), pl.ID, want)
		}
	}
}

func TestDecodeFileRefuses(t *testing.T) {
	t.Parallel()
	good, err := file(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, with, want string
		altered               bool
	}{
		{"a step altered by hand", `"to":{"host":"gold-1"`, `"to":{"host":"gold-2"`, "plan.id", true},
		{"a reason altered by hand", "& back", "& gone", "plan.id", true},
		{"a risk taken out", `"mode":"live"`, `"mode":"offline"`, "plan.id", true},
		{"the ID altered", `"id": "p-`, `"id": "p-0`, "plan.id", true},
		{"the snapshot altered", `"taken": "0001`, `"taken": "0002`, "plan.snapshotId", true},
		{"an invalid snapshot", "1,\n    \"taken\"", "7,\n    \"taken\"", "snapshot.version", false},
		{"another version", `"version": 2`, `"version": 1`, "made by another version", false},
		{"an unknown field", `"policyId"`, `"polizei"`, "plan.json:", false},
		{"cut off", good2(good), "", "plan.json:", false},
		{"something after it", "\n}\n", "\n}\n{}", "unexpected data", false},
		{"a wrong type", `"n":1`, `"n":"one"`, "plan.steps.n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(string(good), c.old, c.with, 1)
			if bad == string(good) {
				t.Fatal("nothing was changed")
			}
			_, err := plan.DecodeFile("plan.json", []byte(bad))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "plan.json:") ||
				errors.Is(err, plan.ErrAltered) != c.altered {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

// good2 is the second half of a file.
func good2(b []byte) string { return string(b[len(b)/2:]) }

func FuzzDecodeFile(f *testing.F) {
	p := site()
	pl := &plan.Plan{Version: plan.Version, SnapshotID: p.Snapshot.Digest(), PolicyID: p.PolicyID, Steps: []plan.Step{move(p, "vm-db", "gold-1", "gold-1/nvme")}}
	if err := pl.Seal(); err != nil {
		f.Fatal(err)
	}
	good, err := (&plan.File{Plan: *pl, Policy: "x", Snapshot: *p.Snapshot}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"plan":{"version":1,"steps":[{}]}}`))
	f.Add([]byte(`{"plan":{"version":1},"snapshot":{"version":1,"taken":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte("{"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := plan.DecodeFile("plan.json", data)
		if err != nil {
			return
		}
		b, err := file.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := plan.DecodeFile("plan.json", b)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if again, err := back.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoding is not canonical: %v", err)
		}
		plan.CheckSteps(site(), file.Plan.Steps) // whatever the steps say, there is no panic
	})
}

// TestPackQueues holds the search against one that tries every NIC for every need.
func TestPackQueues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rooms := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plan.QueueRoom {
			return plan.QueueRoom{Class: fleet.NICClass(rapid.IntRange(0, 3).Draw(t, "class")), Free: fleet.Queues(rapid.IntRange(0, 9).Draw(t, "free")),
				Rate: fleet.Mbps(rapid.IntRange(0, 9).Draw(t, "rate"))}
		}), 0, 3).Draw(t, "rooms")
		needs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plan.QueueNeed {
			return plan.QueueNeed{Class: fleet.NICClass(rapid.IntRange(0, 3).Draw(t, "class")), Queues: fleet.Queues(rapid.IntRange(0, 5).Draw(t, "queues")),
				Rate: fleet.Mbps(rapid.IntRange(0, 5).Draw(t, "rate"))}
		}), 0, 6).Draw(t, "needs")
		want := tryAll(rooms, needs)
		if got := plan.PackQueues(rooms, needs); got != want {
			t.Errorf("got %v, expected %v", got, want)
		}
	})
}

func tryAll(rooms []plan.QueueRoom, needs []plan.QueueNeed) bool {
	if len(needs) == 0 {
		return true
	}
	for i := range rooms {
		if rooms[i].Class < needs[0].Class || rooms[i].Free < needs[0].Queues || rooms[i].Rate < needs[0].Rate {
			continue
		}
		rest := append([]plan.QueueRoom{}, rooms...)
		rest[i].Free -= needs[0].Queues
		rest[i].Rate -= needs[0].Rate
		if tryAll(rest, needs[1:]) {
			return true
		}
	}
	return false
}
