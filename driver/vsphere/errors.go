package vsphere

import (
	"errors"
	"reflect"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// passing are the faults after which the same call may work: nothing was changed.
var passing = map[string]bool{
	"TaskInProgress":   true, // something else works on the VM
	"ConcurrentAccess": true,
	"ResourceInUse":    true,
	"FileLocked":       true,
	"NotAuthenticated": true, // a session that expired, and logging in again once did not help
	"TooManyWrites":    true,
}

// unclear are the faults that do not say how far a change came: the vCenter lost a host, or itself.
var unclear = map[string]bool{
	"HostCommunication":                   true,
	"HostNotConnected":                    true,
	"HostNotReachable":                    true,
	"NoHost":                              true,
	"Timedout":                            true,
	"SystemError":                         true,
	"SystemErrorFault":                    true,
	"RuntimeFault":                        true,
	"HostConnectFault":                    true,
	"RequestTimedOut":                     true,
	"NetworkDisruptedAndConfigRolledBack": true,
}

// faultName is the type name of the vSphere fault in err ("TaskInProgress"), or "" when there is none.
func faultName(err error) string {
	var tf *taskError
	switch {
	case errors.As(err, &tf):
		return typeName(tf.fault)
	case soap.IsSoapFault(err):
		return typeName(soap.ToSoapFault(err).VimFault())
	case soap.IsVimFault(err):
		return typeName(soap.ToVimFault(err))
	default:
		return ""
	}
}

func typeName(v any) string {
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return ""
	}
	return t.Name()
}

// taskError is a task that ended in a fault.
type taskError struct {
	fault   types.BaseMethodFault
	message string
}

func (e *taskError) Error() string {
	name := typeName(e.fault)
	if e.message == "" || e.message == "*types."+name {
		return name
	}
	return name + ": " + e.message
}

// readError types the error of a call that changes nothing: what is not settled may be asked again.
func readError(op string, err error) error { return typed(op, err, fleet.Retry) }

// changeError types the error of a call that changes something: without the vCenter's own word it is not
// known whether it did.
func changeError(op string, err error) error { return typed(op, err, fleet.Unknown) }

func typed(op string, err error, unsettled fleet.ErrorKind) error {
	var de *fleet.DriverError
	if errors.As(err, &de) {
		return err
	}
	kind := unsettled
	switch name := faultName(err); {
	case name == "ManagedObjectNotFound":
		kind, err = fleet.Permanent, errors.Join(fleet.ErrNotFound, err)
	case passing[name]:
		kind = fleet.Retry
	case name != "" && !unclear[name]:
		kind = fleet.Permanent
	}
	return &fleet.DriverError{Kind: kind, Op: op, Err: err}
}

func permanent(op string, err error) error {
	return &fleet.DriverError{Kind: fleet.Permanent, Op: op, Err: err}
}
