package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// folderScope is a folder with everything below it. Names in its record are relative to it, so that it may be named in
// several ways.
func (a *app) folderScope(v *verification, jobs int, folder string) (*scope, error) {
	st, err := os.Stat(folder)
	if err != nil {
		return nil, inputError(fmt.Errorf("audit %s: %w", folder, bare(err)), "")
	}
	if !st.IsDir() {
		return nil, &cliError{code: codeUsage, err: fmt.Errorf("audit %s: is no folder", folder),
			hint: "name its folder; 'berth label verify' without --all judges one image"}
	}
	abs, err := filepath.Abs(folder)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, inputError(fmt.Errorf("audit %s: %w", folder, bare(err)), "")
	}
	w := &folderAudit{app: a, verify: v, sel: selection{args: []string{folder}, recursive: true, jobs: jobs}, prefix: strings.TrimRight(folder, "/") + "/"}
	return &scope{id: "folder " + abs, name: folder, disks: w.disks}, nil
}

// folderAudit goes through one folder.
type folderAudit struct {
	app    *app
	verify *verification
	sel    selection
	prefix string // of every path
	blind  []string
	unread string // the last file that could not be read: an appliance, maybe
}

// maxBlind bounds how many folders that could not be read are kept in mind.
const maxBlind = 4096

// looked is one file as it was found.
type looked struct {
	path    string
	line    imageLine
	present audit.Present
	other   bool  // no image of ours, or nothing that a label could be in
	vanish  bool  // it was gone when it was looked at
	err     error // of the walk: a folder that cannot be read
	// more are the disks of an appliance, in the order of their names; the rest then says nothing.
	more []looked
}

// disks walks the folder and hands what it finds to the merge.
func (w *folderAudit) disks(ctx context.Context, m *audit.Merge, sp *spool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m.Unseen = w.unseen
	sp.gone = func(name string) auditLine { return auditLine{imageLine: imageLine{Path: w.prefix + name}} }
	var failed error
	pipeline(ctx, w.sel.jobs, func(yield func(entry) bool) { w.app.walk(ctx, &w.sel, yield) }, w.look, func(l looked) {
		if failed == nil {
			if failed = w.take(&l, m, sp); failed != nil {
				stop()
			}
		}
	})
	return failed
}

// unseen says of a recorded disk that it could not have been met.
func (w *folderAudit) unseen(name string) bool {
	if w.unread != "" && strings.HasPrefix(name, w.unread+"/") {
		return true
	}
	for _, b := range w.blind {
		if name == b || strings.HasPrefix(name, b+"/") {
			return true
		}
	}
	return false
}

func (w *folderAudit) take(l *looked, m *audit.Merge, sp *spool) error {
	if len(l.more) > 0 {
		for i := range l.more {
			if err := w.take(&l.more[i], m, sp); err != nil {
				return err
			}
		}
		return nil
	}
	name := strings.TrimPrefix(l.path, w.prefix)
	switch {
	case l.vanish:
		return nil
	case l.err != nil && (l.path+"/" == w.prefix || l.path == w.prefix):
		return inputError(fmt.Errorf("read folder: %w", l.err), "")
	case l.err != nil:
		if len(w.blind) >= maxBlind {
			return fmt.Errorf("more than %d folders cannot be read", maxBlind)
		}
		w.blind = append(w.blind, name)
	case l.other:
		sp.current = auditLine{imageLine: l.line}
		return m.Other(name)
	}
	sp.current = auditLine{imageLine: l.line}
	err := m.Disk(name, l.present)
	if l.present.Kind == audit.NotRead {
		w.unread = name // what is recorded of an appliance's disks comes next
	}
	return err
}

// look reads and verifies the label of one file.
func (w *folderAudit) look(e entry) looked {
	l := looked{path: e.path, line: imageLine{Path: e.path}, err: e.err}
	if e.err != nil {
		l.present = audit.Present{Kind: audit.NotRead, Reason: e.err.Error()}
		return l
	}
	o, done := w.sel.checkExtent(e)
	if !done {
		o, done = w.sel.checkAudited(e)
	}
	var img *image
	if !done {
		img, o = readImage(e)
	}
	if errors.Is(o.err, errAppliance) {
		return w.lookAppliance(e)
	}
	o.line.Path = e.path
	l.line = o.line
	switch {
	case o.skip:
		l.other = true
	case errors.Is(o.err, fs.ErrNotExist):
		l.vanish = true
	case errors.Is(o.err, diskimage.ErrDamaged):
		l.present = audit.Present{Kind: audit.DamagedLabel, Reason: "what is there of a label cannot be read"}
	case o.err != nil:
		l.present = audit.Present{Kind: audit.NotRead, Reason: reason(o.err, e.path)}
	case img == nil || img.frame == nil:
		l.present = audit.Present{Kind: audit.NoLabel}
	default:
		v := w.verify.file.Verify(*img.frame, img.info.Binding(), w.app.env.Now())
		l.line.judge(v)
		l.present = presentOf(v, img.frame, l.line.Document)
	}
	return l
}

func presentOf(v label.Verdict, f *label.Frame, doc *label.Document) audit.Present {
	p := audit.Present{
		Kind: audit.Label, Trust: v.Trust, Cause: v.Cause, Reason: v.Reason, Serial: f.Serial, Digest: audit.Digest(f.KeyID, f.Payload),
	}
	if doc != nil {
		p.Level = doc.Level
	}
	return p
}
