package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
)

// The volume streams speak libvirt's protocol themselves, on connections of their own. go-libvirt's streams
// deadlock when libvirtd answers after the last data packet (seen: "stream had unexpected termination" behind
// the end of a download, and ENOSPC behind the end of an upload), and never send the packet that finishes a
// stream.
//
// A packet is a length (of the whole packet), six words of header and XDR. Source:
// https://libvirt.org/kbase/internals/rpc.html, src/remote/remote_protocol.x, src/rpc/virnetprotocol.x
const (
	remoteProgram = 0x20008086
	headerSize    = 28
	maxPacket     = 32 << 20 // VIR_NET_MESSAGE_MAX
	streamChunk   = 256 << 10

	procOpen       = 1
	procAuthList   = 66
	procAuthPolkit = 70
	procUpload     = 208
	procDownload   = 209

	typeCall, typeReply, typeStream        = 0, 1, 3
	statusOK, statusError, statusContinued = 0, 1, 2
)

// wire is a connection that serves one call or stream at a time.
type wire struct {
	conn   net.Conn
	serial uint32
}

type packet struct {
	proc, kind, serial, status uint32
	body                       []byte
}

func (w *wire) send(proc, kind, status uint32, body []byte) error {
	b := make([]byte, 0, headerSize+len(body))
	for _, v := range []uint32{uint32(headerSize + len(body)), remoteProgram, 1, proc, kind, w.serial, status} { // bounded by streamChunk
		b = binary.BigEndian.AppendUint32(b, v)
	}
	_, err := w.conn.Write(append(b, body...))
	return err
}

// receive reads the next packet of the present serial. Packets of an earlier one are late and dropped.
func (w *wire) receive() (packet, error) {
	for {
		var head [headerSize]byte
		if _, err := io.ReadFull(w.conn, head[:]); err != nil {
			return packet{}, err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n < headerSize || n > maxPacket {
			return packet{}, fmt.Errorf("packet of %d bytes, expected %d to %d", n, headerSize, maxPacket)
		}
		p := packet{
			proc: binary.BigEndian.Uint32(head[12:]), kind: binary.BigEndian.Uint32(head[16:]),
			serial: binary.BigEndian.Uint32(head[20:]), status: binary.BigEndian.Uint32(head[24:]),
			body: make([]byte, n-headerSize),
		}
		if _, err := io.ReadFull(w.conn, p.body); err != nil {
			return packet{}, err
		}
		if binary.BigEndian.Uint32(head[4:]) != remoteProgram || p.serial != w.serial {
			continue
		}
		if p.status == statusError {
			return packet{}, decodeError(p.body)
		}
		return p, nil
	}
}

// call sends a request and waits for its reply.
func (w *wire) call(proc uint32, args []byte) ([]byte, error) {
	w.serial++
	if err := w.send(proc, typeCall, statusOK, args); err != nil {
		return nil, err
	}
	p, err := w.receive()
	if err == nil && p.kind != typeReply {
		err = fmt.Errorf("packet of type %d, expected a reply", p.kind)
	}
	return p.body, err
}

// decodeError reads the start of a remote_error: code, domain, message.
func decodeError(b []byte) error {
	if len(b) < 16 {
		return errors.New("libvirt sent an error that cannot be read")
	}
	e := golibvirt.Error{Code: binary.BigEndian.Uint32(b), Message: "no message"}
	if n := binary.BigEndian.Uint32(b[12:]); binary.BigEndian.Uint32(b[8:]) == 1 && uint64(n) <= uint64(len(b)-16) {
		e.Message = string(b[16 : 16+n])
	}
	return e
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(min(len(s), math.MaxInt32))) // bounded
	b = append(b, s...)
	return append(b, make([]byte, (4-len(s)%4)%4)...)
}

// login authenticates and opens the hypervisor's driver. Only sockets that ask for nothing, or for polkit,
// are supported, as in go-libvirt.
func (w *wire) login(uri string) error {
	kinds, err := w.call(procAuthList, nil)
	if err != nil {
		return err
	}
	if len(kinds) >= 8 && binary.BigEndian.Uint32(kinds[4:]) == 2 {
		if _, err := w.call(procAuthPolkit, nil); err != nil {
			return err
		}
	}
	args := appendString(binary.BigEndian.AppendUint32(nil, 1), uri) // an optional string that is there
	_, err = w.call(procOpen, binary.BigEndian.AppendUint32(args, 0))
	return err
}

// volumeArgs are the arguments of upload and download: volume, offset, length, flags.
func volumeArgs(vol golibvirt.StorageVol, off, n uint64) []byte {
	b := appendString(appendString(appendString(nil, vol.Pool), vol.Name), vol.Key)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, off), n)
	return binary.BigEndian.AppendUint32(b, 0)
}

// download reads up to n bytes of the volume at off. libvirtd may send data before the reply to the call: two
// of its threads race (seen with 9.0), and go-libvirt takes the data for the reply then.
func (w *wire) download(vol golibvirt.StorageVol, off int64, n int) ([]byte, error) {
	w.serial++
	if err := w.send(procDownload, typeCall, statusOK, volumeArgs(vol, uint64(off), uint64(n))); err != nil { // not negative
		return nil, err
	}
	var buf bytes.Buffer
	for replied, ended := false, false; !replied || !ended; {
		p, err := w.receive()
		switch {
		case err != nil && ended && isLibvirt(err): // "unexpected termination" behind the end
			replied = true
		case err != nil:
			return nil, err
		case p.kind == typeReply:
			replied = true
		case p.kind != typeStream:
			return nil, fmt.Errorf("packet of type %d within a stream", p.kind)
		case p.status == statusOK || len(p.body) == 0:
			ended = true
		case buf.Len()+len(p.body) > n:
			return nil, errors.New("more data than asked for")
		default:
			buf.Write(p.body)
		}
	}
	// All data is here. What libvirtd says of the end depends on how fast it noticed that the file was closed.
	if err := w.send(procDownload, typeStream, statusOK, nil); err != nil {
		return nil, err
	}
	if _, err := w.receive(); err != nil && !isLibvirt(err) {
		return nil, err
	}
	return buf.Bytes(), nil
}

// isLibvirt says that err came from libvirtd, so that the connection is as good as before.
func isLibvirt(err error) bool {
	var le golibvirt.Error
	return errors.As(err, &le)
}

// upload writes p into the volume at off. It returns when libvirtd has closed the file.
func (w *wire) upload(vol golibvirt.StorageVol, off int64, p []byte) error {
	if _, err := w.call(procUpload, volumeArgs(vol, uint64(off), uint64(len(p)))); err != nil { // not negative
		return err
	}
	for len(p) > 0 {
		n := min(len(p), streamChunk)
		if err := w.send(procUpload, typeStream, statusContinued, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	if err := w.send(procUpload, typeStream, statusOK, nil); err != nil {
		return err
	}
	for {
		reply, err := w.receive()
		if err != nil || reply.status == statusOK {
			return err
		}
	}
}

// stream runs f on a stream connection of h, for at most limit.
func stream[T any](ctx context.Context, h *host, limit time.Duration, f func(*wire) (T, error)) (T, error) {
	var zero T
	select {
	case h.slot <- struct{}{}:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	defer func() { <-h.slot }()
	w, err := h.wire(ctx)
	if err != nil {
		return zero, &unreachableError{err}
	}
	if err := w.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return zero, errors.Join(err, w.conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }) // ends any wait at once
	v, err := f(w)
	clean := stop()
	if !clean || err != nil && !isLibvirt(err) {
		_ = w.conn.Close() // its state is not known
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() && ctx.Err() == nil {
			err = fmt.Errorf("%w (%v)", errTimeout, limit)
		}
		return v, err
	}
	h.keep(w)
	return v, err
}

// wire takes an idle stream connection or makes one.
func (h *host) wire(ctx context.Context) (*wire, error) {
	for w := h.popWire(); w != nil; w = h.popWire() {
		if w.quiet() {
			return w, nil
		}
		_ = w.conn.Close() // libvirtd closed it, or it has something to say that nobody asked for
	}
	d := &dialer{address: h.addr, timeout: h.time.Dial}
	conn, err := d.Dial()
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn}
	if err := conn.SetDeadline(time.Now().Add(h.time.Dial)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = w.login(h.addr.open)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

func (h *host) popWire() *wire {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.wires)
	if n == 0 {
		return nil
	}
	w := h.wires[n-1]
	h.wires = h.wires[:n-1]
	return w
}

// quiet says that the connection is open and has nothing to read.
func (w *wire) quiet() bool {
	sc, ok := w.conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil || w.conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT) // a file descriptor
		quiet = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err == nil && quiet
}

func (h *host) keep(w *wire) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.wires) >= maxIdle {
		_ = w.conn.Close() // not needed any more
		return
	}
	h.wires = append(h.wires, w)
}
