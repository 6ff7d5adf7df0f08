package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"sett/config"
)

// logs is the logger that all rooms share, and what CONFIG can change about it.
type logs struct {
	*slog.Logger
	level slog.LevelVar
	file  *os.File // of logfile, or nil
}

// openLogs begins to log as the configuration says: to logfile, or to stderr.
func openLogs(cfg *config.Config, stderr io.Writer) (*logs, error) {
	l := &logs{}
	l.setLevel(cfg.String("loglevel"))
	out := stderr
	if path := cfg.String("logfile"); path != "" {
		var err error
		if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return nil, fmt.Errorf("logfile: %w", err)
		}
		out = l.file
	}
	options := &slog.HandlerOptions{Level: &l.level}
	if cfg.String("log_format") == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(out, options))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(out, options))
	}
	return l, nil
}

// setLevel maps Redis' levels to those of slog; verbose lies between debug and notice, which is slog's info.
func (l *logs) setLevel(name string) {
	l.level.Set(map[string]slog.Level{
		"debug": slog.LevelDebug, "verbose": (slog.LevelDebug + slog.LevelInfo) / 2, "notice": slog.LevelInfo, "warning": slog.LevelWarn,
	}[name])
}

func (l *logs) close() {
	if l.file != nil {
		l.file.Close()
	}
}
