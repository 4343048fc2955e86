package hazard_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/test/crash"
)

// berth is the binary under test, built once: locks and system calls are those of a real process.
var berth string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hazard")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	berth = filepath.Join(dir, "berth")
	cmd := exec.Command("go", "build", "-o", berth, "../../cmd/berth")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build berth:", err)
		return 1
	}
	return m.Run()
}

// format is one place for a label, with the words that make QEMU and berth use it.
type format struct {
	name, file, qemu string
	create, set      []string
}

func formats() []format {
	return []format{
		{name: "VMDK", file: "vm-db.vmdk", qemu: "vmdk"},
		{name: "VMDK flat", file: "vm-db.vmdk", qemu: "vmdk", create: []string{"-o", "subformat=monolithicFlat"}},
		{name: "qcow2", file: "vm-db.qcow2", qemu: "qcow2"},
		{name: "qcow2 of 512 B", file: "vm-db.qcow2", qemu: "qcow2", create: []string{"-o", "cluster_size=512"}},
		{name: "VHDX", file: "vm-db.vhdx", qemu: "vhdx"},
		{name: "VDI", file: "vm-db.vdi", qemu: "vdi"},
		{name: "VHD footer", file: "vm-db.vhd", qemu: "vpc", set: []string{"--vhd-footer"}},
		{name: "raw", file: "vm-db.raw", qemu: "raw"},
	}
}

// each runs test with an image of every format in a folder of its own, beside a reference of what its guest sees.
func each(t *testing.T, test func(t *testing.T, f format, path string, healthy func())) {
	t.Helper()
	if os.Getenv("BERTH_NO_LAB") != "" {
		t.Skip("BERTH_NO_LAB: no tests with other programs")
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	raw := filepath.Join(t.TempDir(), "reference.raw")
	content := make([]byte, 4<<20)
	for i := range 1 << 20 {
		content[i] = byte(i>>9) + byte(i)
	}
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), f.file)
			crash.MustQEMU(t, "qemu-img", slices.Concat([]string{"convert", "-f", "raw", "-O", f.qemu}, f.create, []string{raw, path})...)
			test(t, f, path, func() {
				t.Helper()
				checked(t, f, path)
				crash.MustQEMU(t, "qemu-img", "compare", "-f", f.qemu, "-F", "raw", path, raw)
			})
		})
	}
}

// checked lets QEMU look for damage, where it can.
func checked(t *testing.T, f format, path string) {
	t.Helper()
	if out, err := crash.QEMU(t, "qemu-img", "check", "-f", f.qemu, path); err != nil && !strings.Contains(out, "does not support checks") {
		t.Fatalf("qemu-img check: %v\n%s", err, out)
	}
}

// call runs berth, behind before when that is given, and returns what it said and its exit code.
func call(t *testing.T, before []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	words := slices.Concat(before, []string{berth}, args)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (f format) words(level, path string) []string {
	return slices.Concat([]string{"label", "set", "--level", level}, f.set, []string{path})
}

// level is the label's level by label get; empty: there is none.
func level(t *testing.T, path string) string {
	t.Helper()
	out, errs, code := call(t, nil, "label", "get", "--json", path)
	if code == 6 {
		return ""
	}
	var line struct{ Document struct{ Level string } }
	if err := json.Unmarshal([]byte(out), &line); err != nil || code != 0 || line.Document.Level == "" {
		t.Fatalf("label get: %d, %v\n%s%s", code, err, out, errs)
	}
	return line.Document.Level
}

// clean checks that nothing of a change that was given up is left in the folder.
func clean(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".berth-") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// told checks that an error says what happened to which file.
func told(t *testing.T, stderr, path string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "berth: set label: ") || !strings.Contains(stderr, filepath.Base(path)) {
		t.Errorf("the error does not say what and where: %q", stderr)
	}
}
