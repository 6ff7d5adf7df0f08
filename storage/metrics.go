package storage

import "time"

// Level is what one level of Badger's tree holds.
type Level struct {
	Tables     int
	Bytes      int64
	StaleBytes int64 // known to be superseded
}

// Levels returns Badger's levels from the newest to the last, nil while DEBUG RELOAD opens it anew.
func (s *Store) Levels() []Level {
	if !s.disk.inUse.TryRLock() {
		return nil
	}
	defer s.disk.inUse.RUnlock()
	infos := s.disk.db.Levels()
	levels := make([]Level, len(infos))
	for i, l := range infos {
		levels[i] = Level{Tables: l.NumTables, Bytes: l.Size, StaleBytes: l.StaleDatSize}
	}
	return levels
}

// Refusal is why writes are refused at this moment, "" if they are not.
func (s *Store) Refusal() string {
	s.checkDisk(false, time.Now().UnixMilli()) // no write may come that would look: whoever asks us may be the one that sends them elsewhere
	switch reason := s.guard.refusal.Load(); {
	case reason != nil:
		return *reason
	case s.guard.full.Load():
		return "disk is full"
	case s.guard.waiting.Load():
		return "disk is full: recent writes cannot be flushed"
	}
	return ""
}
