package resp

import (
	"bytes"

	"github.com/tidwall/redcon"
)

// Parse splits a command that Check found (buf[:n], nothing more or less) into its arguments, using args' memory for the
// list. The arguments point into command and live as long as those bytes; an append to one never runs into the next. Call it
// once: quotes and escapes of an inline command are resolved in place. No arguments: there is nothing to run or to answer.
// The only error is a ProtocolError, for unbalanced quotes.
func Parse(command []byte, args [][]byte) ([][]byte, error) {
	if command[0] != '*' {
		return parseInline(command, args[:0])
	}
	whole, args, _, rest, err := redcon.ReadNextCommand(command, args[:0])
	if err != nil || !whole || len(rest) > 0 {
		return parseTolerant(command, args[:0]), nil
	}
	for i, arg := range args {
		args[i] = arg[:len(arg):len(arg)]
	}
	return args, nil
}

// ParseHead is Parse for the arguments before a large one, command[:Large.Head].
func ParseHead(command []byte, args [][]byte) [][]byte { return parseTolerant(command, args[:0]) }

// parseTolerant takes what Redis takes and redcon does not: Redis never looks at the byte behind a header's CR nor at the
// two behind an argument, and knows negative counts.
func parseTolerant(command []byte, args [][]byte) [][]byte {
	pos := bytes.IndexByte(command, '\r') + 2
	for pos < len(command) {
		cr := pos + bytes.IndexByte(command[pos:], '\r')
		size, _ := ParseInt(command[pos+1 : cr])
		start, end := cr+2, cr+2+int(size)
		args = append(args, command[start:end:end])
		pos = end + 2
	}
	return args
}

// parseInline splits a line into words as Redis' sdssplitargs does. A word's bytes are never more than its source, so the
// line is its own memory for them.
func parseInline(command []byte, args [][]byte) ([][]byte, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix(command, []byte{'\n'}), []byte{'\r'})
	for r := 0; ; {
		for r < len(line) && isSpace(line[r]) {
			r++
		}
		if r == len(line) {
			return args, nil
		}
		start := r
		w, next, ok := word(line, r)
		if !ok {
			return args[:0], errQuotes
		}
		args = append(args, line[start:w:w])
		r = next
	}
}

// word decodes one word at r in place; w is the end of its bytes, next that of its source.
func word(line []byte, r int) (w, next int, ok bool) {
	for w = r; r < len(line); r++ {
		switch c := line[r]; c {
		case ' ', '\t', '\r', '\n': // not \v and \f, which only count as blanks between words
			return w, r, true
		case '"', '\'':
			return quoted(line, w, r)
		default:
			line[w] = c
			w++
		}
	}
	return w, r, true
}

// quoted decodes the quoted rest of a word from the opening quote at r to w. Only a blank may follow the closing quote.
func quoted(line []byte, w, r int) (end, next int, ok bool) {
	quote := line[r]
	for r++; r < len(line); r++ {
		c := line[r]
		if c == quote {
			return w, r + 1, r+1 == len(line) || isSpace(line[r+1])
		}
		if c == '\\' && r+1 < len(line) {
			var n int
			c, n = escaped(line[r+1:], quote)
			r += n
		}
		line[w] = c
		w++
	}
	return w, r, false
}

// escaped returns what a backslash followed by rest stands for, and how many bytes of rest belong to it.
func escaped(rest []byte, quote byte) (c byte, n int) {
	if quote == '\'' {
		if rest[0] == '\'' {
			return '\'', 1
		}
		return '\\', 0
	}
	switch rest[0] {
	case 'x':
		if len(rest) > 2 {
			high, low := hexDigit(rest[1]), hexDigit(rest[2])
			if high >= 0 && low >= 0 {
				return byte(high<<4 | low), 3
			}
		}
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'a':
		return '\a', 1
	}
	return rest[0], 1
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
