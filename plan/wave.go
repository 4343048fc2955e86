package plan

import "github.com/berth-project/berth/policy"

// Limits bounds how many steps of a wave run at once.
type Limits = policy.MoveLimits
