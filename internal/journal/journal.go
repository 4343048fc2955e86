package journal

import (
	"errors"
	"fmt"
	"sync"
)

// Limits of a journal.
const (
	// MaxRecord is the longest payload in bytes.
	MaxRecord = 64 << 10
	// MaxSize is the longest file in bytes that is written or read.
	MaxSize = 256 << 20
	// MaxRecords is the number of records that one file may hold.
	MaxRecords = 1 << 20
)

// Errors of a journal; they are wrapped with the path of the file.
var (
	// ErrLocked: another process, or this one, has the journal open.
	ErrLocked = errors.New("another process holds the journal")
	// ErrPoisoned: an earlier write or fsync failed, nothing more is appended.
	ErrPoisoned = errors.New("an earlier write to the journal failed")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrFull: the file is at MaxSize or MaxRecords.
	ErrFull = errors.New("the journal is full")
	// ErrRecordSize: an empty payload, or one over MaxRecord.
	ErrRecordSize = fmt.Errorf("record is not 1 to %d bytes", MaxRecord)
)

// CorruptError is damage that a crash cannot have made.
type CorruptError struct {
	Path   string // empty when the bytes came from no file
	Offset int64  // of the first byte that is wrong
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("read journal %s: corrupt at offset %d: %s", e.Path, e.Offset, e.Reason)
}

// Journal is an open journal. Its methods may be called from several goroutines.
type Journal struct {
	path string

	mu      sync.Mutex
	file    file
	size    int64
	records int
	failed  error // why it is poisoned
}

// Open opens the journal at path, creates it and its folder when there is none, locks it, cuts a torn tail
// off and returns the records in the order in which they were appended. Errors: ErrLocked, *CorruptError,
// ErrFull for a file over the limits, or the operating system's.
func Open(path string) (*Journal, [][]byte, error) { return open(osFS{}, path) }

// Append adds one record and returns when it is on disk. Errors: ErrRecordSize and ErrFull, which change
// nothing; ErrClosed, ErrPoisoned; or the write's own error, after which the journal is poisoned.
func (j *Journal) Append(payload []byte) error {
	if len(payload) == 0 || len(payload) > MaxRecord {
		return fmt.Errorf("append to journal %s: %d bytes: %w", j.path, len(payload), ErrRecordSize)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	rec := encodeRecord(payload)
	switch {
	case j.file == nil:
		return fmt.Errorf("append to journal %s: %w", j.path, ErrClosed)
	case j.failed != nil:
		return fmt.Errorf("append to journal %s: %w: %w", j.path, ErrPoisoned, j.failed)
	case j.records >= MaxRecords || j.size+int64(len(rec)) > MaxSize:
		return fmt.Errorf("append to journal %s: %d records, %d bytes: %w", j.path, j.records, j.size, ErrFull)
	}
	if err := writeSync(j.file, rec); err != nil {
		j.failed = err
		return fmt.Errorf("append to journal %s: %w", j.path, err)
	}
	j.size += int64(len(rec))
	j.records++
	return nil
}

// Close releases the lock. A second Close does nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	if err != nil {
		return fmt.Errorf("close journal %s: %w", j.path, err)
	}
	return nil
}

// Read returns the records of the journal at path without locking or changing it, for showing the progress
// of a run that may be going on: an unfinished last record is left out.
func Read(path string) ([][]byte, error) {
	data, err := osFS{}.readAll(path)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	records, _, err := Decode(data)
	return records, named(err, path)
}

func named(err error, path string) error {
	var ce *CorruptError
	if errors.As(err, &ce) {
		ce.Path = path
	}
	return err
}

func writeSync(f file, b []byte) error {
	n, err := f.Write(b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("wrote %d of %d bytes", n, len(b))
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

func open(fs filesystem, path string) (*Journal, [][]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	j := &Journal{path: path, file: f}
	records, err := j.recover(fs)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return j, records, nil
}

// recover reads the file, repairs what a crash left, and puts the write position at its end.
func (j *Journal) recover(fs filesystem) ([][]byte, error) {
	data, err := j.file.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", j.path, err)
	}
	records, valid, err := Decode(data)
	if err != nil {
		return nil, named(err, j.path)
	}
	if valid < int64(len(data)) {
		if err := j.cut(valid); err != nil {
			return nil, fmt.Errorf("cut torn tail of journal %s at %d: %w", j.path, valid, err)
		}
	}
	if valid == 0 {
		if err := writeSync(j.file, header()); err != nil {
			return nil, fmt.Errorf("create journal %s: %w", j.path, err)
		}
		valid = headerSize
	}
	// The folder is synced at every Open: an earlier one may have died between the file and the folder.
	if err := fs.SyncFolder(j.path); err != nil {
		return nil, fmt.Errorf("sync folder of journal %s: %w", j.path, err)
	}
	j.size, j.records = valid, len(records)
	return records, nil
}

func (j *Journal) cut(size int64) error {
	if err := j.file.Truncate(size); err != nil {
		return err
	}
	return j.file.Sync()
}
