package search

import "github.com/berth-project/berth/plan/model"

// disks is the state of the disks and pools.
type disks struct{}

// nics is the state of the hosts' NICs.
type nics struct{}

func newDisks(*tables) *disks { return nil }
func newNICs(*tables) *nics   { return nil }

func (d *disks) load(*state, *model.Assignment) {}
func (n *nics) load()                           {}

func (s *state) enterSlow(v, h int32) {}
func (s *state) leaveSlow(v, h int32) {}
