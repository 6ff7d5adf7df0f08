//go:build planted

package replication

import "os"

var plantedBug = os.Getenv("SETT_PLANTED")

// planted tells whether a bug is switched on (by the environment variable SETT_PLANTED) that the test harnesses must catch.
func planted(bug string) bool { return plantedBug == bug }
