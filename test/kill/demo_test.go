package kill_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/demo"
)

// TestKillOnVSphere: the vCenter lives in this process and outlives every berth that is killed.
func TestKillOnVSphere(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute; run without -short")
	}
	s := &site{dir: t.TempDir()}
	w, err := demo.Start(t.Context(), s.dir+"/world")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	s.config = w.Config
	s.env = []string{"BERTH_VSPHERE_USER=" + w.Credentials.User, "BERTH_VSPHERE_PASSWORD=" + w.Credentials.Password}
	path, file := s.makePlan(t)
	s.killEverywhere(t, path, file, 1500*time.Millisecond)
	s.checkEnd(t, file)
}
