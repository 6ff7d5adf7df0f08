package replication

import (
	"fmt"
	"path/filepath"

	"sett/replication/wal"
	"sett/storage"
)

// Check reads the whole log in dir, for storage.Check.
func Check(fsys storage.FS, dir string, seed [16]byte, known storage.LogKnown) ([]storage.Finding, error) {
	o := wal.Options{FS: fsys, Dir: dir, Seed: seed}
	found, err := wal.Check(o, wal.Known{Durable: known.Durable, CleanEnd: known.CleanEnd, Installed: known.Copied})
	if err == nil && known.Applied > known.Durable && !damaged(found) {
		// Badger never knows more than the log had on disk, so what it has applied the log must have, too.
		found, err = wal.Check(o, wal.Known{Durable: known.Applied, CleanEnd: known.CleanEnd, Installed: known.Copied})
	}
	findings := make([]storage.Finding, len(found))
	for i, f := range found {
		findings[i] = finding(filepath.Base(dir), f)
	}
	return findings, err
}

func damaged(found []wal.Finding) bool {
	for _, f := range found {
		if f.Damage {
			return true
		}
	}
	return false
}

func finding(dir string, f wal.Finding) storage.Finding {
	out := storage.Finding{File: dir, Offset: -1, Damage: f.Damage, What: f.Reason}
	if f.Segment != 0 {
		out.File, out.Offset = filepath.Join(dir, f.File()), f.Offset
	}
	if f.Index != 0 {
		out.What = fmt.Sprintf("entry %d: %s", f.Index, f.Reason)
	}
	if f.Damage {
		out.Do = "The server will not start. Restore a copy of the data directory"
	} else {
		out.Do = "Nothing to do after a power cut, which leaves this: the next start cuts the log at the first such place. Without one, writes are lost"
	}
	return out
}
