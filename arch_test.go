package berth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/berth-project/berth"

// imports is the whole import table between our packages: who may import whom, tests apart. A new edge is a
// decision: it is added here with the change that needs it, or the build fails.
var imports = map[string][]string{
	"label":                {},
	"label/diskimage":      {"label"},
	"label/ovf":            {"label", "label/diskimage"},
	"fleet":                {"label"},
	"policy":               {"fleet", "label"},
	"plan":                 {"fleet", "label", "policy", "plan/model"},
	"plan/model":           {},
	"plan/model/modeltest": {"plan/model"},
	"solver":               {"fleet", "label", "policy", "plan", "plan/model", "solver/search", "solver/online"},
	"solver/search":        {"plan/model"},
	"solver/online":        {"plan/model"},
	"driver/vsphere":       {"fleet"},
	"driver/libvirt":       {"fleet"},
	"driver/sim":           {"fleet", "label"},
	"driver/dir":           {"fleet"},
	"driver/drivertest":    {"fleet"},
	"internal/audit":       {"label"},
	"internal/journal":     {},
	"internal/inventory":   {"fleet", "label", "label/diskimage"},
	"internal/vmlabel":     {"fleet", "label", "label/diskimage"},
	"internal/executor":    {"fleet", "plan", "internal/journal"},
	"internal/vcsim":       {},
	"internal/convert":     {"label", "label/diskimage", "driver/dir"},
	"internal/carry":       {"fleet", "label", "label/diskimage"},
	"internal/hook":        {"label/diskimage", "driver/dir", "driver/libvirt", "internal/carry"},
	"internal/demo":        {"fleet", "label", "label/diskimage", "driver/vsphere", "driver/dir", "internal/vcsim"},
	"internal/whatif":      {"fleet", "label", "policy", "plan", "solver"},
	"internal/replay":      {"fleet", "label", "policy", "plan", "solver"},
	"internal/bench":       {"fleet", "policy", "plan", "plan/model", "solver", "solver/search", "solver/online", "driver/sim"},
	"internal/cli":         {"*"},
	"cmd/berth":            {"internal/cli"},
}

// TestImportTable parses every file in this process: a test that asked `go list` would be served from the
// test cache after a violation.
func TestImportTable(t *testing.T) {
	t.Parallel()
	for dir, files := range packages(t) {
		if dir == "." || strings.HasPrefix(dir, "test/") {
			continue // tests only; they may import anything
		}
		allowed, ok := imports[dir]
		if !ok {
			t.Errorf("%s: not in the import table of arch_test.go", dir)
			continue
		}
		for name, f := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, spec := range f.Imports {
				p, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				ours, ok := strings.CutPrefix(p, module+"/")
				if ok && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
					t.Errorf("%s imports %s: not in the import table of arch_test.go", name, ours)
				}
			}
		}
	}
}

// TestPackageDocs holds every package to a doc comment of substance.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for dir, files := range packages(t) {
		if dir == "." {
			continue
		}
		var doc string
		code := false
		for name, f := range files {
			if !strings.HasSuffix(name, "_test.go") {
				code = true
				if f.Doc != nil {
					doc += f.Doc.Text()
				}
			}
		}
		if code && len(strings.Fields(doc)) < 15 {
			t.Errorf("%s: the package comment says too little: %q", dir, doc)
		}
	}
}

func packages(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	pkgs := map[string]map[string]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != "." && (strings.HasPrefix(n, ".") || n == "testdata" || n == "bin" || n == "bench") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(set, p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(p))
		if pkgs[dir] == nil {
			pkgs[dir] = map[string]*ast.File{}
		}
		pkgs[dir][p] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 {
		t.Fatalf("found %d packages: the walk is broken", len(pkgs))
	}
	return pkgs
}
