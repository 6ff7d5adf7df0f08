package damage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var o orders
	err := json.Unmarshal([]byte(text), &o)
	switch {
	case err != nil:
	case o.Trials:
		err = runTrials(o)
	default:
		err = live(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// trialsPerTemplate is how many trials a template is used for, if there are more than templatesAtLeast times as many.
const (
	trialsPerTemplate = 200
	templatesAtLeast  = 3
)

func TestDamage(t *testing.T) {
	usual := uint64(100)
	if testing.Short() {
		usual = 12
	}
	flips := int(number(t, "SETT_FLIPS", usual))
	seed := number(t, "SETT_SEED", rand.Uint64()>>1)
	t.Logf("SETT_SEED=%d SETT_FLIPS=%d", seed, flips)
	templates := max(templatesAtLeast, (flips+trialsPerTemplate-1)/trialsPerTemplate)
	all := &tally{}
	for i := range templates {
		tmpl := makeTemplate(t, i, seed)
		before := all.trials
		for from, to := 0, flips*(i+1)/templates-flips*i/templates; from < to; {
			from = tmpl.someTrials(t, from, to, all)
		}
		t.Logf("template %d (%v, clean stop: %v): %d trials", i, tmpl.Fsync, tmpl.Clean, all.trials-before)
	}
	t.Logf("\n%s", all)
}

// someTrials has a child do trials until it is done or dead, and returns the next one.
func (tmpl *template) someTrials(t *testing.T, from, to int, all *tally) (next int) {
	o := tmpl.orders
	o.Trials, o.From, o.To = true, from, to
	cmd, stderr, err := startChild(o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var begun, last *result
	for lines := json.NewDecoder(out); ; {
		r := &result{}
		if err := lines.Decode(r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		switch begun = nil; {
		case r.Outcome == "" && r.Failure == "":
			begun = r
		case r.Damaged:
			last = r
		default:
			all.add(t, tmpl, r)
		}
		next = r.Trial + 1
	}
	err = cmd.Wait()
	if begun != nil {
		last = begun
		last.Dir, last.Outcome, last.Detail = fmt.Sprintf("%s-trial-%d", tmpl.Dir, last.Trial), processEnded, fmt.Sprintf("%v\n%s", err, stderr)
		if !mayHide(last.Change.Class) || strings.Contains(last.Detail, hangs) {
			last.Failure = last.Detail
		}
	} else if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if last != nil {
		last.checkAgain()
		all.add(t, tmpl, last)
	}
	return next
}

// checkAgain has sett check look at what a trial left that has met damage.
func (r *result) checkAgain() {
	report, err := check(r.Dir)
	switch {
	case r.Failure != "":
	case err != nil:
		r.Failure = fmt.Sprintf("check afterwards: %v", err)
	case !report.Damaged() && r.Outcome == hiddenButFound:
		r.Outcome = writtenOver
		os.RemoveAll(r.Dir)
	case !report.Damaged():
		r.Failure = fmt.Sprintf("%s (%s), and check afterwards calls it fine", r.Outcome, r.Detail)
	default:
		os.RemoveAll(r.Dir)
	}
}

// tally counts outcomes by class.
type tally struct {
	trials int
	counts map[string]map[string]int
}

func (a *tally) add(t *testing.T, tmpl *template, r *result) {
	if r.Failure != "" {
		t.Errorf("trial %d of template %d (%v, clean stop: %v), %v: %s\nkept in %s", r.Trial, tmpl.number, tmpl.Fsync, tmpl.Clean, r.Change, r.Failure, r.Dir)
	} else if testing.Verbose() {
		t.Logf("%v: %s: %s", r.Change, r.Outcome, r.Detail)
	}
	if a.counts == nil {
		a.counts = make(map[string]map[string]int)
	}
	if a.counts[r.Change.Class] == nil {
		a.counts[r.Change.Class] = make(map[string]int)
	}
	a.counts[r.Change.Class][r.Outcome]++
	a.trials++
}

// String is a table in Markdown.
func (a *tally) String() string {
	columns := []string{refusedAtStart, corruptAtRead, foundByCheck, hiddenButFound, writtenOver, cutOff, processEnded, noted, noEffect}
	var b strings.Builder
	fmt.Fprintf(&b, "| what was hit | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	var classes []string
	for class := range a.counts {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	for _, class := range classes {
		fmt.Fprintf(&b, "| %s |", class)
		for _, column := range columns {
			if n := a.counts[class][column]; n > 0 {
				fmt.Fprintf(&b, " %d", n)
			}
			b.WriteString(" |")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
