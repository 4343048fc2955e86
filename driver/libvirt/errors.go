package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

func permanentf(op, format string, args ...any) error {
	return &fleet.DriverError{Kind: fleet.Permanent, Op: op, Err: fmt.Errorf(format, args...)}
}

func retryf(op, format string, args ...any) error {
	return &fleet.DriverError{Kind: fleet.Retry, Op: op, Err: fmt.Errorf(format, args...)}
}

func unknownf(op, format string, args ...any) error {
	return &fleet.DriverError{Kind: fleet.Unknown, Op: op, Err: fmt.Errorf(format, args...)}
}

// wrap types the error of one libvirt call. A call that changes something and got no answer is Unknown; one
// that only asks may be asked again.
func wrap(op string, err error, changes bool) error {
	var de *fleet.DriverError
	if err == nil || errors.As(err, &de) {
		return err
	}
	kind := fleet.Permanent
	var un *unreachableError
	var le golibvirt.Error
	switch {
	case errors.As(err, &un):
		kind = fleet.Retry
	case errors.As(err, &le):
		err, kind = fmt.Errorf("libvirt error %d: %w", le.Code, err), kindOfCode(golibvirt.ErrorNumber(le.Code))
		if notFound(err) {
			err = fmt.Errorf("%w: %w", fleet.ErrNotFound, err)
		}
	case lostAnswer(err) && changes:
		kind = fleet.Unknown
	case lostAnswer(err):
		kind = fleet.Retry
	}
	return &fleet.DriverError{Kind: kind, Op: op, Err: err}
}

// lostAnswer says that a call may have been made, and its answer did not come.
func lostAnswer(err error) bool {
	var ne net.Error
	return errors.Is(err, errTimeout) || errors.Is(err, golibvirt.ErrInterrupted) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &ne)
}

func kindOfCode(c golibvirt.ErrorNumber) fleet.ErrorKind {
	switch c {
	case golibvirt.ErrOperationTimeout, golibvirt.ErrNoConnect, golibvirt.ErrRPC, golibvirt.ErrOperationAborted,
		golibvirt.ErrAgentUnresponsive:
		return fleet.Retry
	default:
		return fleet.Permanent
	}
}

func hasCode(err error, codes ...golibvirt.ErrorNumber) bool {
	var le golibvirt.Error
	if !errors.As(err, &le) {
		return false
	}
	for _, c := range codes {
		if le.Code == uint32(c) {
			return true
		}
	}
	return false
}

func notFound(err error) bool {
	return hasCode(err, golibvirt.ErrNoDomain, golibvirt.ErrNoStorageVol, golibvirt.ErrNoStoragePool)
}

func fleetNotFound(err error) bool { return errors.Is(err, fleet.ErrNotFound) }
