package powercut

import (
	"encoding/binary"
	"os"
	"time"
)

// kind of a record in the journal.
type kind byte

const (
	created    kind = iota + 1 // file, path
	opened                     // file, path
	wrote                      // file, at, data
	truncated                  // file, at
	syncing                    // file, at: the sync's number
	syncingDir                 // path, at: the sync's number
	synced                     // at: the sync's number
	renamed                    // path, data: the new path
	removed                    // path
	made                       // path: a directory
	acked                      // at: the ticket of a batch that Store.Wait called committed
	noted                      // path: what the child is doing
)

// record is one line of the journal: something that the child has done. Paths are relative to the folder that stands for the disk.
type record struct {
	kind   kind
	file   uint32 // number of an open file
	at     int64
	timeUs int64 // since 1970
	path   string
	data   []byte
}

const recordHead = 1 + 4 + 8 + 8 + 2 + 4

// journal is a file that the child appends to. What was written is there after kill -9, but for a record that was being written.
type journal struct {
	out *os.File
	buf []byte
}

func (j *journal) add(r record) error {
	b := append(j.buf[:0], byte(r.kind))
	b = binary.BigEndian.AppendUint32(b, r.file)
	b = binary.BigEndian.AppendUint64(b, uint64(r.at))
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMicro()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.path)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.data)))
	j.buf = append(append(b, r.path...), r.data...)
	_, err := j.out.Write(j.buf)
	return err
}

// readJournal returns the whole records of a journal.
func readJournal(path string) (records []record, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for len(b) >= recordHead {
		r := record{
			kind: kind(b[0]), file: binary.BigEndian.Uint32(b[1:]),
			at: int64(binary.BigEndian.Uint64(b[5:])), timeUs: int64(binary.BigEndian.Uint64(b[13:])),
		}
		pathEnd := recordHead + int(binary.BigEndian.Uint16(b[21:]))
		end := pathEnd + int(binary.BigEndian.Uint32(b[23:]))
		if len(b) < end {
			break
		}
		r.path, r.data = string(b[recordHead:pathEnd]), b[pathEnd:end]
		records, b = append(records, r), b[end:]
	}
	return records, nil
}
