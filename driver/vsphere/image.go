package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

const (
	// chunk is what one ranged request reads at least: more than any descriptor, and a VMDK header with its
	// embedded descriptor.
	chunk = 64 << 10
	// maxChunk is what one request reads at most, when the caller wants as much: a copy of a disk pays the round trip for it.
	maxChunk = 8 << 20
	// maxSkipped bounds what is read and thrown away of a server that ignores ranges.
	maxSkipped = 16 << 20
	// maxWritten bounds an image that can be written: text descriptors are written whole.
	maxWritten = 64 << 10
)

// storeAddress is what file access needs of a datastore.
type storeAddress struct{ datacenter, name string }

// remember keeps the addresses of the datastores just seen.
func (d *Driver) remember(t tree, stores []mo.Datastore) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range stores {
		d.stores[stores[i].Self] = storeAddress{t.datacenter(stores[i].Parent), stores[i].Name}
	}
}

// address finds the datastore of a pool, by what was seen or by asking.
func (d *Driver) address(ctx context.Context, pool fleet.Pool) (storeAddress, error) {
	var ref types.ManagedObjectReference
	if !ref.FromString(pool.Ref) || ref.Type != "Datastore" {
		return storeAddress{}, fmt.Errorf("pool %s: reference %q is no datastore: %w", pool.ID, pool.Ref, fleet.ErrNotFound)
	}
	d.mu.Lock()
	a, ok := d.stores[ref]
	d.mu.Unlock()
	if ok {
		return a, nil
	}
	above, err := mo.Ancestors(ctx, d.vim, d.vim.ServiceContent.PropertyCollector, ref)
	if err != nil {
		return storeAddress{}, err
	}
	for i, e := range above {
		if e.Self.Type == "Datacenter" {
			var parts []string
			for _, p := range above[1 : i+1] { // the first is the root folder
				parts = append(parts, p.Name)
			}
			a.datacenter = "/" + strings.Join(parts, "/")
		}
		if e.Self == ref {
			a.name = e.Name
		}
	}
	if a.name == "" {
		return storeAddress{}, fmt.Errorf("pool %s: %w", pool.ID, fleet.ErrNotFound)
	}
	d.mu.Lock()
	d.stores[ref] = a
	d.mu.Unlock()
	return a, nil
}

// OpenImage opens the image at path ("[nvme-1] vm-db/vm-db.vmdk") through the datastore's file access. It
// reads any range; it writes text descriptors only (see imageFile). ctx bounds every later call too.
func (d *Driver) OpenImage(ctx context.Context, pool fleet.Pool, name string) (fleet.ImageFile, error) {
	op := "open image " + name
	a, err := d.address(ctx, pool)
	if err != nil {
		if errors.Is(err, fleet.ErrNotFound) {
			return nil, permanent(op, err)
		}
		return nil, readError(op, err)
	}
	var p object.DatastorePath
	if !p.FromString(name) || p.Datastore != a.name || p.Path == "" {
		return nil, permanent(op, fmt.Errorf("no path on datastore %s: %w", a.name, fleet.ErrNotFound))
	}
	if path.Clean("/"+p.Path) != "/"+p.Path {
		return nil, permanent(op, fmt.Errorf("path %q is not plain: %w", p.Path, fleet.ErrNotFound))
	}
	f := &imageFile{d: d, ctx: ctx, op: op, url: d.fileURL(a, p.Path)}
	if err := f.fill(0, chunk); err != nil {
		return nil, readError(op, err)
	}
	return f, nil
}

// fileURL is where a datastore's file is served, beside the SDK.
func (d *Driver) fileURL(a storeAddress, file string) string {
	u := *d.vim.URL()
	u.User, u.RawQuery = nil, ""
	u.Path = "/folder/" + file
	q := url.Values{"dsName": {a.name}}
	if a.datacenter != "" {
		q.Set("dcPath", a.datacenter)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// imageFile is one open image. It reads in chunks, as large as what is asked for, and keeps the last one, so that a label costs one request.
//
// Writing replaces the whole file by one PUT, since file access knows no ranged write: only a file of at most 64 KiB
// can be written, which is every text descriptor and no data. A PUT is the server's own step: it is
// complete when it returns, and Sync has nothing to add; but vSphere does not say that it is atomic, so a label in a
// running VM's disk is better left alone (ESXi refuses it anyway while the file is locked).
type imageFile struct {
	d   *Driver
	ctx context.Context
	op  string
	url string

	mu     sync.Mutex
	size   int64
	off    int64 // of buf
	buf    []byte
	closed bool
}

func (f *imageFile) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Close forgets the file; nothing is open at the server.
func (f *imageFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.buf = true, nil
	return nil
}

// Sync does nothing: a PUT is complete when it returns.
func (f *imageFile) Sync() error { return nil }

func (f *imageFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, permanent(f.op, errors.New("the file is closed"))
	}
	if off < 0 {
		return 0, permanent(f.op, fmt.Errorf("offset %d is negative", off))
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= f.size {
			return n, io.EOF
		}
		if at < f.off || at >= f.off+int64(len(f.buf)) {
			if err := f.fill(at, min(max(int64(len(p)-n), chunk), maxChunk)); err != nil {
				return n, readError(f.op, err)
			}
			if len(f.buf) == 0 || at < f.off {
				return n, io.ErrUnexpectedEOF // it shrank
			}
		}
		n += copy(p[n:], f.buf[at-f.off:])
	}
	return n, nil
}

// fill reads up to want bytes, at most maxChunk, from off and learns the size. The caller holds f.mu, or nobody else has f yet.
func (f *imageFile) fill(off, want int64) error {
	return f.d.request(f.ctx, http.MethodGet, f.url, nil, fmt.Sprintf("bytes=%d-%d", off, off+want-1), func(res *http.Response) error {
		skip := int64(0)
		switch res.StatusCode {
		case http.StatusPartialContent:
			first, size, err := contentRange(res.Header.Get("Content-Range"))
			if err != nil || first != off {
				return fmt.Errorf("the server answered range %q to offset %d", res.Header.Get("Content-Range"), off)
			}
			f.size = size
		case http.StatusOK: // the range was ignored: bounded
			if res.ContentLength < 0 {
				return errors.New("the server names no length")
			}
			f.size, skip = res.ContentLength, min(off, res.ContentLength)
			if skip > maxSkipped {
				return fmt.Errorf("the server ignores ranges, and offset %d is beyond the %d bytes that are read without them", off, maxSkipped)
			}
		case http.StatusRequestedRangeNotSatisfiable: // empty, or it shrank
			f.size, f.off, f.buf = off, off, nil
			if _, size, err := contentRange(res.Header.Get("Content-Range")); err == nil {
				f.size = size
			}
			return nil
		default:
			return statusError(res)
		}
		if _, err := io.CopyN(io.Discard, res.Body, skip); err != nil {
			return err
		}
		b := make([]byte, max(min(want, f.size-off), 0))
		if _, err := io.ReadFull(res.Body, b); err != nil {
			return noEOF(err)
		}
		f.off, f.buf = off, b
		return nil
	})
}

// noEOF makes the end of an answer before its time an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// contentRange reads "bytes 0-99/200" and "bytes */200".
func contentRange(s string) (first, size int64, err error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("no content range: %q", s)
	}
	if size, err = strconv.ParseInt(total, 10, 64); err != nil || size < 0 {
		return 0, 0, fmt.Errorf("no size in content range %q", s)
	}
	if span == "*" {
		return 0, size, nil
	}
	from, _, _ := strings.Cut(span, "-")
	if first, err = strconv.ParseInt(from, 10, 64); err != nil || first < 0 {
		return 0, 0, fmt.Errorf("no offset in content range %q", s)
	}
	return first, size, nil
}

// WriteAt changes a small file: it is read, changed and replaced.
func (f *imageFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	size := f.size
	f.mu.Unlock()
	if off < 0 || off+int64(len(p)) > maxWritten || size > maxWritten {
		return 0, permanent(f.op, fmt.Errorf("write %d bytes at %d of %d: only files of %d bytes can be written", len(p), off, size, maxWritten))
	}
	content := make([]byte, max(size, off+int64(len(p))))
	if n, err := f.ReadAt(content[:size], 0); err != nil && int64(n) < size {
		return 0, err
	}
	copy(content[off:], p)
	if err := f.Replace(content); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Replace exchanges the whole content of a small file in one request.
func (f *imageFile) Replace(content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return permanent(f.op, errors.New("the file is closed"))
	}
	if len(content) > maxWritten || f.size > maxWritten {
		return permanent(f.op, fmt.Errorf("replace %d bytes by %d: only files of %d bytes can be written", f.size, len(content), maxWritten))
	}
	f.buf = nil
	err := f.d.request(f.ctx, http.MethodPut, f.url, content, "", func(res *http.Response) error {
		switch res.StatusCode {
		case http.StatusOK, http.StatusCreated, http.StatusNoContent:
			return nil
		default:
			return statusError(res)
		}
	})
	if err != nil {
		return changeError(f.op, err)
	}
	f.size, f.off, f.buf = int64(len(content)), 0, bytes.Clone(content)
	return nil
}

// httpError is an answer that file access refused with.
type httpError struct{ status int }

func (e *httpError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.status, http.StatusText(e.status))
}

// statusError types an answer: not found and forbidden are settled.
func statusError(res *http.Response) error {
	err := error(&httpError{res.StatusCode})
	switch {
	case res.StatusCode == http.StatusNotFound:
		return permanent("file access", errors.Join(fleet.ErrNotFound, err))
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return permanent("file access", err)
	default:
		return err
	}
}

// request makes one HTTP request with the session's cookie, bounded by CallTimeout, and makes it once more after
// logging in again when the session had expired.
func (d *Driver) request(ctx context.Context, method, u string, body []byte, span string, f func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	for again := false; ; again = true {
		seen := d.loginCount()
		req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body == nil {
			req.Body, req.ContentLength = http.NoBody, 0
		}
		if span != "" {
			req.Header.Set("Range", span)
		}
		expired := false
		err = d.vim.Do(ctx, req, func(res *http.Response) error {
			if expired = res.StatusCode == http.StatusUnauthorized && !again; expired {
				return nil
			}
			return f(res)
		})
		if err != nil || !expired {
			return err
		}
		if err := d.login(ctx, seen); err != nil {
			return err
		}
	}
}
