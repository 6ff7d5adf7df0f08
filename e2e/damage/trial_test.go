package damage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"sett/replication"
	"sett/replication/wal"
	"sett/storage"
	"sett/types"
)

// Outcomes of a trial.
const (
	refusedAtStart = "refused at start"
	corruptAtRead  = "-CORRUPT at read"
	hiddenButFound = "absent or older; check finds it"
	cutOff         = "end of log cut, as after a power cut"
	foundByCheck   = "right answers; check finds it"
	writtenOver    = "absent or older; compacted before check came"
	noted          = "right answers; check has a note"
	noEffect       = "right answers; nothing to find"
	processEnded   = "server dies; check finds it"
)

// hangs is what a child says when it ends itself.
const hangs = "the trial hangs"

// result is what a child says of a trial, as a line of JSON.
type result struct {
	Trial   int
	Change  change
	Outcome string
	Detail  string // what was said
	Failure string // what must not be; "" if all is well
	// Dir is still there: the trial failed, or, if Damaged, sett check must find the damage after the stop as well. Badger is not closed then, so
	// it was its child's last.
	Dir     string
	Damaged bool
}

func check(dir string) (*storage.Report, error) {
	return storage.Check(storage.OSFS{}, dir, storage.Checks{
		Log:     replication.Check,
		Records: func(seed *[16]byte) storage.RecordChecker { return types.NewChecker(seed) },
	})
}

// runTrials does trials one by one. Before each it says what it is going to do, so that the parent knows what killed it.
func runTrials(o orders) error {
	tmpl := &template{orders: o}
	if err := tmpl.load(); err != nil {
		return err
	}
	want := modelAfter(o.Seed, operations)
	out := json.NewEncoder(os.Stdout)
	for i := o.From; i < o.To; i++ {
		tr := &trial{tmpl: tmpl, want: want, dir: fmt.Sprintf("%s-trial-%d", o.Dir, i)}
		tr.Trial, tr.Change = i, tmpl.changeAt(i)
		if err := out.Encode(tr.result); err != nil {
			return err
		}
		watchdog := time.AfterFunc(5*time.Minute, func() { panic(hangs) })
		if err := tmpl.write(tr.dir, tr.Change); err != nil {
			return err
		}
		tr.run()
		watchdog.Stop()
		if tr.Failure != "" || tr.Damaged {
			tr.Dir = tr.dir
		} else if err := os.RemoveAll(tr.dir); err != nil {
			return err
		}
		if err := out.Encode(tr.result); err != nil {
			return err
		}
		if tr.Damaged {
			return nil
		}
		runtime.GC() // give the memtables of the node back before the next takes its own
	}
	return nil
}

type trial struct {
	tmpl *template
	want *model
	dir  string
	result
}

func (tr *trial) fail(format string, args ...any) {
	if tr.Failure == "" {
		tr.Failure = fmt.Sprintf(format, args...)
	}
}

func (tr *trial) run() {
	before := tr.look()
	report, err := check(tr.dir)
	if err != nil {
		tr.fail("check: %v", err)
		return
	}
	tr.Detail = firstFinding(report)
	if changed := tr.look().since(before, ""); changed != "" {
		tr.fail("sett check changed %s", changed)
	}
	n, err := start(tr.dir, tr.tmpl.Fsync)
	if err != nil {
		tr.refused(err, report, before)
		return
	}
	answers, err := tr.ask(n, report)
	if err != nil {
		tr.fail("%v", err)
	}
	tr.judge(answers, report)
	if err := n.stop(); err != nil {
		tr.fail("stop: %v", err)
	}
	// Who builds the filter of absent keys may have met what no answer did.
	if met := n.store.Damage(); met != "" && !tr.Damaged {
		if tr.Damaged = true; !report.Damaged() {
			tr.fail("%s, and check calls it fine", met)
		}
	}
}

// refused judges a start that refused.
func (tr *trial) refused(err error, report *storage.Report, before snapshot) {
	tr.Outcome, tr.Detail = refusedAtStart, err.Error()
	if !errors.As(err, new(*storage.RefusedError)) && !errors.As(err, new(*wal.DamageError)) && !errors.As(err, new(*wal.VersionError)) {
		tr.fail("the start failed, but not because it refused: %v", err)
	}
	if !report.Damaged() {
		tr.fail("the start refuses (%v) what check calls fine", err)
	}
	// The log may be settled before Badger is looked at.
	if changed := tr.look().since(before, "log"); changed != "" {
		tr.fail("the refused start (%v) changed %s", err, changed)
	}
}

// ask compares a node's answers with the model, as of the last operation that it has.
func (tr *trial) ask(n *node, report *storage.Report) (a answers, err error) {
	last, err := n.sequence()
	if err != nil {
		return a, err
	}
	want := tr.want
	if last < operations-1 && last >= 0 && strings.HasPrefix(tr.Change.Class, "log: ") {
		want = modelAfter(tr.tmpl.Seed, last+1)
		tr.Outcome = cutOff
		if tr.tmpl.Clean {
			tr.fail("%d operations are gone after a clean stop", operations-1-last)
		}
		if len(report.Findings) == 0 {
			tr.fail("%d operations are gone, and check has nothing to say", operations-1-last)
		}
	}
	if a, err = n.ask(tr.tmpl.Seed, want); err != nil || tr.Trial%3 > 0 {
		return a, err
	}
	// Badger's compactions read damaged blocks, too, and write new ones with right checksums.
	if err := n.store.Compact(); err != nil {
		return a, err
	}
	n.store.DropCache()
	b, err := n.ask(tr.tmpl.Seed, want)
	a.and(b)
	return a, err
}

func (tr *trial) judge(a answers, report *storage.Report) {
	tr.Damaged = a.Hidden+a.Corrupt > 0
	switch {
	case a.Wrong > 0:
		tr.fail("wrong answers: %s; check: %s", a.Example, firstFinding(report))
	case a.Hidden > 0 && !mayHide(tr.Change.Class):
		tr.fail("keys are hidden: %s; check: %s", a.Example, firstFinding(report))
	case tr.Damaged && !report.Damaged():
		tr.fail("%s, and check calls it fine", a.Example)
	case tr.Outcome != "":
	case a.Hidden > 0:
		tr.Outcome, tr.Detail = hiddenButFound, a.Example
	case a.Corrupt > 0:
		tr.Outcome, tr.Detail = corruptAtRead, a.Example
	case report.Damaged():
		tr.Outcome = foundByCheck
	case len(report.Findings) > 0:
		tr.Outcome = noted
	default:
		tr.Outcome = noEffect
	}
}

func firstFinding(r *storage.Report) string {
	for _, f := range r.Findings {
		if f.Damage {
			return f.String()
		}
	}
	if len(r.Findings) > 0 {
		return r.Findings[0].String()
	}
	return "fine"
}

// snapshot is what a directory looks like from outside.
type snapshot map[string]string

func (tr *trial) look() snapshot {
	s := make(snapshot)
	filepath.WalkDir(tr.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil {
			name, _ := filepath.Rel(tr.dir, path)
			s[name] = fmt.Sprint(st.Size(), st.ModTime().UnixNano())
		}
		return err
	})
	return s
}

// since names files that changed since before, but for those in the folder except, of which only the log's next segment, half made, may be gone.
func (s snapshot) since(before snapshot, except string) string {
	var changed []string
	for name := range before {
		if _, ok := s[name]; !ok && (except == "" || name != filepath.Join(except, "prepare.tmp")) {
			changed = append(changed, name)
		}
	}
	for name, state := range s {
		if before[name] != state && (except == "" || filepath.Dir(name) != except) {
			changed = append(changed, name)
		}
	}
	return strings.Join(changed, ", ")
}
