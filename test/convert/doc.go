// Package convert tests package internal/convert with the real qemu-img: every pair of formats, every subformat of VMDK,
// chains, odd sizes, and all that can go wrong on the way, after which nothing may be left behind.
package convert
