package cli

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

// TestCopiesInPasses: the labels that are on several disks are found however few of them are looked at in one pass.
func TestCopiesInPasses(t *testing.T) {
	t.Parallel()
	sp, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(sp)
	want := map[uint64]int{}
	for i := range 200 {
		digest := audit.Digest(label.KeyID{1}, fmt.Appendf(nil, "%d", i%150)) // 50 of them twice
		if i >= 190 {
			digest = audit.Digest(label.KeyID{1}, []byte("many"))
		}
		want[shortDigest(digest)]++
		sp.current = auditLine{imageLine: imageLine{Path: fmt.Sprint(i), Trust: label.TrustSigned}}
		seen := audit.Seen{Trust: label.TrustSigned, Serial: 1, Digest: digest, Level: "gold"}
		if err := sp.add(0, &audit.Result{Name: fmt.Sprint(i), Status: audit.Signed, Next: seen}); err != nil {
			t.Fatal(err)
		}
	}
	for d, n := range want {
		if n == 1 {
			delete(want, d)
		}
	}
	for _, atOnce := range []int{1, 7, 199, 200, 1000} {
		d, err := sp.copies(atOnce)
		if err != nil {
			t.Fatal(err)
		}
		got := d.groups
		if len(got) != len(want) {
			t.Errorf("%d at once: %d labels on several disks, expected %d", atOnce, len(got), len(want))
		}
		for d, n := range want {
			if got[d] == nil || got[d].disks != n {
				t.Errorf("%d at once: %x: %+v, expected %d disks", atOnce, d, got[d], n)
			}
		}
	}
}

func TestShortDigest(t *testing.T) {
	t.Parallel()
	d := audit.Digest(label.KeyID{}, []byte("a"))
	if b, err := hex.DecodeString(d); err != nil || len(b) != 16 || shortDigest(d) == 0 || shortDigest(d) == shortDigest(audit.Digest(label.KeyID{}, []byte("b"))) {
		t.Errorf("digest %q, short %x: %v", d, shortDigest(d), err)
	}
}

func TestFleetNames(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{{"rack-1", "host-a/ssd", "/srv/vm.vmdk"}, {"a/b", "c", "[ds] x%2Fy/z.vmdk"}, {"a", "b/c", "p"}, {"a", "b", "c/p"}} {
		name := fleetName(fleet.SourceID(c[0]), fleet.PoolID(c[1]), c[2])
		s, p, path := splitFleetName(name)
		if s != c[0] || p != c[1] || path != c[2] {
			t.Errorf("%q becomes %q, %q, %q of %q", c, s, p, path, name)
		}
	}
	if s, _, path := splitFleetName("odd"); s != "" || path != "odd" {
		t.Errorf("%q of %q", path, s)
	}
}
