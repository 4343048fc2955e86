package cli

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

// auditLine is the JSON of one disk of an audit.
type auditLine struct {
	imageLine
	Status   audit.Status  `json:"status"`
	Finding  bool          `json:"finding"`            // it counts for the exit code
	Recorded *recordedView `json:"recorded,omitempty"` // what was recorded when the disk was last seen
	CopyOf   string        `json:"copyOf,omitempty"`   // another disk with this very label
	Accepted bool          `json:"accepted,omitempty"` // by --accept
	// Of an audit of the fleet.
	Source string `json:"source,omitempty"`
	Pool   string `json:"pool,omitempty"`
	VM     string `json:"vm,omitempty"`
	Disk   string `json:"disk,omitempty"`
}

// recordedView is what was recorded of a label.
type recordedView struct {
	Trust  string `json:"trust"`
	Serial uint32 `json:"serial"`
	Level  string `json:"level"`
}

// spool keeps the results of an audit in a file until all are known: only then it can be told which labels are on two
// disks. In memory there are 8 bytes for each signed label of one pass, however many there are.
type spool struct {
	file    *os.File
	out     *bufio.Writer
	signed  int       // results that may be copies
	current auditLine // of the disk that is being judged
	// gone is a disk of which only the name in the record is known.
	gone func(name string) auditLine
}

// spooled is the head of one result in the file; the entry for the record and the line for people follow.
type spooled struct {
	scope         uint32
	entry, line   uint32 // bytes
	flags         uint32
	digest        uint64 // of a label that may be a copy
	entryB, lineB []byte
}

const (
	flagCopy  = 1 // may be a copy: verified, and the image's own
	flagLine  = 2 // there is something to be said of it
	spoolHead = 4*4 + 8
	maxSpool  = 1 << 20 // bytes of an entry or a line
)

// newSpool makes a file without a name.
func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", ".berth-audit-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{file: f, out: bufio.NewWriterSize(f, 64<<10)}, nil
}

// Close removes the file.
func (s *spool) Close() error { return s.file.Close() }

// add keeps one result. What is known of the disk besides is in current, unless it is gone.
func (s *spool) add(scope int, r *audit.Result) error {
	h := spooled{scope: uint32(scope)}
	var err error
	if r.Next.Labelled() {
		if h.entryB, err = (audit.Entry{Name: r.Name, Seen: r.Next}).Encode(); err != nil {
			return err
		}
	}
	if r.Status != "" {
		if err := s.line(&h, r); err != nil {
			return err
		}
	}
	if h.entryB == nil && h.lineB == nil {
		return nil
	}
	if len(h.entryB) > maxSpool || len(h.lineB) > maxSpool {
		return fmt.Errorf("%s: too much to say of it", r.Name)
	}
	if h.flags&flagCopy != 0 {
		s.signed++
	}
	head := make([]byte, 0, spoolHead)
	for _, n := range []uint32{h.scope, uint32(len(h.entryB)), uint32(len(h.lineB)), h.flags} {
		head = binary.LittleEndian.AppendUint32(head, n)
	}
	head = binary.LittleEndian.AppendUint64(head, h.digest)
	for _, b := range [][]byte{head, h.entryB, h.lineB} {
		if _, err := s.out.Write(b); err != nil {
			return fmt.Errorf("write temporary file: %w", err)
		}
	}
	return nil
}

// line is what is to be said of the disk.
func (s *spool) line(h *spooled, r *audit.Result) (err error) {
	l := s.current
	if r.Status == audit.Gone {
		l = s.gone(r.Name)
	}
	l.setPath(l.Path)
	l.Status, l.Finding, l.Accepted = r.Status, r.Status.Finding() && !r.Accepted, r.Accepted
	if r.Reason != "" {
		l.Reason = r.Reason
	}
	if l.Damaged = r.Status == audit.Damaged; r.Status == audit.Unreadable {
		l.Error = r.Reason
	}
	if r.Was != nil {
		l.Recorded = &recordedView{Trust: r.Was.Trust, Serial: r.Was.Serial, Level: r.Was.Level}
	}
	h.flags |= flagLine
	if r.Next.Trust == label.TrustSigned && l.Trust == label.TrustSigned && l.From == "" {
		h.flags |= flagCopy
		h.digest = shortDigest(r.Next.Digest)
	}
	h.lineB, err = json.Marshal(spooledLine{Line: l, Downgraded: r.Downgraded})
	return err
}

// spooledLine is a line with what decides later whether it counts.
type spooledLine struct {
	Line       auditLine
	Downgraded bool `json:",omitempty"`
}

func shortDigest(digest string) uint64 {
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// each reads the results in their order.
func (s *spool) each(take func(*spooled) error) error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write temporary file: %w", err)
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read temporary file: %w", err)
	}
	in := bufio.NewReaderSize(s.file, 256<<10)
	var h spooled
	head := make([]byte, spoolHead)
	for {
		if _, err := io.ReadFull(in, head); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read temporary file: %w", err)
		}
		le := binary.LittleEndian
		h.scope, h.entry, h.line, h.flags, h.digest = le.Uint32(head), le.Uint32(head[4:]), le.Uint32(head[8:]), le.Uint32(head[12:]), le.Uint64(head[16:])
		if h.entry > maxSpool || h.line > maxSpool {
			return errors.New("read temporary file: not as it was written")
		}
		h.entryB = slices.Grow(h.entryB[:0], int(h.entry))[:h.entry]
		h.lineB = slices.Grow(h.lineB[:0], int(h.line))[:h.line]
		for _, b := range [][]byte{h.entryB, h.lineB} {
			if _, err := io.ReadFull(in, b); err != nil {
				return fmt.Errorf("read temporary file: %w", err)
			}
		}
		if err := take(&h); err != nil {
			return err
		}
	}
}

// Bounds of the search for copies: digests looked at in one pass through the file, and labels of which it is kept who
// has them.
const (
	maxDigests = 2 << 20
	maxGroups  = 1 << 16
)

// duplicates are the labels that several disks have. Of the first few it is known which disks, of the rest that there are some.
type duplicates struct {
	groups map[uint64]*copyGroup
	rest   map[uint64]struct{}
}

// of is the group of a digest; nil: it came once.
func (d *duplicates) of(digest uint64) *copyGroup {
	if g := d.groups[digest]; g != nil {
		return g
	}
	if _, ok := d.rest[digest]; ok {
		return &copyGroup{disks: 2, names: []string{"another disk", "another disk"}}
	}
	return nil
}

// copies are the digests of labels that came more than once.
func (s *spool) copies(atOnce int) (*duplicates, error) {
	d := &duplicates{groups: map[uint64]*copyGroup{}, rest: map[uint64]struct{}{}}
	passes := uint64(s.signed/atOnce) + 1
	for pass := range passes {
		var list []uint64
		err := s.each(func(h *spooled) error {
			if h.flags&flagCopy != 0 && h.digest%passes == pass {
				list = append(list, h.digest)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.Sort(list)
		for i := 1; i < len(list); i++ {
			if list[i] != list[i-1] {
				continue
			}
			switch g := d.groups[list[i]]; {
			case g != nil:
				g.disks++
			case len(d.groups) < maxGroups:
				d.groups[list[i]] = &copyGroup{disks: 2}
			default:
				d.rest[list[i]] = struct{}{}
			}
		}
	}
	return d, nil
}

// copyGroup is the disks that have one and the same signed label.
type copyGroup struct {
	disks int
	names []string // the first two
}
