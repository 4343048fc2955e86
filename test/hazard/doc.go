// Package hazard puts `berth label set` into trouble with images of every format: two at once, a QEMU that starts, a full disk,
// a quota, a file that cannot be written or vanishes, interrupted and failing system calls. One wins or there is a clear error;
// the image is never torn, the guest's data never changed.
package hazard
