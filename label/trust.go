package label

import (
	"fmt"
	"strings"
	"time"
)

// The outcomes of Verify, as package fleet names them too.
const (
	TrustUnsigned = "unsigned" // no signature, or one by a key that the trust file does not know
	TrustInvalid  = "invalid"  // not to be obeyed: Reason says why
	TrustSigned   = "signed"   // by a trusted key, and bound to this disk
)

// TrustFile says which keys may grant what. A nil TrustFile knows no key.
type TrustFile struct {
	keys map[KeyID]TrustedKey
	ids  []KeyID // in the order of the file
}

// TrustedKey is one entry of a trust file.
type TrustedKey struct {
	Key     PublicKey
	Issuer  string    // who holds the key
	Ceiling string    // the highest level that the key may grant; empty: any
	Expires time.Time // zero: never
	Revoked bool
}

// Verdict is what the verification of one label came to.
type Verdict struct {
	Trust   string // TrustUnsigned, TrustInvalid or TrustSigned
	Issuer  string // of the trusted key; empty unless signed
	Ceiling string // of the trusted key; empty unless signed, and empty then means any level
	KeyID   KeyID  // as the frame names it; zero when it is not signed
	Reason  string // why it is not signed, for people; empty when it is
	Cause   Cause  // the same for programs
}

// Cause is why a label is not "signed".
type Cause string

// The causes, in the order in which Verify looks for them: of several only the first is told.
const (
	CauseNone         Cause = ""             // it is signed
	CauseMalformed    Cause = "malformed"    // invalid: no canonical document, or another serial than the frame's
	CauseTransplanted Cause = "transplanted" // invalid: made for a disk of another size or UUID
	CauseExpired      Cause = "expired"      // invalid: the label has
	CauseNoKeyID      Cause = "no-key-id"    // invalid: a signature, and nothing that says whose
	CauseNotSigned    Cause = "not-signed"   // unsigned
	CauseUnknownKey   Cause = "unknown-key"  // unsigned: the trust file does not have its key
	CauseSignature    Cause = "signature"    // invalid: not that of the key
	CauseRevoked      Cause = "revoked"      // invalid: the key is
	CauseKeyExpired   Cause = "key-expired"  // invalid: the key has
)

// The beginnings of the reasons of which CauseOf knows the cause.
const (
	reasonTransplanted = "transplanted: "
	reasonExpired      = "the label expired on "
	reasonSignature    = "the signature is not that of key "
	reasonNoKeyID      = "a signature without a key id"
	reasonNotSigned    = "the label is not signed"
	revokedEnd         = " is revoked"
	keyExpiredMiddle   = " expired on "
	keyStart           = "key "
	unknownKeyStart    = "signed by key "
)

// CauseOf is the cause of a verdict of which only trust and reason were kept, as a snapshot of the fleet does.
func CauseOf(trust, reason string) Cause {
	switch {
	case trust == TrustSigned:
		return CauseNone
	case trust == TrustUnsigned && strings.HasPrefix(reason, unknownKeyStart):
		return CauseUnknownKey
	case trust == TrustUnsigned:
		return CauseNotSigned
	case strings.HasPrefix(reason, reasonTransplanted):
		return CauseTransplanted
	case strings.HasPrefix(reason, reasonExpired):
		return CauseExpired
	case strings.HasPrefix(reason, reasonSignature):
		return CauseSignature
	case reason == reasonNoKeyID:
		return CauseNoKeyID
	case strings.HasPrefix(reason, keyStart) && strings.HasSuffix(reason, revokedEnd):
		return CauseRevoked
	case strings.HasPrefix(reason, keyStart) && strings.Contains(reason, keyExpiredMiddle):
		return CauseKeyExpired
	}
	return CauseMalformed
}

// Keys are the entries in the order of the file.
func (t *TrustFile) Keys() []TrustedKey {
	if t == nil {
		return nil
	}
	keys := make([]TrustedKey, 0, len(t.ids))
	for _, id := range t.ids {
		keys = append(keys, t.keys[id])
	}
	return keys
}

// Verify judges the label f found on disk at the time now. The binding, the expiry and the form are judged for
// unsigned labels too: a label that was made for another disk is nobody's wish for this one.
func (t *TrustFile) Verify(f Frame, disk Binding, now time.Time) Verdict {
	invalid := func(cause Cause, format string, args ...any) Verdict {
		return Verdict{Trust: TrustInvalid, KeyID: f.KeyID, Reason: fmt.Sprintf(format, args...), Cause: cause}
	}
	doc, err := f.Document()
	switch {
	case err != nil:
		return invalid(CauseMalformed, "%v", err)
	case doc.Disk.Size != disk.Size:
		return invalid(CauseTransplanted, reasonTransplanted+"made for a disk of %d bytes, this one has %d", doc.Disk.Size, disk.Size)
	case doc.Disk.UUID != "" && disk.UUID != "" && doc.Disk.UUID != disk.UUID:
		return invalid(CauseTransplanted, reasonTransplanted+"made for disk %s, this one is %s", doc.Disk.UUID, disk.UUID)
	case !doc.Expires.IsZero() && !now.Before(doc.Expires):
		return invalid(CauseExpired, reasonExpired+"%s", doc.Expires.Format(time.RFC3339))
	case f.KeyID == KeyID{}:
		if f.Signature != [64]byte{} {
			return invalid(CauseNoKeyID, reasonNoKeyID)
		}
		return Verdict{Trust: TrustUnsigned, Reason: reasonNotSigned, Cause: CauseNotSigned}
	}
	var key TrustedKey
	known := false
	if t != nil {
		key, known = t.keys[f.KeyID]
	}
	switch {
	case !known:
		return Verdict{
			Trust: TrustUnsigned, KeyID: f.KeyID, Cause: CauseUnknownKey,
			Reason: unknownKeyStart + f.KeyID.String() + ", which is not in the trust file",
		}
	case !f.signedBy(key.Key):
		return invalid(CauseSignature, reasonSignature+"%s", f.KeyID)
	case key.Revoked:
		return invalid(CauseRevoked, keyStart+"%s"+revokedEnd, f.KeyID)
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return invalid(CauseKeyExpired, keyStart+"%s"+keyExpiredMiddle+"%s", f.KeyID, key.Expires.Format(time.RFC3339))
	}
	return Verdict{Trust: TrustSigned, Issuer: key.Issuer, Ceiling: key.Ceiling, KeyID: f.KeyID}
}
