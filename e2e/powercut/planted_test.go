//go:build planted

package powercut

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPlantedBugs proves that the harness can fail: it must catch each of these bugs once it is switched on.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("SETT_PLANTED") != "" {
		t.Skip("this is the run with a bug in it")
	}
	for bug, where := range map[string]struct{ level, moment string }{
		"log-no-fsync":            {"always", ""},
		"flush-before-fsync":      {"no", ""},
		"durable-before-barrier":  {"everysec", "durable"},
		"log-cut-below-mark":      {"always", ""},
		"collect-without-sync":    {"no", "moved"},
		"collect-without-barrier": {"no", "moved"},
	} {
		t.Run(bug, func(t *testing.T) {
			if testing.Short() && where.moment == "moved" {
				t.Skip("takes minutes until it shows")
			}
			t.Parallel() // a life waits for its disk and its moment more than it computes
			cmd := exec.Command(os.Args[0], "-test.run", "TestPowerCut/"+where.level)
			cmd.Env = append(os.Environ(), "SETT_PLANTED="+bug, "SETT_MOMENT="+where.moment, "SETT_CUTS=1200", "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "SETT_AGAIN") {
				t.Fatalf("the harness did not notice %s:\n%s", bug, out)
			}
			t.Logf("%s", out)
		})
	}
}
