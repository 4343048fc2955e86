package label

import (
	"fmt"
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
	Reason  string // why it is not signed; empty when it is
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
	invalid := func(format string, args ...any) Verdict {
		return Verdict{Trust: TrustInvalid, KeyID: f.KeyID, Reason: fmt.Sprintf(format, args...)}
	}
	doc, err := f.Document()
	switch {
	case err != nil:
		return invalid("%v", err)
	case doc.Disk.Size != disk.Size:
		return invalid("transplanted: made for a disk of %d bytes, this one has %d", doc.Disk.Size, disk.Size)
	case doc.Disk.UUID != "" && disk.UUID != "" && doc.Disk.UUID != disk.UUID:
		return invalid("transplanted: made for disk %s, this one is %s", doc.Disk.UUID, disk.UUID)
	case !doc.Expires.IsZero() && !now.Before(doc.Expires):
		return invalid("the label expired on %s", doc.Expires.Format(time.RFC3339))
	case f.KeyID == KeyID{}:
		if f.Signature != [64]byte{} {
			return invalid("a signature without a key id")
		}
		return Verdict{Trust: TrustUnsigned, Reason: "the label is not signed"}
	}
	var key TrustedKey
	known := false
	if t != nil {
		key, known = t.keys[f.KeyID]
	}
	switch {
	case !known:
		return Verdict{Trust: TrustUnsigned, KeyID: f.KeyID, Reason: "signed by key " + f.KeyID.String() + ", which is not in the trust file"}
	case !f.signedBy(key.Key):
		return invalid("the signature is not that of key %s", f.KeyID)
	case key.Revoked:
		return invalid("key %s is revoked", f.KeyID)
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return invalid("key %s expired on %s", f.KeyID, key.Expires.Format(time.RFC3339))
	}
	return Verdict{Trust: TrustSigned, Issuer: key.Issuer, Ceiling: key.Ceiling, KeyID: f.KeyID}
}
