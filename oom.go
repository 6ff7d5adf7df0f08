package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strconv"

	"sett/config"
)

// oomScore is oom-score-adj: how readily Linux ends this process when memory runs out.
type oomScore struct {
	path   string // /proc/self/oom_score_adj
	base   int    // what the process started with; known once set
	set    bool   // it is not base any more
	logger *slog.Logger
}

// apply takes the mode (no, relative, absolute) and the scores of oom-score-adj-values, of which the first is that of a server that
// follows nobody.
func (o *oomScore) apply(mode config.Value, values config.Value) error {
	if mode.String() == "no" && !o.set {
		return nil
	}
	err := o.change(mode.String(), values.Strings()[0])
	if err != nil {
		o.logger.Warn("oom-score-adj has no effect", "err", err)
		//lint:ignore ST1005 Redis' text
		return errors.New("Failed to apply new oom_score_adj configuration, check server logs.")
	}
	return nil
}

func (o *oomScore) change(mode, text string) error {
	if !o.set {
		now, err := os.ReadFile(o.path)
		if err != nil {
			return err
		}
		if o.base, err = strconv.Atoi(string(bytes.TrimSpace(now))); err != nil {
			return err
		}
	}
	score, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	switch mode {
	case "no":
		score = o.base
	case "yes": // relative
		score += o.base
	}
	score = min(max(score, -1000), 1000)
	if err := os.WriteFile(o.path, []byte(strconv.Itoa(score)), 0); err != nil {
		return err
	}
	o.set = mode != "no"
	return nil
}
