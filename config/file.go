package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a parsed file: what it assigns, and where, so that messages have lines and CONFIG REWRITE can change a value
// and leave everything else as it is.
type document struct {
	data        []byte
	assignments []assignment
	headers     []header
}

// assignment is one "key = value".
type assignment struct {
	path       []string // table and key
	under      string   // the header above it
	value      any      // as go-toml decodes it
	line       int
	start, end int // of the value in data
}

// header is one "[table]".
type header struct {
	table string
	line  int
	end   int // of its line in data
	array bool
}

func (a *assignment) name() string { return strings.Join(a.path, ".") }

// parseTOML reads a file. The values come from go-toml's decoder, which also refuses what is not TOML (a key given twice, for
// instance); its parser then says where they stand.
func parseTOML(data []byte) (*document, error) {
	var decoded map[string]any
	if err := toml.Unmarshal(data, &decoded); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf("%d:%d: %s", line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, fmt.Errorf("1: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	d := &document{data: data}
	var p unstable.Parser
	p.Reset(data)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		path, last := keyPath(e)
		at := p.Shape(last).Start
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = path
			d.headers = append(d.headers, header{table: strings.Join(path, "."), line: at.Line, end: d.lineEnd(at.Offset), array: e.Kind == unstable.ArrayTable})
		case unstable.KeyValue:
			end := int(e.Raw.Offset + e.Raw.Length)
			start := int(last.Offset + last.Length)
			start += bytes.IndexByte(data[start:end], '=') + 1
			raw := data[start:end]
			full := append(slices.Clone(table), path...)
			d.assignments = append(d.assignments, assignment{path: full, under: strings.Join(table, "."), value: dig(decoded, full), line: at.Line,
				start: end - len(bytes.TrimLeft(raw, " \t")), end: start + len(bytes.TrimRight(raw, " \t"))})
		}
	}
	return d, p.Error()
}

// keyPath returns the parts of an expression's key, and where the last one stands.
func keyPath(e *unstable.Node) (path []string, last unstable.Range) {
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		last = it.Node().Raw
	}
	return path, last
}

// dig finds a value in the decoded document; under an array of tables, which no setting is, there is none.
func dig(m map[string]any, path []string) any {
	v := m[path[0]]
	if len(path) == 1 {
		return v
	}
	if inner, ok := v.(map[string]any); ok {
		return dig(inner, path[1:])
	}
	return nil
}

// lineEnd is where the line at offset ends, its newline included.
func (d *document) lineEnd(offset int) int {
	if i := bytes.IndexByte(d.data[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(d.data)
}

// loadFile gives the keys what the file says, and notes from where they have it.
func (c *Config) loadFile(file string, from map[*Key]string) []error {
	data, err := os.ReadFile(file)
	if err != nil {
		return []error{err}
	}
	d, err := parseTOML(data)
	if err != nil {
		return []error{fmt.Errorf("%s:%w", file, err)}
	}
	return c.assign(d, file, from)
}

// assign gives the keys what a document says.
func (c *Config) assign(d *document, file string, from map[*Key]string) (problems []error) {
	complain := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s:%d: %w", file, line, fmt.Errorf(format, args...)))
	}
	unknown := map[string]bool{}
	for _, h := range d.headers {
		switch {
		case h.array:
			complain(h.line, "[[%s]]: write [%s]", h.table, h.table)
			unknown[h.table] = true
		case c.tables[h.table] == "":
			complain(h.line, "there is no table [%s]; there are [%s]", h.table, strings.Join(slices.Sorted(maps.Keys(c.tables)), "], ["))
			unknown[h.table] = true
		}
	}
	for _, a := range d.assignments {
		name := a.name()
		k := c.byFile[name]
		_, isTable := a.value.(map[string]any)
		switch {
		case unknown[strings.Join(a.path[:len(a.path)-1], ".")]: // said once, for the table
		case isTable && c.tables[name] != "":
			complain(a.line, "%s is a table: write [%s] on a line of its own, and its keys below", name, name)
		case k == nil:
			complain(a.line, "there is no setting %s%s", name, c.suggest(name))
		case from[k] != "":
			complain(a.line, "%s is given twice, here and at %s", name, from[k])
		default:
			from[k] = fmt.Sprintf("%s:%d", file, a.line)
			text, err := k.fromTOML(a.value)
			if err == nil {
				err = c.give(k, text)
			}
			if err != nil {
				complain(a.line, "%s: %w", name, err)
			}
		}
	}
	return problems
}

// fromTOML turns a TOML value into the text that CONFIG SET would take, if it has the type that the key asks for.
func (k *Key) fromTOML(value any) (string, error) {
	switch v := value.(type) {
	case string:
		if k.Kind != Int {
			return v, nil
		}
	case bool:
		if k.Kind == Bool || k.Kind == Enum && slices.Contains(k.Choices, yesNo(v)) {
			return yesNo(v), nil
		}
	case int64:
		if k.Kind == Int || k.Kind == Bytes || k.Kind == Percent {
			return strconv.FormatInt(v, 10), nil
		}
	case []any:
		if words, ok := listWords(v); ok && k.Kind == List {
			return words, nil
		}
	}
	return "", fmt.Errorf("%s is not possible; %s", tomlType(value), k.tomlForm())
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func listWords(values []any) (string, bool) {
	words := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case string:
			words[i] = v
		case int64:
			words[i] = strconv.FormatInt(v, 10)
		default:
			return "", false
		}
	}
	return strings.Join(words, " "), true
}

// tomlType names a value's type, for people.
func tomlType(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a number without a unit"
	case float64:
		return "a number with a fraction"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	default:
		return "a date"
	}
}

// tomlForm says how the key's value is written in the file.
func (k *Key) tomlForm() string {
	switch k.Kind {
	case Bool:
		return "it takes true or false"
	case Int:
		return "it takes " + k.Allowed() + ", without quotes"
	case Bytes, Percent:
		return `it takes a whole number of bytes, or a string with a unit, such as "16MiB"`
	case Duration:
		return `it takes a string with a unit, such as "200ms", "1s" or "5m"`
	case Octal:
		return `it takes a string of octal digits, such as "700"`
	case Enum:
		return `it takes "` + strings.Join(k.choices(), `", "`) + `"`
	case List:
		return `it takes an array of strings, or one string with spaces`
	default:
		return "it takes a string, with quotes"
	}
}

// literal writes a value as the file does.
func (k *Key) literal(v Value) string {
	switch {
	case v.auto:
		return `"auto"`
	case k.Kind == Bool:
		return strconv.FormatBool(v.Bool())
	case k.Kind == Int, k.Kind == Percent && v.num >= 0:
		return v.text
	case k.Kind == Bytes:
		if s := formatBytes(v.num); s != v.text {
			return quote(s)
		}
		return v.text
	case k.Kind == List && v.text != "":
		words := v.Strings()
		for i, w := range words {
			words[i] = quote(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	default:
		return quote(v.text)
	}
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
