package compaction

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"sett/storage"
)

const (
	// surveyShare is how much longer than a survey the time to the next one is, at least.
	surveyShare = 50
	// searchEvery is the time between two looks for files that Badger has forgotten.
	searchEvery = 30 * time.Minute
)

// survey is what a walk over all blobs found.
type survey struct {
	live    int64    // bytes of the chunks that have a header, as they lie in the value log
	orphans [][]byte // some of the chunks that have none
}

// deadRatio is the part of a value log file that must be dead before it is worth collecting. When no file has more, the value log is as much
// larger than what lives in it as it may be.
func (k *Keeper) deadRatio() float64 { return 1 - 1/k.tuning().ValueLogAmplification }

// excess is how much larger the value log is than its blobs explain: so many times what lives in it, and two files for what is being written and
// for what is being moved. It is not positive when there is nothing to do.
func (k *Keeper) excess() (bytes int64) {
	_, size := k.opts.Store.ValueLog()
	return size - int64(float64(k.survey.live)*k.tuning().ValueLogAmplification) - 2*k.opts.Store.ValueLogFileBytes()
}

// collectIfDue has the keeper look at the value log now and then, and more often while there is something to do and nobody writes.
func (k *Keeper) collectIfDue() error {
	due := k.collects
	if k.nobody.now && k.excess() > 0 {
		due = due.Add(-k.opts.CollectEvery * 9 / 10)
	}
	if time.Now().Before(due) {
		return nil
	}
	k.collects = time.Now().Add(k.opts.CollectEvery)
	return k.collectIfWorth()
}

// collectIfWorth is the keeper's own look at the value log.
func (k *Keeper) collectIfWorth() error {
	if time.Now().Before(k.next) {
		return nil
	}
	if err := k.surveyNow(); err != nil {
		return err
	}
	if k.excess() <= 0 {
		return nil
	}
	_, size := k.opts.Store.ValueLog()
	if k.unsettled && k.opts.Store.TableBytes() <= size-k.survey.live { // or compacting costs more than it gives back
		if err := k.settle(); err != nil {
			return err
		}
	}
	if err := k.collect(); err != nil {
		return err
	}
	if k.excess() <= 0 || k.unsettled || time.Since(k.searched) < searchEvery {
		return nil
	}
	return k.findForgotten()
}

// settle makes Badger count what is dead in the value log: only compactions do. What was removed lies in its memtable, which blobs leave far
// too small to become a table by itself.
func (k *Keeper) settle() error {
	if !k.unsettled {
		return nil
	}
	removed := k.opts.Store.FlushedIndex()
	if _, err := k.compactRanges([]storage.Range{k.opts.Layout.Chunks}, true); err != nil {
		return err
	}
	k.unsettled = k.opts.Store.DiscardTs() < removed // an old view keeps what was removed
	return nil
}

func (k *Keeper) collect() error {
	_, before := k.opts.Store.ValueLog()
	files, err := k.opts.Store.CollectValues(k.deadRatio(), k.until)
	if files > 0 {
		_, after := k.opts.Store.ValueLog()
		k.jobs[jobValueLog].did(fmt.Sprintf("collected %d files of the value log", files), before, after, 2*int64(files)*k.opts.Store.ValueLogFileBytes())
		k.stats.Collections.Add(1)
		k.stats.CollectedFiles.Add(uint64(files))
		k.opts.Log.Info("value log collected", "files", files)
	}
	k.stats.LastCollectMs.Store(time.Now().UnixMilli())
	if err != nil {
		return err
	}
	return k.surveyNow()
}

// surveyNow walks over all blobs and removes chunks without a header. Collecting the value log brings deleted chunks back: it writes what it
// finds anew, and when a compaction meets a deletion together with the old copy, and drops both, the new copy is left alone.
func (k *Keeper) surveyNow() error {
	began := time.Now()
	for {
		s, err := k.walkBlobs()
		if err != nil {
			return err
		}
		k.survey, k.next = s, time.Now().Add(surveyShare*time.Since(began))
		k.stats.BlobBytes.Store(s.live)
		k.jobs[jobValueLog].waits(max(0, k.excess()), 0)
		if len(s.orphans) == 0 {
			return nil
		}
		if err := k.removeOrphans(s.orphans); err != nil {
			return err
		}
		k.survey.orphans = nil
		if len(s.orphans) < storage.RemoveAtOnce {
			return nil
		}
	}
}

// walkBlobs joins headers and chunks, both as of one flush point: a header is written with its first chunk, or before.
func (k *Keeper) walkBlobs() (s survey, err error) {
	var (
		l       = &k.opts.Layout
		version = k.opts.Store.FlushedIndex()
		headers = k.opts.Store.Scan(l.Headers, version)
		chunks  = k.opts.Store.Scan(l.Chunks, version)
		want    []byte
	)
	defer headers.Close()
	defer chunks.Close()
	have := headers.Seek(l.Headers.Lower)
	for ok := chunks.Seek(l.Chunks.Lower); ok && len(s.orphans) < storage.RemoveAtOnce; ok = chunks.Next() {
		want = l.AppendHeaderOf(want[:0], chunks.Key())
		for have && bytes.Compare(headers.Key(), want) < 0 {
			have = headers.Next()
		}
		if have && bytes.Equal(headers.Key(), want) {
			s.live += chunks.Size()
		} else {
			s.orphans = append(s.orphans, bytes.Clone(chunks.Key()))
		}
	}
	return s, errors.Join(headers.Err(), chunks.Err())
}

// removeOrphans removes chunks that have no header. That a header is not found may also be damage, which Badger hides: so the headers are
// read from the files first, and their checksums compared.
func (k *Keeper) removeOrphans(chunks [][]byte) error {
	if err := k.opts.Store.VerifyTables(k.opts.Layout.Headers); err != nil {
		return err
	}
	if _, err := k.remove(chunks, true); err != nil {
		return err
	}
	k.unsettled = true
	k.stats.Orphans.Add(uint64(len(chunks)))
	k.opts.Log.Info("orphaned chunks removed", "chunks", len(chunks))
	return nil
}

// findForgotten looks for value log files in which hardly anything lives and of which Badger does not know: it died between collecting and deleting
// them, or its log was replayed and wrote their chunks anew. They are noted, and the next start tells Badger.
func (k *Keeper) findForgotten() error {
	k.searched = time.Now()
	if err := k.opts.Store.Rotate(k.until); err != nil {
		return err
	}
	forgotten, err := k.opts.Store.ForgottenValueLogs(k.deadRatio())
	if err != nil {
		return err
	}
	bytes := int64(0)
	for _, f := range forgotten {
		bytes += f.Dead
	}
	k.stats.ForgottenBytes.Store(bytes)
	if len(forgotten) == 0 {
		return nil
	}
	k.opts.Log.Warn("value log files hold dead blobs that Badger has forgotten; the next start collects them", "files", len(forgotten), "bytes", bytes)
	return k.opts.Store.NoteForgotten(forgotten)
}
