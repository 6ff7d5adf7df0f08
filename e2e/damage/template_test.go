package damage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"sett/replication"
)

// orders are what a child process is told to do.
type orders struct {
	Dir   string
	Seed  uint64
	Fsync replication.Fsync
	Clean bool // how the last life ends

	// A life of a template: operations [From, To).
	From, To int
	Compact  bool

	// Trials [From, To) of a template, in the classes that match a regular expression.
	Trials bool
	Aim    string
}

const (
	childEnv = "SETT_DAMAGE_CHILD"

	lives             = 5
	operationsPerLife = 900
	operations        = lives * operationsPerLife
)

// startChild runs this test binary with orders. It inherits nothing else.
func startChild(o orders) (*exec.Cmd, *bytes.Buffer, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GOTRACEBACK=all")
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr, nil
}

// template is a data directory with known contents.
type template struct {
	number int
	orders
	files   map[string][]byte // without the zeros at their ends
	sizes   map[string]int64
	regions map[string][]region
}

// makeTemplate has a child live its lives.
func makeTemplate(t *testing.T, number int, seed uint64) *template {
	kinds := []struct {
		fsync replication.Fsync
		clean bool
	}{{replication.Everysec, true}, {replication.Everysec, false}, {replication.Always, false}}
	kind := kinds[number%len(kinds)]
	tmpl := &template{number: number, orders: orders{
		Dir: filepath.Join(workDir(t), "template"), Seed: seed + uint64(number), Fsync: kind.fsync, Clean: kind.clean,
		Aim: os.Getenv("SETT_AIM"),
	}}
	for life := range lives {
		o := tmpl.orders
		o.From, o.To = life*operationsPerLife, (life+1)*operationsPerLife
		o.Compact = life == 2 || tmpl.Aim != "" && life == lives-1 // who aims wants to hit what lives
		o.Clean = kind.clean || life%2 == 0 && life < lives-1
		cmd, stderr, err := startChild(o)
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Run()
		if killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(); killed == o.Clean || err != nil && o.Clean {
			t.Fatalf("a life of template %d ended with %v:\n%s", number, err, stderr)
		}
	}
	if err := tmpl.load(); err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// live is a life of a template. Its last eighth of operations is in the log only, the eighth before it in Badger but below no barrier.
func live(o orders) error {
	n, err := start(o.Dir, o.Fsync)
	if err != nil {
		return err
	}
	if err := n.data.DropLeftStaged(); err != nil {
		return err
	}
	step := (o.To - o.From) / 8
	for i := o.From; i < o.To; i++ {
		op := operationAt(o.Seed, i)
		if err := n.multi(op.db, op.args, []string{"SET", seqName, fmt.Sprint(i)}); err != nil {
			return err
		}
		if (i+1-o.From)%step != 0 {
			continue
		}
		eighth := (i + 1 - o.From) / step
		if eighth < 8 {
			if err := n.store.Flush(); err != nil {
				return err
			}
		}
		switch {
		case eighth == 3 || eighth == 6:
			err = n.store.Barrier()
		case eighth == 4 && o.Compact:
			err = n.store.Compact()
		case eighth == 7:
			err = n.solo.SetFsync(o.Fsync) // fsyncs, so that there is a mark near the end
		}
		if err != nil {
			return err
		}
	}
	if o.Clean {
		return n.stop()
	}
	if err := n.abandon(); err != nil {
		return err
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// load reads the directory into memory.
func (tmpl *template) load() error {
	tmpl.files, tmpl.sizes = make(map[string][]byte), make(map[string]int64)
	err := filepath.WalkDir(tmpl.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(tmpl.Dir, path)
		tmpl.sizes[name] = int64(len(b))
		tmpl.files[name] = bytes.Clone(bytes.TrimRight(b, "\x00"))
		return nil
	})
	if err == nil {
		tmpl.regions, err = tmpl.findRegions()
	}
	return err
}

// write makes a data directory like the template, with one change.
func (tmpl *template) write(dir string, c change) error {
	for name, b := range tmpl.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			return err
		}
		if err := os.Truncate(path, tmpl.sizes[name]); err != nil {
			return err
		}
	}
	return c.apply(dir)
}

// workDir is a folder of the test's, in memory if there is room: a trial writes and fsyncs a whole data directory.
func workDir(t *testing.T) string {
	var st syscall.Statfs_t
	parent := t.TempDir()
	if err := syscall.Statfs("/dev/shm", &st); err == nil && st.Bavail*uint64(st.Bsize) > 1<<30 {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "sett-damage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	return dir
}
