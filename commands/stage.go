package commands

import (
	"slices"
	"sync"

	"sett/storage"
	"sett/types"
)

// StagedAbove is the length, in bytes, above which a value is put into the store while it arrives, or copied piece by piece.
const StagedAbove = 1 << 20

// stageBatchBytes is about how much of a staged value goes into one batch.
const stageBatchBytes = 256 << 10

// StagedArg is an argument that is in the store already; in Args it is empty.
type StagedArg struct {
	Arg  int // its index in Args
	Blob types.StagedBlob
}

// Staging is a value on its way into the store, before the command that it belongs to is complete. It holds no key and nobody sees it: it is
// a blob that no record owns, marked as staged, until a batch adopts it (types.Ledger.PutStaged) or DropStaged makes it dead. Those of
// an earlier speculation, or an earlier life of the process, are dead too: DropLeftStaged.
type Staging struct {
	d      *DataSet
	txn    storage.Txn
	ledger types.Ledger
	blob   types.StagedBlob
	yields uint64 // speculations that had ended when it began
	chunks int    // written
	buf    []byte // the next ones, as they gather
	took   int    // chunks that the round at hand wrote
}

// Stage begins to stage a value of so many bytes. The error may be a reply.
func (d *DataSet) Stage(bytes int) (*Staging, error) {
	s := &Staging{d: d, yields: d.store.Stats().Yields.Load()}
	if err := d.staged.reserve(int64(bytes), d.opts.StagedMax); err != nil {
		return nil, err
	}
	begin := stageBegin{s, uint64(bytes)}
	if err := s.update(&begin); err != nil {
		if s.blob.ID == 0 {
			d.staged.release(int64(bytes))
		} else {
			s.Drop()
		}
		return nil, err
	}
	return s, nil
}

// stageBegin is the first batch of a Staging.
type stageBegin struct {
	*Staging
	length uint64
}

func (s *stageBegin) Run() error {
	s.beginRound()
	s.blob = s.ledger.Stage(s.length)
	s.d.staged.begun(s.blob.ID) // under the lock, so that DropLeftStaged knows it
	return nil
}

// Write adds the next bytes of the value. After an error the value is lost.
func (s *Staging) Write(p []byte) error {
	full := max(1, stageBatchBytes/s.d.opts.Values.ChunkBytes) * s.d.opts.Values.ChunkBytes
	if s.buf == nil {
		s.buf = make([]byte, 0, full)
		s.txn.Keep(full + full/64) // and their keys
	}
	for len(p) > 0 {
		n := min(len(p), full-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) == full {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Finish returns the whole value, to be adopted by a batch or dropped.
func (s *Staging) Finish() (types.StagedBlob, error) {
	err := s.flush()
	s.buf = nil
	return s.blob, err
}

// Drop makes the value dead.
func (s *Staging) Drop() { s.d.DropStaged(s.blob) }

func (s *Staging) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	err := s.update((*stageChunks)(s))
	s.chunks += s.took
	s.buf = s.buf[:0]
	return err
}

type stageChunks Staging

func (r *stageChunks) Run() error {
	s := (*Staging)(r)
	s.beginRound()
	if s.d.store.Stats().Yields.Load() != s.yields {
		return storage.ErrNotEvaluating // what was written before may be gone
	}
	s.took = s.ledger.StageChunks(s.blob, s.chunks, s.buf)
	return nil
}

func (s *Staging) beginRound() {
	now := max(s.d.clock.Now(), s.d.clock.Last())
	s.txn.SetTime(now)
	s.ledger.Begin(&s.txn, now, s.d.opts.Values)
}

// update submits a batch and waits for it: a value arrives no faster than the log takes it.
func (s *Staging) update(run storage.Runner) error {
	if err := s.d.store.Admit(false); err != nil {
		return err
	}
	if err := s.d.store.Update(&s.txn, run); err != nil {
		return err
	}
	if err := s.d.store.Wait(s.txn.Seen()); err != nil {
		return storage.ErrNotEvaluating // in doubt, but nobody will ever see it
	}
	return nil
}

// drop is DropStaged for blobs and drafts.
func (d *DataSet) drop(drop *dropStaged) {
	drop.Staging = Staging{d: d}
	d.store.Update(&drop.txn, drop)
}

// DropStaged makes staged values dead that no batch has adopted. If that fails nobody evaluates, and they are left over.
func (d *DataSet) DropStaged(blobs ...types.StagedBlob) {
	if len(blobs) == 0 {
		return
	}
	d.drop(&dropStaged{blobs: blobs})
	for _, b := range blobs {
		d.staged.ended(b)
	}
}

// DropArgs is DropStaged for arguments whose command nobody will run.
func (d *DataSet) DropArgs(staged []StagedArg) {
	blobs := make([]types.StagedBlob, len(staged))
	for i, arg := range staged {
		blobs[i] = arg.Blob
	}
	d.DropStaged(blobs...)
}

// dropStaged is the batch of drop.
type dropStaged struct {
	Staging
	blobs  []types.StagedBlob
	drafts []uint64
}

func (s *dropStaged) Run() error {
	s.beginRound()
	for _, b := range s.blobs {
		if err := s.ledger.DropStaged(b); err != nil {
			return err
		}
	}
	for _, id := range s.drafts {
		if err := s.ledger.DropDraft(id); err != nil {
			return err
		}
	}
	return nil
}

// DropLeftStaged makes all values dead whose staging an earlier speculation, or an earlier life of the process, has begun. It is called
// when this node has begun to evaluate.
func (d *DataSet) DropLeftStaged() error {
	view, err := d.store.View()
	if err != nil {
		return err
	}
	defer view.Close()
	dead := types.DeadRange()
	it := view.Iterate(dead.Lower, dead.Upper)
	defer it.Close()
	var left dropStaged
	for it.Next() {
		kind, id, ok := types.DecodeDead(it.Key())
		switch {
		case !ok || it.Value()[0] != types.Staged || d.staged.knows(id):
		case kind == types.DeadBlob:
			left.blobs = append(left.blobs, types.StagedBlob{ID: id})
		case kind == types.DeadCollection:
			left.drafts = append(left.drafts, id)
		}
	}
	if it.Err() == nil && len(left.blobs)+len(left.drafts) > 0 {
		d.drop(&left)
	}
	return it.Err()
}

// staged are the values on their way into one data set.
type staged struct {
	mu    sync.Mutex
	live  map[uint64]struct{} // ids; guarded by mu
	bytes int64               // of all of them, as announced; guarded by mu
}

func (s *staged) reserve(bytes, limit int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+bytes > limit {
		return ErrStagedMax(bytes, s.bytes, limit)
	}
	s.bytes += bytes
	return nil
}

// StagedBytes is the length of all values that are on their way.
func (d *DataSet) StagedBytes() int64 {
	d.staged.mu.Lock()
	defer d.staged.mu.Unlock()
	return d.staged.bytes
}

func (s *staged) release(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
}

func (s *staged) begun(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = make(map[uint64]struct{})
	}
	s.live[id] = struct{}{}
}

func (s *staged) knows(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.live[id]
	return ok
}

// ended forgets a value that was adopted or dropped.
func (s *staged) ended(b types.StagedBlob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.live[b.ID]; ok {
		delete(s.live, b.ID)
		s.bytes -= int64(b.Length)
	}
}

// settle ends the stay of a call's staged arguments: the batch has adopted them, or they are dropped.
func (c *Call) settle(err error) {
	staged := c.Staged
	for i := range c.steps {
		staged = append(staged, c.steps[i].Staged...)
	}
	if len(staged) == 0 {
		return
	}
	var dropped []types.StagedBlob
	for _, arg := range staged {
		if err == nil && c.Wrote && slices.Contains(c.update.ledger.Adopted, arg.Blob) {
			c.d.staged.ended(arg.Blob)
		} else {
			dropped = append(dropped, arg.Blob)
		}
	}
	c.d.DropStaged(dropped...)
	c.Staged = nil
}

// stagedArg returns the staged value of an argument.
func (q *Query) stagedArg(i int) (types.StagedBlob, bool) {
	for _, arg := range q.staged {
		if arg.Arg == i {
			return arg.Blob, true
		}
	}
	return types.StagedBlob{}, false
}

// stagesArg is Row.Stages for a row of which one argument may be staged.
func stagesArg(arg int) func(n, i int) bool { return func(_, i int) bool { return i == arg } }

// stagesValues is Row.Stages for names and values by turns.
func stagesValues(_, i int) bool { return i > 0 && i%2 == 0 }

// put makes argument i the key's string.
func (u *Update) put(r *types.Record, i int, expireAtMs int64) {
	if blob, ok := u.stagedArg(i); ok {
		u.ledger.PutStaged(r, blob, expireAtMs)
	} else {
		u.ledger.PutString(r, u.Args[i], expireAtMs)
	}
}

// argumentLen is the length of an argument, staged or not.
func (q *Query) argumentLen(i int) int {
	if blob, ok := q.stagedArg(i); ok {
		return int(blob.Length)
	}
	return len(q.Args[i])
}

// argument returns an argument's bytes for a change in place, which is one batch: a staged one that exceeds the largest is an error.
func (u *Update) argument(i int) ([]byte, error) {
	blob, ok := u.stagedArg(i)
	if !ok {
		return u.Args[i], nil
	}
	if int64(blob.Length) > u.set.store.Budget().BatchMax {
		return nil, storage.ErrTooLarge
	}
	m := blob.Meta()
	return types.AppendString(u.data, &m, nil, 0, int(blob.Length))
}
