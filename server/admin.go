package server

import (
	"bytes"
	"strings"

	"sett/commands"
	"sett/storage"
)

// Config is what CONFIG works on. Errors of Set and Rewrite are whole error replies.
type Config interface {
	// Get returns names and values in turn.
	Get(patterns ...string) []string
	// Set takes names and values in turn, and sets all of them or none.
	Set(pairs []string) error
	// SetAgreed is Set in a cluster: what its nodes agree on, checked and in its final form, is handed to agree. It comes back by the log.
	SetAgreed(pairs []string, agree func(pairs []string) error) error
	Rewrite() error
}

func configGet(s *session, b *buffers, args [][]byte) {
	if err := s.awaitOwn(); err != nil {
		fail(b, err)
		return
	}
	pairs := s.server.opts.Config.Get(texts(args[2:])...)
	if s.cluster() != nil && !s.away {
		s.engine.Data.SeeAgreed(&b.call)
	}
	b.out.Map(len(pairs) / 2)
	for _, text := range pairs {
		b.out.BulkString(text)
	}
}

func configSet(s *session, b *buffers, args [][]byte) {
	config, pairs := s.server.opts.Config, texts(args[2:])
	var err error
	if s.server.opts.Clustered {
		err = config.SetAgreed(pairs, func(agreed []string) error { return s.agree(b, agreed) })
	} else {
		err = config.Set(pairs)
	}
	switch {
	case err == nil:
		b.out.Status("OK")
	case err == storage.ErrNotEvaluating: // of a stream: another node leads, where this may be run
		s.decline(b)
	case !commands.ReplyError(&b.out, err):
		b.out.Error(err.Error())
	}
}

func configRewrite(s *session, b *buffers, _ [][]byte) {
	if err := s.server.opts.Config.Rewrite(); err != nil {
		s.server.opts.Logger.Warn("CONFIG REWRITE failed", "err", err)
		b.out.Error(err.Error())
		return
	}
	b.out.Status("OK")
}

func configResetStat(s *session, b *buffers, _ [][]byte) {
	s.resetStats()
	b.out.Status("OK")
}

func configHelp(_ *session, b *buffers, _ [][]byte) {
	help(b, "CONFIG", []string{
		"GET <pattern>",
		"    Return parameters matching the glob-like <pattern> and their values.",
		"SET <directive> <value>",
		"    Set the configuration <directive> to <value>.",
		"RESETSTAT",
		"    Reset statistics reported by the INFO command.",
		"REWRITE",
		"    Rewrite the configuration file.",
	})
}

func moduleHelp(_ *session, b *buffers, _ [][]byte) {
	help(b, "MODULE", []string{
		"LIST",
		"    Return a list of loaded modules.",
		"LOAD <path> [<arg> ...]",
		"    Load a module library from <path>, passing to it any optional arguments.",
		"LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
		"    Load a module library from <path>, while passing it module configurations and optional arguments.",
		"UNLOAD <name>",
		"    Unload a module.",
	})
}

// moduleList is empty: nothing can be loaded.
func moduleList(_ *session, b *buffers, _ [][]byte) { b.out.Array(0) }

func refuseModule(_ *session, b *buffers, _ [][]byte) { fail(b, errNoModules) }

func moduleUnload(_ *session, b *buffers, _ [][]byte) { fail(b, errNoSuchModule) }

// help writes a container's help as Redis does.
func help(b *buffers, container string, lines []string) {
	b.out.Array(len(lines) + 3)
	b.out.Status(container + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, line := range lines {
		b.out.Status(line)
	}
	b.out.Status("HELP")
	b.out.Status("    Prints this help.")
}

// shutdown ends the process. The client gets no reply: it sees the connection close when the process is gone.
func shutdown(s *session, b *buffers, args [][]byte) {
	save, noSave, abort, other := false, false, false, false
	for _, arg := range args[1:] {
		switch strings.ToLower(string(arg)) {
		case "save":
			save = true
		case "nosave":
			noSave = true
		case "now", "force": // there are no replicas to wait for, and no save that could fail by itself
			other = true
		case "abort":
			abort = true
		default:
			fail(b, commands.ErrSyntax)
			return
		}
	}
	if save && noSave || abort && (save || noSave || other) {
		fail(b, commands.ErrSyntax)
		return
	}
	if abort {
		fail(b, errNoShutdown)
		return
	}
	s.server.opts.Logger.Info("SHUTDOWN", "addr", s.addr)
	s.server.stop(!noSave)
	s.after = depart
}

func texts(args [][]byte) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = string(arg)
	}
	return out
}

// is compares an argument with a word without regard to case.
func is(arg []byte, word string) bool {
	return len(arg) == len(word) && bytes.EqualFold(arg, []byte(word))
}
