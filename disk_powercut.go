//go:build powercut

package main

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"sett/storage"
	"sett/storage/cutfs"
)

// disk is where the node's own files lie. This one loses its power at SIGUSR2, and SETT_BOOT names the machine's boot. At SIGUSR1 it becomes as slow as the
// file beside it says that is named for it with ".delay": the time that each write takes.
type disk struct{ *cutfs.FS }

func openDisk(dir string) (disk, error) {
	f, err := cutfs.New(dir)
	if err != nil {
		return disk{}, err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range signals {
			if s == syscall.SIGUSR2 {
				f.Cut()
			}
			text, err := os.ReadFile(dir + ".delay")
			must(err)
			delay, err := time.ParseDuration(strings.TrimSpace(string(text)))
			must(err)
			f.SetDelay(delay)
		}
	}()
	return disk{f}, nil
}

// must ends a process that does not do what its test asks for: no verdict would say anything.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (d disk) watch(o *storage.Options) {
	o.OnBarrier = func(badgerDir string) { must(d.Copy(badgerDir)) }
	o.OnValuesSynced = func(badgerDir string) { must(d.CopyValues(badgerDir)) }
}

func (disk) boot() string { return os.Getenv("SETT_BOOT") }
