// Command sett is a durable Redis server in one binary.
//
// This package wires the rooms together: main.go has the sub-commands and the end of the process, node.go the life of a server, check.go
// sett check, verify.go sett verify, cluster.go and recover.go sett cluster, files.go the limit on open files, logs.go the logger.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"sett/config"
	"sett/replication/wal"
	"sett/storage"
	"sett/threads"
)

// version is set by the Makefile.
var version = "dev"

// Exit codes.
const (
	exitClean   = 0
	exitRuntime = 1 // something failed while the server ran, or could not start for a reason outside its data
	exitUsage   = 2 // the command line or the configuration is wrong
	exitRefused = 3 // the data directory is locked, newer than this build, or damaged; nothing was touched
)

const usage = `sett is a durable Redis server.

  sett [server] [--config FILE] [--set KEY=VALUE]…   start the server; without FILE with the built-in defaults
  sett check DIR                                     look for damage in the data directory of a server that is not running
  sett cluster COMMAND                               show and change a cluster; without COMMAND: what there is
  sett verify                                        ask all nodes of a cluster whether they have the same data
  sett version                                       show the version, and that of the disk format
  sett help                                          show this

config.toml lists all keys. --set takes any of them, and wins over the file.
Exit codes: 0 clean, 1 failed, 2 wrong usage or configuration, 3 data refused.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdout, stderr io.Writer) int {
	command := "server"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "server" && len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
		command, args = "help", nil
	}
	if command == "server" && len(args) > 0 && args[0] == "--version" {
		command, args = "version", nil
	}
	switch command {
	case "server":
		return serve(args, stderr)
	case "check":
		if len(args) != 1 || strings.HasPrefix(args[0], "-") {
			return misuse(stderr, "check takes one data directory")
		}
		return check(args[0], stdout, stderr)
	case "cluster":
		return clusterCommand(args, stdout, stderr)
	case "verify":
		return verifyCommand(args, stdout, stderr)
	case "version":
		fmt.Fprintf(stdout, "sett %s (%s), disk format %d\n", version, runtime.Version(), storage.FormatVersion)
		return exitClean
	case "help":
		io.WriteString(stdout, usage)
		return exitClean
	}
	return misuse(stderr, fmt.Sprintf("there is no command %q", command))
}

func misuse(stderr io.Writer, what string) int {
	fmt.Fprintf(stderr, "sett: %s; try: sett help\n", what)
	return exitUsage
}

// spareProcs is how many more goroutines may run at once than there are processors. Those that flush and compact hold their place for up to 10 ms, also
// while they wait for a page of a mapped file; whose clients are there waits for a place meanwhile. The kernel shares processors out sooner than that.
const spareProcs = 2

// serve is sett server: it runs until a signal, SHUTDOWN, or a fatal error.
func serve(args []string, stderr io.Writer) int {
	file, sets, err := parseServer(args)
	if err != nil {
		return misuse(stderr, err.Error())
	}
	cfg, err := config.Load(file, sets)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "sett: %s\n", strings.TrimRight(line, "\n"))
		}
		return exitUsage
	}
	budget := cfg.Bytes("memory_budget")
	debug.SetMemoryLimit(budget - storage.BudgetFor(budget).Mapped())
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcs)
	}
	threads.Shorten()
	logger, err := openLogs(cfg, stderr)
	if err != nil {
		return misuse(stderr, err.Error())
	}
	defer logger.close()
	signal.Ignore(syscall.SIGHUP) // as Redis: whoever started it may log out

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	// The process must not go on, and nothing that has yet to be tidied up is worth a wait: the log has what was acknowledged.
	fatal := func(err error) {
		logger.Error("sett cannot go on", "err", err)
		os.Exit(exitRuntime)
	}
	started := make(chan struct{})
	go func() {
		select {
		case <-signals: // a replay may take a while, and nothing is lost by ending in the middle of it
			logger.Info("ended before the start was complete")
			os.Exit(exitClean)
		case <-started:
		}
	}()
	n, err := startNode(cfg, logger, fatal)
	close(started)
	if err != nil {
		return failed(stderr, err)
	}
	logger.Info("Ready to accept connections") // as Redis says it: there are programs that wait for this line
	fmt.Fprintf(stderr, "sett ready port=%d dir=%s replayed=%d\n", n.plain.Port, cfg.String("dir"), n.replayed)
	flush := true
	select {
	case s := <-signals:
		flush = n.flushOn(s)
		logger.Info("stopping", "signal", s.String())
	case flush = <-n.stops:
	}
	go func() {
		<-signals
		logger.Warn("a second signal: ending at once; the next start replays the log")
		os.Exit(exitRuntime)
	}()
	if err := n.stop(flush); err != nil {
		return failed(stderr, err)
	}
	logger.Info("stopped")
	return exitClean
}

// failed says in one line what happened, and returns the exit code for it.
func failed(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "sett: %v\n", err)
	var refused *storage.RefusedError
	var damage *wal.DamageError
	var newer *wal.VersionError
	if errors.As(err, &refused) || errors.As(err, &damage) || errors.As(err, &newer) {
		return exitRefused
	}
	return exitRuntime
}

// parseServer reads --config F and --set k=v, also written with "=".
func parseServer(args []string) (file string, sets []string, err error) {
	for len(args) > 0 {
		option, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if option != "--config" && option != "--set" {
			return "", nil, fmt.Errorf("unknown argument %q", option)
		}
		if !joined {
			if len(args) == 0 {
				return "", nil, fmt.Errorf("%s takes a value", option)
			}
			value, args = args[0], args[1:]
		}
		if option == "--set" {
			sets = append(sets, value)
			continue
		}
		if file != "" {
			return "", nil, errors.New("--config may be given once")
		}
		file = value
	}
	return file, sets, nil
}
