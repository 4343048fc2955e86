package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

func soapFault(f types.AnyType) error {
	s := &soap.Fault{Code: "ServerFaultCode", String: "said so"}
	s.Detail.Fault = f
	return soap.WrapSoapFault(s)
}

func TestErrorKinds(t *testing.T) {
	task := func(f types.BaseMethodFault) error { return &taskError{fault: f} }
	for _, tc := range []struct {
		err          error
		read, change fleet.ErrorKind
		notFound     bool
	}{
		{err: task(&types.TaskInProgress{}), read: fleet.Retry, change: fleet.Retry},
		{err: task(&types.ResourceInUse{}), read: fleet.Retry, change: fleet.Retry},
		{err: soapFault(types.ConcurrentAccess{}), read: fleet.Retry, change: fleet.Retry},
		{err: soapFault(types.NotAuthenticated{}), read: fleet.Retry, change: fleet.Retry},
		{err: task(&types.NoDiskSpace{}), read: fleet.Permanent, change: fleet.Permanent},
		{err: task(&types.InvalidHostState{}), read: fleet.Permanent, change: fleet.Permanent},
		{err: task(&types.RequestCanceled{}), read: fleet.Permanent, change: fleet.Permanent},
		{err: soapFault(types.NoPermission{}), read: fleet.Permanent, change: fleet.Permanent},
		{err: soapFault(types.InvalidArgument{}), read: fleet.Permanent, change: fleet.Permanent},
		{err: soapFault(types.ManagedObjectNotFound{}), read: fleet.Permanent, change: fleet.Permanent, notFound: true},
		{err: task(&types.HostNotReachable{}), read: fleet.Retry, change: fleet.Unknown},
		{err: task(&types.SystemError{}), read: fleet.Retry, change: fleet.Unknown},
		{err: task(&types.Timedout{}), read: fleet.Retry, change: fleet.Unknown},
		{err: errors.New("connection reset"), read: fleet.Retry, change: fleet.Unknown},
		{err: context.DeadlineExceeded, read: fleet.Retry, change: fleet.Unknown},
	} {
		t.Run(fmt.Sprintf("%T %s", tc.err, faultName(tc.err)), func(t *testing.T) {
			r, c := readError("read x", tc.err), changeError("change x", tc.err)
			if fleet.KindOf(r) != tc.read || fleet.KindOf(c) != tc.change {
				t.Errorf("reading %s, changing %s; expected %s and %s", fleet.KindOf(r), fleet.KindOf(c), tc.read, tc.change)
			}
			if errors.Is(r, fleet.ErrNotFound) != tc.notFound || !errors.Is(r, tc.err) {
				t.Errorf("%v wraps the wrong things", r)
			}
			if again := changeError("outer", r); again.Error() != r.Error() {
				t.Errorf("typed twice: %v", again)
			}
		})
	}
}

// TestCredentialsArePrintedNowhere goes through every usual way to print a value.
func TestCredentialsArePrintedNowhere(t *testing.T) {
	c := Config{URL: "https://vc/sdk", Credentials: Credentials{User: "operator-name", Password: "hunter2"}}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		string(j), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.Credentials, c.Credentials),
		fmt.Sprintf("%x %d %+v", c.Credentials, c.Credentials, &c),
	} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "operator-name") || !strings.Contains(s, "redacted") {
			t.Errorf("printed: %s", s)
		}
	}
}

func TestContentRange(t *testing.T) {
	for _, tc := range []struct {
		in          string
		first, size int64
		bad         bool
	}{
		{in: "bytes 0-99/200", size: 200}, {in: "bytes 100-199/200", first: 100, size: 200}, {in: "bytes */0"},
		{in: "", bad: true}, {in: "bytes 0-99", bad: true}, {in: "bytes 0-99/*", bad: true}, {in: "bytes x-9/20", bad: true},
		{in: "bytes 0-9/-5", bad: true}, {in: "bytes -9/20", bad: true}, {in: "lines 0-9/20", bad: true},
	} {
		first, size, err := contentRange(tc.in)
		if (err != nil) != tc.bad || !tc.bad && (first != tc.first || size != tc.size) {
			t.Errorf("%q: %d, %d, %v", tc.in, first, size, err)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-99/200", "bytes */0", "bytes 9223372036854775807-1/9223372036854775807", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, size, err := contentRange(s)
		if err == nil && (first < 0 || size < 0) {
			t.Errorf("%q: %d, %d", s, first, size)
		}
	})
}
