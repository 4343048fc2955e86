package convert

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
)

// Bounds of what is read of qemu-img, in bytes.
const (
	maxDiagnosis = 4 << 10
	maxAnswer    = 1 << 20
)

// tool is qemu-img. hide maps temporary names in its messages to those that the user gave.
type tool struct {
	path string
	src  string
	hide *strings.Replacer
}

func findTool() (*tool, error) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return nil, fmt.Errorf("find qemu-img: %w: %w", ErrNoTool, err)
	}
	return &tool{path: path, hide: strings.NewReplacer()}, nil
}

// run runs qemu-img in a process group of its own, so that an interrupt from the keyboard reaches us alone and we
// decide. It is killed when ctx ends, and by the kernel when we are killed.
func (t *tool) run(ctx context.Context, out io.Writer, args ...string) error {
	// The kernel's signal goes with the thread that made the process, not with us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, t.path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	diag := &head{limit: maxDiagnosis}
	cmd.Stdout, cmd.Stderr = out, diag
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return nil
	}
	return t.failure(args[0], diag.buf.String(), err)
}

// failure makes an error of what qemu-img wrote.
func (t *tool) failure(verb, text string, err error) error {
	text = strings.TrimSpace(t.hide.Replace(text))
	text = strings.ReplaceAll(strings.TrimPrefix(text, "qemu-img: "), "\n", "; ")
	te := &ToolError{Verb: verb, Text: text, Err: err}
	switch {
	case strings.Contains(text, "Failed to get") && strings.Contains(text, "lock"):
		return &dir.LockedError{Path: t.src, Reason: "in use: " + text}
	case strings.Contains(text, syscall.ENOSPC.Error()), strings.Contains(text, "No space left on device"):
		te.Err = syscall.ENOSPC
	case strings.Contains(text, "Disk quota exceeded"):
		te.Err = syscall.EDQUOT
	}
	return te
}

// virtualSize is what QEMU takes the size of a disk for. It may differ from what others make of the same headers (VHD).
func (t *tool) virtualSize(ctx context.Context, format, name string) (label.Bytes, error) {
	out := &head{limit: maxAnswer}
	if err := t.run(ctx, out, "info", "--output=json", "-f", format, name); err != nil {
		return 0, err
	}
	var v struct {
		Size label.Bytes `json:"virtual-size"`
	}
	if err := json.Unmarshal(out.buf.Bytes(), &v); err != nil || v.Size < 0 {
		return 0, &ToolError{Verb: "info", Text: "its answer is no JSON of an image", Err: err}
	}
	return v.Size, nil
}

// head keeps the first bytes of what is written and takes the rest.
type head struct {
	buf   bytes.Buffer
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	if n := h.limit - h.buf.Len(); n > 0 {
		h.buf.Write(p[:min(n, len(p))])
	}
	return len(p), nil
}

// meter reads the progress that qemu-img -p writes, "    (12.34/100%)\r", and tells it in bytes.
type meter struct {
	total label.Bytes
	tell  func(done, total label.Bytes)
	w     *io.PipeWriter
	done  chan struct{}
}

// maxStep bounds one report of progress in bytes; qemu-img writes 17.
const maxStep = 256

func newMeter(total label.Bytes, tell func(done, total label.Bytes)) *meter {
	if tell == nil {
		tell = func(_, _ label.Bytes) {}
	}
	r, w := io.Pipe()
	m := &meter{total: total, tell: tell, w: w, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.read(r)
		_, _ = io.Copy(io.Discard, r) // whatever it was: qemu-img must not wait for us
	}()
	return m
}

func (m *meter) Write(p []byte) (int, error) { return m.w.Write(p) }

// end returns when the last report was told.
func (m *meter) end() {
	_ = m.w.Close()
	<-m.done
}

func (m *meter) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, maxStep), maxStep)
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	last := -1.0
	for sc.Scan() {
		if p, ok := percent(sc.Text()); ok && p > last {
			last = p
			m.tell(label.Bytes(float64(m.total)*p/100), m.total)
		}
	}
}

// percent reads "(12.34/100%)".
func percent(s string) (float64, bool) {
	s, ok := strings.CutPrefix(strings.TrimSpace(s), "(")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "/100%)")
	if !ok {
		return 0, false
	}
	p, err := strconv.ParseFloat(s, 64)
	return p, err == nil && p >= 0 && p <= 100
}

// asOptions are -o for each of opts. A comma would begin another option.
func asOptions(opts []string) []string {
	var args []string
	for _, o := range opts {
		args = append(args, "-o", strings.ReplaceAll(o, ",", ",,"))
	}
	return args
}
