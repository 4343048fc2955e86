package compat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/internal/cli"
	"github.com/berth-project/berth/test/crash"
)

// operator is somebody with a key and a trust file at the command line.
type operator struct{ key, trust string }

func newOperator(t *testing.T) operator {
	t.Helper()
	o := operator{filepath.Join(t.TempDir(), "ops.key"), filepath.Join(t.TempDir(), "trust.yaml")}
	out, code := o.berth(t, "key", "new", o.key)
	if code != 0 {
		t.Fatalf("key new: %d", code)
	}
	fields := strings.Fields(out)
	text := "version: 1\nkeys:\n  - public_key: " + fields[len(fields)-1] + "\n    issuer: storage team\n    ceiling: gold\n"
	if err := os.WriteFile(o.trust, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// berth runs the command line and gives its standard output and exit code.
func (o operator) berth(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(t.Context(), args, cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errs, Now: time.Now,
		Getenv: func(name string) string {
			if name == "BERTH_TRUST" {
				return o.trust
			}
			return os.Getenv(name)
		},
	})
	if errs.Len() > 0 {
		t.Logf("berth %s: %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), code
}

func (o operator) must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := o.berth(t, args...)
	if code != 0 {
		t.Fatalf("berth %s: exit code %d", strings.Join(args, " "), code)
	}
	return out
}

// said is the label as label get has it, without what belongs to the one file.
func (o operator) said(t *testing.T, path string) map[string]any {
	t.Helper()
	var line map[string]any
	if err := json.Unmarshal([]byte(o.must(t, "label", "get", "--json", path)), &line); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"path", "format", "subformat", "place"} {
		delete(line, k)
	}
	return line
}

// TestShow is what every format has to show: a label that is set, a guest that writes, the foreign tool content, the label
// equal, in every other format too, and after its removal the foreign tools see what they saw at first.
func TestShow(t *testing.T) {
	t.Parallel()
	needTools(t)
	raw := content(t)
	o := newOperator(t)
	for _, l := range layouts() {
		if l.name == "VMDK stream" {
			continue // a guest cannot write to it twice
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := pair{l, filepath.Join(t.TempDir(), l.file), filepath.Join(t.TempDir(), l.file)}
			crash.MustQEMU(t, "qemu-img", slices.Concat([]string{"convert", "-f", "raw", "-O", l.format}, l.create, []string{raw, p.labelled})...)
			copyFolder(t, filepath.Dir(p.labelled), filepath.Dir(p.twin))
			before := looksLike(t, p, p.labelled)
			set := []string{"label", "set", "--level", "gold", "--override", "nic.class=2", "--key", o.key, p.labelled}
			if l.options.VHDFooter {
				set = append(set, "--vhd-footer")
			}
			o.must(t, set...)
			want := o.said(t, p.labelled)
			for _, path := range []string{p.labelled, p.twin} {
				crash.MustQEMU(t, "qemu-io", "-f", l.format, "-c", "write -P 0x5a 6M 64k", "-c", "flush", path)
			}
			p.equal(t, l.format, p.labelled, p.twin)
			if got, there := looksLike(t, p, p.labelled), looksLike(t, p, p.twin); got != there {
				t.Errorf("foreign tools say of the labelled image\n%s\nof its twin\n%s", got, there)
			}
			if diff := cmp.Diff(want, o.said(t, p.labelled)); diff != "" {
				t.Errorf("the label after the guest's writes (-before +after):\n%s", diff)
			}
			o.must(t, "label", "verify", p.labelled)
			everyOther(t, o, p, want)
			o.must(t, "label", "rm", p.labelled)
			if _, code := o.berth(t, "label", "get", p.labelled); code != 6 {
				t.Errorf("label get after rm: exit code %d, expected 6", code)
			}
			if got, there := looksLike(t, p, p.labelled), looksLike(t, p, p.twin); got != there {
				t.Errorf("after the removal foreign tools say\n%s\nof the twin\n%s", got, there)
			}
			if len(before) == 0 {
				t.Error("no foreign tool said anything")
			}
			p.equal(t, l.format, p.labelled, p.twin)
		})
	}
}

// everyOther converts the image to each other format: the label is the same there, signature and all, and counts.
func everyOther(t *testing.T, o operator, p pair, want map[string]any) {
	t.Helper()
	for _, to := range []string{"vmdk", "qcow2", "vhdx", "vdi", "vhd", "raw"} {
		qemu := strings.ReplaceAll(to, "vhd", "vpc")
		if to == "vhdx" {
			qemu = to
		}
		if qemu == p.format {
			continue
		}
		out := filepath.Join(t.TempDir(), "vm-db."+to)
		o.must(t, "image", "convert", "-O", to, p.labelled, out)
		if diff := cmp.Diff(want, o.said(t, out)); diff != "" {
			t.Errorf("the label in %s (-before +after):\n%s", to, diff)
		}
		o.must(t, "label", "verify", out)
		if said, err := crash.QEMU(t, "qemu-img", "compare", "-f", p.format, "-F", qemu, p.labelled, out); err != nil {
			t.Errorf("converted to %s: %v\n%s", to, err, said)
		}
	}
}

// looksLike is what the foreign tools for a format say of an image.
func looksLike(t *testing.T, p pair, path string) string {
	t.Helper()
	var b strings.Builder
	for _, tool := range []struct {
		formats []string
		args    []string
	}{
		{nil, []string{"qemu-img", "info", "-f", "FORMAT", "IMAGE"}},
		{[]string{"vmdk", "qcow2", "vhdx", "vdi"}, []string{"qemu-img", "check", "-f", "FORMAT", "IMAGE"}},
		{[]string{"vmdk"}, []string{"vmdkinfo", "IMAGE"}},
		{[]string{"qcow2"}, []string{"qcowinfo", "IMAGE"}},
		{[]string{"vpc", "vhdx"}, []string{"vhdiinfo", "IMAGE"}},
	} {
		if _, err := exec.LookPath(tool.args[0]); err != nil || tool.formats != nil && !slices.Contains(tool.formats, p.format) {
			continue
		}
		out, err := program(t, tool.args[0], fill(tool.args[1:], p, path)...)
		if err != nil && !strings.Contains(out, "does not support checks") {
			t.Errorf("%v", err)
		}
		fmt.Fprintln(&b, stable(anonymous(out, path)))
	}
	return cid.ReplaceAllString(b.String(), "CID")
}
