package compat_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/formats/compatibility.md anew; rows of tools that are not installed stay")

const page = "../../docs/formats/compatibility.md"

// The words of the table.
const (
	keeps   = "keeps"
	loses   = "**loses**"
	refuses = "**refuses**"
	reads   = "reads"
	nothing = "–" // not for this format, or refused of the unlabelled twin as well
)

// TestCompatibility does every operation to a labelled image of every layout and to its twin, and compares what became of
// the label with the page.
func TestCompatibility(t *testing.T) {
	needTools(t)
	raw := content(t)
	var pairs []pair
	for _, l := range layouts() {
		pairs = append(pairs, makePair(t, l, raw))
	}
	rows := map[string][]string{}
	for _, op := range slices.Concat(operations(), virtualBox(t)) {
		if _, err := exec.LookPath(op.needs); err != nil && !op.inChroot() {
			missing(t, op.needs, op.name)
			continue
		}
		row := make([]string, len(pairs))
		t.Run(op.name, func(t *testing.T) {
			for i, p := range pairs {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					row[i] = try(t, op, p)
				})
			}
		})
		rows[op.name] = row
	}
	appliances(t, pairs, rows)
	compare(t, rows)
}

// try does one operation to copies of a pair.
func try(t *testing.T, op operation, from pair) string {
	t.Helper()
	if op.formats != nil && !slices.Contains(op.formats, from.format) {
		return nothing
	}
	p := from.clone(t)
	twin, err := op.do(t, p, p.twin)
	if err != nil {
		t.Logf("%s, %s: not even of the unlabelled twin: %v", op.name, p.name, err)
		return nothing
	}
	got, err := op.do(t, p, p.labelled)
	if err != nil {
		t.Logf("%s, %s: %v", op.name, p.name, err)
		return refuses
	}
	format := p.format
	if got.format != "" {
		format = got.format
	}
	here, there := p.labelled, p.twin
	options := p.options
	if got.path != "" {
		here, there, options = got.path, twin.path, got.options
	}
	p.equal(t, format, here, there)
	if got.reads && stable(got.said) != stable(twin.said) {
		t.Errorf("%s, %s: of the labelled image it says\n%s\nof its twin\n%s", op.name, p.name, got.said, twin.said)
	}
	switch s := serial(t, here, options); {
	case s == 0:
		return loses
	case got.reads:
		return reads
	default:
		return keeps
	}
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// cid is the content identifier that the first write to a VMDK renews at random.
var cid = regexp.MustCompile(`(?i)(cid: |content identifier:\s+)\S+`)

// stable leaves out what differs between any two files: their size on the disk, how long something took, and identities
// that the tool makes up for an image without one. (The twins' own identities are the same.)
func stable(said string) string {
	var b strings.Builder
	for line := range strings.Lines(uuid.ReplaceAllString(said, "UUID")) {
		if !strings.Contains(line, "disk size") && !strings.Contains(line, "ops/sec") && !strings.Contains(line, "File=0x") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// compare holds the page against the rows, or writes it.
func compare(t *testing.T, rows map[string][]string) {
	t.Helper()
	old, order := readPage(t)
	var names []string
	for _, op := range slices.Concat(operations(), virtualBoxRows(), applianceRows()) {
		names = append(names, op.name)
	}
	if *update {
		for _, n := range names {
			if rows[n] == nil {
				rows[n] = old[n]
			}
		}
		writePage(t, names, rows)
		return
	}
	for _, n := range names {
		if rows[n] != nil && !slices.Equal(rows[n], old[n]) {
			t.Errorf("%s: the page says %q, it is %q; go test ./test/compat -run Compatibility -update writes the page", n, old[n], rows[n])
		}
	}
	if !slices.Equal(order, names) {
		t.Errorf("the page has the rows %q, expected %q", order, names)
	}
}

func readPage(t *testing.T) (rows map[string][]string, order []string) {
	t.Helper()
	rows = map[string][]string{}
	b, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		if *update {
			return rows, nil
		}
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 1+len(layouts()) || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| operation") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[cells[0]] = cells[1:]
		order = append(order, cells[0])
	}
	return rows, order
}

func writePage(t *testing.T, names []string, rows map[string][]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("| operation |")
	for _, l := range layouts() {
		b.WriteString(" " + l.name + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(layouts())) + "\n")
	for _, n := range names {
		if rows[n] != nil {
			fmt.Fprintf(&b, "| %s | %s |\n", n, strings.Join(rows[n], " | "))
		}
	}
	b.WriteString(foot)
	if err := os.WriteFile(filepath.FromSlash(page), []byte(b.String()), 0o644); err != nil { //nolint:gosec // a page of the docs
		t.Fatal(err)
	}
}
