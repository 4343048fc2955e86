// Package cli is the command line of Berth: one file a command, noun first and verb second.
//
// The package only joins the others: it reads files and flags, calls, prints. What was asked for goes to
// standard output and nothing else does; progress, diagnostics and errors go to standard error, errors as
// "berth: verb noun: cause" with a line "hint: what to do" where there is something to do. With --json the
// output is a stable document, or one JSON value a line where there is a result per file.
//
// The exit codes (exit.go) and the JSON shapes are a contract, laid down in docs/cli.md.
package cli
