package berth_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesAreExplained holds docs/dependencies.md against the direct dependencies of go.mod, both ways.
func TestDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	mod := read(t, "go.mod")
	var direct []string
	for line := range strings.Lines(mod) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) == 2 && strings.HasPrefix(f[1], "v") && strings.Contains(f[0], ".") {
			direct = append(direct, f[0])
		}
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		told = append(told, m[1])
	}
	if len(direct) < 5 {
		t.Fatalf("found %d direct dependencies: the reading of go.mod is broken", len(direct))
	}
	for _, d := range direct {
		if !slices.Contains(told, d) {
			t.Errorf("%s has no line in docs/dependencies.md", d)
		}
	}
	for _, d := range told {
		if !slices.Contains(direct, d) {
			t.Errorf("docs/dependencies.md explains %s, which go.mod does not require directly", d)
		}
	}
}

// TestArchitectureIsShort keeps the one page a page.
func TestArchitectureIsShort(t *testing.T) {
	t.Parallel()
	if n := strings.Count(read(t, "ARCHITECTURE.md"), "\n"); n > 350 {
		t.Errorf("ARCHITECTURE.md has %d lines, at most 350", n)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
