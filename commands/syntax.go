package commands

import (
	_ "embed"
	"strings"

	"sett/resp"
)

// syntaxText says what commands take; its head explains the notation.
//
//go:embed syntax.txt
var syntaxText string

// syntax is what COMMAND DOCS shows of a command's arguments.
type syntax struct {
	group   string
	name    string
	args    []argument
	history []change
}

// change is what a version did to the arguments.
type change struct{ version, what string }

// argument is one of them.
type argument struct {
	name, kind string // as COMMAND DOCS shows it
	keySpec    string // of keys: the number of the specification, which may be missing
	token      string
	hasToken   bool // a token may be empty
	optional   bool
	multiple   bool
	tokenEach  bool
	since      string
	deprecated string
	parts      []argument // of oneof and block
}

// parseSyntax reads syntaxText: a header for each group, a line for each command, and behind it indented ones for its history.
func parseSyntax() (all []syntax) {
	group := ""
	for line := range strings.Lines(syntaxText) {
		line = strings.TrimSuffix(line, "\n")
		what, isChange := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			group = strings.Trim(line, "[]")
		case isChange:
			version, what, _ := strings.Cut(what, " ")
			last := &all[len(all)-1]
			last.history = append(last.history, change{version, what})
		default:
			name, rest, _ := strings.Cut(line, " ")
			p := syntaxParser{line: line, rest: rest}
			all = append(all, syntax{group: group, name: name, args: p.list(0)})
		}
	}
	return all
}

// syntaxParser reads the arguments of one line. A mistake in the text is one of the program.
type syntaxParser struct{ line, rest string }

// list reads arguments up to the end byte, which it takes, too; 0 is the end of the line.
func (p *syntaxParser) list(end byte) (args []argument) {
	for {
		p.rest = strings.TrimLeft(p.rest, " |")
		switch {
		case p.rest == "" && end == 0:
			return args
		case p.rest == "":
			panic("commands: syntax.txt: " + p.line)
		case p.take(end):
			return args
		}
		args = append(args, p.argument())
	}
}

func (p *syntaxParser) argument() (a argument) {
	a.name, a.kind = p.word(), "string"
	switch {
	case p.take('!'):
		a.kind, a.token, a.hasToken = "pure-token", p.word(), true
		if a.name == "" {
			a.name = strings.ToLower(a.token)
		}
	case p.take('#'):
		a.kind, a.keySpec = "key", p.word()
	case p.take(':'):
		a.kind = p.word()
	}
	if p.take('=') {
		a.token, a.hasToken = p.word(), true
	}
	switch {
	case p.take('<'):
		a.kind, a.parts = "oneof", p.list('>')
	case p.take('{'):
		a.kind, a.parts = "block", p.list('}')
	}
	a.optional, a.multiple, a.tokenEach = p.take('?'), p.take('*'), p.take('+')
	if p.take('@') {
		a.since = p.version()
	}
	if p.take('^') {
		a.deprecated = p.version()
	}
	return a
}

func (p *syntaxParser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *syntaxParser) word() (word string) {
	if p.take('"') {
		word, p.rest, _ = strings.Cut(p.rest, `"`)
		return word
	}
	return p.span(func(c byte) bool { return c == '-' || c == '_' || c >= '0' && c <= '9' || c|32 >= 'a' && c|32 <= 'z' })
}

func (p *syntaxParser) version() string {
	return p.span(func(c byte) bool { return c == '.' || c >= '0' && c <= '9' })
}

func (p *syntaxParser) span(fits func(byte) bool) (text string) {
	n := 0
	for n < len(p.rest) && fits(p.rest[n]) {
		n++
	}
	text, p.rest = p.rest[:n], p.rest[n:]
	return text
}

// replyArguments writes arguments as COMMAND DOCS shows them.
func replyArguments(w *resp.Writer, args []argument) {
	w.Array(len(args))
	for i := range args {
		args[i].reply(w)
	}
}

func (a *argument) reply(w *resp.Writer) {
	var texts []string // names and values in turn
	add := func(shown bool, name, value string) {
		if shown {
			texts = append(texts, name, value)
		}
	}
	add(a.hasToken, "token", a.token)
	add(a.since != "", "since", a.since)
	add(a.deprecated != "", "deprecated_since", a.deprecated)
	flags := a.flags()
	w.Map(2 + len(texts)/2 + count(a.keySpec != "", len(flags) > 0, len(a.parts) > 0))
	for _, text := range []string{"name", a.name, "type", a.kind} {
		w.BulkString(text)
	}
	if a.keySpec != "" {
		w.BulkString("key_spec_index")
		n, _ := resp.ParseInt([]byte(a.keySpec))
		w.Int(n)
	}
	for _, text := range texts {
		w.BulkString(text)
	}
	replyFlags(w, "flags", flags)
	if len(a.parts) > 0 {
		w.BulkString("arguments")
		replyArguments(w, a.parts)
	}
}

// replyFlags writes an entry of a map that is left out if there are no flags.
func replyFlags(w *resp.Writer, name string, flags []string) {
	if len(flags) == 0 {
		return
	}
	w.BulkString(name)
	w.Set(len(flags))
	for _, flag := range flags {
		w.Status(flag)
	}
}

// count tells how many conditions hold.
func count(conditions ...bool) (n int) {
	for _, holds := range conditions {
		if holds {
			n++
		}
	}
	return n
}

func (a *argument) flags() (names []string) {
	if a.optional {
		names = append(names, "optional")
	}
	if a.multiple {
		names = append(names, "multiple")
	}
	if a.tokenEach {
		names = append(names, "multiple_token")
	}
	return names
}

func replyHistory(w *resp.Writer, history []change) {
	w.Set(len(history))
	for _, c := range history {
		w.Array(2)
		w.BulkString(c.version)
		w.BulkString(c.what)
	}
}
