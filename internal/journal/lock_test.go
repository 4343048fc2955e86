package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/internal/journal"
)

func TestAcquire(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "apply.lock")
	first, err := journal.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	var held *journal.HeldError
	if _, err := journal.Acquire(path); !errors.As(err, &held) || !errors.Is(err, journal.ErrLocked) || held.PID != os.Getpid() {
		t.Fatalf("a second one: %v, expected that process %d holds it", err, os.Getpid())
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Acquire(path); !errors.As(err, &held) || held.PID != 0 {
		t.Errorf("a second one, the holder not known: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := journal.Acquire(path)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestAcquireRefusesWhatIsNoFile: a link is not followed, so that nobody's file is cut to nothing.
func TestAcquireRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "apply.lock")
	if err := os.Symlink(precious, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		if l, err := journal.Acquire(path); err == nil {
			t.Errorf("%s: locked: %v", path, l.Close())
		}
	}
	if b, err := os.ReadFile(precious); err != nil || string(b) != "kept" {
		t.Errorf("the link's target: %q, %v", b, err)
	}
}
