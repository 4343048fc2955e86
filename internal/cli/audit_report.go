package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/berth-project/berth/internal/audit"
)

// auditReport prints the results of an audit and writes the records.
type auditReport struct {
	app      *app
	au       *auditor
	copies   *duplicates
	counts   map[audit.Status]int
	findings int
	accepted int
}

// run goes through the results: once to see which labels are on several disks, once more for their names, if there are any, and
// once to print and to record.
func (rep *auditReport) run(sp *spool, scopes []*scope) (err error) {
	if rep.copies, err = sp.copies(maxDigests); err != nil {
		return err
	}
	if len(rep.copies.groups) > 0 {
		err := sp.each(func(h *spooled) error {
			g := rep.copies.groups[h.digest]
			if h.flags&flagCopy == 0 || g == nil || len(g.names) == 2 {
				return nil
			}
			l, err := decodeSpooled(h)
			if err == nil && (len(g.names) == 0 || !sameDisk(g.names[0], &l.Line)) {
				g.names = append(g.names, l.Line.name())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return sp.each(func(h *spooled) error { return rep.one(h, scopes[h.scope]) })
}

func decodeSpooled(h *spooled) (spooledLine, error) {
	var l spooledLine
	if err := json.Unmarshal(h.lineB, &l); err != nil {
		return l, fmt.Errorf("read temporary file: %w", err)
	}
	if l.Line.PathBytes != nil {
		l.Line.Path = string(l.Line.PathBytes)
	}
	return l, nil
}

// sameDisk says whether two names are of one disk, which then is no copy: a file of the fleet is in the list once, one in
// a folder may have several names.
func sameDisk(name string, l *auditLine) bool {
	if l.Source != "" || name == l.name() {
		return name == l.name()
	}
	x, errA := os.Stat(name)
	y, errB := os.Stat(l.Path)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

// name is what people call the disk.
func (l *auditLine) name() string {
	switch {
	case l.Source == "":
		return l.Path
	case l.Pool == "":
		return l.Path
	case l.VM == "":
		return l.Path + " in pool " + l.Pool
	}
	return fmt.Sprintf("vm %s disk %s (%s in pool %s)", l.VM, l.Disk, l.Path, l.Pool)
}

// one prints and records one result.
func (rep *auditReport) one(h *spooled, s *scope) error {
	entry := h.entryB
	if h.flags&flagLine != 0 {
		l, err := decodeSpooled(h)
		if err != nil {
			return err
		}
		if g := rep.copies.of(h.digest); h.flags&flagCopy != 0 && g != nil && len(g.names) == 2 && l.Line.Status == audit.Signed {
			if entry, err = rep.copied(&l.Line, entry, g); err != nil {
				return err
			}
		}
		rep.say(&l)
	}
	if len(entry) == 0 || s.writer == nil {
		return nil
	}
	return s.writer.Add(entry)
}

// copied makes a finding of a disk whose label another one has too, unless it was accepted. It returns what is to be recorded.
func (rep *auditReport) copied(l *auditLine, entry []byte, g *copyGroup) ([]byte, error) {
	e, err := audit.DecodeEntry(entry)
	if err != nil {
		return nil, fmt.Errorf("read temporary file: %w", err)
	}
	l.CopyOf = g.names[0]
	if sameDisk(l.CopyOf, l) {
		l.CopyOf = g.names[1]
	}
	if e.Copy {
		return entry, nil
	}
	l.Status, l.Finding, l.Accepted = audit.Copied, !rep.au.accept, rep.au.accept
	l.Reason = "the very same signed label is on " + l.CopyOf
	if g.disks > 2 {
		l.Reason += fmt.Sprintf(" and on %d more", g.disks-2)
	}
	if l.Document != nil && l.Document.Disk.UUID == "" {
		l.Reason += " (it names no UUID: disks of one size that were labelled in the same second have the same label too)"
	}
	if !rep.au.accept {
		return entry, nil
	}
	e.Copy = true
	return e.Encode()
}

// say prints one result, in text only what a person is to look at, and counts it.
func (rep *auditReport) say(sl *spooledLine) {
	l := &sl.Line
	if l.Status == audit.Unsigned && rep.au.allowUnsigned && !sl.Downgraded {
		l.Finding = false
	}
	rep.counts[l.Status]++
	if l.Finding {
		rep.findings++
	}
	if l.Accepted {
		rep.accepted++
	}
	switch {
	case rep.app.json:
		l.setPath(l.Path)
		_ = rep.app.jsonLine(l) // kept by the buffer
	case l.Finding || l.Accepted || rep.app.verbose:
		rep.app.printf("%s: %s\n", rep.app.fileName(l.name()), auditText(l))
	}
}

func auditText(l *auditLine) string {
	s := string(l.Status)
	if l.Accepted {
		s += " (accepted)"
	}
	if why := strings.TrimPrefix(cleanLine(l.Reason), string(l.Status)+": "); why != "" {
		return s + ": " + why
	}
	if l.Document != nil {
		s += ": " + l.Document.Level
	}
	return s
}

// conclude prints the counts and makes the exit code.
func (rep *auditReport) conclude(scopes int) error {
	total := 0
	var parts []string
	for _, st := range audit.Statuses() {
		n := rep.counts[st]
		if st != audit.Gone {
			total += n
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, st))
		}
	}
	if len(parts) == 0 {
		return &cliError{code: codeNothing, err: fmt.Errorf("audit: no disk in %s", count(scopes, "place"))}
	}
	if !rep.app.json {
		rep.app.printf("%s: %s; %s\n", count(total, "disk"), strings.Join(parts, ", "), count(rep.findings, "finding"))
	}
	if rep.findings > 0 {
		return reported(codeFailed)
	}
	return nil
}
