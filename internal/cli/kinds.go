package cli

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/journal"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/label/ovf"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// kind is what the command line makes of an error of another package.
type kind struct {
	code int
	hint string
}

// kinds maps errors of other packages, the first that matches, to an exit code and a hint.
var kinds = []struct {
	match func(error) bool
	kind  kind
}{
	{is(journal.ErrLocked), kind{codeRefused, "another berth works on this plan; wait for it to end"}},
	{is(journal.ErrFull), kind{codeRefused, ""}},
	{is(errAppliance), kind{codeInput, "extract the disk with tar, or name one of the files beside the descriptor"}},
	{is(ovf.ErrSigned), kind{codeRefused, "--ovf-key and --ovf-cert sign the manifest again; or remove manifest and certificate"}},
	{is(ovf.ErrManifest), kind{codeInput, "get the package anew: what it holds is not what its maker listed"}},
	{is(ovf.ErrNoFile), kind{codeInput, "the package is not complete"}},
	{is(ovf.ErrNoDisk), kind{codeNothing, "'berth label get --json FILE' lists its disks"}},
	{as[*journal.CorruptError], kind{codeInput,
		"the journal was damaged after it was written; look at it, move it away, and make a new plan"}},
	{as[*policy.Error], kind{codeInput, "'berth policy show' prints a commented example"}},
	{as[*yamlError], kind{codeInput, ""}},
	{as[*fleet.SyntaxError], kind{codeInput, ""}},
	{as[*label.TrustError], kind{codeInput, "the fields of a trust file are in docs/formats/label.md"}},
	{as[*dir.LockedError], kind{codeRefused, "shut the VM down, or label the disk when it is closed next"}},
	{is(dir.ErrBeside), kind{codeInput, "Berth did not make it: look at it, and move it away"}},
	{is(diskimage.ErrNoLabel), kind{codeNothing, ""}},
	{is(diskimage.ErrChain), kind{codeInput, "an overlay is worth as much as what lies under it: 'qemu-img info --backing-chain FILE' shows that"}},
	{is(diskimage.ErrDamaged), kind{codeInput, "'berth label strip FILE' removes what is left of it; then set it again"}},
	{is(diskimage.ErrExtent), kind{codeInput, "name the image's descriptor file, which lies beside it"}},
	{is(diskimage.ErrUnclean), kind{codeRefused, "open and close it with the program that made it"}},
	{is(diskimage.ErrNoRoom), kind{codeRefused, "leave overrides out, or convert it: berth image convert -O qcow2 FILE NEW"}},
	{is(diskimage.ErrChanged), kind{codeRefused, "something else writes to it; try again when it is at rest"}},
	{is(diskimage.ErrUnsupported), kind{codeInput, "'berth image convert -O qcow2 FILE NEW' makes an image that can be labelled"}},
	{is(diskimage.ErrCorrupt), kind{codeInput, ""}},
	{is(diskimage.ErrNotImage), kind{codeInput, ""}},
	{is(errIsFolder), kind{codeUsage, "-r goes into folders"}},
	{as[*executor.UnknownError], kind{codeUnknown, "run the same command again: it asks the hypervisors where the VM is"}},
	{as[*executor.StepError], kind{codeFailed, "apply the same plan again when the cause is gone"}},
	{as[*executor.StaleError], kind{codeRefused, "make a new plan: berth plan make"}},
	{as[*executor.RiskError], kind{codeRefused, ""}},
	{as[*executor.JournalError], kind{codeInput, "look at the journal, move it away, and make a new plan"}},
	{is(plan.ErrAltered), kind{codeInput, "a plan is never edited: make a new one"}},
	{is(context.Canceled), kind{codePartly, ""}},
	{is(fs.ErrPermission), kind{codeFailed, "run as a user who may read and write it"}},
	{is(syscall.ENOSPC), kind{codeFailed, "free some space"}},
	{is(syscall.EDQUOT), kind{codeFailed, "the quota is used up: free some space"}},
	{unknownOutcome, kind{codeUnknown, "run the same command again: it asks the hypervisors where the VM is"}},
}

func kindOf(err error) kind {
	for _, k := range kinds {
		if k.match(err) {
			return k.kind
		}
	}
	return kind{code: codeFailed}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func unknownOutcome(err error) bool {
	var de *fleet.DriverError
	return errors.As(err, &de) && de.Kind == fleet.Unknown
}
