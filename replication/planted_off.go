//go:build !planted

package replication

// planted tells whether a bug is switched on that the test harnesses must catch. Only builds with the tag "planted" have any.
func planted(string) bool { return false }
