// Package vcsim is govmomi's vCenter simulator made true where it is false, for Berth's tests and its
// embedded demonstration. What it adds is listed here and nothing else is changed.
package vcsim
