package label_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
)

func trustOf(t *testing.T, text string) *label.TrustFile {
	t.Helper()
	tf, err := label.ParseTrust("trust.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tf
}

func entry(k *label.PrivateKey, more string) string {
	return "version: 1\nkeys:\n  - public_key: " + k.Public().String() + "\n    issuer: storage team\n" + more
}

func TestVerify(t *testing.T) {
	t.Parallel()
	key, other := newKey(t, 1), newKey(t, 2)
	now := issued().AddDate(0, 1, 0)
	disk := gold().Disk
	known := entry(key, "    ceiling: gold\n")
	for name, c := range map[string]struct {
		trust  string // empty: none
		by     *label.PrivateKey
		disk   label.Binding
		now    time.Time
		change func(*label.Frame)
		want   string
		reason string
	}{
		"signed":                 {known, key, disk, now, nil, label.TrustSigned, ""},
		"signed, disk lost uuid": {known, key, label.Binding{Size: disk.Size}, now, nil, label.TrustSigned, ""},
		"unsigned":               {known, nil, disk, now, nil, label.TrustUnsigned, "not signed"},
		"unknown key":            {known, other, disk, now, nil, label.TrustUnsigned, "not in the trust file"},
		"no trust file":          {"", key, disk, now, nil, label.TrustUnsigned, "not in the trust file"},
		"other size":             {known, key, label.Binding{UUID: disk.UUID, Size: disk.Size + 512}, now, nil, label.TrustInvalid, "transplanted"},
		"other uuid":             {known, key, label.Binding{UUID: "0", Size: disk.Size}, now, nil, label.TrustInvalid, "transplanted"},
		"unsigned, other size":   {"", nil, label.Binding{Size: 1}, now, nil, label.TrustInvalid, "transplanted"},
		"label expires now":      {known, key, disk, gold().Expires, nil, label.TrustInvalid, "expired"},
		"a second before":        {known, key, disk, gold().Expires.Add(-time.Second), nil, label.TrustSigned, ""},
		"revoked":                {entry(key, "    revoked: true\n"), key, disk, now, nil, label.TrustInvalid, "revoked"},
		"key expired":            {entry(key, "    expires: 2026-12-01T00:00:00Z\n"), key, disk, now, nil, label.TrustInvalid, "key " + key.Public().ID().String() + " expired"},
		"key expires later":      {entry(key, "    expires: 2026-12-31T01:00:00+01:00\n"), key, disk, now, nil, label.TrustSigned, ""},
		"signature changed":      {known, key, disk, now, func(f *label.Frame) { f.Signature[0] ^= 1 }, label.TrustInvalid, "signature"},
		"other's key id":         {known, other, disk, now, func(f *label.Frame) { f.KeyID = key.Public().ID() }, label.TrustInvalid, "signature"},
		"key id removed":         {known, key, disk, now, func(f *label.Frame) { f.KeyID = label.KeyID{} }, label.TrustInvalid, "without a key id"},
		"payload changed": {known, key, disk, now, func(f *label.Frame) {
			f.Payload = []byte(strings.Replace(string(f.Payload), "gold", "iron", 1))
		}, label.TrustInvalid, "signature"},
		"serial changed": {known, key, disk, now, func(f *label.Frame) { f.Serial = 99 }, label.TrustInvalid, "serial"},
	} {
		var tf *label.TrustFile
		if c.trust != "" {
			tf = trustOf(t, c.trust)
		}
		f, err := label.Seal(gold(), c.by)
		if err != nil {
			t.Fatal(err)
		}
		if c.change != nil {
			c.change(&f)
		}
		v := tf.Verify(f, c.disk, c.now)
		if v.Trust != c.want || !strings.Contains(v.Reason, c.reason) || (c.reason == "") != (v.Reason == "") {
			t.Errorf("%s: %s, %q, expected %s, %q", name, v.Trust, v.Reason, c.want, c.reason)
		}
		if got := label.CauseOf(v.Trust, v.Reason); v.Cause != got || v.Cause != causes()[name] {
			t.Errorf("%s: cause %q, by the reason %q, expected %q", name, v.Cause, got, causes()[name])
		}
		if signed := v.Trust == label.TrustSigned; signed != (v.Issuer != "") {
			t.Errorf("%s: issuer %q for a label that is %s", name, v.Issuer, v.Trust)
		}
	}
	if v := trustOf(t, known).Verify(mustSeal(t, key), disk, now); v.Ceiling != "gold" || v.Issuer != "storage team" || v.KeyID != key.Public().ID() {
		t.Errorf("verdict %+v", v)
	}
}

// causes are those of the cases of TestVerify; none where a label is signed.
func causes() map[string]label.Cause {
	return map[string]label.Cause{
		"unsigned": label.CauseNotSigned, "unknown key": label.CauseUnknownKey, "no trust file": label.CauseUnknownKey,
		"other size": label.CauseTransplanted, "other uuid": label.CauseTransplanted, "unsigned, other size": label.CauseTransplanted,
		"label expires now": label.CauseExpired, "revoked": label.CauseRevoked, "key expired": label.CauseKeyExpired,
		"signature changed": label.CauseSignature, "other's key id": label.CauseSignature, "key id removed": label.CauseNoKeyID,
		"payload changed": label.CauseSignature, "serial changed": label.CauseMalformed,
	}
}

func mustSeal(t *testing.T, key *label.PrivateKey) label.Frame {
	t.Helper()
	f, err := label.Seal(gold(), key)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParseTrust(t *testing.T) {
	t.Parallel()
	a, b := newKey(t, 1), newKey(t, 2)
	pem := "|\n      " + strings.ReplaceAll(strings.TrimSpace(string(b.Public().Encode())), "\n", "\n      ") + "\n"
	tf := trustOf(t, entry(a, "  - public_key: "+pem+"    issuer: backup\n    revoked: false\n"))
	keys := tf.Keys()
	if len(keys) != 2 || keys[0].Key != a.Public() || keys[1].Key != b.Public() || keys[1].Issuer != "backup" {
		t.Errorf("keys %+v", keys)
	}
	if got := trustOf(t, "version: 1\nkeys: []\n").Keys(); len(got) != 0 {
		t.Errorf("keys %v of an empty list", got)
	}
}

func TestParseTrustRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1)
	ok := entry(key, "")
	for name, c := range map[string]struct {
		text         string
		line, column int
		want         string
	}{
		"empty":           {"", 0, 0, "expected YAML"},
		"list":            {"- a\n", 1, 1, "no mapping"},
		"no version":      {"keys: []\n", 1, 1, "version is missing"},
		"version 2":       {"version: 2\n", 1, 10, `version "2", expected 1`},
		"version as text": {"version: \"1\"\n", 1, 10, "version"},
		"unknown":         {"version: 1\nkey: []\n", 2, 1, `field "key" is not known, expected one of version, keys`},
		"keys no list":    {"version: 1\nkeys: 5\n", 2, 7, "no list"},
		"twice":           {"version: 1\nversion: 1\n", 2, 1, "twice"},
		"tab":             {"version: 1\nkeys:\n\t- a\n", 3, 1, "cannot start"},
		"unknown in key":  {ok + "    level: gold\n", 5, 5, `field "level" is not known`},
		"key twice":       {ok + "  - public_key: " + key.Public().String() + "\n    issuer: x\n", 5, 5, "comes twice"},
		"no issuer":       {"version: 1\nkeys:\n  - public_key: " + key.Public().String() + "\n", 3, 5, "issuer is missing"},
		"no key":          {"version: 1\nkeys:\n  - issuer: x\n", 3, 5, "public_key is missing"},
		"bad key":         {"version: 1\nkeys:\n  - public_key: ed25519:AAAA\n", 3, 17, "expected 32 bytes"},
		"bad ceiling":     {ok + "    ceiling: Gold\n", 5, 14, `ceiling "Gold", expected the name`},
		"bad expires":     {ok + "    expires: tomorrow\n", 5, 14, "expires"},
		"bad revoked":     {ok + "    revoked: yes please\n", 5, 14, "expected true or false"},
		"revoked, tagged": {ok + "    revoked: !!bool yes\n", 5, 14, "expected true or false"},
		"bad second":      {ok + "---\n{", 6, 1, "did not find expected node content"},
		"anchor":          {"version: &a 1\n", 1, 10, "anchor"},
		"alias":           {"version: 1\nkeys:\n  - &k {public_key: x}\n  - *k\n", 3, 21, "public key"},
		"two documents":   {"version: 1\n---\nversion: 1\n", 2, 1, "second document"},
		"too long":        {strings.Repeat("#", label.MaxTrustFile+1), 0, 0, "at most"},
		"too many keys":   {"version: 1\nkeys: [" + strings.Repeat("a,", label.MaxTrustKeys+1) + "]\n", 2, 7, "4097 keys"},
	} {
		_, err := label.ParseTrust("trust.yaml", []byte(c.text))
		var te *label.TrustError
		if !errors.As(err, &te) {
			t.Errorf("%s: error %v, expected a TrustError", name, err)
			continue
		}
		where := "trust.yaml: "
		if c.line > 0 {
			where = fmt.Sprintf("trust.yaml:%d:%d: ", c.line, c.column)
		}
		if !strings.HasPrefix(err.Error(), where) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q, expected %q and %q", name, err, where, c.want)
		}
	}
}
