package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/cli"
	"github.com/berth-project/berth/internal/demo"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"berth": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Process())) },
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Setup:     setup,
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":      exitCmd,
			"keep":      keepCmd,
			"unchanged": unchangedCmd,
			"json":      jsonCmd,
			"fifo":      fifoCmd,
			"image":     imageCmd,
			"vcenter":   vcenterCmd,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// condition knows [xattr]: files here can have extended attributes.
func condition(name string) (bool, error) {
	if name != "xattr" {
		return false, fmt.Errorf("no condition %q", name)
	}
	f, err := os.CreateTemp("", "berth-xattr-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	return unix.Fsetxattr(int(f.Fd()), "user.probe", []byte("1"), 0) == nil, f.Close()
}

func setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	if bin := os.Getenv("BERTH_BIN"); bin != "" {
		if st, err := os.Stat(bin); err != nil || !filepath.IsAbs(bin) || filepath.Base(bin) != "berth" || !st.Mode().IsRegular() {
			return fmt.Errorf("BERTH_BIN %q: expected the absolute path of a binary that is called berth", bin)
		}
		env.Setenv("PATH", filepath.Dir(bin)+string(filepath.ListSeparator)+env.Getenv("PATH"))
	}
	env.Values[sumsKey{}] = map[string]string{}
	return nil
}

type sumsKey struct{}

// exitCmd runs a command that has to end with an exact code: exit 3 berth label get x.vmdk.
func exitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func sum(ts *testscript.TestScript, file string) string {
	b, err := os.ReadFile(ts.MkAbs(file))
	ts.Check(err)
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// keepCmd remembers the SHA-256 of files for unchanged.
func keepCmd(ts *testscript.TestScript, _ bool, args []string) {
	for _, f := range args {
		ts.Value(sumsKey{}).(map[string]string)[f] = sum(ts, f)
	}
}

// unchangedCmd checks that files are byte for byte what keep saw; "! unchanged" that they are not.
func unchangedCmd(ts *testscript.TestScript, neg bool, args []string) {
	sums := ts.Value(sumsKey{}).(map[string]string)
	for _, f := range args {
		before, ok := sums[f]
		if !ok {
			ts.Fatalf("unchanged: keep was not told of %s", f)
		}
		if same := sum(ts, f) == before; same == neg {
			ts.Fatalf("unchanged %s: is %v", f, same)
		}
	}
}

// jsonCmd checks that the last output is JSON lines (or one document) and that each value has exactly the keys
// given, those with a ? being optional: json path labelled serial?
func jsonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: json KEY...")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	n := 0
	for ; dec.More(); n++ {
		var v map[string]any
		if err := dec.Decode(&v); err != nil {
			ts.Fatalf("value %d: %v", n, err)
		}
		for k := range v {
			if !slices.Contains(args, k) && !slices.Contains(args, k+"?") {
				ts.Fatalf("value %d has the key %q, expected %v", n, k, args)
			}
		}
		for _, k := range args {
			if _, ok := v[k]; !ok && !strings.HasSuffix(k, "?") {
				ts.Fatalf("value %d lacks the key %q: %v", n, k, v)
			}
		}
	}
	if n == 0 {
		ts.Fatalf("no JSON at all")
	}
}

func fifoCmd(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(unix.Mkfifo(ts.MkAbs(args[0]), 0o600))
}

// imageCmd makes a VMDK without qemu-img: image KIND FILE.
func imageCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: image KIND FILE")
	}
	content, ok := images()[args[0]]
	if !ok {
		ts.Fatalf("image: no kind %q", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), content(), 0o640))
}

// vcenterCmd starts the demo's vCenter in this process and points berth to it by the environment.
func vcenterCmd(ts *testscript.TestScript, _ bool, args []string) {
	w, err := demo.Start(context.Background(), ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = w.Close() })
	ts.Setenv("BERTH_VSPHERE_USER", w.Credentials.User)
	ts.Setenv("BERTH_VSPHERE_PASSWORD", w.Credentials.Password)
	ts.Setenv("BERTH_CONFIG", w.Config)
	ts.Setenv("BERTH_TRUST", w.Trust)
}

// TestHelp holds every command to a short text, and to help that works.
func TestHelp(t *testing.T) {
	t.Parallel()
	var out, diag bytes.Buffer
	env := cli.Process()
	env.Out, env.Err = &out, &diag
	if code := cli.Main(t.Context(), []string{"--help"}, env); code != 0 || diag.Len() > 0 {
		t.Fatalf("exit code %d, standard error %q", code, diag.String())
	}
	for _, noun := range []string{"key", "label", "fleet", "policy", "plan", "sim", "demo", "version", "completion"} {
		if !strings.Contains(out.String(), "\n  "+noun+" ") {
			t.Errorf("help does not name %q", noun)
		}
	}
}
