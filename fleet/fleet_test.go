package fleet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
)

func small() *fleet.Snapshot {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion,
		Taken:   time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		Sources: []fleet.Source{{ID: "lab", Kind: fleet.KVM, Reachable: true}},
		Hosts: []fleet.Host{
			{ID: "host-a", Source: "lab", CPU: fleet.CPUs(8), Memory: 16 * fleet.GiB, Pools: []fleet.PoolID{"nfs"},
				NICs: []fleet.NIC{{ID: "eth0", Class: 3, Queues: 7, Speed: 10000}}},
			{ID: "host-b", Source: "lab", CPU: fleet.CPUs(8), Memory: 16 * fleet.GiB, Pools: []fleet.PoolID{"nfs"}},
		},
		Pools: []fleet.Pool{{ID: "nfs", Source: "lab", Capacity: fleet.TiB, Free: fleet.TiB / 2, Shared: true}},
		VMs: []fleet.VM{{ID: "vm-db", Source: "lab", Host: "host-a", Power: fleet.Running, CPU: 1000, Memory: fleet.GiB,
			Disks: []fleet.Disk{{ID: "vda", Pool: "nfs", Path: "/nfs/vm-db.vmdk", Size: fleet.GiB,
				Label: fleet.Label{Trust: fleet.TrustNone}}}}},
	}
	s.Sort()
	return s
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*fleet.Snapshot)
		want   string
	}{
		{"good", func(*fleet.Snapshot) {}, ""},
		{"version", func(s *fleet.Snapshot) { s.Version = 9 }, "version: is 9, expected 1"},
		{"unsorted hosts", func(s *fleet.Snapshot) { slices.Reverse(s.Hosts) },
			`hosts[1].id: "host-a" comes after "host-b", expected sorted and unique`},
		{"twice", func(s *fleet.Snapshot) { s.Hosts[1].ID = "host-a" },
			`hosts[1].id: "host-a" comes after "host-a", expected sorted and unique`},
		{"empty id", func(s *fleet.Snapshot) { s.VMs[0].ID = "" }, "vms[0].id: 0 bytes, expected 1 to 512"},
		{"control character", func(s *fleet.Snapshot) { s.VMs[0].ID = "a\x1b[2J" }, `vms[0].id: control character in "a\x1b[2J"`},
		{"host of no source", func(s *fleet.Snapshot) { s.Hosts[0].Source = "x" }, `hosts[0].source: no source "x"`},
		{"host with no such pool", func(s *fleet.Snapshot) { s.Hosts[0].Pools[0] = "x" }, `hosts[0].pools[0]: no pool "x"`},
		{"negative memory", func(s *fleet.Snapshot) { s.Hosts[1].Memory = -1 },
			"hosts[1] (host-b): cpu 8000, memory -1, expected no negative amount"},
		{"NIC class", func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Class = 4 },
			"hosts[0].nics[0]: class 4, queues 7, speed 10000, expected class 0 to 3 and no negative amount"},
		{"NIC twice", func(s *fleet.Snapshot) { s.Hosts[0].NICs = append(s.Hosts[0].NICs, s.Hosts[0].NICs[0]) },
			`hosts[0].nics[1].id: "eth0" a second time, expected each once`},
		{"disk twice", func(s *fleet.Snapshot) { s.VMs[0].Disks = append(s.VMs[0].Disks, s.VMs[0].Disks[0]) },
			`vms[0].disks[1].id: "vda" a second time, expected each once`},
		{"pool of no source", func(s *fleet.Snapshot) { s.Pools[0].Source = "" }, `pools[0].source: no source ""`},
		{"more free than there is", func(s *fleet.Snapshot) { s.Pools[0].Free = 2 * fleet.TiB },
			"pools[0].free: 2199023255552 of 1099511627776, expected 0 to the capacity"},
		{"VM of no source", func(s *fleet.Snapshot) { s.VMs[0].Source = "" }, `vms[0].source: no source ""`},
		{"VM on no host", func(s *fleet.Snapshot) { s.VMs[0].Host = "host-z" }, `vms[0].host: no host "host-z"`},
		{"negative CPU", func(s *fleet.Snapshot) { s.VMs[0].CPU = -1 },
			"vms[0] (vm-db): cpu -1, memory 1073741824, expected no negative amount"},
		{"disk on no pool", func(s *fleet.Snapshot) { s.VMs[0].Disks[0].Pool = "x" }, `vms[0].disks[0].pool: no pool "x"`},
		{"negative disk", func(s *fleet.Snapshot) { s.VMs[0].Disks[0].Used = -5 },
			"vms[0].disks[0]: size 1073741824, used -5, expected no negative amount"},
		{"endless chain", func(s *fleet.Snapshot) { s.VMs[0].Disks[0].Chain = make([]fleet.ChainLink, fleet.MaxChain+1) },
			"vms[0].disks[0].chain: 65 links, expected at most 64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := small()
			tc.change(s)
			got := ""
			if err := s.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestDecodeSnapshotPositions(t *testing.T) {
	t.Parallel()
	good, err := json.MarshalIndent(small(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.DecodeSnapshot("fleet.json", good); err != nil {
		t.Fatalf("a good file: %v", err)
	}
	for _, tc := range []struct{ name, data, want string }{
		{"empty", "", "fleet.json:1:1: the file ends within the document"},
		{"cut", string(good[:40]), "the file ends within the document"},
		{"not JSON", "{\n  version: 1\n}", "fleet.json:2:3: invalid character 'v' looking for beginning of object key string"},
		{"wrong type", "{\"version\": 1,\n \"hosts\": 7}", "fleet.json:2:11: hosts: is a number, expected []fleet.Host"},
		{"unknown field", "{\"version\": 1,\n \"hots\": []}", `unknown field "hots"`},
		{"two documents", string(good) + "{}", "unexpected data after the document"},
		{"field at fault", strings.Replace(string(good), `"host": "host-a"`, `"host": "host-q"`, 1),
			`fleet.json: vms[0].host: no host "host-q"`},
		{"no word on a label", strings.Replace(string(good), `"trust": "none"`, `"reason": "lost"`, 1),
			`fleet.json: vms[0].disks[0].label.trust: is "", expected none, unread, unsigned, invalid or signed`},
		{"a signed label without its document", strings.Replace(string(good), `"trust": "none"`, `"trust": "signed"`, 1),
			"fleet.json: vms[0].disks[0].label.document: missing, expected that of a label which is signed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := fleet.DecodeSnapshot("fleet.json", []byte(tc.data))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestDigestFollowsContent(t *testing.T) {
	t.Parallel()
	a, b := small(), small()
	if a.Digest() != b.Digest() {
		t.Error("equal snapshots, two digests")
	}
	b.VMs[0].Memory++
	if a.Digest() == b.Digest() {
		t.Error("two snapshots, one digest")
	}
}

func TestSortMakesOrderIrrelevant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := small()
		for i := range rapid.IntRange(0, 8).Draw(t, "hosts") {
			h := s.Hosts[0]
			h.ID = fleet.HostID(fmt.Sprintf("host-x%d", i))
			s.Hosts = append(s.Hosts, h)
		}
		s.Sort()
		want := s.Digest()
		s.Hosts = rapid.Permutation(s.Hosts).Draw(t, "order")
		s.Sort()
		if got := s.Digest(); got != want {
			t.Fatalf("digest %s, want %s", got, want)
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, h := range s.Hosts {
			if s.Host(h.ID) == nil {
				t.Fatalf("host %s is not found", h.ID)
			}
		}
	})
}

func TestPlacement(t *testing.T) {
	t.Parallel()
	v := small().VMs[0]
	p := v.Place()
	q := p.Clone()
	q.Disks[0].Pool = "ssd"
	if diff := cmp.Diff(fleet.Placement{Host: "host-a", Disks: []fleet.DiskPlace{{Disk: "vda", Pool: "nfs"}}}, p); diff != "" {
		t.Errorf("Clone shares memory, or Place is wrong (-want +got):\n%s", diff)
	}
	if p.Equal(q) || !p.Equal(v.Place()) {
		t.Error("Equal is wrong")
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{fleet.FormatBytes(0), "0 B"}, {fleet.FormatBytes(1023), "1023 B"}, {fleet.FormatBytes(1536), "1.5 KiB"},
		{fleet.FormatBytes(10 * fleet.GiB), "10 GiB"}, {fleet.FormatBytes(1 << 62), "4 EiB"}, {fleet.FormatBytes(-1536), "-1.5 KiB"},
		{fleet.CPUs(2).String(), "2"}, {fleet.MilliCPU(500).String(), "0.5"}, {fleet.Mbps(25000).String(), "25 Gb/s"},
		{fleet.Mbps(2500).String(), "2500 Mb/s"}, {fleet.Mbps(100).String(), "100 Mb/s"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("apply step 3: %w", &fleet.DriverError{Kind: fleet.Retry, Op: "migrate vm vm-db", Err: fleet.ErrNotFound})
	if fleet.KindOf(err) != fleet.Retry || !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("%v: kind %v", err, fleet.KindOf(err))
	}
	if fleet.KindOf(errors.New("plain")) != fleet.Unknown {
		t.Error("an untyped error must count as unknown")
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	good, err := json.Marshal(small())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte("{\n\"hosts\": [{}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := fleet.DecodeSnapshot("f", data)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fleet.DecodeSnapshot("f", again); err != nil {
			t.Fatalf("a decoded snapshot does not decode again: %v", err)
		}
	})
}

// TestFilesAreNoPlan: the names that a driver chose for images are not part of what a plan file says, or may say.
func TestFilesAreNoPlan(t *testing.T) {
	t.Parallel()
	r := fleet.Relocation{Files: []fleet.DiskFile{{Disk: "vda", Path: "/ssd/disk.raw", Name: "disk-1.raw"}}}
	b, err := json.Marshal(r)
	if err != nil || strings.Contains(string(b), "disk-1.raw") {
		t.Errorf("%s, %v", b, err)
	}
	for _, text := range []string{`{"files":[]}`, `{"Files":[]}`} {
		if err := fleet.DecodeJSON("relocation", []byte(text), &r); err == nil {
			t.Errorf("%s is taken for a relocation", text)
		}
	}
	if r.File("vdb") != nil || r.File("vda") == nil {
		t.Errorf("files %+v", r.Files)
	}
}
