package commands

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

const commandsPage = "../docs/commands.md"

// TestCommandsPage: docs/commands.md is the table, and what Redis has beyond it.
func TestCommandsPage(t *testing.T) {
	want := renderPage(NewTable(), parseSyntax())
	if *update {
		if err := os.WriteFile(commandsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(commandsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says: make docs", commandsPage)
	}
}

func renderPage(table *Table, all []syntax) string {
	var page strings.Builder
	have, total := 0, 0
	for _, s := range all {
		if s.group == "sett" || s.group == "sentinel" {
			continue
		}
		total++
		if table.Find([]byte(s.name)) != nil {
			have++
		}
	}
	fmt.Fprintf(&page, `# Commands

<!-- Made from the command table by "make docs". -->

sett has %d of the %d commands and subcommands of Redis 7.2. What each does and answers is what [Redis' documentation](https://redis.io/commands) says; where
it is not, [differences.md](differences.md) says so. Versions and complexities are those that Redis states. COMMAND DOCS says the same as this page.
`, have, total)
	for _, group := range []string{"string", "bitmap", "hyperloglog", "generic", "hash", "list", "set", "sorted-set", "stream", "geo", "pubsub", "transactions",
		"scripting", "connection", "server", "cluster", "sentinel", "sett"} {
		fmt.Fprintf(&page, "\n## %s%s\n\n", strings.ToUpper(group[:1]), group[1:])
		renderGroup(&page, table, all, group)
	}
	return page.String()
}

func renderGroup(page *strings.Builder, table *Table, all []syntax, group string) {
	var missing []string
	rows := 0
	for _, s := range all {
		if s.group != group {
			continue
		}
		row := table.Find([]byte(s.name))
		if row == nil {
			missing = append(missing, "`"+showName(s.name)+"`")
			continue
		}
		if len(row.Subcommands) > 0 && row.Arity < -1 {
			continue // it does nothing by itself
		}
		if rows == 0 {
			page.WriteString("| command | since | complexity | |\n|---|---|---|---|\n")
		}
		rows++
		usage := strings.TrimSpace(showName(s.name) + " " + showArguments(s.args, " "))
		summary := row.Summary
		if row.Deprecated != "" {
			summary += " (deprecated since " + row.Deprecated + ": " + row.ReplacedBy + ")"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", cell(usage), row.Since, cell(row.Complexity), cell(summary))
	}
	if len(missing) > 0 {
		if rows > 0 {
			page.WriteString("\n")
		}
		fmt.Fprintf(page, "Not yet: %s.\n", strings.Join(missing, ", "))
	}
}

func showName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "|", " ")) }

// cell keeps text from ending a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// showArguments writes arguments as Redis' documentation does: [optional], one | several, and … for any number.
func showArguments(args []argument, between string) string {
	var shown []string
	for _, a := range args {
		shown = append(shown, a.show())
	}
	return strings.Join(shown, between)
}

func (a *argument) show() string {
	text := a.name
	switch a.kind {
	case "pure-token":
		text = ""
	case "oneof":
		text = showArguments(a.parts, " | ")
		if !a.optional || a.hasToken {
			text = "<" + text + ">"
		}
	case "block":
		text = showArguments(a.parts, " ")
	}
	one := text
	if a.hasToken {
		one = strings.TrimSpace(a.token + " " + text)
	}
	if a.multiple {
		more := text
		if a.tokenEach {
			more = one
		}
		one += " [" + more + " …]"
	}
	if a.optional {
		one = "[" + one + "]"
	}
	return one
}
