package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/label"
)

// Bounds of a table of labels.
const (
	maxTable   = 16 << 20 // bytes
	maxRows    = 1 << 20  // files, after patterns have been expanded
	maxFaults  = 20       // reported; the rest is counted
	byteOrder  = "\ufeff" // spreadsheets begin UTF-8 with it
	columnPath = "path"
)

// tableColumns are the columns that a table may have besides the keys of overrides.
func tableColumns() []string { return []string{columnPath, "level", "expires", "issuer"} }

// labelTable is a table of labels being read (RFC 4180, with a header).
type labelTable struct {
	name   string
	now    time.Time
	base   *labelSetter // what the flags say, for empty cells
	csv    *csv.Reader
	header []string

	rows   map[string]*labelSetter
	paths  []string
	lines  map[fileID]int // line that names a file
	faults []string
	more   int // faults beyond maxFaults
}

// fileID is a file under all its names.
type fileID struct{ dev, ino uint64 }

// checkFiles checks what the images are named by: arguments, lists, or the table.
func (ls *labelSetter) checkFiles(sel *selection, args []string) error {
	if ls.table == "" {
		return sel.check(args)
	}
	if len(args) > 0 || sel.filesFrom != "" || sel.recursive {
		return usagef("--from names the images: it excludes others, --files-from and -r")
	}
	return sel.check([]string{ls.table})
}

// loadTable reads the table and makes its rows the selection. Every fault has been reported when it fails, and nothing was touched.
func (a *app) loadTable(sel *selection, ls *labelSetter) error {
	data, err := a.readInput(ls.table, maxTable)
	if err != nil {
		return inputError(fmt.Errorf("read table: %w", err), "")
	}
	t := labelTable{name: inputName(ls.table), now: a.env.Now(), base: ls, rows: map[string]*labelSetter{}, lines: map[fileID]int{}}
	t.read(bytes.TrimPrefix(data, []byte(byteOrder)))
	if len(t.faults) == 0 && len(t.rows) == 0 {
		t.faults = append(t.faults, t.name+": holds no rows")
	}
	if len(t.faults) == 0 {
		ls.rows, sel.args = t.rows, t.paths
		return nil
	}
	for _, f := range t.faults {
		a.note("berth: read table: %s", f)
	}
	if t.more > 0 {
		a.note("berth: read table: %s: %d more faults", t.name, t.more)
	}
	a.note("hint: no image was touched; columns: %s", strings.Join(append(tableColumns(), label.OverrideKeys()...), ", "))
	return reported(codeInput)
}

func (t *labelTable) fault(line, column int, format string, args ...any) {
	if len(t.faults) == maxFaults {
		t.more++
		return
	}
	t.faults = append(t.faults, fmt.Sprintf("%s:%d:%d: ", t.name, line, column)+fmt.Sprintf(format, args...))
}

func (t *labelTable) read(data []byte) {
	t.csv = csv.NewReader(bytes.NewReader(data))
	for {
		record, err := t.csv.Read()
		var pe *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &pe):
			t.fault(pe.Line, pe.Column, "%v", pe.Err)
			if !errors.Is(pe.Err, csv.ErrFieldCount) {
				return // where the next row begins is not known
			}
		case err != nil:
			t.fault(1, 1, "%v", err)
			return
		case t.header == nil:
			if t.header = record; !t.readHeader() {
				return // no cell can be understood
			}
		default:
			t.readRow(record)
		}
		if len(t.paths) > maxRows {
			line, column := t.csv.FieldPos(0)
			t.fault(line, column, "more than %d files", maxRows)
			return
		}
	}
}

func (t *labelTable) readHeader() bool {
	before := len(t.faults)
	if known := len(tableColumns()) + len(label.OverrideKeys()); len(t.header) > known {
		t.fault(1, 1, "%d columns, expected at most %d", len(t.header), known) // each is compared with all before it
		return false
	}
	for i, name := range t.header {
		line, column := t.csv.FieldPos(i)
		switch {
		case slices.Contains(t.header[:i], name):
			t.fault(line, column, "column %q is there twice", quoteCell(name))
		case !slices.Contains(tableColumns(), name) && !slices.Contains(label.OverrideKeys(), name):
			t.fault(line, column, "column %q is not known", quoteCell(name))
		}
	}
	if len(t.faults) == before && !slices.Contains(t.header, columnPath) {
		t.fault(1, 1, "column %q is missing", columnPath)
	}
	return len(t.faults) == before
}

// readRow reads one row: the label that its cells and the flags make, and the files that it is for.
func (t *labelTable) readRow(record []string) {
	row := *t.base
	row.doc.Overrides = maps.Clone(t.base.doc.Overrides)
	for i, cell := range record {
		if t.header[i] == columnPath || cell == "" {
			continue // an empty cell is one that is not there
		}
		if err := row.setCell(t.header[i], cell, t.now); err != nil {
			line, column := t.csv.FieldPos(i)
			t.fault(line, column, "%v", err)
		}
	}
	at := slices.Index(t.header, columnPath)
	line, column := t.csv.FieldPos(at)
	if row.doc.Level == "" {
		t.fault(line, column, "%s has no level", quoteCell(record[at]))
	}
	t.addFiles(record[at], &row, line, column)
}

// setCell sets one field of the label and checks it alone.
func (ls *labelSetter) setCell(column, cell string, now time.Time) error {
	probe := label.Document{Level: "x", Serial: 1, Disk: label.Binding{Size: 1}, Issued: now.UTC().Truncate(time.Second)}
	switch column {
	case "level":
		ls.doc.Level, probe.Level = cell, cell
	case "issuer":
		ls.doc.Issuer, probe.Issuer = cell, cell
	case "expires":
		at, err := parseExpiry(cell, now)
		if err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), "--"))
		}
		ls.doc.Expires = at
	default:
		if ls.doc.Overrides == nil {
			ls.doc.Overrides = map[string]string{}
		}
		ls.doc.Overrides[column] = cell
		probe.Overrides = map[string]string{column: cell}
	}
	if err := probe.Validate(); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "check label: "))
	}
	return nil
}

// addFiles adds the file or the files that a cell names, each once.
func (t *labelTable) addFiles(cell string, row *labelSetter, line, column int) {
	if cell == "" {
		t.fault(line, column, "the path is empty")
		return
	}
	paths := slices.Values([]string{cell})
	if isPattern(cell) {
		paths = func(yield func(string) bool) {
			for p, err := range expand(cell) {
				if err != nil {
					t.fault(line, column, "%s: %v", quoteCell(p), bare(err))
				} else if !yield(p) {
					return
				}
			}
		}
	}
	for p := range paths {
		st, err := os.Stat(p)
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("is a %s, expected an image", fileKind(st.Mode()))
		}
		if err != nil {
			t.fault(line, column, "%s: %v", quoteCell(p), bare(err))
			continue
		}
		if id, ok := idOf(st); ok {
			if before, twice := t.lines[id]; twice {
				t.fault(line, column, "%s is a file that line %d names already", quoteCell(p), before)
				continue
			}
			t.lines[id] = line
		}
		t.rows[p] = row
		if t.paths = append(t.paths, p); len(t.paths) > maxRows {
			return
		}
	}
}

// quoteCell bounds what a message repeats of a cell.
func quoteCell(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return cleanLine(s)
}

func idOf(st fs.FileInfo) (fileID, bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{dev: sys.Dev, ino: sys.Ino}, true
}

// showChange prints what became of an image that was changed, or would be.
func (a *app) showChange(o *outcome) {
	switch {
	case a.json:
		_ = a.jsonLine(o.line)
	case o.line.DryRun:
		a.printf("%s: %s\n", a.fileName(o.line.name()), o.note)
	}
}
