package storage

// badgerFile is a file of Badger that its own start would cut off without a word if it were damaged, as it stood at a barrier.
type badgerFile struct {
	Name  string
	Bytes int64  // of its beginning that must be there
	CRC   uint32 // of these
}

// checkBadgerFiles compares Badger's files with what they were at the last barrier, before Badger opens and repairs them.
func checkBadgerFiles(dir string, files []badgerFile) error { return nil }
