package cli

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/label/ovf"
)

// scanJobs is how many images find reads at a time. A disk gives most with many reads under way; from the page cache more
// than there are processors does no harm.
func scanJobs() int { return max(32, min(2*runtime.GOMAXPROCS(0), 64)) }

// scanGC is how much garbage a scan makes, in per cent of what it needs, before it is collected: it needs little, and is to take little.
const scanGC = 50

// scanner reads the labels of very many images.
type scanner struct {
	raw     bool // whatever consists of whole sectors counts as an image
	chain   *chainRoots
	glances sync.Pool

	slow, all  atomic.Int64 // images that had to wait for a disk, and all
	processors int          // before widen changed it; 0: it did not
	once       sync.Once
}

// look reads the label of one image. What was met in a folder is known to be a file and costs no more than it has to.
func (s *scanner) look(e entry) outcome {
	if !e.found || e.disk != nil {
		img, o := openImage(e)
		if img != nil {
			o.line.Damaged = img.info.Damaged
			closeQuietly(img)
			if e.disk == nil {
				s.chain.complete(&o, e.path, img.frame, img.info)
			}
		}
		return o
	}
	g, ok := s.glances.Get().(*dir.Glance)
	if !ok {
		g = new(dir.Glance)
	}
	defer s.glances.Put(g)
	began := time.Now()
	if err := g.Open(e.path); err != nil {
		return notOpened(e, err)
	}
	defer closeQuietly(g)
	frame, info, err := diskimage.ReadLabel(g)
	s.judge(time.Since(began))
	if err != nil {
		if errors.Is(err, diskimage.ErrNotImage) && !maybeAppliance(g.Head()) {
			return outcome{skip: true, note: err.Error()}
		}
		return failedImage(e, g, err)
	}
	if info.Format == diskimage.FormatRaw && frame == nil && !info.Damaged {
		if maybeAppliance(g.Head()) && ovf.Detect(g) != "" {
			return outcome{err: errAppliance}
		}
		if !s.raw {
			return outcome{skip: true, note: "no label, and anything at all can look raw"}
		}
	}
	var o outcome
	o.line.describe(frame, info)
	o.line.Damaged = info.Damaged
	s.chain.complete(&o, e.path, frame, info)
	return o
}

// maybeAppliance rules out most of what is no tar archive and no XML by its first bytes, which were read already.
func maybeAppliance(head []byte) bool {
	const ustar = 257 // where a tar header has its magic
	if len(head) > ustar && bytes.HasPrefix(head[ustar:], []byte("ustar")) {
		return true
	}
	return len(head) > 0 && bytes.IndexByte([]byte("< \t\r\n\xef\xfe\xff"), head[0]) >= 0 // XML, white space, a byte order mark
}

// Go lets as many system calls wait at once as it has processors, and takes a while to see that one of more does. On a cold cache that
// is what bounds a scan; on a warm one more processors than there are cost time. So it begins with those that there are.
const (
	slowRead  = 300 * time.Microsecond // no image takes that from the page cache
	slowFirst = 64                     // images that took it before anything is done
	slowShare = 4                      // and one in so many
	scanWaits = 16                     // processors for waiting; more gave no more
)

// judge sees whether the images come from a disk, by how long one took, and is then ready for more waiting at once.
func (s *scanner) judge(took time.Duration) {
	all, slow := s.all.Add(1), s.slow.Load()
	if took > slowRead {
		slow = s.slow.Add(1)
	}
	if slow >= slowFirst && slow*slowShare >= all && runtime.GOMAXPROCS(0) < scanWaits {
		s.once.Do(func() { s.processors = runtime.GOMAXPROCS(scanWaits) })
	}
}

// finish leaves the process as it was. No look is under way any more.
func (s *scanner) finish() {
	if s.processors > 0 {
		runtime.GOMAXPROCS(s.processors)
	}
}
