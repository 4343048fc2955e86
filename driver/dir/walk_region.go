package dir

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// heapRegion is how many bytes of a region the garbage collector is left with. Memory for more comes from the kernel, is
// grown without a copy, and goes back at once: on the heap a folder of a million names would cost three times its size.
const heapRegion = 256 << 10

// region is memory that grows. The zero value is ready.
type region struct {
	b      []byte // all of it
	n      int    // bytes in use
	mapped bool
}

// extend gives n more bytes, at most 64 KiB; whatever was given before may have moved.
func (r *region) extend(n int) ([]byte, error) {
	if len(r.b)-r.n < n {
		if err := r.grow(); err != nil {
			return nil, err
		}
	}
	r.n += n
	return r.b[r.n-n : r.n], nil
}

func (r *region) grow() error {
	size := max(2*len(r.b), 64<<10)
	switch {
	case size <= heapRegion:
		b := make([]byte, size)
		copy(b, r.b[:r.n])
		r.b = b
		return nil
	case r.mapped:
		b, err := unix.Mremap(r.b, size, unix.MREMAP_MAYMOVE)
		if err != nil {
			return fmt.Errorf("memory for %d bytes of names: %w", size, err)
		}
		r.b = b
		return nil
	}
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("memory for %d bytes of names: %w", size, err)
	}
	copy(b, r.b[:r.n])
	r.b, r.mapped = b, true
	return nil
}

// uint32s is what is in use, as numbers. Both kinds of memory begin at a multiple of 8.
func (r *region) uint32s() []uint32 {
	if r.n == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&r.b[0])), r.n/4)
}

// release gives memory of the kernel back and says whether there was any.
func (r *region) release() bool {
	if !r.mapped {
		return false
	}
	_ = unix.Munmap(r.b) // it is ours, as a whole
	*r = region{}
	return true
}
