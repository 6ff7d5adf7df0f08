package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.toml and docs/configuration.md anew")

const (
	settingsFile = "../config.toml"
	settingsPage = "../docs/configuration.md"
)

// TestSettingsFile: config.toml is the table, and says what a server without a file runs with.
func TestSettingsFile(t *testing.T) {
	sameAsFile(t, settingsFile, renderFile())
	c, err := Load(settingsFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	builtIn := newConfig()
	builtIn.derive()
	data, err := os.ReadFile(settingsFile)
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseTOML(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range c.keys {
		got, want := c.values[k], builtIn.values[builtIn.keys[i]]
		if k.Name == "dir" { // relative to where the server starts
			if k.literal(Value{text: k.Default}) != string(data[d.find(k).start:d.find(k).end]) {
				t.Errorf("dir is %s", data[d.find(k).start:d.find(k).end])
			}
			continue
		}
		if got != want {
			t.Errorf("%s is %v in the file and %v by default", k.TOML(), got, want)
		}
		if (d.find(k) != nil) != (k.Meaning == Works) {
			t.Errorf("%s: the file lists the keys that work, and no other", k.TOML())
		}
	}
}

// TestSettingsPage: docs/configuration.md is the table.
func TestSettingsPage(t *testing.T) {
	sameAsFile(t, settingsPage, renderPage())
}

func sameAsFile(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says: run make docs", file)
	}
}

func renderFile() string {
	var b strings.Builder
	comment := func(text string) {
		for _, line := range wrap(text, 110) {
			b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
		}
	}
	comment("The settings of sett. Each value here is the built-in default: a server without a file runs with exactly these.")
	comment("")
	comment(`Sizes are whole numbers of bytes, or strings with KiB, MiB, GiB, TiB (kb, mb, gb mean the same, as in Redis). Durations are strings ` +
		`such as "200ms", "1s", "5m". "auto" is computed as the comment says.`)
	comment("--set key=value on the command line wins over the file: --set port=7000 --set storage.flush_interval=200ms. CONFIG GET shows every key. " +
		"What CONFIG SET can change while the server runs is called live; CONFIG REWRITE writes it back here.")
	comment("The parameters of Redis that do nothing in this version are taken as well, with - written as _: docs/configuration.md lists them.")
	comment("Generated from the table in the config package: make docs.")
	for _, g := range settings() {
		b.WriteString("\n")
		if g.Table != "" {
			b.WriteString("[" + g.Table + "]\n")
		} else {
			comment("---- " + g.Title + " ----")
		}
		if g.About != "" {
			comment(g.About)
		}
		for i := range g.Keys {
			k := &g.Keys[i]
			b.WriteString("\n")
			comment(k.Effect)
			comment(facts(k))
			_, leaf := k.place()
			fmt.Fprintf(&b, "%s = %s\n", leaf, defaultLiteral(k))
		}
	}
	return b.String()
}

// facts is unit, default, range and when the key can be changed.
func facts(k *Key) string {
	words := []string{"Default: " + defaultWords(k)}
	if k.Kind != Text && k.Kind != List {
		words = append(words, "Takes: "+k.Allowed())
	}
	if u := unitWords(k); u != "" {
		words = append([]string{"Unit: " + u}, words...)
	}
	return strings.Join(append(words, changeWords(k)), ". ") + "."
}

func unitWords(k *Key) string {
	switch {
	case k.Unit != "":
		return k.Unit
	case k.Kind == Duration:
		return "duration"
	default:
		return ""
	}
}

func changeWords(k *Key) string {
	switch {
	case k.Agreed:
		return "Live; CONFIG SET sets it on all nodes of a cluster"
	case k.Change == Live:
		return "Live"
	}
	return "Read at the start"
}

func defaultWords(k *Key) string {
	if k.Rule != "" {
		return k.Default + ", which is " + k.Rule
	}
	return k.Default
}

// defaultLiteral writes the default as the file does; dir as it was given, not as it was found.
func defaultLiteral(k *Key) string {
	if k.Kind == Text {
		return quote(k.Default)
	}
	v, err := k.parse(k.Default, k.Default, gib)
	if err != nil {
		panic(err)
	}
	return k.literal(v)
}

// wrap breaks a text into lines.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) > width:
			lines = append(lines, word)
		default:
			*last += " " + word
		}
	}
	return lines
}

const pageIntro = `# Configuration

Generated from the table in ` + "`config/`" + `: ` + "`make docs`" + `.

` + "`sett --config FILE --set key=value …`" + ` — without ` + "`--config`" + ` no file is read and the defaults hold. The file is TOML; ` + "`--set`" + ` wins over it.
` + "`config.toml`" + ` has every setting below with its default. The file, ` + "`--set`" + ` and CONFIG GET, SET and REWRITE are one list.

* **Names.** A parameter of Redis has its own name, at the top level of the file, with ` + "`-`" + ` written as ` + "`_`" + ` (` + "`tcp-keepalive`" + ` → ` + "`tcp_keepalive`" + `).
  sett's own are at the top level or in tables; CONFIG and ` + "`--set`" + ` write a key of a table with a dot: ` + "`storage.flush_interval`" + `.
* **Sizes** are bytes, or a number with ` + "`KiB MiB GiB TiB`" + `, or Redis' units (` + "`kb mb gb`" + ` are powers of 1024, ` + "`k m g`" + ` powers of 1000).
  **Durations** are ` + "`200ms`, `1s`, `5m`" + `. In the file both are strings: ` + "`\"64MiB\"`, `\"1s\"`" + `. ` + "`auto`" + ` is computed as the table says.
* **Live** settings can be changed by CONFIG SET while the server runs. For the others CONFIG SET accepts the value they have, and refuses any other
  with ` + "`can't set immutable config`" + `. CONFIG SET with several settings changes all of them or none.
* **On all nodes**: what decides what commands do to data, or answer. In a cluster CONFIG SET of these, at any node, sets them on all, for good:
  [cluster.md](cluster.md#settings). On a server that is alone they are like all others that are live.
* **CONFIG REWRITE** writes the running values into the file: a value that differs is replaced where it stands, one that the file does not have is added,
  comments and order stay. It never writes a file that would not load to the same values.
* **Mistakes** — an unknown key, a wrong type, a value out of range — end the start with exit code 2 and a line for each: file, line, key, what is allowed.

## Settings that do something
`

func renderPage() string {
	var b strings.Builder
	b.WriteString(pageIntro)
	for _, g := range settings() {
		title := g.Title
		if g.Table != "" {
			title += " `[" + g.Table + "]`"
		}
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		if g.About != "" {
			b.WriteString(g.About + "\n\n")
		}
		b.WriteString("| setting | default | unit | takes | live | effect |\n|---|---|---|---|---|---|\n")
		for i := range g.Keys {
			k := &g.Keys[i]
			live := ""
			switch {
			case k.Agreed:
				live = "on all nodes"
			case k.Change == Live:
				live = "yes"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", codeNames(k, "TOML"), defaultWords(k), unitWords(k), k.Allowed(), live, k.Effect)
		}
	}
	b.WriteString("\n## Redis parameters that are refused\n\nOnly the default is accepted: anything else would be a promise that this version does not keep.\n\n" +
		"| parameter | only value | why |\n|---|---|---|\n")
	eachRedisKey(func(_ Group, k *Key) {
		if k.Meaning == Refused {
			fmt.Fprintf(&b, "| %s | `%s` | %s |\n", codeNames(k, ""), quote(k.Default), k.Effect)
		}
	})
	b.WriteString("\n## Redis parameters that are accepted and remembered\n\n" +
		"They have no effect in this version. Values are checked as Redis checks them, kept, shown by CONFIG GET and written by CONFIG REWRITE, so that tools and " +
		"configuration scripts go on working. “at the start” means that CONFIG SET refuses it, as Redis does.\n")
	title := ""
	eachRedisKey(func(g Group, k *Key) {
		if k.Meaning != Remembered {
			return
		}
		if g.Title != title {
			title = g.Title
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| parameter | default | |\n|---|---|---|\n", title, g.About)
		}
		when := ""
		switch {
		case k.Agreed:
			when = "on all nodes"
		case k.Change != Live:
			when = "at the start"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", codeNames(k, ""), quote(k.Default), when)
	})
	return b.String()
}

func eachRedisKey(f func(Group, *Key)) {
	for _, g := range redisParameters() {
		for i := range g.Keys {
			f(g, &g.Keys[i])
		}
	}
}

func codeNames(k *Key, form string) string {
	names := k.names()
	for i := range names {
		if form == "TOML" {
			names[i] = tomlName(names[i])
		}
		names[i] = "`" + names[i] + "`"
	}
	return strings.Join(names, ", ")
}
