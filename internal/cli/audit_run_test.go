package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/audit"
)

const textDescriptor = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n" +
	"RW 131072 FLAT \"x-flat.img\" 0\n\nddb.adapterType = \"ide\"\n"

// auditWorld is a folder with labelled disks of the names given, and a way to run berth there.
type auditWorld struct {
	t      *testing.T
	folder string
	state  string
}

func newAuditWorld(t *testing.T, names ...string) *auditWorld {
	t.Helper()
	w := &auditWorld{t: t, folder: filepath.Join(t.TempDir(), "disks"), state: t.TempDir()}
	for _, n := range names {
		path := filepath.Join(w.folder, n)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(textDescriptor), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, diag := w.run(t.Context(), "label", "set", "--level", "gold", path); code != codeOK {
			t.Fatalf("label %s: %d, %s", path, code, diag)
		}
	}
	return w
}

func (w *auditWorld) run(ctx context.Context, args ...string) (code int, out, diag string) {
	var o, d bytes.Buffer
	env := Env{In: strings.NewReader(""), Out: &o, Err: &d, Now: func() time.Time { return time.Unix(1.8e9, 0) }, Getenv: func(name string) string {
		if name == "XDG_STATE_HOME" {
			return w.state
		}
		return ""
	}}
	code = Main(ctx, args, env)
	return code, o.String(), d.String()
}

func (w *auditWorld) audit(args ...string) (int, string, string) {
	return w.run(w.t.Context(), append([]string{"label", "verify", "--all", "--allow-unsigned", w.folder}, args...)...)
}

// record is the content of the one record there is, and of nothing else in its folder but a lock.
func (w *auditWorld) record() []byte {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.state, "berth", "audit", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(w.state, "berth", "audit", ".*"))
	if err != nil || len(all) != 2 || len(hidden) != 0 {
		w.t.Fatalf("in the folder of the record: %v, %v, %v", all, hidden, err)
	}
	b, err := os.ReadFile(strings.TrimSuffix(all[1], filepath.Ext(all[1])) + ".lock")
	if err != nil || len(b) == 0 {
		w.t.Fatalf("lock: %q, %v", b, err)
	}
	b, err = os.ReadFile(strings.TrimSuffix(all[0], filepath.Ext(all[0])) + ".jsonl")
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// TestAuditInterrupted: an audit that does not get to its end records nothing.
func TestAuditInterrupted(t *testing.T) {
	t.Parallel()
	w := newAuditWorld(t, "a.vmdk", "b/c.vmdk", "d.vmdk")
	if code, out, diag := w.audit(); code != codeOK {
		t.Fatalf("%d, %s, %s", code, out, diag)
	}
	before := w.record()
	if err := os.Remove(filepath.Join(w.folder, "a.vmdk")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, jobs := range []string{"1", "4"} {
		code, _, diag := w.run(ctx, "label", "verify", "--all", "--accept", "-j", jobs, w.folder)
		if code != codePartly || !strings.Contains(diag, "nothing was recorded") {
			t.Errorf("-j %s: %d, %s", jobs, code, diag)
		}
		if !bytes.Equal(w.record(), before) {
			t.Errorf("-j %s: the record changed", jobs)
		}
	}
}

// TestAuditAfterAKill: what a killed audit left is no obstacle and does not stay.
func TestAuditAfterAKill(t *testing.T) {
	t.Parallel()
	w := newAuditWorld(t, "a.vmdk")
	if code, out, diag := w.audit(); code != codeOK {
		t.Fatalf("%d, %s, %s", code, out, diag)
	}
	w.record()
	locks, err := filepath.Glob(filepath.Join(w.state, "berth", "audit", "*.lock"))
	if err != nil || len(locks) != 1 {
		t.Fatal(locks, err)
	}
	left := filepath.Join(filepath.Dir(locks[0]), ".berth-"+strings.TrimSuffix(filepath.Base(locks[0]), ".lock")+".tmp")
	if err := os.WriteFile(left, []byte("half a rec"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, diag := w.audit(); code != codeOK {
		t.Fatalf("%d, %s, %s", code, out, diag)
	}
	w.record()
}

// TestAuditStrangeNames: names that are no UTF-8, or that would move the cursor, are recorded, found again and harmless.
func TestAuditStrangeNames(t *testing.T) {
	t.Parallel()
	names := []string{"a\xff.vmdk", "line\nend.vmdk", "\x1b[2J.vmdk", "-a.vmdk"}
	w := newAuditWorld(t, names...)
	for range 2 {
		if code, out, diag := w.audit(); code != codeOK || !strings.Contains(out, "4 disks: 4 unsigned; 0 findings") {
			t.Fatalf("%d, %s, %s", code, out, diag)
		}
	}
	for _, n := range names {
		if err := os.Remove(filepath.Join(w.folder, n)); err != nil {
			t.Fatal(err)
		}
	}
	code, out, diag := w.audit("--json")
	if code != codeOK || strings.Count(out, `"status":"gone"`) != 4 {
		t.Fatalf("%d, %s, %s", code, out, diag)
	}
	bytesOf := false
	for line := range strings.Lines(out) {
		var l auditLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		bytesOf = bytesOf || string(l.PathBytes) == filepath.Join(w.folder, names[0])
	}
	if !bytesOf {
		t.Errorf("the bytes of a name that is no UTF-8 are lost: %s", out)
	}
}

// TestAuditBlindFolder: what is in a folder that cannot be read is neither gone nor forgotten.
func TestAuditBlindFolder(t *testing.T) {
	t.Parallel()
	w := &folderAudit{prefix: "disks/"}
	sp, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(sp)
	m := audit.NewMerge(nil)
	var got []audit.Result
	m.Emit = func(r audit.Result) error {
		got = append(got, r)
		return nil
	}
	failed := errors.New("permission denied")
	l := looked{path: "disks/sub", err: failed, present: audit.Present{Kind: audit.NotRead, Reason: failed.Error()}}
	if err := w.take(&l, m, sp); err != nil || len(got) != 1 || got[0].Status != audit.Unreadable {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, want := range map[string]bool{"sub": true, "sub/a.vmdk": true, "sub.x/a.vmdk": false, "subs": false, "a": false} {
		if w.unseen(name) != want {
			t.Errorf("%s: not seen %v, expected %v", name, !want, want)
		}
	}
	l = looked{path: "disks", err: failed}
	if err := w.take(&l, m, sp); err == nil || codeOf(err) != codeInput {
		t.Errorf("the folder itself cannot be read: %v", err)
	}
}
