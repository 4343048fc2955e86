package policy

import (
	"os"
	"strings"
	"testing"
)

// TestDocs holds docs/policy.md to what Parse does: a yaml block followed by a text block has just those faults, any
// other yaml block has none.
func TestDocs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(data), "```")
	examples := 0
	for i := 1; i < len(parts); i += 2 {
		text, ok := strings.CutPrefix(parts[i], "yaml\n")
		if !ok {
			continue
		}
		examples++
		got := ""
		if _, err := Parse("levels.yaml", []byte(text)); err != nil {
			got = err.Error() + "\n"
		}
		want := ""
		if i+2 < len(parts) {
			want, _ = strings.CutPrefix(parts[i+2], "text\n")
			if !strings.HasPrefix(parts[i+2], "text\n") {
				want = ""
			}
		}
		if got != want {
			t.Errorf("example %d: got\n%s\nexpected\n%s", examples, got, want)
		}
	}
	if examples < 4 {
		t.Errorf("%d examples: the page is not read right", examples)
	}
}
