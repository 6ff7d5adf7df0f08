package main

import (
	"fmt"
	"io"

	"sett/replication"
	"sett/storage"
	"sett/types"
)

// check is sett check: it prints a line for each thing found, and one that sums up.
func check(dir string, stdout, stderr io.Writer) int {
	report, err := storage.Check(storage.OSFS{}, dir, storage.Checks{
		Log:     replication.Check,
		Records: func(seed *[16]byte) storage.RecordChecker { return types.NewChecker(seed) },
	})
	if err != nil {
		return failed(stderr, err)
	}
	for _, f := range report.Findings {
		fmt.Fprintln(stdout, f)
	}
	if report.Omitted > 0 {
		fmt.Fprintf(stdout, "… and %d more\n", report.Omitted)
	}
	verdict := "fine"
	if report.Damaged() {
		verdict = "DAMAGED"
	}
	fmt.Fprintf(stdout, "%s: %s (%d tables, %d records; applied up to entry %d, durable up to %d)\n",
		dir, verdict, report.Tables, report.Records, report.Applied, report.Durable)
	if report.Damaged() {
		return exitRefused
	}
	return exitClean
}
