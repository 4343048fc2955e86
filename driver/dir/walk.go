package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// maxWalkErrors bounds the errors that Walk keeps; it counts the rest.
const maxWalkErrors = 100

// Walk calls fn for every regular file under roots, from at most parallel goroutines at once (1: in lexical order,
// root by root). A root that is a file is visited as it is, and a root that is a symbolic link is followed; below
// the roots symbolic links are not. Folders that cannot be read are in the error, and the rest is visited all the
// same. When ctx ends, so does the walk, with ctx's error; no fn runs after Walk has returned.
func Walk(ctx context.Context, roots []string, parallel int, fn func(path string)) error {
	paths := make(chan string, 256)
	var workers sync.WaitGroup
	for range max(1, parallel) {
		workers.Go(func() {
			for p := range paths {
				if ctx.Err() == nil {
					fn(p)
				}
			}
		})
	}
	w := walker{ctx: ctx, paths: paths}
	for _, root := range roots {
		w.root(root)
	}
	close(paths)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("walk folders: %w", err)
	}
	if w.more > 0 {
		w.errs = append(w.errs, fmt.Errorf("walk folders: %d more errors", w.more))
	}
	return errors.Join(w.errs...)
}

type walker struct {
	ctx   context.Context // the walker lives as long as one call of Walk
	paths chan<- string
	errs  []error
	more  int
}

func (w *walker) fail(err error) {
	if len(w.errs) < maxWalkErrors {
		w.errs = append(w.errs, fmt.Errorf("walk folders: %w", err))
	} else {
		w.more++
	}
}

func (w *walker) root(root string) {
	st, err := os.Stat(root)
	switch {
	case err != nil:
		w.fail(err)
	case !st.IsDir():
		w.send(root) // opening it says what is wrong with it, if anything
	default:
		// WalkDir does not follow a root that is a link; with a separator at the end it is the folder itself.
		from := root
		if li, err := os.Lstat(root); err == nil && li.Mode()&fs.ModeSymlink != 0 {
			from = strings.TrimRight(root, "/") + "/"
		}
		_ = filepath.WalkDir(from, w.visit) // visit keeps the errors and returns only orders to stop
	}
}

func (w *walker) visit(path string, d fs.DirEntry, err error) error {
	if w.ctx.Err() != nil {
		return fs.SkipAll
	}
	if err != nil {
		w.fail(err)
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if !d.Type().IsRegular() || IsTemp(d.Name()) {
		return nil
	}
	w.send(path)
	return nil
}

func (w *walker) send(path string) {
	select {
	case w.paths <- path:
	case <-w.ctx.Done():
	}
}
