package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
)

// Bounds of what a file may claim. The challenge's own: 5,000 machines, 50,000 processes and services, 20 resources.
const (
	maxRoadefResources = 32
	maxRoadefMachines  = 10_000
	maxRoadefServices  = 1 << 20
	maxRoadefProcesses = 1 << 20
	maxRoadefBalances  = 64
	maxRoadefNeeds     = 1 << 22 // of all services
	maxRoadefBytes     = 1 << 30 // unpacked
	// maxRoadefUnit bounds each capacity, demand and price, so that no sum of the model can leave an int64.
	maxRoadefUnit = 1 << 40
)

// tokens reads white-space separated integers, and knows where it is.
type tokens struct {
	r           *bufio.Reader
	what        string
	line, token int
	err         error
}

// newTokens reads plain or gzip data; what names it in errors.
func newTokens(in io.Reader, what string) (*tokens, error) {
	r := bufio.NewReaderSize(in, 1<<16)
	if head, _ := r.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		r = bufio.NewReaderSize(z, 1<<16)
	}
	return &tokens{r: bufio.NewReaderSize(io.LimitReader(r, maxRoadefBytes), 1<<16), what: what, line: 1}, nil
}

func (t *tokens) fail(format string, args ...any) int64 {
	if t.err == nil {
		t.err = fmt.Errorf("read %s: line %d, token %d: %s", t.what, t.line, t.token, fmt.Sprintf(format, args...))
	}
	return 0
}

// skip goes to the first byte of the next token; false at the end.
func (t *tokens) skip() (byte, bool) {
	for {
		b, err := t.r.ReadByte()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.fail("%v", err)
			}
			return 0, false
		}
		switch b {
		case '\n':
			t.line++
		case ' ', '\t', '\r':
		default:
			return b, true
		}
	}
}

// in reads an integer from lo to hi. After an error it is 0 and stays so.
func (t *tokens) in(lo, hi int64, name string) int64 {
	if t.err != nil {
		return 0
	}
	t.token++
	b, ok := t.skip()
	if !ok {
		return t.fail("the file ends where %s is expected", name)
	}
	neg := b == '-'
	if neg {
		if b, _ = t.r.ReadByte(); b == 0 {
			return t.fail("%s: a sign without digits", name)
		}
	}
	n := int64(0)
	for {
		if b < '0' || b > '9' {
			return t.fail("%s: %q is no digit", name, b)
		}
		if n > (math.MaxInt64-9)/10 {
			return t.fail("%s: too large a number", name)
		}
		n = n*10 + int64(b-'0')
		var err error
		if b, err = t.r.ReadByte(); err != nil {
			break
		}
		if b == ' ' || b == '\t' || b == '\r' || b == '\n' {
			_ = t.r.UnreadByte() // just read
			break
		}
	}
	if neg {
		n = -n
	}
	if n < lo || n > hi {
		return t.fail("%s: %d, expected %d to %d", name, n, lo, hi)
	}
	return n
}

// end refuses what follows.
func (t *tokens) end() error {
	if t.err == nil {
		if b, ok := t.skip(); ok {
			t.token++
			t.fail("%q after the end of the data", b)
		}
	}
	return t.err
}

// row reads n values. It grows with what is there, so that a claimed size alone allocates nothing.
func (t *tokens) row(n int, hi int64, name string) []int64 {
	out := make([]int64, 0, min(n, 64))
	for i := 0; i < n && t.err == nil; i++ {
		out = append(out, t.in(0, hi, name))
	}
	return out
}

// ReadRoadef reads an instance from its model file and its file of the initial assignment, each plain or gzip.
func ReadRoadef(modelFile, assignment io.Reader) (*Roadef, error) {
	t, err := newTokens(modelFile, "model")
	if err != nil {
		return nil, err
	}
	r := &Roadef{}
	for range t.in(1, maxRoadefResources, "the number of resources") {
		transient := t.in(0, 1, "a transient flag") == 1
		r.Resources = append(r.Resources, RoadefResource{Transient: transient, Weight: t.in(0, 1<<20, "a load weight")})
	}
	r.readMachines(t)
	r.readServices(t)
	r.readProcesses(t)
	r.readRest(t)
	if err := t.end(); err != nil {
		return nil, err
	}
	if r.Initial, err = r.ReadAssignment(assignment); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Roadef) readMachines(t *tokens) {
	n := t.in(1, maxRoadefMachines, "the number of machines")
	for i := int64(0); i < n && t.err == nil; i++ {
		m := RoadefMachine{Neighbourhood: int32(t.in(0, n, "a neighbourhood")), Location: int32(t.in(0, n, "a location"))}
		m.Capacity = t.row(len(r.Resources), maxRoadefUnit, "a capacity")
		m.Safety = t.row(len(r.Resources), maxRoadefUnit, "a safety capacity")
		for j := int64(0); j < n && t.err == nil; j++ {
			m.MoveCost = append(m.MoveCost, int32(t.in(0, 1<<20, "a machine move cost")))
		}
		r.Machines = append(r.Machines, m)
	}
}

func (r *Roadef) readServices(t *tokens) {
	n := t.in(1, maxRoadefServices, "the number of services")
	needs := int64(0)
	for i := int64(0); i < n && t.err == nil; i++ {
		s := RoadefService{Spread: int32(t.in(0, int64(len(r.Machines)), "a spread"))}
		k := t.in(0, n, "a number of dependencies")
		if needs += k; needs > maxRoadefNeeds {
			t.fail("more than %d dependencies in all", maxRoadefNeeds)
		}
		for j := int64(0); j < k && t.err == nil; j++ {
			s.Needs = append(s.Needs, int32(t.in(0, n-1, "a dependency")))
		}
		r.Services = append(r.Services, s)
	}
}

func (r *Roadef) readProcesses(t *tokens) {
	n := t.in(1, maxRoadefProcesses, "the number of processes")
	for i := int64(0); i < n && t.err == nil; i++ {
		q := RoadefProcess{Service: int32(t.in(0, int64(len(r.Services))-1, "a service"))}
		q.Demand = t.row(len(r.Resources), maxRoadefUnit, "a demand")
		q.MoveCost = t.in(0, 1<<30, "a process move cost")
		r.Processes = append(r.Processes, q)
	}
}

func (r *Roadef) readRest(t *tokens) {
	last := int64(len(r.Resources)) - 1
	for range t.in(0, maxRoadefBalances, "the number of balances") {
		b := RoadefBalance{A: int(t.in(0, last, "a resource")), B: int(t.in(0, last, "a resource"))}
		b.Target = t.in(0, 1<<20, "a balance target")
		b.Weight = t.in(0, 1<<20, "a balance weight")
		r.Balances = append(r.Balances, b)
	}
	r.ProcessWeight = t.in(0, 1<<20, "the weight of process moves")
	r.ServiceWeight = t.in(0, 1<<20, "the weight of service moves")
	r.MachineWeight = t.in(0, 1<<20, "the weight of machine moves")
}

// ReadAssignment reads a machine for each process.
func (r *Roadef) ReadAssignment(in io.Reader) ([]int32, error) {
	t, err := newTokens(in, "assignment")
	if err != nil {
		return nil, err
	}
	out := make([]int32, 0, len(r.Processes))
	for range r.Processes {
		out = append(out, int32(t.in(0, int64(len(r.Machines))-1, "a machine")))
		if t.err != nil {
			break
		}
	}
	return out, t.end()
}

// WriteAssignment writes an answer in the challenge's form.
func WriteAssignment(w io.Writer, hosts []int32) error {
	b := bufio.NewWriter(w)
	for i, h := range hosts {
		sep := " "
		if i == len(hosts)-1 {
			sep = "\n"
		}
		if _, err := fmt.Fprint(b, h, sep); err != nil {
			return fmt.Errorf("write assignment: %w", err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write assignment: %w", err)
	}
	return nil
}
