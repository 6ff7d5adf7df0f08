package replication

import "sett/storage"

// Log is what the store needs of a log: Solo is the one of a node that is alone.
type Log = storage.Log
