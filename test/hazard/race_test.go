package hazard_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyAtOnce: several processes set a label on one image at the same time. Each wins or is told that the image is in use.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f format, path string, healthy func()) {
		t.Helper()
		const writers, rounds = 4, 5
		won := map[string]bool{}
		var mu sync.Mutex
		for r := range rounds {
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					name := fmt.Sprintf("level-%d-%d", r, w)
					_, errs, code := call(t, nil, f.words(name, path)...)
					mu.Lock()
					defer mu.Unlock()
					switch code {
					case 0:
						won[name] = true
					case 4:
						told(t, errs, path)
					default:
						t.Errorf("exit code %d: %s", code, errs)
					}
				})
			}
			group.Wait()
			if now := level(t, path); len(won) > 0 && !won[now] {
				t.Fatalf("the label is %q, which nobody was told to have set", now)
			}
		}
		if len(won) < rounds/2 {
			t.Errorf("only %d of %d labels were set", len(won), writers*rounds)
		}
		healthy()
		clean(t, path)
	})
}

// TestStartingQEMU: labels are set while QEMUs open the image, write and close it again, over and over.
func TestStartingQEMU(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f format, path string, _ func()) {
		t.Helper()
		stop := make(chan struct{})
		ran, refused := 0, 0
		var group sync.WaitGroup
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				// The last 64 KiB get the number of the round that wrote them.
				cmd := exec.CommandContext(t.Context(), "qemu-io", "-f", f.qemu, "-c", fmt.Sprintf("write -P %d 4032k 64k", n%200+1), "-c", "flush", path)
				out, err := cmd.CombinedOutput()
				switch {
				case err == nil && !strings.Contains(string(out), "failed"):
					ran++
				case strings.Contains(string(out), "lock"):
					refused++
				default:
					t.Errorf("qemu-io: %v\n%s", err, out)
				}
			}
		})
		set, inUse := "", 0
		for n, end := 0, time.Now().Add(3*time.Second); time.Now().Before(end) || (ran == 0 && n < 200); n++ {
			name := fmt.Sprintf("level-%d", n)
			_, errs, code := call(t, nil, f.words(name, path)...)
			switch code {
			case 0:
				set = name
			case 4:
				inUse++
				told(t, errs, path)
			default:
				t.Errorf("exit code %d: %s", code, errs)
			}
		}
		close(stop)
		group.Wait()
		t.Logf("QEMU ran %d times and was kept out %d times; the image was in use %d times", ran, refused, inUse)
		if got := level(t, path); got != set {
			t.Errorf("label %q, expected %q: a QEMU or a label overwrote the other", got, set)
		}
		checked(t, f, path)
		clean(t, path)
	})
}
