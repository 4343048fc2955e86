package policy

import (
	"errors"

	"github.com/berth-project/berth/fleet"
)

// Resolve joins a catalogue with a valid, sorted snapshot: the tier and capacity of every host and pool, the
// requirement of every VM. A rule that fails on a host, NIC or pool is an error that names both; nothing is
// skipped. Equal input gives an equal Problem.
func Resolve(c *Catalogue, s *fleet.Snapshot) (*Problem, error) {
	if c == nil || s == nil {
		return nil, errors.New("resolve policy: no catalogue or no snapshot")
	}
	return nil, errors.New("resolve policy: not written yet")
}
