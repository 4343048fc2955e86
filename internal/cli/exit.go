package cli

import (
	"errors"
	"fmt"
)

// The exit codes, a contract with scripts (docs/cli.md).
const (
	codeOK      = 0 // done
	codeFailed  = 1 // something failed
	codeUsage   = 2 // the command line is wrong
	codeInput   = 3 // an input file is bad: image, policy, plan, fleet, configuration, key
	codeRefused = 4 // refused: lock held, risk not accepted, stale plan, foreign balancer
	codePartly  = 5 // partly done: some of many files or steps failed, or the run was interrupted
	codeNothing = 6 // nothing found
	codeUnknown = 7 // the outcome of a move could not be established
)

// cliError is an error with the exit code and the hint that belong to it. An empty text (err nil) is an
// error that has been reported already.
type cliError struct {
	code int
	err  error
	hint string
}

func (e *cliError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *cliError) Unwrap() error { return e.err }

// reported ends the command with code; everything there is to say has been said.
func reported(code int) error {
	if code == codeOK {
		return nil
	}
	return &cliError{code: code}
}

func usagef(format string, args ...any) error {
	return &cliError{code: codeUsage, err: fmt.Errorf(format, args...)}
}

// inputError marks err as a fault of an input file.
func inputError(err error, hint string) error {
	return &cliError{code: codeInput, err: err, hint: hint}
}

func refusedf(hint, format string, args ...any) error {
	return &cliError{code: codeRefused, err: fmt.Errorf(format, args...), hint: hint}
}

// codeOf is the exit code of err: the innermost cliError's, or that of the error kinds of the other packages.
func codeOf(err error) int {
	if err == nil {
		return codeOK
	}
	var ce *cliError
	if errors.As(err, &ce) {
		return ce.code
	}
	return kindOf(err).code
}

// hintOf is what the user can do about err; empty when there is nothing to say.
func hintOf(err error) string {
	var ce *cliError
	if errors.As(err, &ce) && ce.hint != "" {
		return ce.hint
	}
	return kindOf(err).hint
}

// tally counts the outcomes of many files into one exit code.
type tally struct {
	ok    int
	codes map[int]int
}

func (t *tally) add(code int) {
	if code == codeOK {
		t.ok++
		return
	}
	if t.codes == nil {
		t.codes = map[int]int{}
	}
	t.codes[code]++
}

// code is 0 when all went well, the common code when all failed alike, 5 when some failed and 1 when all
// failed in different ways.
func (t *tally) code() int {
	switch {
	case len(t.codes) == 0:
		return codeOK
	case t.ok > 0:
		return codePartly
	case len(t.codes) > 1:
		return codeFailed
	}
	for c := range t.codes {
		return c
	}
	return codeFailed
}
