//go:build planted

package chaos

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// TestPlantedBugs proves that the harness can fail: it must catch each of these bugs once it is switched on.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("SETT_PLANTED") != "" {
		t.Skip("this is the run with a bug in it")
	}
	for bug, with := range map[string]struct{ faults, caught string }{
		"no-amnesia":          {"power cut of the witness", "the cluster has lost entries"},  // says the former leader, when those who may have forgotten have voted
		"reply-before-commit": {"isolation", "acknowledged, and node"},                       // a leader that is alone acknowledges what nobody else will ever have
		"lease-never-ends":    {"SIGSTOP|isolation", "no order of its|is missing, that was"}, // a leader that wakes up answers reads before it hears that it is none
	} {
		t.Run(bug, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "TestChaos$", "-test.timeout", "10m")
			cmd.Env = append(os.Environ(), "SETT_PLANTED="+bug, "CHAOS_FAULTS="+with.faults, "CHAOSTIME=30s", "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err == nil || !regexp.MustCompile(with.caught).Match(out) {
				t.Fatalf("the harness did not notice %s:\n%s", bug, out)
			}
			t.Logf("%s", out)
		})
	}
}
