// Package compat runs real tools of other makers on labelled disk images and writes down what becomes of the label:
// docs/formats/compatibility.md is made by its test, and checked by it ever after.
//
// Every operation is done to a labelled image and to its unlabelled twin. An operation that the tool refuses of the twin
// as well says nothing about labels. After an operation that worked both have to be equal to a guest, and the tool must
// have said the same of both.
package compat
