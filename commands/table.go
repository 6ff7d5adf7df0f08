package commands

import (
	"sett/resp"
	"slices"
	"strings"
)

// Table is the command table.
type Table struct {
	rows   []*Row // by name
	byName map[string]*Row
	ids    int
}

// maxNameBytes is longer than any command's name.
const maxNameBytes = 40

// NewTable builds the table from the rows of all families.
func NewTable() *Table {
	t := &Table{byName: make(map[string]*Row)}
	for _, family := range [][]*Row{
		stringRows(), listRows(), hashRows(), hashExpireRows(), blockingRows(), setRows(), zsetRows(), geoRows(), bitmapRows(), hyperLogLogRows(), genericRows(), sortRows(), expireRows(), keyspaceRows(), connectionRows(), transactionRows(), serverRows(),
		replicationRows(), clusterRows(), sentinelRows(), observeRows(), settRows(),
	} {
		for _, row := range family {
			row.complete()
			t.rows = append(t.rows, row)
			if t.byName[row.Name] != nil {
				panic("commands: two rows for " + row.Name)
			}
			t.byName[row.Name] = row
		}
	}
	slices.SortFunc(t.rows, func(a, b *Row) int { return strings.Compare(a.Name, b.Name) })
	for _, row := range t.rows {
		row.ID = t.ids
		t.ids++
	}
	syntaxes := parseSyntax()
	for i := range syntaxes {
		if row := t.Find([]byte(syntaxes[i].name)); row != nil {
			row.syntax = &syntaxes[i]
		}
	}
	for _, row := range t.rows {
		for _, sub := range row.Subcommands {
			sub.ID = t.ids
			t.ids++
		}
	}
	return t
}

// Len is the number of IDs: rows and subcommands.
func (t *Table) Len() int { return t.ids }

// complete derives what follows from the rest of the row, and checks the row's own rules.
func (r *Row) complete() {
	r.Categories |= r.Flags.implied()
	if slices.ContainsFunc(r.Keys, KeySpec.moves) {
		r.Flags |= FlagMovableKeys
	}
	r.First, r.Last, r.Step = legacyRange(r.Keys)
	kinds := 0
	for _, is := range []bool{r.Read != nil, r.Write != nil, r.Session} {
		if is {
			kinds++
		}
	}
	if kinds != 1 || r.Long != nil && r.Read == nil || len(r.Name) >= maxNameBytes {
		panic("commands: broken row " + r.Name)
	}
	for _, sub := range r.Subcommands {
		sub.container = r
		sub.complete()
	}
}

// legacyRange is the one range of positions that covers the key specifications, as COMMAND has shown it since before there were any.
func legacyRange(specs []KeySpec) (first, last, step int) {
	specs = slices.DeleteFunc(slices.Clone(specs), KeySpec.moves)
	if len(specs) == 0 {
		return 0, 0, 0
	}
	first, step = specs[0].First, specs[0].Step
	for _, s := range specs {
		end := s.Last
		if end >= 0 {
			end += s.First
		}
		if last < 0 || end < 0 {
			last = min(last, end)
		} else {
			last = max(last, end)
		}
		first = min(first, s.First)
	}
	return first, last, step
}

// Rows are all rows by name, containers without their subcommands.
func (t *Table) Rows() []*Row { return t.rows }

// Lookup returns the row of a name in upper or lower case, or nil. For CONFIG and COMMAND it is the container.
func (t *Table) Lookup(name []byte) *Row {
	var lower [maxNameBytes]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return t.byName[string(lower[:len(name)])]
}

// Resolve returns the row that args ask for, the subcommand's if there is one, or the error that Redis answers if there is none or the
// number of arguments does not fit.
func (t *Table) Resolve(args [][]byte) (*Row, error) {
	row := t.Lookup(args[0])
	if row == nil {
		return nil, ErrUnknownCommand(args)
	}
	if len(row.Subcommands) > 0 && len(args) > 1 {
		if row = row.subcommand(args[1]); row == nil {
			return nil, ErrUnknownSubcommand(t.Lookup(args[0]).Name, args[1])
		}
	}
	if !row.Fits(args) {
		return nil, ErrArity(row.Name)
	}
	return row, nil
}

func (r *Row) subcommand(name []byte) *Row {
	for _, sub := range r.Subcommands {
		if is(name, sub.Name[len(r.Name)+1:]) {
			return sub
		}
	}
	return nil
}

// KeyPositions calls f with the position and the flags of each key of a command whose arity fits. It returns false if the arguments do
// not match the row's key specifications. The flags of some depend on the other arguments: KeyVariable says so.
func (r *Row) KeyPositions(args [][]byte, f func(i int, flags KeyFlags)) bool {
	for _, s := range r.Keys {
		if s.Flags&KeyVariable != 0 {
			s.Flags = r.variableFlags(args)
		}
		if s.Keyword != "" || s.Where != nil {
			if s.First = s.find(args); s.First == 0 {
				continue
			}
			s.Step = 1
		}
		last := s.First + s.Last
		switch {
		case s.Counted:
			n, ok := resp.ParseInt(args[s.First])
			if !ok || n < 1 || n >= int64(len(args)-s.First) {
				return false
			}
			s.First, last = s.First+1, s.First+int(n)
		case s.Last < 0:
			last = len(args) + s.Last
		}
		if last >= len(args) || s.First > last {
			return false
		}
		for i := s.First; i <= last; i += s.Step {
			f(i, s.Flags)
		}
	}
	return true
}

// variableFlags are the flags of the one key of a row whose KeySpec is KeyVariable.
func (r *Row) variableFlags(args [][]byte) KeyFlags {
	if r.Name == "bitfield" {
		return fieldKeyFlags(args)
	}
	return setKeyFlags(args)
}
