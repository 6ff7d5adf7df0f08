//go:build planted

package storage

import (
	"os"
	"os/exec"
	"testing"
)

// TestPlantedBugs proves that the model tests can fail: each of these bugs, switched on, must be caught by the test that is meant to.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("SETT_PLANTED") != "" {
		t.Skip("this is the run with a bug in it")
	}
	for bug, test := range map[string]string{
		"chain-check-off":                 "TestSpeculation",
		"first-ignored":                   "TestSpeculation",
		"counters-from-next-entry":        "TestSpeculation",
		"reply-before-commit":             "TestSpeculation",
		"proposal-of-another-speculation": "TestProposalsOfAnotherSpeculation",
		"close-inside-batch":              "TestSpeculation|TestModel",
		"view-without-active":             "TestModel",
		"cache-ignores-retired":           "TestCacheCoherence",
		"filter-forgets":                  "TestCacheCoherence|TestFilter",
		"fresh-forgets":                   "TestCacheCoherence|TestFind",
		"ledger-off":                      "TestLedger",
		"straight-over-memtable":          "TestStraight",
	} {
		t.Run(bug, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", test)
			cmd.Env = append(os.Environ(), "SETT_PLANTED="+bug)
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Errorf("%s did not notice %s:\n%s", test, bug, out)
			}
		})
	}
}
