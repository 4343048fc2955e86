package whatif

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// Kind is what a change does.
type Kind string

// The kinds of changes.
const (
	Lose    Kind = "lose"    // a host, chassis, rack, site, I/O module or pool is gone
	Add     Kind = "add"     // hosts, pools and I/O modules come
	Upgrade Kind = "upgrade" // NICs get another speed
	Patch   Kind = "patch"   // vulnerabilities of hosts are fixed
)

// Change is one change of a fleet.
type Change struct {
	Kind Kind
	// Name is of what is lost, upgraded or patched, with or without its kind: "host-a", "chassis:c-2". Of an addition it is
	// the file.
	Name string
	// Speed is that of the NICs of an upgrade, in 10^6 bits a second.
	Speed fleet.Mbps
	// Fix is the vulnerability that a patch fixes; empty: all that the policy or a host names.
	Fix string
	// Parts are what is added.
	Parts *Addition
}

// Addition is what comes to a fleet: part of a snapshot.
type Addition struct {
	Sources []fleet.Source   `json:"sources,omitempty"`
	Hosts   []fleet.Host     `json:"hosts"`
	Pools   []fleet.Pool     `json:"pools,omitempty"`
	Modules []fleet.IOModule `json:"modules,omitempty"`
}

// MaxChanges bounds the changes of one question, and what --lose and its like may name.
const MaxChanges = 1000

// DecodeAddition reads what is added, as JSON: "hosts", and "sources", "pools" and "modules" that they need, as in a snapshot.
func DecodeAddition(name string, data []byte) (*Addition, error) {
	var a Addition
	if err := fleet.DecodeJSON(name, data, &a); err != nil {
		return nil, err
	}
	if len(a.Hosts)+len(a.Pools)+len(a.Modules) == 0 {
		return nil, fmt.Errorf("%s: adds nothing, expected hosts, pools or modules", name)
	}
	return &a, nil
}

// ParseUpgrade reads "io-3=100G". A speed is in G (10^9) or M (10^6 bits a second), whole or with decimals.
func ParseUpgrade(text string) (Change, error) {
	name, value, ok := cutLast(text)
	if !ok {
		return Change{}, fmt.Errorf("read %q: expected NAME=SPEED, such as io-3=100G", text)
	}
	speed, err := parseSpeed(value)
	if err != nil {
		return Change{}, fmt.Errorf("read %q: %w", text, err)
	}
	return Change{Kind: Upgrade, Name: name, Speed: speed}, nil
}

// ParsePatch reads "host-a" or "host-a=XSA-450".
func ParsePatch(text string) (Change, error) {
	if name, fix, ok := cutLast(text); ok {
		return Change{Kind: Patch, Name: name, Fix: fix}, nil
	}
	if text == "" || strings.HasSuffix(text, "=") {
		return Change{}, fmt.Errorf("read %q: expected NAME or NAME=VULNERABILITY, such as host-a=XSA-450", text)
	}
	return Change{Kind: Patch, Name: text}, nil
}

// ParseLose reads "host-a,chassis-2".
func ParseLose(text string) ([]Change, error) {
	var out []Change
	for _, name := range strings.Split(text, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return nil, fmt.Errorf("read %q: an empty name", text)
		}
		out = append(out, Change{Kind: Lose, Name: name})
	}
	return out, nil
}

// cutLast cuts at the last "=", both sides of which have to be there.
func cutLast(text string) (name, value string, ok bool) {
	i := strings.LastIndexByte(text, '=')
	if i <= 0 || i == len(text)-1 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// maxSpeed bounds the speed of one NIC, in 10^6 bits a second: a snapshot may not say more.
const maxSpeed = 1 << 30

func parseSpeed(text string) (fleet.Mbps, error) {
	var unit float64
	switch {
	case strings.HasSuffix(text, "G"):
		unit = 1000
	case strings.HasSuffix(text, "M"):
		unit = 1
	default:
		return 0, errors.New("expected a speed with its unit, such as 100G or 800M")
	}
	n, err := strconv.ParseFloat(text[:len(text)-1], 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n*unit > maxSpeed {
		return 0, fmt.Errorf("speed %s, expected more than 0 and at most %dG", text, maxSpeed/1000)
	}
	if m := n * unit; m == math.Trunc(m) {
		return fleet.Mbps(m), nil
	}
	return 0, fmt.Errorf("speed %s, expected whole 10^6 bits a second", text)
}
