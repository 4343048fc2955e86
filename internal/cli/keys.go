package cli

import (
	"fmt"

	"github.com/berth-project/berth/label"
)

// keyView is the JSON of a key.
type keyView struct {
	File      string `json:"file"`
	KeyID     string `json:"keyId"`
	PublicKey string `json:"publicKey"`
}

func viewKey(file string, p label.PublicKey) keyView {
	return keyView{File: file, KeyID: p.ID().String(), PublicKey: p.String()}
}

func readPrivateKey(path string) (*label.PrivateKey, error) {
	data, err := readSecret(path, label.MaxKeyText)
	if err != nil {
		return nil, err
	}
	key, err := label.ParsePrivateKey(data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read key %s: %w", path, err), "'berth key new FILE' makes a key")
	}
	return key, nil
}
