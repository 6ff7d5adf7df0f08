package powercut

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sett/storage"
	"sett/storage/crashfs"
)

// scene is what a kill has left, and what is known of it.
type scene struct {
	orders
	own          *crashfs.FS                  // our own files, with all that is not synced
	old, present map[string]map[string]*pages // Badger's mapped files by folder: at the last barrier, and now
	killedUs     int64                        // time of the last record
	acks         []record
	syncs        []span // of the log, those that have ended, in order
	inside       []string
	stopped      bool // cleanly, before the kill
	collected    int  // value log files

	// The fsync level since its last change, and how many acknowledgements came before that began and before it ended.
	level               string
	changeAt, changedAt int
}

// span is two places in the journal.
type span struct{ begin, end int }

// readScene reads the folder of a life that has ended.
func readScene(o orders) (*scene, error) {
	s := &scene{orders: o, own: crashfs.New(), level: o.Fsync, old: map[string]map[string]*pages{}, present: map[string]map[string]*pages{}}
	if err := s.load(o.base(), "."); err != nil {
		return nil, err
	}
	if o.Life%2 == 0 {
		s.own.Writeback(o.Seed)
	}
	records, err := readJournal(o.journal())
	if err != nil {
		return nil, err
	}
	if err := s.replay(records); err != nil {
		return nil, err
	}
	return s, s.readBadger()
}

// load puts our own files of a real folder into the crashfs, durable.
func (s *scene) load(real, path string) error {
	entries, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(real, e.Name()), filepath.Join(path, e.Name())
		switch {
		case e.IsDir():
			err = errors.Join(s.own.MkdirAll(to), s.load(from, to))
		case isOurs(path, e.Name()):
			err = s.loadFile(from, to)
		}
		if err != nil {
			return err
		}
	}
	return s.own.SyncDir(path)
}

func (s *scene) loadFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := s.own.Create(to)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}

// isOurs tells whether a file is written through storage.FS.
func isOurs(dir, name string) bool {
	return name != "LOCK" && (!isBadger(dir) || strings.HasPrefix(name, "durable") || strings.HasPrefix(name, "forgotten") || name == "DISCARD.tmp")
}

func isBadger(dir string) bool { return strings.HasPrefix(filepath.Base(dir), "badger-") }

// replay does everything that the journal says.
func (s *scene) replay(records []record) error {
	ended := map[int64]int{}
	for i, r := range records {
		if r.kind == synced {
			ended[r.at] = i
		}
	}
	files := map[uint32]storage.File{}
	names := map[uint32]string{}
	now := map[string]bool{}
	for i, r := range records {
		var err error
		switch r.kind {
		case created:
			files[r.file], err = s.own.Create(r.path)
			names[r.file] = r.path
		case opened:
			files[r.file], err = s.own.Open(r.path)
			names[r.file] = r.path
		case wrote:
			_, err = files[r.file].WriteAt(r.data, r.at)
		case truncated:
			err = files[r.file].Truncate(r.at)
		case renamed:
			err = s.own.Rename(r.path, string(r.data))
		case removed:
			err = s.own.Remove(r.path)
		case made:
			err = s.own.MkdirAll(r.path)
		case syncing, syncingDir:
			end, ok := ended[r.at]
			if !ok {
				break
			}
			// A sync covers what was written before it began.
			if r.kind == syncingDir {
				err = s.own.SyncDir(r.path)
				break
			}
			err = files[r.file].Sync()
			if filepath.Base(filepath.Dir(names[r.file])) == "log" {
				s.syncs = append(s.syncs, span{i, end})
			}
		case acked:
			r.file = uint32(i)
			s.acks = append(s.acks, r)
		case noted:
			s.follow(r)
		}
		if err != nil {
			return fmt.Errorf("record %d of the journal: %w", i, err)
		}
		follow(now, r)
		s.killedUs = r.timeUs
	}
	s.inside = slices.Sorted(maps.Keys(now))
	return nil
}

func (s *scene) follow(r record) {
	switch r.path {
	case "stopped":
		s.stopped = true
	case "collected":
		s.collected = int(r.at)
	case "change":
		s.changeAt = len(s.acks)
	case "changed":
		s.level, s.changedAt = string(r.data), len(s.acks)
	}
}

// follow keeps the list of what is going on.
func follow(now map[string]bool, r record) {
	switch what := moment(r); {
	case what == "flush", what == "barrier", what == "rotation", what == "stop", what == "trim" && r.kind == renamed:
		now[what] = true
	case what == "flushed":
		delete(now, "flush")
	case what == "rotated": // to a new segment, or to one that was trimmed
		delete(now, "rotation")
		delete(now, "trim")
	case what == "durable" && r.kind == renamed:
		delete(now, "barrier")
	}
}

// readBadger reads Badger's mapped files as they are and as the last whole copy has them; without a copy, as the life found them.
func (s *scene) readBadger() error {
	dirs, err := filepath.Glob(filepath.Join(s.disk(), dataDir, "badger-*"))
	if err != nil {
		return err
	}
	copies, err := filepath.Glob(filepath.Join(s.copies(), "0*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		old := filepath.Join(s.base(), dataDir, name)
		if len(copies) > 0 {
			old = slices.Max(copies)
		}
		if s.old[name], err = readMapped(old); err != nil {
			return err
		}
		if s.present[name], err = readMapped(dir); err != nil {
			return err
		}
	}
	return nil
}

// cut makes one of the states in which a power cut could have left the disk. Nothing but the seed decides which.
func (s *scene) cut(seed uint64, to string) error {
	r := rand.New(rand.NewPCG(seed, 0))
	chances := []float64{0, 0.03, 0.5, 0.5, 0.97, 1}
	keep := coin{r, chances[r.IntN(len(chances))]}
	if err := s.own.Cut(rand.New(keep)).Export(to); err != nil {
		return err
	}
	keep.heads = chances[r.IntN(len(chances))]
	for _, name := range slices.Sorted(maps.Keys(s.present)) {
		dir := filepath.Join(to, dataDir, name)
		if _, err := os.Stat(dir); err != nil {
			continue // the folder's name was not durable
		}
		if err := copyUnmapped(filepath.Join(s.disk(), dataDir, name), dir); err != nil {
			return err
		}
		for file, p := range keep.cutMapped(s.old[name], s.present[name]) {
			if err := p.write(filepath.Join(dir, file)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutMapped decides for all files of a folder.
func (c coin) cutMapped(old, present map[string]*pages) map[string]*pages {
	after := map[string]*pages{}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if p := c.cut(old[name], present[name]); p != nil {
			after[name] = p
		}
	}
	// Removals reach the disk in order. Badger makes a file empty before it removes it.
	removed := slices.DeleteFunc(slices.Sorted(maps.Keys(old)), func(name string) bool { return present[name] != nil })
	for _, name := range removed[c.r.IntN(len(removed)+1):] {
		after[name] = old[name]
		if c.toss() {
			after[name] = &pages{}
		}
	}
	return after
}

// copyUnmapped copies what Badger fsyncs itself.
func copyUnmapped(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isMapped(e.Name()) || isOurs(from, e.Name()) {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// copyDisk copies a whole folder; holes stay holes.
func copyDisk(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.MkdirAll(target, 0o750)
		}
		p, err := readPages(path)
		if err != nil {
			return err
		}
		return p.write(target)
	})
}

// promised is the least ticket that must be there after a power cut at the moment of the kill. A change of the level makes durable what was
// acknowledged before; what is acknowledged while it goes on, nobody can tell under which level.
func (s *scene) promised() (ticket uint64) {
	for i, a := range s.acks {
		promise := s.stopped
		switch {
		case i >= s.changedAt:
			promise = promise || s.level == "always" || s.level == "everysec" && s.killedUs-a.timeUs > everysecUs
		case i < s.changeAt:
			promise = true
		}
		if promise {
			ticket = max(ticket, uint64(a.at))
		}
	}
	return ticket
}

// lastAck is the last ticket that was acknowledged.
func (s *scene) lastAck() (ticket uint64) {
	for _, a := range s.acks {
		ticket = max(ticket, uint64(a.at))
	}
	return ticket
}

// everysecUs is how long what was acknowledged at level everysec may take to be durable.
const everysecUs = 1_500_000

// marked returns a ticket whose entry is below a mark that is durable too: some whole syncs came after its acknowledgement.
func (s *scene) marked(r *rand.Rand) (ticket uint64, ok bool) {
	if len(s.syncs) < 5 {
		return 0, false
	}
	before := s.syncs[len(s.syncs)-5].begin
	n := 0
	for n < len(s.acks) && int(s.acks[n].file) < before {
		n++
	}
	if n == 0 {
		return 0, false
	}
	return uint64(s.acks[n-1-r.IntN(min(n, 50))].at), true
}
