package audit_test

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

func digest(s string) string { return audit.Digest(label.KeyID{1}, []byte(s)) }

func signed(serial uint32, content string) audit.Present {
	return audit.Present{Kind: audit.Label, Trust: label.TrustSigned, Serial: serial, Digest: digest(content), Level: "gold"}
}

func unsigned(serial uint32, content string) audit.Present {
	return audit.Present{
		Kind: audit.Label, Trust: label.TrustUnsigned, Cause: label.CauseNotSigned, Reason: "the label is not signed",
		Serial: serial, Digest: digest(content), Level: "gold",
	}
}

func invalid(c label.Cause) audit.Present {
	return audit.Present{Kind: audit.Label, Trust: label.TrustInvalid, Cause: c, Reason: string(c), Serial: 1 << 31, Digest: digest("junk")}
}

func seen(trust string, serial uint32, content string) *audit.Seen {
	return &audit.Seen{Trust: trust, Serial: serial, Digest: digest(content), Level: "gold"}
}

// TestJudge: what is recorded afterwards is either what was recorded (kept) or what is there (taken).
func TestJudge(t *testing.T) {
	t.Parallel()
	const s, u = label.TrustSigned, label.TrustUnsigned
	for name, c := range map[string]struct {
		now      audit.Present
		was      *audit.Seen
		want     audit.Status
		taken    bool
		reason   string
		accepted bool // --accept takes it
	}{
		"first time, signed":             {signed(5, "a"), nil, audit.Signed, true, "", false},
		"first time, unsigned":           {unsigned(5, "a"), nil, audit.Unsigned, true, "not signed", false},
		"first time, none":               {audit.Present{}, nil, audit.Unlabelled, true, "", false},
		"first time, invalid":            {invalid(label.CauseSignature), nil, audit.Invalid, false, "signature", false},
		"the same":                       {signed(5, "a"), seen(s, 5, "a"), audit.Signed, true, "", false},
		"newer":                          {signed(6, "b"), seen(s, 5, "a"), audit.Signed, true, "", false},
		"older":                          {signed(4, "b"), seen(s, 5, "a"), audit.RolledBack, false, "has serial 4, had a signed label gold of serial 5", true},
		"other of the same serial":       {signed(5, "b"), seen(s, 5, "a"), audit.RolledBack, false, "another label of serial 5", true},
		"unsigned, the same":             {unsigned(5, "a"), seen(u, 5, "a"), audit.Unsigned, true, "", false},
		"unsigned, older":                {unsigned(4, "a"), seen(u, 5, "b"), audit.RolledBack, false, "an unsigned label", true},
		"signed over unsigned":           {signed(1, "b"), seen(u, 1<<31, "a"), audit.Signed, true, "", false},
		"unsigned over signed":           {unsigned(9, "b"), seen(s, 5, "a"), audit.Unsigned, false, "; had a signed label gold of serial 5", true},
		"unsigned over signed, older":    {unsigned(4, "b"), seen(s, 5, "a"), audit.RolledBack, false, "has serial 4", true},
		"key no longer known":            {unsigned(5, "a"), seen(s, 5, "a"), audit.Unsigned, false, "had a signed label", true},
		"none after signed":              {audit.Present{}, seen(s, 5, "a"), audit.Lost, false, "had a signed label gold of serial 5", true},
		"none after unsigned":            {audit.Present{}, seen(u, 5, "a"), audit.Lost, false, "had an unsigned label", true},
		"expired":                        {invalid(label.CauseExpired), seen(s, 5, "a"), audit.Expired, false, "", false},
		"key expired":                    {invalid(label.CauseKeyExpired), seen(s, 5, "a"), audit.Expired, false, "", false},
		"transplanted":                   {invalid(label.CauseTransplanted), seen(s, 5, "a"), audit.Transplanted, false, "", false},
		"revoked":                        {invalid(label.CauseRevoked), seen(s, 5, "a"), audit.Revoked, false, "", false},
		"malformed":                      {invalid(label.CauseMalformed), seen(s, 5, "a"), audit.Invalid, false, "", false},
		"signature without a key":        {invalid(label.CauseNoKeyID), seen(u, 5, "a"), audit.Invalid, false, "", false},
		"damaged":                        {audit.Present{Kind: audit.DamagedLabel}, seen(s, 5, "a"), audit.Damaged, false, "", false},
		"not read":                       {audit.Present{Kind: audit.NotRead, Reason: "EIO"}, seen(s, 5, "a"), audit.Unreadable, false, "EIO", false},
		"not read, and nothing is known": {audit.Present{Kind: audit.NotRead}, nil, audit.Unreadable, false, "", false},
	} {
		for _, accept := range []bool{false, true} {
			r := audit.Judge(c.now, c.was, accept)
			if r.Status != c.want || !strings.Contains(r.Reason, c.reason) || r.Accepted != (accept && c.accepted) {
				t.Errorf("%s: %+v, expected %s, %q", name, r, c.want, c.reason)
			}
			next := audit.Seen{}
			switch {
			case c.taken || accept && c.accepted:
				if c.now.Kind == audit.Label {
					next = audit.Seen{Trust: c.now.Trust, Serial: c.now.Serial, Digest: c.now.Digest, Level: c.now.Level}
				}
			case c.was != nil:
				next = *c.was
			}
			if r.Next != next {
				t.Errorf("%s, accept %v: records %+v, expected %+v", name, accept, r.Next, next)
			}
		}
	}
}

// TestAcceptedCopyIsOfOneLabel: that a label may be on several disks holds for that label alone.
func TestAcceptedCopyIsOfOneLabel(t *testing.T) {
	t.Parallel()
	was := seen(label.TrustSigned, 5, "a")
	was.Copy = true
	if r := audit.Judge(signed(5, "a"), was, false); !r.Next.Copy {
		t.Error("the same label is no longer accepted")
	}
	if r := audit.Judge(signed(6, "b"), was, false); r.Next.Copy {
		t.Error("another label is accepted as a copy")
	}
}

func TestStatusesAreComplete(t *testing.T) {
	t.Parallel()
	known := map[audit.Status]bool{}
	findings := 0
	for _, s := range audit.Statuses() {
		known[s] = true
		if s.Finding() {
			findings++
		}
	}
	if len(known) != 13 || findings != 10 {
		t.Errorf("%d statuses, %d of them findings, expected 13 and 10", len(known), findings)
	}
	for _, c := range []label.Cause{label.CauseExpired, label.CauseRevoked, label.CauseSignature} {
		if r := audit.Judge(invalid(c), nil, false); !known[r.Status] {
			t.Errorf("status %q is in no summary", r.Status)
		}
	}
}
