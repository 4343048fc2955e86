package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
)

// loadCatalogue reads the policy: the flag, the configuration's, or the built-in default.
func (a *app) loadCatalogue(flag string, c *config) (*policy.Catalogue, error) {
	path := flag
	if path == "" && c != nil {
		path = c.policy
	}
	if path == "" {
		return policy.Default(), nil
	}
	data, err := a.readInput(path, int64(policy.MaxCatalogue))
	if err != nil {
		return nil, inputError(fmt.Errorf("read policy: %w", err), "")
	}
	cat, err := policy.Parse(inputName(path), data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read policy: %w", err), "'berth policy show' prints a commented example")
	}
	return cat, nil
}

// maxTrust bounds a trust file.
const maxTrust = 1 << 20

// loadTrust reads the trust file: the flag, $BERTH_TRUST, the configuration's (which may be nil), or
// trust.yaml in the user's folder when it is there. Without any, no key is known and the result is nil.
func (a *app) loadTrust(flag string, c *config) (*label.TrustFile, error) {
	path := flag
	if path == "" {
		path = a.env.Getenv("BERTH_TRUST")
	}
	if path == "" && c != nil {
		path = c.trust
	}
	if path == "" {
		if path = filepath.Join(a.configDir(), "trust.yaml"); a.configDir() == "" {
			return nil, nil
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	data, err := a.readInput(path, maxTrust)
	if err != nil {
		return nil, inputError(fmt.Errorf("read trust file: %w", err), "")
	}
	t, err := label.ParseTrust(inputName(path), data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read trust file: %w", err), "")
	}
	return t, nil
}
