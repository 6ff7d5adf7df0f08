package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"sett/config"
)

func TestOOMScore(t *testing.T) {
	cfg, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "oom_score_adj")
	if err := os.WriteFile(path, []byte("100\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &oomScore{path: path, logger: slog.New(slog.DiscardHandler)}
	cfg.OnChange("oom_score_adj", func(v config.Value) error { return o.apply(v, cfg.Value("oom_score_adj_values")) })
	cfg.OnChange("oom_score_adj_values", func(v config.Value) error { return o.apply(cfg.Value("oom_score_adj"), v) })
	for _, step := range []struct{ name, value, want string }{
		{"oom-score-adj", "no", "100\n"},
		{"oom-score-adj-values", "50 1 1", "100\n"},
		{"oom-score-adj", "yes", "150"},
		{"oom-score-adj-values", "2000 1 1", "1000"},
		{"oom-score-adj", "absolute", "1000"},
		{"oom-score-adj-values", "-7 1 1", "-7"},
		{"oom-score-adj", "no", "100"},
	} {
		if err := cfg.Set([]string{step.name, step.value}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != step.want {
			t.Errorf("%s %s: %q, want %q (%v)", step.name, step.value, got, step.want, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	const want = "ERR CONFIG SET failed (possibly related to argument 'oom-score-adj') - Failed to apply new oom_score_adj configuration, check server logs."
	if err := cfg.Set([]string{"oom-score-adj", "absolute"}); err == nil || err.Error() != want {
		t.Errorf("without the file: %v", err)
	}
}
