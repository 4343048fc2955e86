package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// envelopeSuffix is what a file in the folder that --output names has behind the image's name.
const envelopeSuffix = ".dsse.json"

// exportLine is the JSON of one exported label.
type exportLine struct {
	imageLine
	Envelope json.RawMessage `json:"envelope,omitempty"` // unless it went to a file
	File     string          `json:"file,omitempty"`     // where it went
}

// exporter puts envelopes where they were asked for. After an error with a file for several of them it puts nothing more.
type exporter struct {
	app    *app
	output string // as given; empty: standard output
	folder bool
	file   *replacement    // nil: none yet
	names  map[string]bool // written into the folder
	failed tally           // images whose envelope could not be written into the folder
	err    error
}

func (a *app) labelExport() *cobra.Command {
	var sel selection
	var chain chainRoots
	ex := exporter{app: a, names: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "export IMAGE...",
		Short: "Print the labels of disk images as DSSE envelopes, for tools and formats that do not know them",
		Long: `Export prints the label of each image as a DSSE envelope, JSON on one line, with the signature that it has. -o writes
them to a file, one a line, or into a folder that is there, each as NAME.dsse.json. 'berth label import' brings a label back. It
exits with 6 when no image has a label.`,
		Example: "  berth label export web.vmdk -o web.json\n  berth label export -r /srv/images -o envelopes/",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sel.check(args); err != nil {
				return err
			}
			if err := chain.check(); err != nil {
				return err
			}
			if f := cmd.Flags().Lookup("output"); f.Changed && ex.output == "" {
				return usagef("--output: is empty")
			}
			st, err := os.Stat(ex.output)
			ex.folder = err == nil && st.IsDir()
			if !ex.folder && os.IsPathSeparator(("x" + ex.output)[len(ex.output)]) {
				return usagef("--output %s: there is no such folder", ex.output)
			}
			t, err := a.eachImage(cmd.Context(), &sel, "export label", func(e entry) outcome { return exportLabel(&chain, e) }, ex.put)
			if err == nil {
				err = ex.err
			}
			if err := ex.finish(err); err != nil {
				return err
			}
			return reported(anyLabel(ex.count(t)))
		},
	}
	cmd.Flags().StringVarP(&ex.output, "output", "o", "", "write to `FILE`, one envelope a line, or into a folder")
	chain.flags(cmd)
	sel.flags(cmd, defaultJobs())
	sel.formatFlag(cmd)
	sel.appliance.diskFlag(cmd)
	return cmd
}

// anyLabel is the exit code of a command that looks for labels. As grep has it: some images without one are fine, none at
// all is not.
func anyLabel(t tally) int {
	if t.ok > 0 {
		delete(t.codes, codeNothing)
	} else if len(t.codes) == 0 {
		t.add(codeNothing) // those met in a folder were passed over
	}
	return t.code()
}

func exportLabel(chain *chainRoots, e entry) outcome {
	img, o := chain.readInherited(e)
	if img == nil {
		return o
	}
	if img.frame == nil {
		if e.found {
			return outcome{skip: true, note: "no label"}
		}
		o.code, o.note = codeNothing, "no label"
		return o
	}
	o.frame = img.frame
	return o
}

// put writes the envelope of one image that has a label.
func (ex *exporter) put(o *outcome) {
	if o.frame == nil || ex.err != nil {
		return
	}
	text, err := o.frame.Envelope()
	line := exportLine{imageLine: o.line, File: ex.output}
	switch {
	case err != nil:
	case ex.output == "":
		line.Envelope = bytes.TrimSpace(text)
		if !ex.app.json {
			ex.app.printf("%s", text)
		}
	case ex.folder:
		line.File = filepath.Join(ex.output, envelopeName(&o.line)+envelopeSuffix)
		err = ex.putFile(line.File, text)
	default:
		err = ex.append(text)
	}
	switch {
	case err != nil && ex.folder: // the others have files of their own
		o.err = err
		ex.app.reportFile("export label", o)
		ex.failed.add(codeOf(err))
		return
	case err != nil:
		ex.err = fmt.Errorf("export label: %s: %w", cleanLine(o.line.Path), err)
		return
	}
	if ex.app.json {
		_ = ex.app.jsonLine(line) // kept by the buffer
	}
}

// count is the tally t of the labels that were read, without those that were not written.
func (ex *exporter) count(t tally) tally {
	for code, n := range ex.failed.codes {
		t.ok -= n
		for range n {
			t.add(code)
		}
	}
	return t
}

// envelopeName is the name of the file for one label: the image's, of a disk of an appliance with the disk's behind it.
func envelopeName(l *imageLine) string {
	name := filepath.Base(l.Path)
	if l.Disk == "" {
		return name
	}
	return name + "." + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, l.Disk)
}

// putFile writes a file of its own. Two images of one name must not end as one envelope.
func (ex *exporter) putFile(path string, text []byte) error {
	if ex.names[path] {
		return refusedf("export the folders one by one", "%s was written for another image of this name", path)
	}
	ex.names[path] = true
	return writeFileAtomic(path, text, 0o644, false)
}

func (ex *exporter) append(text []byte) (err error) {
	if ex.file == nil {
		if ex.file, err = replaceFile(ex.output, 0o644); err != nil {
			return err
		}
	}
	_, err = ex.file.Write(text)
	return err
}

// finish gives the file its name when nothing failed. Without a label there is none, and what was there stays.
func (ex *exporter) finish(failed error) error {
	switch {
	case ex.file == nil:
		return failed
	case failed != nil:
		ex.file.discard()
		return failed
	}
	if err := ex.file.commit(); err != nil {
		return fmt.Errorf("export label: %w", err)
	}
	return nil
}

// replacement is a file under way, which gets its name when it is whole: the path has the old content or all of the
// new. What is no regular file (/dev/stdout) is written as it is.
type replacement struct {
	*bufio.Writer
	file *os.File
	path string // empty: the file has its name
}

func replaceFile(path string, mode os.FileMode) (*replacement, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &replacement{Writer: bufio.NewWriter(f), file: f}, nil
	}
	return replaceBy(filepath.Join(filepath.Dir(path), fmt.Sprintf(".berth-%d-%d.tmp", os.Getpid(), rand.Uint64())), path, mode)
}

// replaceBy is replaceFile with the temporary name given, which must not be there.
func replaceBy(name, path string, mode os.FileMode) (*replacement, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	return &replacement{Writer: bufio.NewWriterSize(f, 64<<10), file: f, path: path}, nil
}

// commit makes the content durable and gives it its name.
func (r *replacement) commit() error {
	err := r.Flush()
	if r.path == "" {
		return errors.Join(err, r.file.Close())
	}
	if err = errors.Join(err, r.file.Sync()); err != nil {
		r.discard()
		return err
	}
	if err := errors.Join(r.file.Close(), os.Rename(r.file.Name(), r.path)); err != nil {
		_ = os.Remove(r.file.Name()) // the error that matters is that of the rename
		return err
	}
	return syncDir(filepath.Dir(r.path))
}

// discard leaves everything as it was.
func (r *replacement) discard() {
	closeQuietly(r.file)
	if r.path != "" {
		_ = os.Remove(r.file.Name()) // what stays is a temporary file, which walks pass over
	}
}
