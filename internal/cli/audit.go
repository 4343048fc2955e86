package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/journal"
	"github.com/spf13/cobra"
)

// auditor is one run of berth label verify --all.
type auditor struct {
	all           bool
	pool          string
	from          string
	state         string
	accept        bool
	noRecord      bool
	resetRecord   bool
	allowUnsigned bool
}

// auditFlags are the flags that mean something with --all alone.
var auditFlags = []string{"pool", "from", "state", "accept", "no-record", "reset-record", "allow-unsigned"}

func (au *auditor) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&au.all, "all", false, "audit everything in the folders named, or the fleet when none is")
	f.StringVar(&au.pool, "pool", "", "with --all, audit the disks of the fleet that are in the pool `NAME`")
	f.StringVar(&au.from, "from", "", "with --all, audit the fleet in the snapshot in `FILE` (berth fleet export); - is standard input")
	f.StringVar(&au.state, "state", "", "keep the record of what was seen in the folder `DIR` (default: $XDG_STATE_HOME/berth, /var/lib/berth for root)")
	f.BoolVar(&au.accept, "accept", false, "take it for right that labels are older, gone, copied or no longer signed")
	f.BoolVar(&au.noRecord, "no-record", false, "compare with the record, but do not write it")
	f.BoolVar(&au.resetRecord, "reset-record", false, "begin a new record; what the old one knows is lost")
	f.BoolVar(&au.allowUnsigned, "allow-unsigned", false, "unsigned labels are fine where there was no signed one")
}

// refuse complains about flags of an audit without --all.
func (au *auditor) refuse(cmd *cobra.Command) error {
	for _, name := range auditFlags {
		if cmd.Flags().Lookup(name).Changed {
			return usagef("--%s: is for an audit, which --all makes", name)
		}
	}
	return nil
}

// scope is what has a record of its own: a folder, or a fleet.
type scope struct {
	id     string // what the record says it is of
	name   string // for people
	record string // path of the record
	lock   *journal.Lock
	old    *os.File // the record; nil: none
	reader *audit.Reader
	result *replacement // the new record
	writer *audit.Writer
	// disks feeds everything of the scope to the merge, in order.
	disks func(ctx context.Context, m *audit.Merge, sp *spool) error
}

// audit judges everything in some scopes. Nothing is recorded unless all of it could be gone through.
func (a *app) audit(cmd *cobra.Command, au *auditor, v *verification, sel *selection, args []string) error {
	if err := au.check(cmd, args); err != nil {
		return err
	}
	scopes, err := a.auditScopes(cmd.Context(), au, v, sel, args)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range scopes {
			s.close()
		}
	}()
	for _, s := range scopes { // all of them before the first disk is looked at
		if err := s.open(a, au); err != nil {
			return fmt.Errorf("audit %s: %w", s.name, err)
		}
	}
	sp, err := newSpool()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer closeQuietly(sp)
	for i, s := range scopes {
		if err := s.gather(cmd.Context(), au, sp, i); err != nil {
			return fmt.Errorf("audit %s: %w", s.name, err)
		}
	}
	rep := auditReport{app: a, au: au, counts: map[audit.Status]int{}}
	if err := rep.run(sp, scopes); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for _, s := range scopes {
		if err := s.commit(a); err != nil {
			return fmt.Errorf("audit %s: write record: %w", s.name, err)
		}
	}
	return rep.conclude(len(scopes))
}

func (au *auditor) check(cmd *cobra.Command, args []string) error {
	f := cmd.Flags()
	for _, name := range []string{"files-from", "null", "format", "disk"} {
		if f.Lookup(name).Changed {
			return usagef("--%s: an audit takes folders as arguments, with all that is in them", name)
		}
	}
	for _, name := range []string{"pool", "from", "state"} {
		if fl := f.Lookup(name); fl.Changed && fl.Value.String() == "" {
			return usagef("--%s: is empty", name)
		}
	}
	switch {
	case len(args) > 0 && (au.pool != "" || au.from != ""):
		return usagef("--pool and --from are for an audit of the fleet, which has no folder as argument")
	case f.Lookup("policy").Changed:
		return usagef("--policy: an audit does not ask what a label's level comes to")
	case au.noRecord && (au.accept || au.resetRecord):
		return usagef("--no-record excludes --accept and --reset-record, which change the record")
	}
	return nil
}

func (a *app) auditScopes(ctx context.Context, au *auditor, v *verification, sel *selection, args []string) ([]*scope, error) {
	if sel.jobs < 1 || sel.jobs > 256 {
		return nil, usagef("--jobs: is %d, expected 1 to 256", sel.jobs)
	}
	if len(args) == 0 {
		s, err := a.fleetScope(ctx, au, v)
		if err != nil {
			return nil, err
		}
		return []*scope{s}, nil
	}
	if err := v.load(a, true); err != nil {
		return nil, err
	}
	var scopes []*scope
	seen := map[string]bool{}
	for _, folder := range args {
		s, err := a.folderScope(v, sel.jobs, folder)
		if err != nil {
			return nil, err
		}
		if seen[s.id] {
			return nil, usagef("%s: is named twice", folder)
		}
		seen[s.id] = true
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// open finds the scope's record, locks and checks it.
func (s *scope) open(a *app, au *auditor) error {
	path, err := a.journalPath(au.state, "x")
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(s.id))
	folder := filepath.Join(filepath.Dir(filepath.Dir(path)), "audit")
	s.record = filepath.Join(folder, hex.EncodeToString(sum[:8])+".jsonl")
	if !au.noRecord {
		if err := s.begin(a, folder); err != nil {
			return err
		}
	}
	if au.resetRecord {
		return nil
	}
	s.old, err = os.Open(s.record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return inputError(fmt.Errorf("read record %s: %w", s.record, bare(err)), "")
	}
	s.reader, err = audit.NewReader(s.old, s.id)
	return recordError(s.record, err)
}

// recordError says what to do about a record that is not as it was written.
func recordError(path string, err error) error {
	if !errors.Is(err, audit.ErrCorrupt) {
		return err
	}
	return inputError(fmt.Errorf("record %s: %w", path, err),
		"put it back from a copy; or begin a new one with --reset-record: what is older or gone since the last audit is then not found")
}

// begin locks the record and opens its successor.
func (s *scope) begin(a *app, folder string) error {
	hint := "name a folder with --state, or leave the record alone with --no-record"
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return &cliError{code: codeFailed, err: fmt.Errorf("make folder of the record: %w", err), hint: hint}
	}
	var err error
	if s.lock, err = journal.Acquire(strings.TrimSuffix(s.record, ".jsonl") + ".lock"); err != nil {
		if errors.Is(err, journal.ErrLocked) {
			return refusedf("wait for it to end", "another berth audits it: %w", err)
		}
		return &cliError{code: codeFailed, err: err, hint: hint}
	}
	next := filepath.Join(folder, ".berth-"+strings.TrimSuffix(filepath.Base(s.record), ".jsonl")+".tmp")
	if err = os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // a killed audit left it; who made it held the lock
		return &cliError{code: codeFailed, err: fmt.Errorf("write record: %w", err), hint: hint}
	}
	if s.result, err = replaceBy(next, s.record, 0o600); err != nil {
		return &cliError{code: codeFailed, err: fmt.Errorf("write record: %w", err), hint: hint}
	}
	s.writer, err = audit.NewWriter(s.result, s.id, a.env.Now())
	return err
}

// gather goes through the scope and puts each result into the spool.
func (s *scope) gather(ctx context.Context, au *auditor, sp *spool, index int) error {
	m := audit.NewMerge(s.reader)
	m.Accept = au.accept
	m.Emit = func(r audit.Result) error { return sp.add(index, &r) }
	if err := s.disks(ctx, m, sp); err != nil {
		return recordError(s.record, err)
	}
	if ctx.Err() != nil {
		return &cliError{code: codePartly, err: errors.New("interrupted: nothing was recorded")}
	}
	return recordError(s.record, m.Finish())
}

// commit puts the new record in place of the old one.
func (s *scope) commit(a *app) error {
	if s.writer == nil {
		return nil
	}
	if err := s.writer.Close(); err != nil {
		return err
	}
	result := s.result
	s.result = nil
	if err := result.commit(); err != nil {
		return err
	}
	a.detail("%s: recorded in %s", s.name, s.record)
	return nil
}

// close lets go of everything; a successor that was not committed is removed.
func (s *scope) close() {
	if s.result != nil {
		s.result.discard()
	}
	if s.old != nil {
		closeQuietly(s.old)
	}
	if s.lock != nil {
		closeQuietly(s.lock)
	}
}
