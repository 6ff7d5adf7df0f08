package storage

import (
	"fmt"
	"path/filepath"
)

// A node that has diverged has in Badger what its cluster has lost: nothing can take it out again. Or it is the other way round: its log, or its tables, have
// lost what the cluster has, and do not go together any more. It starts over with nothing, as one that has just joined, and gets a copy of the cluster's
// data; until then it has no vote, for it has forgotten what it had acknowledged. The file DIVERGED says how far it has come:
//
//	MarkDiverged   why; nothing has been done
//	MarkLost       why; nothing has been done, nor may be before another node is known to lead: what is left here might be all that there is
//	StartOver      … and which Badger directory is put aside. As long as CURRENT names that one, StartOver has not come to its end, and is done again.
//	               Then CURRENT names one that was empty, or has what came since, and the log is empty, or has what came since.
//	Rejoined       the file is gone: the node has caught up. What was put aside goes
//
// Until then what was put aside stays: should nobody be left who has a copy to give, it is what there is.
type divergedRecord struct {
	Why   string
	Aside string // name of the Badger directory
	Lost  bool   `json:",omitempty"` // MarkLost
}

const divergedFile = "DIVERGED"

func (d *Dir) readDiverged() (r divergedRecord, err error) {
	_, err = readChecked(d.fs, d.file(divergedFile), &r)
	return r, err
}

// startedOver tells whether a node that has diverged has nothing any more but what came since.
func (d *Dir) startedOver(r *divergedRecord) bool { return r.Aside != "" && r.Aside != d.current }

// MarkDiverged notes that this node has what its cluster has not: it starts over at its next start.
func (d *Dir) MarkDiverged(why string) error {
	return writeChecked(d.fs, d.file(divergedFile), divergedRecord{Why: why})
}

// MarkLost is MarkDiverged for a node that has lost data.
func (d *Dir) MarkLost(why string) error {
	return writeChecked(d.fs, d.file(divergedFile), divergedRecord{Why: why, Lost: true})
}

// Lost tells why this node, which has lost data, is to start over as soon as another one leads; "" if that is not so, or has begun.
func (d *Dir) Lost() (why string, err error) {
	r, err := d.readDiverged()
	if err != nil || !r.Lost || r.Aside != "" {
		return "", err
	}
	return r.Why, nil
}

// Diverged tells why this node has started over and has not rejoined its cluster yet, "" if neither is so. A node that has yet to start over is
// refused.
func (d *Dir) Diverged() (why string, err error) {
	r, err := d.readDiverged()
	if err == nil && r.Why != "" && !d.startedOver(&r) {
		err = refused("%s has diverged from its cluster (%s): it has to start over before it is used", d.path, r.Why)
	}
	return r.Why, err
}

// StartOver takes away everything that a node has which has diverged, but for who it is; of any other it takes nothing. It is called before log and
// Badger are opened. It may be cut short at any moment, and is then done again. why is what Diverged will say.
func (d *Dir) StartOver() (why string, err error) {
	r, err := d.readDiverged()
	if err != nil || r.Why == "" || d.startedOver(&r) {
		return r.Why, err
	}
	r.Aside = d.current
	if err := writeChecked(d.fs, d.file(divergedFile), r); err != nil {
		return r.Why, err
	}
	if err := d.startOver(); err != nil {
		return r.Why, fmt.Errorf("starting over without the data: %w", err)
	}
	return r.Why, nil
}

// startOver names the empty Badger directory last: with the old one the old log goes, and none with the new one.
func (d *Dir) startOver() error {
	fresh := nextBadgerDir(d.current)
	if err := removeAll(d.fs, d.file(fresh)); err != nil {
		return err
	}
	if err := d.fs.MkdirAll(d.file(fresh)); err != nil {
		return err
	}
	if err := d.emptyLog(); err != nil {
		return err
	}
	if exists, err := d.fs.Exists(d.file(cleanFile)); err != nil {
		return err
	} else if exists {
		if err := d.fs.Remove(d.file(cleanFile)); err != nil {
			return err
		}
	}
	d.clean = 0
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	return d.setCurrent(fresh)
}

func (d *Dir) emptyLog() error {
	names, err := d.fs.ReadDir(d.LogDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.fs.Remove(filepath.Join(d.LogDir(), name)); err != nil {
			return err
		}
	}
	return d.fs.SyncDir(d.LogDir())
}

// Rejoined is called when a node that has started over has what its cluster has. clean removes what was put aside; if it does not, the next start does.
func (d *Dir) Rejoined() (clean func() error, err error) {
	r, err := d.readDiverged()
	if err != nil {
		return nil, err
	}
	return func() error { return removeAll(d.fs, d.file(r.Aside)) }, d.unmark()
}

// StandBy has a node keep what its cluster has lost: it is the cluster from now on. One that has started over has nothing to stand by.
func (d *Dir) StandBy() error {
	r, err := d.readDiverged()
	switch {
	case err != nil || r.Why == "":
		return err
	case d.startedOver(&r):
		return refused("%s had diverged from its cluster, and has no whole copy of the cluster's data yet. What it had before is in %s", d.path, r.Aside)
	case r.Aside != "":
		return refused("%s had diverged from its cluster and was about to start over: its log may be gone already. Badger's part of its data is in %s", d.path, r.Aside)
	}
	return d.unmark()
}

func (d *Dir) unmark() error {
	if exists, err := d.fs.Exists(d.file(divergedFile)); err != nil || !exists {
		return err
	}
	if err := d.fs.Remove(d.file(divergedFile)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}
