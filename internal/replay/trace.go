package replay

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// Limits of a trace.
const (
	MaxArrivals = 1_000_000
	// MaxLine bounds a line, in bytes.
	MaxLine = 1024
	// MaxSeconds bounds every time and lifetime: ten years.
	MaxSeconds = 10 * 365 * 86_400
	maxCPU     = 4096     // threads
	maxMemory  = 64 << 20 // MiB
	maxDisk    = 1 << 20  // GiB
	maxName    = 128      // bytes of an id, a level or a group
	maxLines   = 2 * MaxArrivals
	defDisk    = 20         // GiB, where a form has none
	never      = Second(-1) // the life of what stays
	header     = "vm,at,life,cpu,memory_mib,disk_gib,level,spread,affinity"
	huawei     = "vmid,cpu,mem,at,lt"
	gibInMiB   = int64(1024)
)

// Second is a time since the start of a trace.
type Second int64

// Arrival is one VM of a trace.
type Arrival struct {
	ID     string
	At     Second
	Life   Second // how long it lives; negative: it stays
	CPU    fleet.MilliCPU
	Memory fleet.Bytes
	Disk   fleet.Bytes
	Level  string // of its label; empty: it has none
	// Spread and Affinity are groups of its label; empty: none.
	Spread, Affinity string
}

// Trace is arrivals in the order of their times.
type Trace struct{ Arrivals []Arrival }

// Read reads a trace, plain or gzip, in one of two forms, told apart by the header line. Lines that begin with # are
// comments.
//
//	vm,at,life,cpu,memory_mib,disk_gib,level,spread,affinity
//	vmid,cpu,mem,at,lt
//
// The first is ours: at and life in whole seconds (life empty: it stays), cpu in threads, level, spread and affinity may
// be empty. The second is that of Huawei's public traces: mem in GiB, at and lt in seconds with a fraction, which is cut
// off. Arrivals have to be sorted by time, and no id may come twice. The error names the line.
func Read(r io.Reader) (*Trace, error) {
	plain, err := unzip(r)
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	in := bufio.NewScanner(plain)
	in.Buffer(make([]byte, 0, MaxLine+1), MaxLine+1)
	p := &parser{seen: map[string]bool{}}
	for in.Scan() {
		if p.line++; p.line > maxLines {
			return nil, fmt.Errorf("read trace: more than %d lines", maxLines)
		}
		if err := p.read(strings.TrimSuffix(in.Text(), "\r")); err != nil {
			return nil, fmt.Errorf("read trace: line %d: %w", p.line, err)
		}
	}
	if err := in.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("is longer than %d bytes", MaxLine)
		}
		return nil, fmt.Errorf("read trace: line %d: %w", p.line+1, err)
	}
	if p.row == nil {
		return nil, errors.New("read trace: there is no header, expected " + header + " or " + huawei)
	}
	return &p.trace, nil
}

// unzip is what r says, unpacked where it is gzip.
func unzip(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	if magic, err := b.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return b, nil //nolint:nilerr // what is too short for gzip is a text, and its own fault
	}
	return gzip.NewReader(b)
}

type parser struct {
	trace Trace
	line  int
	row   func(fields []string) (Arrival, error)
	width int
	seen  map[string]bool
}

func (p *parser) read(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if p.row == nil {
		switch line {
		case header:
			p.row = ours
		case huawei:
			p.row = theirs
		default:
			return fmt.Errorf("header is %q, expected %s or %s", line, header, huawei)
		}
		p.width = strings.Count(line, ",") + 1
		return nil
	}
	fields := strings.Split(line, ",")
	if len(fields) != p.width {
		return fmt.Errorf("has %d fields, expected %d", len(fields), p.width)
	}
	a, err := p.row(fields)
	if err != nil {
		return err
	}
	n := len(p.trace.Arrivals)
	switch {
	case p.seen[a.ID]:
		return fmt.Errorf("vm %q a second time, expected each once", a.ID)
	case n == MaxArrivals:
		return fmt.Errorf("more than %d arrivals", MaxArrivals)
	case n > 0 && p.trace.Arrivals[n-1].At > a.At:
		return fmt.Errorf("vm %q arrives at %d, before the one above it: expected arrivals sorted by time", a.ID, a.At)
	}
	p.seen[a.ID] = true
	p.trace.Arrivals = append(p.trace.Arrivals, a)
	return nil
}

func ours(f []string) (Arrival, error) {
	a := Arrival{ID: f[0], Level: f[6], Spread: f[7], Affinity: f[8], Life: never}
	if err := names(a.ID, a.Level, a.Spread, a.Affinity); err != nil {
		return a, err
	}
	at, err := whole("at", f[1], 0, MaxSeconds)
	a.At = Second(at)
	if err == nil && f[2] != "" {
		var life int64
		life, err = whole("life", f[2], 0, MaxSeconds)
		a.Life = Second(life)
	}
	var cpu, memory, disk int64
	if err == nil {
		cpu, err = whole("cpu", f[3], 1, maxCPU)
	}
	if err == nil {
		memory, err = whole("memory_mib", f[4], 1, maxMemory)
	}
	if err == nil {
		disk, err = whole("disk_gib", f[5], 0, maxDisk)
	}
	a.CPU, a.Memory, a.Disk = fleet.CPUs(int(cpu)), fleet.Bytes(memory)*fleet.MiB, fleet.Bytes(disk)*fleet.GiB
	switch {
	case err != nil:
	case a.Level == "" && a.Spread+a.Affinity != "":
		err = errors.New("names a group without a level, expected both: a group is a part of a label")
	case a.Level != "" && a.Disk == 0:
		err = errors.New("names a level without a disk, expected disk_gib of 1 or more: a label is in a disk")
	}
	return a, err
}

func theirs(f []string) (Arrival, error) {
	a := Arrival{ID: "vm-" + f[0], Disk: defDisk * fleet.GiB}
	if err := names(a.ID); err != nil || f[0] == "" {
		return a, cmp.Or(err, errors.New("vmid is empty"))
	}
	cpu, err := decimal("cpu", f[1], maxCPU)
	var memory, at, life float64
	if err == nil {
		memory, err = decimal("mem", f[2], float64(maxMemory/gibInMiB))
	}
	if err == nil {
		at, err = decimal("at", f[3], MaxSeconds)
	}
	if err == nil {
		life, err = decimal("lt", f[4], MaxSeconds)
	}
	a.CPU, a.Memory = fleet.MilliCPU(math.Ceil(cpu*1000)), fleet.Bytes(math.Ceil(memory*float64(gibInMiB)))*fleet.MiB
	a.At, a.Life = Second(at), Second(life)
	return a, err
}

// names holds an id (the first) and other names to printable ASCII without what separates fields or names.
func names(list ...string) error {
	for i, s := range list {
		if len(s) > maxName || i == 0 && s == "" {
			return fmt.Errorf("name %.40q has %d bytes, expected 1 to %d", s, len(s), maxName)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			return fmt.Errorf("name %q, expected printable ASCII without blanks and quotes", s)
		}
	}
	return nil
}

func whole(field, text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s is %q, expected a whole number from %d to %d", field, text, low, high)
	}
	return n, nil
}

func decimal(field, text string, high float64) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= high) { // NaN is neither
		return 0, fmt.Errorf("%s is %q, expected a number from 0 to %.0f", field, text, high)
	}
	return v, nil
}

// Write writes t in our own form.
func (t *Trace) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	_, _ = out.WriteString(header + "\n") // errors stay until Flush
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		life := ""
		if a.Life >= 0 {
			life = strconv.FormatInt(int64(a.Life), 10)
		}
		_, _ = fmt.Fprintf(out, "%s,%d,%s,%d,%d,%d,%s,%s,%s\n", a.ID, a.At, life, (a.CPU+999)/1000, a.Memory/fleet.MiB,
			a.Disk/fleet.GiB, a.Level, a.Spread, a.Affinity)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

// Levels are the levels that t names, sorted.
func (t *Trace) Levels() []string {
	seen := map[string]bool{}
	var out []string
	for i := range t.Arrivals {
		if l := t.Arrivals[i].Level; l != "" && !seen[l] {
			seen[l] = true
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return out
}
