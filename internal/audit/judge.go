package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/berth-project/berth/label"
)

// Status is what the audit says of one disk.
type Status string

// The statuses.
const (
	Signed       Status = "signed"       // all is well
	Unlabelled   Status = "unlabelled"   // it has no label, and had none
	Gone         Status = "gone"         // it is recorded, and no longer there
	Unsigned     Status = "unsigned"     // no signature, or by a key that the trust file does not have
	Expired      Status = "expired"      // the label, or the key that signed it
	Transplanted Status = "transplanted" // the label was made for another disk
	Revoked      Status = "revoked"      // the key is
	Invalid      Status = "invalid"      // a wrong signature, or no label at all in what claims to be one
	Damaged      Status = "damaged"      // what is left of a label
	RolledBack   Status = "rolled-back"  // an older label than was recorded, or another one of the same serial
	Lost         Status = "lost"         // it had a label when it was last seen
	Copied       Status = "copied"       // another disk has the very same signed label
	Unreadable   Status = "unreadable"   // nothing is known of it
)

// Finding says whether a status is one that a person should look at. Unsigned is one unless it is allowed.
func (s Status) Finding() bool { return s != Signed && s != Unlabelled && s != Gone }

// Statuses are all of them, in the order in which a summary names them.
func Statuses() []Status {
	return []Status{
		Signed, Unlabelled, Unsigned, Expired, Transplanted, Revoked, Invalid, Damaged, RolledBack, Lost, Copied, Unreadable, Gone,
	}
}

// Seen is what is recorded of one disk's label.
type Seen struct {
	Trust  string // label.TrustSigned, label.TrustUnsigned; empty: it had no label
	Serial uint32
	Digest string // of the label, see Digest
	Level  string
	Copy   bool // accepted: other disks may have this very label
}

// Labelled reports whether the disk had a label.
func (s Seen) Labelled() bool { return s.Trust != "" }

// Digest names a label: 32 hexadecimal digits of the SHA-256 of its key id and payload. Ed25519 gives one payload one
// signature, so that labels that verify are the same when their digests are.
func Digest(id label.KeyID, payload []byte) string {
	h := sha256.New()
	h.Write(id[:])
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil)[:digestSize])
}

const digestSize = 16

// Kind is what was found where a label may be.
type Kind int

// The kinds.
const (
	NoLabel Kind = iota
	Label
	DamagedLabel
	NotRead
)

// Present is what a disk has now.
type Present struct {
	Kind   Kind
	Trust  string      // of a Label: label.TrustSigned, TrustUnsigned or TrustInvalid
	Cause  label.Cause // why it is not signed
	Reason string      // the same for people; of NotRead why not
	Serial uint32
	Digest string
	Level  string
}

func (p *Present) seen() Seen {
	return Seen{Trust: p.Trust, Serial: p.Serial, Digest: p.Digest, Level: p.Level}
}

// Result is what came of one disk.
type Result struct {
	Name     string
	Status   Status
	Reason   string
	Was      *Seen // what was recorded; nil: nothing
	Next     Seen  // what is to be recorded; no label: nothing
	Accepted bool  // a finding that a person took for right, by the option of Judge
	// Downgraded: the label was signed when it was last seen and now is not. It counts even where unsigned labels are fine.
	Downgraded bool
}

// Judge says what to think of a disk that has p now and of which was is recorded (nil: nothing). accept takes it for
// right that a label is older, other or gone.
func Judge(p Present, was *Seen, accept bool) Result {
	r := Result{Was: was, Reason: p.Reason}
	if was != nil {
		r.Next = *was
	}
	switch p.Kind {
	case NotRead:
		r.Status = Unreadable
	case DamagedLabel:
		r.Status = Damaged
	case NoLabel:
		r.Status = Unlabelled
		if r.Next.Labelled() {
			r.Status, r.Reason = Lost, "had "+r.Next.String()+" when last seen"
			r.accept(accept, Seen{})
		}
	default:
		r.label(&p, accept)
	}
	return r
}

func (r *Result) accept(accept bool, next Seen) {
	if accept {
		r.Accepted, r.Next = true, next
	}
}

// label judges a disk that has a label.
func (r *Result) label(p *Present, accept bool) {
	if p.Trust == label.TrustInvalid {
		r.Status = invalid(p.Cause) // whatever its serial claims
		return
	}
	r.Status = Unsigned
	if p.Trust == label.TrustSigned {
		r.Status = Signed
	}
	now, was := p.seen(), r.Next
	switch {
	case !was.Labelled(), was.Trust == label.TrustUnsigned && p.Trust == label.TrustSigned:
		// Anyone can write an unsigned label: what one claimed says nothing against a signed one.
		r.Next = now
	case p.Serial < was.Serial:
		r.Status, r.Reason = RolledBack, fmt.Sprintf("has serial %d, had %s when last seen", p.Serial, was)
		r.accept(accept, now)
	case p.Serial == was.Serial && p.Digest != was.Digest:
		r.Status, r.Reason = RolledBack, fmt.Sprintf("is another label of serial %d, had %s when last seen", p.Serial, was)
		r.accept(accept, now)
	case was.Trust == label.TrustSigned && p.Trust != label.TrustSigned:
		r.Reason += "; had " + was.String() + " when last seen"
		r.Downgraded = true
		r.accept(accept, now)
	default:
		now.Copy = was.Copy && was.Digest == now.Digest
		r.Next = now
	}
}

// String names the label: "a signed label gold of serial 5".
func (s Seen) String() string {
	if !s.Labelled() {
		return "no label"
	}
	kind := "an unsigned"
	if s.Trust == label.TrustSigned {
		kind = "a signed"
	}
	return fmt.Sprintf("%s label %s of serial %d", kind, s.Level, s.Serial)
}

func invalid(c label.Cause) Status {
	switch c {
	case label.CauseExpired, label.CauseKeyExpired:
		return Expired
	case label.CauseTransplanted:
		return Transplanted
	case label.CauseRevoked:
		return Revoked
	default:
		return Invalid
	}
}
