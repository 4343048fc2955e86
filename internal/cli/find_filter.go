package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// findFilter is what berth label find is asked for. All of it has to hold.
type findFilter struct {
	levels, formats, keyIDs  []string
	overrides                []string
	issuer, within           string
	newer, older             string
	expired, unlabelled      bool
	damaged                  bool
	now, soon, after, before time.Time // worked out by prepare
	wanted                   map[string]string
	anyValue                 []string
}

// keyNone stands for "not signed" where a key's id is asked for.
const keyNone = "none"

func (ff *findFilter) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&ff.levels, "level", nil, "only labels of this `LEVEL`; several: of any of them")
	f.StringSliceVar(&ff.formats, "format", nil, "only images of this `FORMAT` ("+strings.Join(append(formatNames(), applianceFormats()...), ", ")+"); several: of any of them")
	f.StringVar(&ff.issuer, "issuer", "", "only labels whose issuer is `TEXT`, in which * and ? stand for any characters")
	f.StringSliceVar(&ff.keyIDs, "key-id", nil, "only labels signed with the key `ID`, or none: not signed at all")
	f.StringArrayVar(&ff.overrides, "override", nil, "only labels that change a requirement, in any way or to a value: `KEY[=VALUE]`")
	f.BoolVar(&ff.expired, "expired", false, "only labels that have expired")
	f.StringVar(&ff.within, "expires-within", "", "only labels that expire within `SPAN` (30d, 12h), or have done so already")
	f.StringVar(&ff.newer, "newer", "", "only labels issued after `WHEN`: 30d ago, 2027-01-31, an RFC 3339 time, or a file's last change")
	f.StringVar(&ff.older, "older", "", "only labels issued before `WHEN`")
	f.BoolVar(&ff.unlabelled, "unlabelled", false, "only images without a label")
	f.BoolVar(&ff.damaged, "damaged", false, "only images with what is left of a label")
}

func formatNames() []string {
	var names []string
	for _, f := range []diskimage.Format{diskimage.FormatVMDK, diskimage.FormatQcow2, diskimage.FormatVHDX, diskimage.FormatVDI, diskimage.FormatVHD, diskimage.FormatRaw} {
		names = append(names, string(f))
	}
	return names
}

// prepare checks the whole question before a file is looked at.
func (ff *findFilter) prepare(cmd *cobra.Command, now time.Time) error {
	for _, name := range []string{"level", "format", "issuer", "key-id", "expires-within", "newer", "older"} {
		if f := cmd.Flags().Lookup(name); f.Changed && strings.Trim(f.Value.String(), "[]") == "" {
			return usagef("--%s: is empty", name)
		}
	}
	ff.now = now
	for _, check := range []func() error{ff.checkWords, ff.checkTimes, ff.checkOverrides, func() error { return ff.checkSense(cmd) }} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (ff *findFilter) checkWords() error {
	for _, f := range ff.formats {
		if !slices.Contains(append(formatNames(), applianceFormats()...), f) {
			return usagef("--format %q: expected one of %s", f, strings.Join(append(formatNames(), applianceFormats()...), ", "))
		}
	}
	for i, id := range ff.keyIDs {
		if id == keyNone {
			continue
		}
		parsed, err := label.ParseKeyID(strings.ToLower(id))
		if err != nil {
			return usagef("--key-id: %w", err)
		}
		ff.keyIDs[i] = parsed.String()
	}
	if _, err := path.Match(ff.issuer, ""); err != nil {
		return usagef("--issuer %q: %w", ff.issuer, err)
	}
	return nil
}

func (ff *findFilter) checkTimes() error {
	if ff.within != "" {
		span, err := parseSpan(ff.within)
		if err != nil {
			return usagef("--expires-within %q: expected a span up to 100 years: 30d, 12h, 6w, 1y", ff.within)
		}
		ff.soon = ff.now.Add(span)
	}
	var err error
	if ff.after, err = parseWhen("newer", ff.newer, ff.now); err != nil {
		return err
	}
	if ff.before, err = parseWhen("older", ff.older, ff.now); err != nil {
		return err
	}
	if ff.newer != "" && ff.older != "" && !ff.after.Before(ff.before) {
		return usagef("--newer %s and --older %s exclude each other: nothing is issued after %s and before %s",
			ff.newer, ff.older, ff.after.Format(time.RFC3339), ff.before.Format(time.RFC3339))
	}
	return nil
}

// parseWhen reads a moment: a span before now, a date, a time, or a file whose last change it is. Zero: not given.
func parseWhen(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	if span, err := parseSpan(s); err == nil {
		return now.UTC().Add(-span), nil
	}
	st, err := os.Stat(s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, usagef("--%s %q: expected a span (30d: so long ago), a date (2027-01-31), an RFC 3339 time or a file", flag, s)
	case err != nil:
		return time.Time{}, usagef("--%s %s: %w", flag, s, bare(err))
	}
	return st.ModTime().UTC(), nil
}

func (ff *findFilter) checkOverrides() error {
	ff.wanted = map[string]string{}
	for _, o := range ff.overrides {
		k, v, hasValue := strings.Cut(o, "=")
		if !slices.Contains(label.OverrideKeys(), k) {
			return usagef("--override %q: expected one of %s", k, strings.Join(label.OverrideKeys(), ", "))
		}
		if !hasValue {
			ff.anyValue = append(ff.anyValue, k)
			continue
		}
		if old, twice := ff.wanted[k]; twice && old != v {
			return usagef("--override %s=%s and %s=%s exclude each other", k, old, k, v)
		}
		ff.wanted[k] = v
	}
	return nil
}

// ofLabels are the flags that ask for something that only a label has.
func ofLabels() []string {
	return []string{"level", "issuer", "key-id", "override", "expired", "expires-within", "newer", "older"}
}

// checkSense refuses what nothing at all can fulfil.
func (ff *findFilter) checkSense(cmd *cobra.Command) error {
	for _, absent := range []string{"unlabelled", "damaged"} {
		if !cmd.Flags().Changed(absent) {
			continue
		}
		for _, name := range append(ofLabels(), "unlabelled", "damaged") {
			if name != absent && cmd.Flags().Changed(name) {
				return usagef("--%s and --%s exclude each other", name, absent)
			}
		}
	}
	return nil
}

// raw says whether files of which nothing says that they are disks are asked for.
func (ff *findFilter) raw() bool { return slices.Contains(ff.formats, string(diskimage.FormatRaw)) }

// match says whether an image is one of those asked for.
func (ff *findFilter) match(l *imageLine) bool {
	if len(ff.formats) > 0 && !slices.Contains(ff.formats, l.Format) {
		return false
	}
	switch {
	case ff.damaged:
		return l.Damaged
	case ff.unlabelled:
		return !l.Labelled && !l.Damaged
	case !l.Labelled:
		return false
	case len(ff.keyIDs) > 0 && !slices.Contains(ff.keyIDs, cmp.Or(l.KeyID, keyNone)):
		return false
	case l.Document == nil: // it cannot be read, and so has no level either
		return !ff.asksDocument()
	default:
		return ff.matchDocument(l.Document)
	}
}

func (ff *findFilter) asksDocument() bool {
	return len(ff.levels) > 0 || ff.issuer != "" || len(ff.overrides) > 0 || ff.expired || ff.within != "" || ff.newer != "" || ff.older != ""
}

func (ff *findFilter) matchDocument(d *label.Document) bool {
	switch {
	case len(ff.levels) > 0 && !slices.Contains(ff.levels, d.Level),
		ff.issuer != "" && !matchText(ff.issuer, d.Issuer),
		ff.expired && (d.Expires.IsZero() || d.Expires.After(ff.now)),
		ff.within != "" && (d.Expires.IsZero() || d.Expires.After(ff.soon)),
		ff.newer != "" && !d.Issued.After(ff.after),
		ff.older != "" && !d.Issued.Before(ff.before):
		return false
	}
	for _, k := range ff.anyValue {
		if _, ok := d.Overrides[k]; !ok {
			return false
		}
	}
	for k, v := range ff.wanted {
		if got, ok := d.Overrides[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// matchText is path.Match for text in which a slash is a character like any other.
func matchText(pattern, s string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, err := path.Match(flat(pattern), flat(s))
	return ok && err == nil
}
