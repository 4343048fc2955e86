package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// entry is one file to work on, or the reason why there is none.
type entry struct {
	path string
	// found says that the file was met in a folder: it may well be no image, and is then passed over.
	found bool
	opts  diskimage.Options // what is known of it besides its bytes
	err   error
	disk  *applianceDisk // of the appliance at path, which is no image itself; nil: of none
}

// selection says which files a label command works on.
type selection struct {
	args      []string
	filesFrom string
	zero      bool // names from filesFrom end with NUL
	recursive bool
	jobs      int
	parts     folderParts
	opts      diskimage.Options
	named     map[string]bool // see wait
	waiting   []outcome
	appliance applianceChoice
	ovfs      applianceParts
}

// maxName bounds one file name read from --files-from; PATH_MAX is 4,096.
const maxName = 64 << 10

// flags adds the flags of a command that takes IMAGE arguments.
func (s *selection) flags(cmd *cobra.Command, jobs int) {
	f := cmd.Flags()
	f.BoolVarP(&s.recursive, "recursive", "r", false, "go into folders; files in them that are no images are passed over")
	f.StringVar(&s.filesFrom, "files-from", "", "read more names from `FILE`, one a line; - is standard input")
	f.BoolVarP(&s.zero, "null", "0", false, "names from --files-from end with NUL instead of a newline")
	f.IntVarP(&s.jobs, "jobs", "j", jobs, "files worked on at a time, 1 to 256")
}

// formatFlag adds the flag that says what the images are.
func (s *selection) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar((*string)(&s.opts.Format), "format", "",
		"take the images for `FORMAT` ("+strings.Join(formatNames(), ", ")+"); raw: whatever their guests wrote into them")
}

func (s *selection) check(args []string) error {
	s.args = args
	if len(args) == 0 && s.filesFrom == "" {
		return usagef("no file is named")
	}
	if s.jobs < 1 || s.jobs > 256 {
		return usagef("--jobs: is %d, expected 1 to 256", s.jobs)
	}
	if f := string(s.opts.Format); f != "" && !slices.Contains(formatNames(), f) {
		return usagef("--format %q: expected one of %s", f, strings.Join(formatNames(), ", "))
	}
	return nil
}

func defaultJobs() int { return min(2*runtime.GOMAXPROCS(0), 64) }

// walk yields every selected file in order: arguments first, then names from --files-from; folders in
// lexical order. It ends early when yield returns false.
func (a *app) walk(ctx context.Context, s *selection, yield func(entry) bool) {
	for _, p := range s.args {
		if !walkArg(p, s.recursive, yield) {
			return
		}
	}
	if s.filesFrom == "" {
		return
	}
	in := a.env.In
	if s.filesFrom != "-" {
		f, err := os.Open(s.filesFrom)
		if err != nil {
			yield(entry{path: s.filesFrom, err: err})
			return
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	names, failed := readNames(ctx, in, s.zero)
	for {
		select {
		case <-ctx.Done():
			return
		case name, ok := <-names:
			if !ok {
				if err := <-failed; err != nil {
					yield(entry{path: inputName(s.filesFrom), err: fmt.Errorf("read names: %w", err)})
				}
				return
			}
			if name != "" && !walkPath(name, s.recursive, yield) {
				return
			}
		}
	}
}

// readNames reads names beside the work, so that an interrupt ends a command that waits for one; the reader is then
// left to its read. The error, or nil, is there when the names have ended.
func readNames(ctx context.Context, in io.Reader, zero bool) (<-chan string, <-chan error) {
	names, failed := make(chan string, batch), make(chan error, 1)
	go func() {
		defer close(names)
		defer close(failed)
		sc := bufio.NewScanner(in)
		sc.Buffer(make([]byte, 4096), maxName)
		if zero {
			sc.Split(splitNUL)
		}
		for sc.Scan() {
			select {
			case names <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- sc.Err()
	}()
	return names, failed
}

func splitNUL(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// walkArg is walkPath for a name that may be a pattern which no shell has expanded.
func walkArg(p string, recursive bool, yield func(entry) bool) bool {
	if !isPattern(p) {
		return walkPath(p, recursive, yield)
	}
	for path, err := range expand(p) {
		if err != nil {
			if !yield(entry{path: path, err: bare(err)}) {
				return false
			}
		} else if !walkPath(path, recursive, yield) {
			return false
		}
	}
	return true
}

// walkPath yields p, or with recursive set the regular files of the folder p, without what a crash left of ours.
// Symbolic links met in a folder are not followed; p itself may be one. It returns false when yield did.
func walkPath(p string, recursive bool, yield func(entry) bool) bool {
	st, err := os.Stat(p)
	if err != nil {
		return yield(entry{path: p, err: bare(err)})
	}
	if !st.IsDir() {
		return yield(entry{path: p})
	}
	if !recursive {
		return yield(entry{path: p, err: errIsFolder})
	}
	for path, err := range dir.Walk(p) {
		if !yield(entry{path: path, found: err == nil, err: bare(err)}) {
			return false
		}
	}
	return true
}

var errIsFolder = errors.New("is a folder, expected an image")

// bare takes the path out of err, where the message names it already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// batch is as many files as one worker takes at once: handing them over costs more than reading a label.
const batch = 16

// pipeline works on the entries of source with jobs goroutines and hands the results to emit in the order of
// the source. At most 4 batches a worker are under way. It ends early when ctx is done.
func pipeline[T any](ctx context.Context, jobs int, source func(yield func(entry) bool), work func(entry) T, emit func(T)) {
	if jobs == 1 {
		source(func(e entry) bool {
			if ctx.Err() == nil {
				emit(work(e))
			}
			return ctx.Err() == nil
		})
		return
	}
	type task struct {
		in  []entry
		out chan []T
	}
	tasks := make(chan task)
	ordered := make(chan task, 4*jobs)
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for t := range tasks {
				res := make([]T, 0, len(t.in))
				for _, e := range t.in {
					if ctx.Err() != nil {
						break
					}
					res = append(res, work(e))
				}
				t.out <- res
			}
		})
	}
	go func() {
		var in []entry
		send := func() {
			if len(in) > 0 {
				t := task{in: in, out: make(chan []T, 1)}
				ordered <- t
				tasks <- t
				in = nil
			}
		}
		source(func(e entry) bool {
			if in = append(in, e); len(in) == batch {
				send()
			}
			return ctx.Err() == nil
		})
		send()
		close(tasks)
		close(ordered)
	}()
	for t := range ordered {
		for _, r := range <-t.out {
			emit(r)
		}
	}
	workers.Wait()
}

// closeQuietly closes what was only read.
func closeQuietly(c io.Closer) { _ = c.Close() }
