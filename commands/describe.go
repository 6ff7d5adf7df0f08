package commands

import (
	"strings"

	"sett/resp"
)

// ReplyCommand answers COMMAND and its subcommands from the table. args are those of the whole command, whose arity fits. The error is
// the reply that Redis gives instead.
func (t *Table) ReplyCommand(w *resp.Writer, args [][]byte) error {
	if len(args) == 1 {
		t.replyAll(w)
		return nil
	}
	switch sub := args[1]; {
	case is(sub, "count"):
		w.Int(int64(len(t.rows)))
	case is(sub, "list"):
		return t.replyList(w, args[2:])
	case is(sub, "info"):
		t.replyInfo(w, args[2:])
	case is(sub, "docs"):
		t.replyDocs(w, args[2:])
	case is(sub, "getkeys"):
		return t.replyKeys(w, args[2:], false)
	case is(sub, "getkeysandflags"):
		return t.replyKeys(w, args[2:], true)
	case is(sub, "help"):
		ReplyHelp(w, commandHelp)
	default:
		return ErrUnknownSubcommand("command", sub)
	}
	return nil
}

var commandHelp = []string{
	"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"(no subcommand)",
	"    Return details about all Redis commands.",
	"COUNT",
	"    Return the total number of commands in this Redis server.",
	"LIST",
	"    Return a list of all commands in this Redis server.",
	"INFO [<command-name> ...]",
	"    Return details about multiple Redis commands.",
	"    If no command names are given, documentation details for all",
	"    commands are returned.",
	"DOCS [<command-name> ...]",
	"    Return documentation details about multiple Redis commands.",
	"    If no command names are given, documentation details for all",
	"    commands are returned.",
	"GETKEYS <full-command>",
	"    Return the keys from a full Redis command.",
	"GETKEYSANDFLAGS <full-command>",
	"    Return the keys and the access flags from a full Redis command.",
	"HELP",
	"    Prints this help.",
}

// ReplyHelp writes the lines of a container's HELP.
func ReplyHelp(w *resp.Writer, lines []string) {
	w.Array(len(lines))
	for _, line := range lines {
		w.Status(line)
	}
}

func (t *Table) replyAll(w *resp.Writer) {
	w.Array(len(t.rows))
	for _, row := range t.rows {
		row.replyInfo(w)
	}
}

// Find returns the row of a name, nil if there is none. That of a subcommand is "config|get".
func (t *Table) Find(name []byte) *Row {
	container, sub, found := strings.Cut(string(name), "|")
	row := t.Lookup([]byte(container))
	if row == nil || !found {
		return row
	}
	return row.subcommand([]byte(sub))
}

func (t *Table) replyInfo(w *resp.Writer, names [][]byte) {
	if len(names) == 0 {
		t.replyAll(w)
		return
	}
	w.Array(len(names))
	for _, name := range names {
		if row := t.Find(name); row != nil {
			row.replyInfo(w)
		} else {
			w.Null()
		}
	}
}

func (r *Row) replyInfo(w *resp.Writer) {
	w.Array(10)
	w.BulkString(r.Name)
	w.Int(int64(r.Arity))
	replyBits(w, uint32(r.Flags), flagNames[:], "")
	w.Int(int64(r.First))
	w.Int(int64(r.Last))
	w.Int(int64(r.Step))
	replyBits(w, uint32(r.Categories), categoryNames[:], "@")
	w.Set(len(r.Tips))
	for _, tip := range r.Tips {
		w.BulkString(tip)
	}
	w.Set(len(r.Keys))
	for i := range r.Keys {
		r.Keys[i].reply(w)
	}
	if len(r.Subcommands) == 0 {
		w.Set(0) // Redis' choice
		return
	}
	w.Array(len(r.Subcommands))
	for _, sub := range r.Subcommands {
		sub.replyInfo(w)
	}
}

// replyBits writes the set of the names whose bits are set.
func replyBits(w *resp.Writer, bits uint32, names []string, prefix string) {
	n := 0
	for i := range names {
		n += int(bits >> i & 1)
	}
	w.Set(n)
	for i, name := range names {
		if bits>>i&1 != 0 {
			w.Status(prefix + name)
		}
	}
}

func (s *KeySpec) reply(w *resp.Writer) {
	if s.Notes != "" {
		w.Map(4)
		w.BulkString("notes")
		w.BulkString(s.Notes)
	} else {
		w.Map(3)
	}
	w.BulkString("flags")
	replyBits(w, uint32(s.Flags), keyFlagNames[:], "")
	w.BulkString("begin_search")
	w.Map(2)
	w.BulkString("type")
	if s.Where != nil {
		w.BulkString("unknown")
		w.BulkString("spec")
		w.Map(0)
		w.BulkString("find_keys")
		w.Map(2)
		w.BulkString("type")
		w.BulkString("unknown")
		w.BulkString("spec")
		w.Map(0)
		return
	}
	if s.Keyword != "" {
		w.BulkString("keyword")
		w.BulkString("spec")
		w.Map(2)
		w.BulkString("keyword")
		w.BulkString(s.Keyword)
		w.BulkString("startfrom")
	} else {
		w.BulkString("index")
		w.BulkString("spec")
		w.Map(1)
		w.BulkString("index")
	}
	w.Int(int64(s.First))
	w.BulkString("find_keys")
	w.Map(2)
	w.BulkString("type")
	if s.Counted {
		w.BulkString("keynum")
		w.BulkString("spec")
		w.Map(3)
		w.BulkString("keynumidx")
		w.Int(0)
		w.BulkString("firstkey")
		w.Int(1)
		w.BulkString("keystep")
		w.Int(int64(s.Step))
		return
	}
	w.BulkString("range")
	w.BulkString("spec")
	w.Map(3)
	w.BulkString("lastkey")
	w.Int(int64(s.Last))
	w.BulkString("keystep")
	w.Int(int64(s.Step))
	w.BulkString("limit")
	w.Int(0)
}

func (t *Table) replyDocs(w *resp.Writer, names [][]byte) {
	rows := t.rows
	if len(names) > 0 {
		rows = nil
		for _, name := range names {
			if row := t.Find(name); row != nil {
				rows = append(rows, row)
			}
		}
	}
	replyDocs(w, rows)
}

func replyDocs(w *resp.Writer, rows []*Row) {
	w.Map(len(rows))
	for _, row := range rows {
		w.BulkString(row.Name)
		row.replyDocs(w)
	}
}

func (r *Row) replyDocs(w *resp.Writer) {
	texts := []string{"summary", r.Summary, "since", r.Since, "group", r.Group}
	if r.Complexity != "" {
		texts = append(texts, "complexity", r.Complexity)
	}
	var args []argument
	var history []change
	if r.syntax != nil { // a command of Redis
		args, history = r.syntax.args, r.syntax.history
	}
	flags := r.docFlags()
	w.Map(len(texts)/2 + 2*count(r.Deprecated != "") + count(len(flags) > 0, len(history) > 0, len(args) > 0, len(r.Subcommands) > 0))
	for _, text := range texts {
		w.BulkString(text)
	}
	replyFlags(w, "doc_flags", flags)
	if r.Deprecated != "" {
		for _, text := range []string{"deprecated_since", r.Deprecated, "replaced_by", r.ReplacedBy} {
			w.BulkString(text)
		}
	}
	if len(history) > 0 {
		w.BulkString("history")
		replyHistory(w, history)
	}
	if len(args) > 0 {
		w.BulkString("arguments")
		replyArguments(w, args)
	}
	if len(r.Subcommands) > 0 {
		w.BulkString("subcommands")
		replyDocs(w, r.Subcommands)
	}
}

func (r *Row) docFlags() (flags []string) {
	if r.Deprecated != "" {
		flags = append(flags, "deprecated")
	}
	if r.Syscmd {
		flags = append(flags, "syscmd")
	}
	return flags
}

// replyList lists names, those of subcommands included, that pass the filter.
func (t *Table) replyList(w *resp.Writer, args [][]byte) error {
	var passes func(*Row) bool
	switch {
	case len(args) == 0:
		passes = func(*Row) bool { return true }
	case len(args) != 3 || !is(args[0], "filterby"):
		return ErrSyntax
	case is(args[1], "module"):
		passes = func(*Row) bool { return false }
	case is(args[1], "aclcat"):
		bits := category(args[2])
		passes = func(r *Row) bool { return r.Categories&bits != 0 }
	case is(args[1], "pattern"):
		passes = func(r *Row) bool { return resp.Glob(args[2], []byte(r.Name), true) }
	default:
		return ErrSyntax
	}
	mark, n := w.Len(), 0
	for _, row := range t.rows {
		for _, r := range append([]*Row{row}, row.Subcommands...) {
			if passes(r) {
				w.BulkString(r.Name)
				n++
			}
		}
	}
	w.ArrayAt(mark, n)
	return nil
}

func category(name []byte) Categories {
	for i, c := range categoryNames {
		if is(name, c) {
			return 1 << i
		}
	}
	return 0
}

// replyKeys finds the keys among the arguments of a command.
func (t *Table) replyKeys(w *resp.Writer, args [][]byte, flags bool) error {
	row := t.Lookup(args[0])
	if row != nil && len(row.Subcommands) > 0 && len(args) > 1 {
		row = row.subcommand(args[1])
	}
	switch {
	case row == nil:
		return ErrInvalidCommand
	case len(row.Keys) == 0:
		return ErrNoKeyArguments
	case !row.Fits(args):
		return ErrInvalidArity
	}
	mark, n := w.Len(), 0
	ok := row.KeyPositions(args, func(i int, f KeyFlags) {
		n++
		if !flags {
			w.Bulk(args[i])
			return
		}
		w.Array(2)
		w.Bulk(args[i])
		replyBits(w, uint32(f&^KeyVariable), keyFlagNames[:], "")
	})
	if !ok {
		w.Truncate(mark)
		return ErrInvalidKeys
	}
	w.ArrayAt(mark, n)
	return nil
}
