package cli

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/driver/dir"
)

// errNoMatch: a pattern that matches nothing is a mistake, as a name of nothing is.
var errNoMatch = errors.New("no such file, and no file matches it as a pattern")

// anyFolders stands in a pattern for any number of folders, none included.
const anyFolders = "**"

// isPattern says whether a name is to be expanded: it looks like a pattern and there is no file of that very name.
func isPattern(name string) bool {
	if !strings.ContainsAny(name, "*?[") {
		return false
	}
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// expand yields the files that a pattern matches: *, ? and [a-z] within a name, ** for any folders. The order is lexical.
// As in a shell a name that begins with a dot is matched by a pattern that does so too, without one also the folders that
// ** goes through. Temporary files and sidecars match nothing.
func expand(pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		parts := strings.Split(pattern, "/")
		for _, p := range parts {
			if _, err := filepath.Match(p, ""); err != nil {
				yield(pattern, err)
				return
			}
		}
		n, more := 0, true
		give := func(path string, err error) bool {
			n++
			more = yield(path, err)
			return more
		}
		if at := slices.Index(parts, anyFolders); at >= 0 {
			expandDeep(strings.Join(parts[:at], "/"), pattern, give)
		} else {
			expandFlat(pattern, give)
		}
		if n == 0 && more {
			yield(pattern, errNoMatch)
		}
	}
}

func expandFlat(pattern string, yield func(string, error) bool) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		yield(pattern, err)
		return
	}
	for _, p := range paths {
		if name := filepath.Base(p); !ours(name) && !unseen(filepath.Base(pattern), name) && !yield(p, nil) {
			return
		}
	}
}

// expandDeep walks through the folders that what stands before the first ** matches.
func expandDeep(before, pattern string, yield func(string, error) bool) {
	folders := []string{before}
	switch {
	case before == "" && strings.HasPrefix(pattern, "/"):
		folders[0] = "/"
	case before == "":
		folders[0] = "."
	case isPattern(before):
		folders, _ = filepath.Glob(before) // the pattern was checked
	}
	parts := strings.Split(pattern, "/")
	for _, folder := range folders {
		if st, err := os.Stat(folder); err != nil || !st.IsDir() {
			continue
		}
		for path, err := range dir.Walk(folder) {
			if before == "" && folder == "." {
				path = strings.TrimPrefix(path, "./")
			}
			if (err != nil || matchParts(parts, strings.Split(path, "/"))) && !yield(path, err) {
				return
			}
		}
	}
}

// matchParts matches a path with a pattern, both split into names.
func matchParts(pattern, path []string) bool {
	for len(pattern) > 0 && pattern[0] != anyFolders {
		if len(path) == 0 || unseen(pattern[0], path[0]) {
			return false
		}
		if ok, err := filepath.Match(pattern[0], path[0]); !ok || err != nil {
			return false
		}
		pattern, path = pattern[1:], path[1:]
	}
	if len(pattern) == 0 {
		return len(path) == 0
	}
	for skip := range len(path) + 1 {
		if skip > 0 && strings.HasPrefix(path[skip-1], ".") {
			return false // a hidden folder
		}
		if matchParts(pattern[1:], path[skip:]) {
			return true
		}
	}
	return false
}

// unseen says that a name begins with a dot and the pattern does not.
func unseen(pattern, name string) bool {
	return strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".")
}

func ours(name string) bool {
	return dir.IsTemp(name) || strings.HasSuffix(name, ".berth")
}
