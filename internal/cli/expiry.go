package cli

import (
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// maxExpiry bounds a relative expiry; it is far beyond any key's life.
const maxExpiry = 100 * 365 * day

// parseExpiry reads when a label ends: a span from now ("12h", "90d", "6w", "2y" of 365 days), a date
// (its begin in UTC) or an RFC 3339 time.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		at, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		var span time.Duration
		if span, err = parseSpan(s); err != nil {
			return time.Time{}, err
		}
		at = now.Add(span)
	}
	at = at.UTC().Truncate(time.Second)
	if !at.After(now) {
		return time.Time{}, usagef("--expires %s: is in the past", s)
	}
	return at, nil
}

func parseSpan(s string) (time.Duration, error) {
	units := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day, "y": 365 * day}
	digits := strings.TrimRight(s, "mhdwy")
	unit, ok := units[s[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || n > uint64(maxExpiry/unit) {
		return 0, usagef("--expires %q: expected a span up to 100 years (90d, 12h, 6w, 1y), a date (2027-01-31) or an RFC 3339 time", s)
	}
	return time.Duration(n) * unit, nil
}
